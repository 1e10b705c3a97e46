"""What the profile sampler is measured against, beside the samplers that ship: joint search, a plain grid."""

import warnings
from collections.abc import Callable, Collection, Sequence

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, TPESampler

from kdsearch.search import Proposal, Proposer, build_proposer
from kdsearch.search.balance import next_setup, trials_of
from kdsearch.search.start import start_centre
from kdsearch.spec import TEMPERATURE, Params, Setup, StudySpec, setup_key
from kdsearch.storage import TrialRow

_SETUP = "setup"


def silence_optuna() -> None:
    """Silence what Optuna logs and warns of.

    That is its studies and trials, and samplers that are experimental or slow.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


class JointProposer:
    """An Optuna sampler that sees all setups at once.

    Trials are asked for one by one, as Ray Tune with Optuna would.
    """

    def __init__(self, spec: StudySpec, sampler: BaseSampler) -> None:
        self._spec = spec
        self._keys = {setup_key(setup): setup for setup in spec.setups()}
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._open: list[optuna.Trial] = []
        self._n_told = 0

    def propose(self, trials: Sequence[TrialRow], size: int, decided: Collection[str] = ()) -> Proposal:
        """Return one trial, of whichever setup the sampler likes."""
        del size, decided
        self._tell(trials)
        trial = self._study.ask()
        setup = self._keys[trial.suggest_categorical(_SETUP, list(self._keys))]
        units = {path: trial.suggest_float(path, 0.0, 1.0) for path in self._spec.tune}
        self._open.append(trial)
        dimensions = self._spec.dimensions(setup)
        return Proposal(setup, [{path: dimensions[path].from_unit(unit) for path, unit in units.items()}])

    def _tell(self, trials: Sequence[TrialRow]) -> None:
        for row in trials[self._n_told :]:
            trial = self._open.pop(0)
            if row.val_accuracy is None:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial, row.val_accuracy)
        self._n_told = len(trials)


class GridProposer:
    """A grid of temperatures at the default of every other parameter. Replicates once it is full."""

    def __init__(self, spec: StudySpec, n_temperatures: int = 8) -> None:
        self._spec = spec
        self._units = (np.arange(n_temperatures) + 0.5) / n_temperatures

    def propose(self, trials: Sequence[TrialRow], size: int, decided: Collection[str] = ()) -> Proposal:
        """Return the next temperatures of the setup with fewest trials.

        Their order spreads them over the range.
        """
        setup = next_setup(self._spec, trials, decided)
        first = len(trials_of(setup, trials))
        order = _spread(len(self._units))
        units = [self._units[order[k % len(order)]] for k in range(first, first + size)]
        return Proposal(setup, [self._params(setup, float(unit)) for unit in units])

    def _params(self, setup: Setup, temperature: float) -> Params:
        params = {}
        for path, dimension in self._spec.dimensions(setup).items():
            centre = start_centre(self._spec, path, dimension)
            unit = temperature if path == TEMPERATURE else 0.5 if centre is None else centre
            params[path] = dimension.from_unit(unit)
        return params


def _spread(count: int) -> list[int]:
    """Return 0 … count - 1 in an order spread evenly.

    Every beginning covers the range: the order is by reversed bits.
    """
    n_bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda index: f"{index:0{n_bits}b}"[::-1])


def proposer_of(sampler: str, spec: StudySpec) -> Proposer:
    """Return the proposer that goes by a name in `SAMPLERS`."""
    if sampler in BASELINES:
        return BASELINES[sampler](spec)
    search = spec.search.model_copy(update={"sampler": sampler})
    return build_proposer(spec.model_copy(update={"search": search}))


def joint_tpe(spec: StudySpec) -> JointProposer:
    """Return Optuna's TPE over all setups at once."""
    return JointProposer(spec, TPESampler(seed=spec.search.seed, multivariate=True))


def joint_gp(spec: StudySpec) -> JointProposer:
    """Return Optuna's Gaussian process over all setups at once."""
    return JointProposer(spec, GPSampler(seed=spec.search.seed, deterministic_objective=False))


BASELINES: dict[str, Callable[[StudySpec], Proposer]] = {
    "grid at default": GridProposer,
    "tpe joint": joint_tpe,
    "gp joint": joint_gp,
}
SAMPLERS = ("profile", "random", "tpe", "gp", *BASELINES)
