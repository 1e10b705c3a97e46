"""The profile sampler for a plain Optuna study."""

import json
import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kdsearch.errors import RequestError
from kdsearch.search.conditions import Conditions, conditions_of
from kdsearch.search.profile import ProfileProposer
from kdsearch.search.unit_space import Space, UnitSpace
from kdsearch.storage import DIVERGED, TrialRow
from kdsearch.storage.rows.read import TrialState as KnownState

if TYPE_CHECKING:
    from optuna.study import Study

_ASKED = "kdsearch:asked"
_POINTS_OF_SPREAD = 4.0
"""By hand: the middle 80% of the values are taken to span so many points of accuracy."""

_STATES: dict[TrialState, KnownState] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class ProfileSampler(BaseSampler):
    """Samples like the study files' `sampler: profile`: it learns one parameter's profile in every setup.

    All that is known comes from the study's trials, whatever ended or enqueued them; running and waiting ones
    count as asked for. A failed trial says nothing, unless its user attribute `reason` is `diverged` or it
    reported what is not a number: that lies far below the others.

    Args:
        temperature: The parameter whose profile is learned, the others at their best for each of its values.
        setup: Categorical parameters that are conditions, not to be optimised: each combination of their
            choices is served in turn. A parameter that exists under some of them alone (`lr_sgd`, `lr_adamw`)
            is learned inside them, once a trial of each has ended.
        space: The search space, where it is known beforehand. Otherwise it is what the trials have in
            common, the first trial is random, and what is not in common stays so.
        points: What one percentage point of accuracy is in the objective's unit, such as 0.01 for an
            accuracy between 0 and 1. By default the trials' spread (from the tenth to the ninetieth
            percentile) is taken for 4 points.
        seed: Fixes the draws.

    Example:
        >>> import optuna
        >>> sampler = ProfileSampler(setup=["optimizer"], points=0.01)
        >>> study = optuna.create_study(direction="maximize", sampler=sampler)
        >>> def accuracy(trial):
        ...     trial.suggest_categorical("optimizer", ["sgd", "adamw"])
        ...     return 0.9 - 0.001 * abs(trial.suggest_float("temperature", 1, 40, log=True) - 4)
        >>> study.optimize(accuracy, n_trials=4)
        >>> len(study.trials)
        4
    """

    def __init__(
        self,
        temperature: str = "temperature",
        setup: Sequence[str] = (),
        *,
        space: Space | None = None,
        points: float | None = None,
        seed: int = 0,
    ) -> None:
        self._temperature = temperature
        self._setup = (setup,) if isinstance(setup, str) else tuple(setup)
        self._names_are_known = False
        self._static = None if space is None else dict(space)
        self._points = points
        self._seed = seed
        self._random = RandomSampler(seed=seed)
        self._common = IntersectionSearchSpace()
        self._conditions = Conditions()
        self._model: tuple[Space, Conditions, UnitSpace, ProfileProposer] | None = None

    def infer_relative_search_space(
        self,
        study: "Study",
        trial: FrozenTrial,  # noqa: ARG002 - Optuna's signature
    ) -> dict[str, BaseDistribution]:
        """Return the given space, or what the trials have in common.

        Raises:
            RequestError: No trial has a parameter that `setup` names, or `temperature` is nearly one's name.
        """
        self._check_names(study)
        space = self._common.calculate(study) if self._static is None else self._static
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self._conditions = conditions_of(complete, self._setup) if self._setup else Conditions()
        space = {**space, **self._conditions.distributions}
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    def sample_relative(
        self, study: "Study", trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values that teach most about the next setup.

        Raises:
            ValueError: The study has several objectives, or a parameter of `setup` is not categorical.
        """
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        units, proposer = self._model_of(search_space)
        others = [known for known in study.get_trials(deepcopy=False) if known.number != trial.number]
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        proposal = proposer.propose(self._rows(units, search_space, others, sign), 1)
        values = units.decode(proposal.setup, proposal.params[0])
        asked = {name: search_space[name].to_internal_repr(value) for name, value in values.items()}
        study._storage.set_trial_system_attr(trial._trial_id, _ASKED, json.dumps(asked))
        return values

    def sample_independent(
        self,
        study: "Study",
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a random value: the parameter is not in the common space."""
        self._raise_error_if_multi_objective(study)
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Let a copy in another process draw its own random values."""
        self._random.reseed_rng()

    def _check_names(self, study: "Study") -> None:
        """Refuse misspelt names, once trials report the right ones.

        A misspelt name would leave the search random.
        """
        if self._names_are_known:
            return
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        known = list(dict.fromkeys([*(self._static or ()), *(name for t in ended for name in t.params)]))
        if not known:
            return
        lower = {name.lower(): name for name in known}
        close = get_close_matches(self._temperature.lower(), list(lower), n=1, cutoff=0.8)
        wrong = [("setup", name) for name in self._setup if name not in known]
        if self._temperature not in known and close:
            wrong.append(("temperature", self._temperature))
        if wrong:
            option, name = wrong[0]
            raise RequestError(
                f"`{option}` must name parameters, got {name!r}. Parameters: {', '.join(known)}."
            )
        self._names_are_known = self._temperature in known

    def _model_of(self, space: Space) -> tuple[UnitSpace, ProfileProposer]:
        if self._model is None or self._model[:2] != (space, self._conditions):
            units = UnitSpace(space, self._temperature, self._setup, self._seed, self._conditions)
            self._model = space, self._conditions, units, ProfileProposer(units.spec, self._seed)
        return self._model[2:]

    def _rows(
        self, units: UnitSpace, space: Space, trials: Sequence[FrozenTrial], sign: float
    ) -> list[TrialRow]:
        measured = [sign * value for t in trials if (value := _measured(t)) is not None]
        centre, point = _scale(measured, self._points)
        rows = []
        for trial in trials:
            setup, params = units.encode(_values(trial, space))
            has_diverged = _has_diverged(trial)
            value = _measured(trial)
            rows.append(
                TrialRow(
                    number=trial.number,
                    state="failed" if has_diverged else _STATES[trial.state],
                    reason=DIVERGED if has_diverged else None,
                    setup=setup,
                    params=params,
                    seed=trial.number,
                    epochs=0,
                    val_accuracy=None if value is None else (sign * value - centre) / point / 100,
                )
            )
        return rows


def _scale(values: Sequence[float], point: float | None) -> tuple[float, float]:
    """Return the value taken as accuracy 0, and one percentage point's size."""
    if point is not None:
        return 0.0, point
    if not values:
        return 0.0, 1.0
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return float(middle), float(high - low) / _POINTS_OF_SPREAD or 1.0


def _values(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    """Return a trial's values, with those only asked or enqueued so far."""
    if trial.state.is_finished():
        return trial.params
    asked = json.loads(trial.system_attrs.get(_ASKED, "{}"))
    known = {name: space[name].to_external_repr(value) for name, value in asked.items() if name in space}
    return {**known, **trial.system_attrs.get("fixed_params", {}), **trial.params}


def _measured(trial: FrozenTrial) -> float | None:
    value = trial.value if trial.state == TrialState.COMPLETE else None
    return value if value is not None and math.isfinite(value) else None


def _has_diverged(trial: FrozenTrial) -> bool:
    if trial.state != TrialState.FAIL:
        return trial.state == TrialState.COMPLETE and _measured(trial) is None
    reported = trial.intermediate_values.values()
    return trial.user_attrs.get("reason") == DIVERGED or not all(map(math.isfinite, reported))
