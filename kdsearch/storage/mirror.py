"""The study as Optuna and its dashboard see it. Our tables are the truth; this follows them."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from kdsearch.errors import RequestError
from kdsearch.spec import Params, Setup, StudySpec
from kdsearch.storage.database import Database, engine_options
from kdsearch.storage.distributions import OptunaSpace, Point
from kdsearch.storage.patience import patiently
from kdsearch.storage.queries import study_id
from kdsearch.storage.rows import TrialState
from kdsearch.storage.tables import StudyTable

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

STUDY_ATTRIBUTE = "kdsearch_study"
TRIAL_ATTRIBUTE = "kdsearch"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewTrial:
    """A trial that is to be made; without a seed it takes the one of its number."""

    setup: Setup
    params: Params
    seed: int | None = None
    pack: str | None = None
    attempt: int = 1
    retry_of: int | None = None

    def to_attribute(self) -> dict[str, Any]:
        """Return what Optuna's parameters don't tell of the trial."""
        return {
            "seed": self.seed,
            "pack": self.pack,
            "attempt": self.attempt,
            "retry_of": self.retry_of,
            "token": uuid.uuid4().hex,
        }

    @classmethod
    def from_attribute(cls, point: Point, attribute: Mapping[str, Any]) -> "NewTrial":
        """Return the trial that `to_attribute` and Optuna's parameters tell of."""
        told = {name: attribute[name] for name in ("seed", "pack", "attempt", "retry_of")}
        return cls(setup=point[0], params=point[1], **told)


class OptunaMirror:
    """Writes a study's trials through Optuna, under the same numbers as in `kd_trial`."""

    def __init__(
        self, database: Database, spec: StudySpec, uid: str, sampler: "BaseSampler | None" = None
    ) -> None:
        self._space = OptunaSpace(spec)
        self._storage = open_optuna_storage(database)
        self._sampler = sampler
        self.study = self._find_or_create(spec.name, uid)
        self._study_id = self._storage.get_study_id_from_name(self.study.study_name)

    def add(self, trials: Sequence[NewTrial], *, state: TrialState) -> list[int]:
        """Make trials that run or wait; return their numbers."""
        return [self._add(trial, state) for trial in trials]

    def open_trials(self) -> dict[int, "FrozenTrial"]:
        """Return the trials that run or wait, by number."""
        from optuna.trial import TrialState as State

        return self._trials(State.RUNNING, State.WAITING)

    def waiting_trials(self) -> dict[int, "FrozenTrial"]:
        """Return the trials that wait, by number."""
        from optuna.trial import TrialState as State

        return self._trials(State.WAITING)

    def point_of(self, trial: "FrozenTrial") -> Point:
        """Return the setup and the parameters of a trial, or of what was enqueued by hand.

        Raises:
            ValueError: They are not complete; the message says what is missing.
        """
        return self._space.decode({**trial.system_attrs.get("fixed_params", {}), **trial.params})

    def complete_params(self, number: int, point: Point) -> None:
        """Give a trial that was enqueued by hand its parameters, as values that were chosen."""
        trial_id = self._trial_id(number)
        known = self._storage.get_trial(trial_id).params
        distributions = self._space.distributions(point[0])
        for name, value in self._space.encode(*point).items():
            if name not in known:
                distribution = distributions[name]
                internal = distribution.to_internal_repr(value)
                self._storage.set_trial_param(trial_id, name, internal, distribution)

    def start(self, number: int) -> None:
        """Let a waiting trial run."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState as State

        try:
            trial_id = self._trial_id(number)
            patiently(lambda: self._storage.set_trial_state_values(trial_id, State.RUNNING))
        except UpdateFinishedTrialError:
            _log.warning("Trial %d was ended in Optuna by someone else; it runs all the same.", number)

    def report(self, epoch: int, accuracies: Mapping[int, float]) -> None:
        """Add a point to the curves of running trials."""
        from optuna.exceptions import UpdateFinishedTrialError

        for number, accuracy in accuracies.items():
            trial_id = self._trial_id(number)
            try:
                patiently(
                    lambda trial_id=trial_id, accuracy=accuracy: self._storage.set_trial_intermediate_value(  # type: ignore[misc]
                        trial_id, epoch, accuracy
                    )
                )
            except UpdateFinishedTrialError:
                _log.warning("Trial %d was ended in Optuna by someone else.", number)

    def finish(
        self,
        number: int,
        state: TrialState,
        *,
        reason: str | None,
        accuracy: float | None = None,
        epoch: int = 0,
    ) -> None:
        """End a trial that runs or waits; one that has ended stays as it is.

        Args:
            number: The trial's number.
            state: How it ended.
            reason: Why, for a trial that is not complete.
            accuracy: Its value, and the last point of its curve.
            epoch: The epoch of that point.
        """
        patiently(lambda: self._finish(number, state, reason, accuracy, epoch))

    def _finish(
        self, number: int, state: TrialState, reason: str | None, accuracy: float | None, epoch: int
    ) -> None:
        from optuna.trial import TrialState as State

        ending = {"complete": State.COMPLETE, "pruned": State.PRUNED, "failed": State.FAIL}[state]
        trial_id = self._trial_id(number)
        trial = self._storage.get_trial(trial_id)
        if trial.state.is_finished():
            return
        if trial.state == State.WAITING:
            self._storage.set_trial_state_values(trial_id, State.RUNNING)
        if reason is not None:
            self._storage.set_trial_user_attr(trial_id, "reason", reason)
        if accuracy is not None and ending != State.FAIL and epoch not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(trial_id, epoch, accuracy)
        self.study.tell(number, accuracy if ending == State.COMPLETE else None, state=ending)

    def _add(self, trial: NewTrial, state: TrialState) -> int:
        from optuna.trial import TrialState as State
        from optuna.trial import create_trial

        attribute = trial.to_attribute()
        frozen = create_trial(
            state={"running": State.RUNNING, "waiting": State.WAITING}[state],
            params=self._space.encode(trial.setup, trial.params),
            distributions=self._space.distributions(trial.setup),
            user_attrs={TRIAL_ATTRIBUTE: attribute},
        )
        tries = 0

        def add_once() -> int:
            nonlocal tries
            tries += 1
            if tries > 1:  # the one before may have been committed, its answer lost
                for number, made in self.open_trials().items():
                    if made.user_attrs.get(TRIAL_ATTRIBUTE) == attribute:
                        return number
            trial_id = self._storage.create_new_trial(self._study_id, template_trial=frozen)
            return self._storage.get_trial_number_from_id(trial_id)

        return patiently(add_once)

    def _trials(self, *states: Any) -> dict[int, "FrozenTrial"]:
        trials = patiently(
            lambda: self._storage.get_all_trials(self._study_id, deepcopy=False, states=states)
        )
        return {trial.number: trial for trial in trials}

    def _trial_id(self, number: int) -> int:
        return patiently(
            lambda: self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        )

    def _find_or_create(self, name: str, uid: str) -> "Study":
        import optuna

        for ours in _names(self._storage, uid):
            return optuna.load_study(study_name=ours, storage=self._storage, sampler=self._sampler)
        study = optuna.create_study(
            study_name=name,
            storage=self._storage,
            sampler=self._sampler,
            pruner=optuna.pruners.NopPruner(),
            direction="maximize",
            load_if_exists=True,
        )
        if study.get_trials(deepcopy=False) or STUDY_ATTRIBUTE in study.user_attrs:
            raise RequestError(
                f"`name` must not be that of another Optuna study in this database, got {name!r}. "
                "Choose another name, or another database."
            )
        study.set_user_attr(STUDY_ATTRIBUTE, uid)
        return study


def load_optuna_study(database: Database, study: str) -> "Study":
    """Return the plain Optuna study of a study.

    Raises:
        RequestError: There is no such study, or Optuna has lost it.
    """
    import optuna

    with database.read() as connection:
        row = study_id(connection, study)
        uid = connection.scalar(select(StudyTable.uid).where(StudyTable.id == row))
    storage = open_optuna_storage(database)
    for name in _names(storage, uid or ""):
        return optuna.load_study(study_name=name, storage=storage)
    raise RequestError(
        f"`study` must have its trials in Optuna too, got {study!r}, whose Optuna study was deleted. "
        "Launch it again: that restores them."
    )


def _names(storage: "RDBStorage", uid: str) -> list[str]:
    """Return the names of the Optuna studies that are ours, whatever a dashboard renamed them to."""
    studies = storage.get_all_studies()
    return [study.study_name for study in studies if study.user_attrs.get(STUDY_ATTRIBUTE) == uid]


def open_optuna_storage(database: Database) -> "RDBStorage":
    """Return Optuna's storage in a database, with the same options as ours.

    Raises:
        RequestError: Optuna's tables are of another version of Optuna; the message says what to do.
    """
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(
            database.url.render_as_string(hide_password=False), engine_kwargs=engine_options(database.url)
        )
    except RuntimeError as error:
        raise RequestError(f"Optuna's tables in {database.name} can't be used. {error}") from error
