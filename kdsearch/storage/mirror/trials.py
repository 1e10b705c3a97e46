"""The study as Optuna and its dashboard see it. Our tables are the truth; this follows them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from kdsearch.errors import RunError
from kdsearch.spec import StudySpec
from kdsearch.storage.mirror.frozen import (
    lost_frozen_trial,
    new_frozen_trial,
    optuna_state,
    stored_frozen_trial,
)
from kdsearch.storage.mirror.store import ensure_optuna_study, open_optuna_storage, optuna_name
from kdsearch.storage.rows.distributions import OptunaSpace, Point
from kdsearch.storage.rows.entries import Ending, NewTrial, StoredTrial
from kdsearch.storage.rows.read import TrialState
from kdsearch.storage.sql.database import Database
from kdsearch.storage.sql.retries import with_retries

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

_Result = TypeVar("_Result")


class OptunaMirror:
    """Writes a study's trials through Optuna.

    They have the same numbers as in `kd_trial`.
    """

    def __init__(
        self, database: Database, spec: StudySpec, uid: str, sampler: "BaseSampler | None" = None
    ) -> None:
        self._space = OptunaSpace(spec)
        self._storage: RDBStorage = open_optuna_storage(database)
        self._uid = uid
        self._sampler = sampler
        self._use(ensure_optuna_study(self._storage, spec.name, uid, sampler))

    @property
    def study(self) -> "Study":
        """The plain Optuna study."""
        return self._study

    def use_spec(self, spec: StudySpec) -> None:
        """Give new trials the ranges of a spec. Those of before keep theirs, as Optuna allows for numbers."""
        self._space = OptunaSpace(spec)

    def add(self, trials: Sequence[NewTrial], *, state: TrialState) -> list[int]:
        """Make trials that run or wait; return their numbers."""
        return [self._add(trial, state) for trial in trials]

    def has(self, number: int) -> bool:
        """Return whether there is a trial of a number."""
        return with_retries(lambda: self._has(number))

    def restore(self, number: int, trial: StoredTrial | None, curve: Mapping[int, float]) -> None:
        """Make a trial again that Optuna has lost. None for a number that our tables don't know."""
        frozen = lost_frozen_trial() if trial is None else stored_frozen_trial(self._space, trial, curve)
        tried = False

        def restore_once() -> None:
            nonlocal tried
            if tried and self._has(number):  # the try before was committed, its answer lost
                return
            tried = True
            made = self._storage.create_new_trial(self._study_id, template_trial=frozen)
            if self._storage.get_trial_number_from_id(made) != number:
                raise RunError(f"Optuna can't restore trial {number}: another program writes to its study.")

        with_retries(restore_once)

    def open_trials(self) -> dict[int, "FrozenTrial"]:
        """Return the trials that run or wait, by number."""
        from optuna.trial import TrialState as State

        return self._trials(State.RUNNING, State.WAITING)

    def waiting_trials(self) -> dict[int, "FrozenTrial"]:
        """Return the trials that wait, by number."""
        from optuna.trial import TrialState as State

        return self._trials(State.WAITING)

    def point_of(self, trial: "FrozenTrial") -> Point:
        """Return the setup and the parameters of one of Optuna's trials.

        What was enqueued by hand for it counts too.

        Raises:
            ValueError: They are not complete; the message says what is missing.
        """
        return self._space.decode({**trial.system_attrs.get("fixed_params", {}), **trial.params})

    def complete_params(self, number: int, point: Point) -> None:
        """Give a trial that was enqueued by hand its parameters.

        They are recorded as if a sampler had chosen them.
        """
        distributions = self._space.distributions(point[0])
        values = self._space.encode(*point)

        def complete() -> None:
            trial_id = self._trial_id(number)
            for name in values.keys() - self._storage.get_trial(trial_id).params.keys():
                internal = distributions[name].to_internal_repr(values[name])
                self._storage.set_trial_param(trial_id, name, internal, distributions[name])

        self._do(complete)

    def start(self, number: int) -> None:
        """Let a waiting trial run."""
        from optuna.trial import TrialState as State

        self._unless_ended(
            lambda: self._storage.set_trial_state_values(self._trial_id(number), State.RUNNING)
        )

    def await_again(self, numbers: Collection[int]) -> None:
        """Let those of these trials wait that run."""
        from optuna.trial import TrialState as State

        for number in self._trials(State.RUNNING).keys() & numbers:
            self._unless_ended(
                lambda n=number: self._storage.set_trial_state_values(self._trial_id(n), State.WAITING)  # type: ignore[misc]
            )

    def report(self, number: int, epoch: int, accuracy: float) -> None:
        """Add a point to the curve of a running trial."""
        self._unless_ended(
            lambda: self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, accuracy)
        )

    def finish(self, number: int, ending: Ending) -> None:
        """End a trial that runs or waits. One that has ended stays as it is."""
        self._unless_ended(lambda: self._finish(number, ending))
        self._ids.pop(number, None)

    def _finish(self, number: int, ending: Ending) -> None:
        # As `study.tell` does it, but for three readings of the trial and the sampler's hook.
        trial_id = self._trial_id(number)
        if ending.reason is not None:
            self._storage.set_trial_user_attr(trial_id, "reason", ending.reason)
        value = ending.accuracy if ending.state != "failed" else None
        if value is not None:
            self._storage.set_trial_intermediate_value(trial_id, ending.epoch, value)
        values = None if value is None else [value]
        self._storage.set_trial_state_values(trial_id, optuna_state(ending.state), values)

    def _add(self, trial: NewTrial, state: TrialState) -> int:
        frozen = new_frozen_trial(self._space, trial, state)
        tried = False

        def add_once() -> int:
            nonlocal tried
            if tried:  # the try before may have been committed, its answer lost
                for number, made in self.open_trials().items():
                    if made.user_attrs == frozen.user_attrs:
                        return number
            tried = True
            trial_id = self._storage.create_new_trial(self._study_id, template_trial=frozen)
            number = self._storage.get_trial_number_from_id(trial_id)
            self._ids[number] = trial_id  # to look it up, Optuna would go through all of the study's trials
            return number

        return self._do(add_once)

    def _trials(self, *states: Any) -> dict[int, "FrozenTrial"]:
        def read() -> dict[int, "FrozenTrial"]:
            found = self._storage.get_all_trials(self._study_id, deepcopy=False, states=states)
            return {trial.number: trial for trial in found}

        return self._do(read)

    def _unless_ended(self, operation: Callable[[], object]) -> None:
        """Do an operation on a trial, unless it has ended: here before, or in Optuna by someone else."""
        from optuna.exceptions import UpdateFinishedTrialError

        with suppress(UpdateFinishedTrialError):
            self._do(operation)

    def _do(self, operation: Callable[[], _Result]) -> _Result:
        """Return what an operation returns. A dashboard may have renamed the study: all ids differ then."""
        try:
            return with_retries(operation)
        except KeyError:
            with_retries(self._find_again)
            return with_retries(operation)

    def _find_again(self) -> None:
        import optuna

        name = optuna_name(self._storage, self._uid)
        if name is None:
            raise RunError(
                f"The Optuna study {self._study.study_name!r} was deleted while it ran. "
                "Launch it again: its trials are restored from kdsearch's own tables."
            )
        self._use(optuna.load_study(study_name=name, storage=self._storage, sampler=self._sampler))

    def _use(self, study: "Study") -> None:
        self._study = study
        self._ids: dict[int, int] = {}
        self._study_id: int = self._storage.get_study_id_from_name(study.study_name)

    def _has(self, number: int) -> bool:
        try:
            self._trial_id(number)
        except KeyError:
            return False
        return True

    def _trial_id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._ids[number]
