"""Optuna's own samplers, one setup at a time.

An Optuna sampler that sees all setups at once converges on the best of them and starves the others.
So each proposal is made in a throw-away study in memory that holds one setup's trials: nothing is
kept between proposals, and a study that goes on after a crash samples as one that never stopped.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeAlias

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsearch.search.balance import next_setup, trials_of
from kdsearch.search.proposer import Proposal
from kdsearch.seeds import sampler_seed
from kdsearch.spec import Choices, Range, StudySpec, setup_key
from kdsearch.storage import TrialRow

MakeSampler: TypeAlias = Callable[[int], BaseSampler]

SAMPLERS: dict[str, MakeSampler] = {
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=8, multivariate=True, constant_liar=True),
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=8, deterministic_objective=False),
}


class OptunaProposer:
    """Proposes what an Optuna sampler would, one setup at a time.

    The setup with the fewest trials is served next.
    """

    def __init__(self, spec: StudySpec, make_sampler: MakeSampler) -> None:
        self._spec = spec
        self._make_sampler = make_sampler

    def propose(self, trials: Sequence[TrialRow], size: int, decided: Collection[str] = ()) -> Proposal:
        """Return `size` parameter sets of one setup. Those still running count as asked for."""
        setup = next_setup(self._spec, trials, decided)
        known = trials_of(setup, trials)
        space = {path: distribution_of(dimension) for path, dimension in self._spec.dimensions(setup).items()}
        seed = sampler_seed(self._spec.search.seed, setup_key(setup), len(known))
        study = optuna.create_study(direction="maximize", sampler=self._make_sampler(seed))
        study.add_trials(list(_frozen(known, space)))
        asked = [study.ask(space).params for _ in range(size)]
        return Proposal(setup=setup, params=asked)


def distribution_of(dimension: Range | Choices) -> BaseDistribution:
    """Return Optuna's distribution for a tuned parameter."""
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.choices)
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _frozen(trials: Sequence[TrialRow], space: dict[str, BaseDistribution]) -> Iterator[FrozenTrial]:
    """Yield one setup's trials as Optuna's. A diverged one counts as the worst that was seen."""
    finite = [t.val_accuracy for t in trials if t.val_accuracy is not None and t.state == "complete"]
    worst = min(finite, default=0.0)
    for trial in trials:
        if not _fits(trial.params, space):
            continue
        if trial.state == "complete" and trial.val_accuracy is not None:
            yield create_trial(params=trial.params, distributions=space, value=trial.val_accuracy)
        elif trial.state == "failed":
            yield create_trial(params=trial.params, distributions=space, value=worst)
        elif trial.state in ("running", "waiting"):
            yield create_trial(params=trial.params, distributions=space, state=TrialState.RUNNING)


def _fits(params: dict[str, Any], space: dict[str, BaseDistribution]) -> bool:
    """Return whether a trial has a value within each range.

    One that was enqueued by hand may not.
    """
    if params.keys() != space.keys():
        return False
    return all(_contains(space[path], value) for path, value in params.items())


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 - our own mistake
    return math.isfinite(value) and distribution.low <= value <= distribution.high
