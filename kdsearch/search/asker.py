"""From the record of a study to its next pack."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kdsearch.analysis.forecast import forecast
from kdsearch.analysis.observations import asked_epochs
from kdsearch.analysis.transfer import EarlierStudy
from kdsearch.search.balance import trials_of
from kdsearch.search.proposer import Proposer
from kdsearch.search.pruning import Floors, floors_of
from kdsearch.spec import Params, Setup, StudySpec
from kdsearch.storage import TrialRow
from kdsearch.trial import Trial

MAX_CURVES = 64
"""The floors follow from a setup's latest curves: all of them would cost more with every pack."""


@dataclass(frozen=True)
class Pack:
    """Trials of one setup that are trained together, and the accuracy floors that prune them."""

    name: str
    trials: Sequence[Trial]
    floors: Floors = field(default_factory=dict)


class Record(Protocol):
    """What asking needs of a study's record."""

    def trials(self) -> list[TrialRow]:
        """Return every trial so far."""

    def curves(self, numbers: Sequence[int]) -> Mapping[int, Mapping[int, float]]:
        """Return the validation accuracy by epoch of the trials with these numbers."""

    def take_waiting(self, size: int, pack: str) -> list[Trial]:
        """Start up to `size` trials of one setup that wait to be run, maybe none."""

    def start(self, setup: Setup, params: Sequence[Params], pack: str) -> list[Trial]:
        """Start new trials of one setup."""

    def stop_setups(self, reasons: Mapping[str, str]) -> None:
        """Take why setups, by their keys, get no more trials; all others do."""


class PackAsker:
    """Asks for packs: first the trials that wait to be run again, then what the proposer says.

    Args:
        spec: The study's spec.
        record: Its record.
        proposer: Chooses new trials.
        earlier: The studies that `search.warm_start` names; they too tell whether a setup is decided.
    """

    def __init__(
        self, spec: StudySpec, record: Record, proposer: Proposer, earlier: Sequence[EarlierStudy] = ()
    ) -> None:
        self._spec = spec
        self._earlier = earlier
        self._record = record
        self._proposer = proposer
        self._judged_at: int | None = None
        self._decisions: dict[str, str] | None = None

    def ask(self, name: str, room: int) -> Pack | None:
        """Start the trials of the next pack, at most `room` of them; None where every setup is decided.

        Args:
            name: The pack's name, unique in the study.
            room: How many trials the budget still allows; at least 1.
        """
        size = min(self._spec.search.pack, room)
        started = self._record.take_waiting(size, name)
        rows = self._record.trials()
        if not started:
            decided = self._decided(rows)
            if len(decided) == len(self._spec.setups()):
                return None
            proposal = self._proposer.propose(rows, size, decided)
            started = self._record.start(proposal.setup, proposal.params, name)
        return Pack(name, started, self._floors(started[0], rows))

    def _decided(self, rows: Sequence[TrialRow]) -> Collection[str]:
        """Return the keys of the setups that `search.stop.regret` gives no more trials."""
        n_complete = sum(row.state == "complete" for row in rows)
        if self._decisions is None or n_complete != self._judged_at:
            before, self._decisions = self._decisions, self._judge(rows)
            self._judged_at = n_complete
            if before is None or before.keys() != self._decisions.keys():
                self._record.stop_setups(self._decisions)
        return self._decisions

    def _judge(self, rows: Sequence[TrialRow]) -> dict[str, str]:
        regret = self._spec.search.stop.regret
        if regret is None:
            return {}
        found = forecast(self._spec, rows, earlier=self._earlier, regret=regret)
        return found.decisions(self._spec.setups())

    def _floors(self, trial: Trial, rows: Sequence[TrialRow]) -> Floors:
        """Return the floors that follow from the setup's trials of the same length."""
        pruner = self._spec.search.pruner
        if pruner == "none":
            return {}
        ended = [
            row.number
            for row in trials_of(trial.setup, rows)
            if row.state in ("complete", "pruned") and asked_epochs(self._spec, row) == trial.epochs
        ]
        latest = self._record.curves(ended[-MAX_CURVES:])
        return floors_of(pruner, list(latest.values()), trial.epochs)
