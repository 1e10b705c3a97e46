"""The record of a running study. Only its driver writes it.

A new trial's number is Optuna's to give, so its Optuna half is written first. Every other change goes into
our tables first, in one transaction, and Optuna's follow. A kill between the two leaves a pair that
`recover` completes.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from kdsearch.spec import Params, Setup, StudySpec
from kdsearch.spec.widening import Widening, widened
from kdsearch.storage import recovery
from kdsearch.storage.both_halves import BothHalves, write
from kdsearch.storage.mirror.trials import OptunaMirror
from kdsearch.storage.removal import make_way
from kdsearch.storage.rows.distributions import within_range
from kdsearch.storage.rows.entries import NewTrial
from kdsearch.storage.rows.lease import Lease
from kdsearch.storage.rows.ledger import end_pack, read_hours, start_pack
from kdsearch.storage.rows.queries import curves_of, finite, load_spec_of, read_epochs, read_progress
from kdsearch.storage.rows.read import Hours, Progress, StoredWidening, StudyState, TrialRow
from kdsearch.storage.rows.reading import GrowingTrials
from kdsearch.storage.rows.study import ensure_study, set_stopped, set_study_state
from kdsearch.storage.rows.teachers import save_teacher
from kdsearch.storage.rows.trials import (
    Epochs,
    as_recorded,
    finish_trials,
    insert_epochs,
    insert_trials,
    next_draw,
    seed_of,
    take_waiting,
)
from kdsearch.storage.rows.widenings import insert_widening, read_widenings
from kdsearch.storage.sql.database import Database, database_now
from kdsearch.storage.sql.retries import with_retries
from kdsearch.storage.sql.tables import TrialTable
from kdsearch.trial import Metrics, Trial, TrialResult

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler

CURVE_POINTS = 10
"""By hand: about so many points show a trial's curve in Optuna, where each is a write; `kd_epoch` has all."""

_LAST_DIGITS = re.compile(r"\d+$")
_log = logging.getLogger(__name__)


class StudyRecord:
    """One study in the database, as its driver sees and writes it. Made by `open`."""

    def __init__(self, halves: BothHalves) -> None:
        self._halves = halves
        self._lengths: dict[int, int] = {}
        self._trials = GrowingTrials()

    @classmethod
    def open(
        cls,
        database: Database,
        spec: StudySpec,
        sampler: "BaseSampler | None" = None,
        *,
        lease: Lease | None = None,
        source: Path | None = None,
        data: Mapping[str, str] | None = None,
        code: Mapping[str, str] | None = None,
    ) -> "StudyRecord":
        """Create a study, or go on with it. A database that is away for a while is waited for.

        Args:
            database: An open database.
            spec: The checked spec.
            sampler: What `optuna` shall sample with, if anyone asks it.
            lease: With it, nothing is written any more once another driver has the study.
            source: The folder whose git commit is recorded; the working directory by default.
            data: The fingerprints of the study's data sets, by their names, where they are at hand.
            code: Those of a user's code, by the names in the spec.

        Raises:
            RequestError: A study of this name exists and asks for something else, or has other data.
            LiveDriverError: The lease is lost.
        """
        folder = source or Path.cwd()

        def opened() -> BothHalves:
            make_way(database, spec, lease)
            study, uid = write(
                database, lambda c: ensure_study(c, spec, folder, data or {}, code or {}), lease
            )
            stored = load_spec_of(database, spec.name)
            return BothHalves(database, stored, study, OptunaMirror(database, stored, uid, sampler), lease)

        return cls(with_retries(opened))

    @property
    def spec(self) -> StudySpec:
        """The spec as it was launched, with its ranges as widened since."""
        return self._halves.spec

    @property
    def optuna(self) -> "Study":
        """The plain Optuna study."""
        return self._halves.mirror.study

    def start(
        self, setup: Setup, params: Sequence[Params], pack: str, *, seeds: Sequence[int] | None = None
    ) -> list[Trial]:
        """Start new trials of one setup.

        Args:
            setup: One of the spec's setups.
            params: A value for each tuned parameter, for each trial.
            pack: The pack that trains them.
            seeds: One for each trial; by default a seed follows from the search's and the trial's number.

        Raises:
            ValueError: A parameter is missing, unknown or outside its range, or the point is no training.
        """
        halves = self._halves
        chosen: Sequence[int | None] = seeds if seeds is not None else [None] * len(params)
        draw = halves.read(lambda c: next_draw(c, halves.study, halves.spec, setup))
        new = [
            NewTrial.of(
                halves.spec, setup, within_range(halves.spec, setup, values), draw=draw, seed=seed, pack=pack
            )
            for values, seed in zip(params, chosen, strict=True)
        ]
        made = dict(zip(halves.mirror.add(new, state="running"), new, strict=True))
        halves.write(lambda c: insert_trials(c, halves.study, halves.spec, made, "running"))
        return self._counted(
            Trial(number, seed_of(halves.spec, number, t), setup, t.params, t.spec, draw)
            for number, t in made.items()
        )

    def take_waiting(self, size: int, pack: str, aside: Collection[str] = ()) -> list[Trial]:
        """Start at most `size` waiting trials of one setup, maybe none.

        Trials that someone enqueued through Optuna are among them; those of setups whose keys are in `aside`
        go on waiting.
        """
        halves = self._halves
        recovery.adopt_enqueued(halves)
        taken = halves.write(lambda c: take_waiting(c, halves.study, halves.spec, size, pack, aside))
        for trial in taken:
            halves.mirror.start(trial.number)
        return self._counted(
            Trial.of(halves.spec, t.setup, t.params, number=t.number, seed=t.seed, draw=t.draw) for t in taken
        )

    def report(self, epoch: int, metrics: Mapping[int, Metrics]) -> None:
        """Record one epoch of running trials; what comes twice changes nothing."""
        self.report_all([(epoch, metrics)])

    def report_all(self, epochs: Epochs) -> None:
        """Record epochs of running trials, all or none of them."""
        halves = self._halves
        running = halves.write(lambda c: insert_epochs(c, halves.study, epochs))
        newest: dict[int, tuple[int, float]] = {}
        for epoch, metrics in epochs:
            if late := sorted(metrics.keys() - running):
                _log.info("Trials %s reported epoch %d after their end; it is ignored.", late, epoch)
            for number in metrics.keys() & running:
                accuracy = finite(metrics[number].get("val_accuracy"))
                if accuracy is not None and self._is_point(number, epoch):
                    newest[number] = epoch, accuracy
        for number, (epoch, accuracy) in newest.items():
            halves.mirror.report(number, epoch, accuracy)

    def finish(self, *results: TrialResult) -> None:
        """Record how trials ended, all or none of them. A trial that has ended before stays as it was."""
        halves = self._halves
        ended = {result.number: as_recorded(result) for result in results}
        for number in ended.keys() - halves.write(lambda c: finish_trials(c, halves.study, ended.values())):
            _log.info("Trial %d ended a second time; it is ignored.", number)
        for number in ended:
            self._lengths.pop(number, None)
        halves.complete_pairs(*ended)

    def lose(self, numbers: Collection[int], reason: str) -> list[int]:
        """Record running trials as failed with their worker. They wait to be run again.

        One that ended its worker three times in a row without coming further fails for good; return those.
        """
        return recovery.lose(self._halves, numbers, reason)

    def recover(self) -> None:
        """Bring to order what a dead driver left. No trial stays running, none is lost.

        Trials that ran wait to be run again, under their number; it is no attempt of theirs.
        What was half written is completed. To be called while the lease is held.
        """
        recovery.recover(self._halves)

    def trials(self) -> list[TrialRow]:
        """Return every trial by number."""
        halves = self._halves
        return halves.read(lambda c: self._trials.read(c, halves.study))

    def curves(self, numbers: Sequence[int]) -> dict[int, dict[int, float]]:
        """Return the validation accuracy by epoch of the trials with these numbers."""
        halves = self._halves
        return curves_of(halves.read(lambda c: read_epochs(c, halves.study, numbers)))

    def progress(self) -> Progress:
        """Return how many trials are in each state."""
        halves = self._halves
        return halves.read(lambda c: read_progress(c, halves.study))

    def finished_count(self) -> int:
        """Return how many trials count against the budget."""
        return self.progress().finished

    def last_pack(self) -> int:
        """Return the highest number that a pack's name ends with. 0 without packs."""
        query = select(TrialTable.pack).distinct().where(TrialTable.study_id == self._halves.study)
        names = self._halves.read(lambda c: list(c.scalars(query)))
        return max((int(found[0]) for name in names if (found := _LAST_DIGITS.search(name or ""))), default=0)

    def start_pack(self, pack: str) -> None:
        """Count what a pack holds from now on."""
        halves = self._halves
        halves.write(lambda c: start_pack(c, halves.study, pack, halves.spec))

    def end_pack(self, pack: str) -> None:
        """Count what a pack held up to now."""
        self._halves.write(lambda c: end_pack(c, self._halves.study, pack))

    def hours(self) -> Hours:
        """Return how long the study ran, and its packs' CPU-hours and GPU-hours."""
        study = self._halves.study
        return self._halves.read(lambda c: read_hours(c, study)).get(study, Hours())

    def save_teacher(self, teacher: Mapping[str, Any]) -> None:
        """Record a trained teacher, and that this study uses it."""
        self._halves.write(lambda c: save_teacher(c, self._halves.study, teacher))

    def set_state(self, state: StudyState, reason: str | None = None) -> None:
        """Record how the study is, and why, in words."""
        study = self._halves.study
        self._halves.write(lambda c: set_study_state(c, study, state, reason, database_now(c)))

    def stop_setups(self, reasons: Mapping[str, str]) -> None:
        """Record why setups, by their keys, get no more trials. All others do."""
        self._halves.write(lambda c: set_stopped(c, self._halves.study, reasons))

    def widenings(self) -> list[StoredWidening]:
        """Return how ranges were widened so far."""
        study = self._halves.study
        return self._halves.read(lambda c: read_widenings(c, study)).get(study, [])

    def widen(self, widening: Widening) -> StudySpec:
        """Widen a range for all trials from now on. Return the spec that holds then."""
        halves = self._halves
        spec = widened(halves.spec, [widening])
        halves.write(lambda c: insert_widening(c, halves.study, widening))
        halves.mirror.use_spec(spec)
        self._halves = replace(halves, spec=spec)
        return spec

    def _counted(self, trials: Iterable[Trial]) -> list[Trial]:
        """Return trials that begin; their lengths thin the curves that Optuna gets."""
        started = list(trials)
        self._lengths |= {trial.number: trial.epochs for trial in started}
        return started

    def _is_point(self, number: int, epoch: int) -> bool:
        stride = -(-self._lengths.get(number, 0) // CURVE_POINTS)
        return stride > 0 and epoch % stride == 0
