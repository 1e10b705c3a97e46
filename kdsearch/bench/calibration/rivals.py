"""What the search is measured against. All are read by our model, so that only the trials differ."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from kdsearch.bench.calibration.worlds import World
from kdsearch.bench.search.baselines import joint_tpe, proposer_of
from kdsearch.search import Proposal, Proposer
from kdsearch.search.balance import next_setup, trials_of
from kdsearch.spec import TEMPERATURE, Params, Setup, setup_key
from kdsearch.storage import TrialRow

OURS = "profile"
_N_TEMPERATURES = 8  # by hand: more would leave a budget no replicates; `order` is of as many
_N_RATES = 5  # by hand: with the temperatures a grid of 40 trials a setup


class PlannedProposer:
    """Serves the setups in turn, each from a plan made beforehand.

    A plan is a list of parameter sets that no trial changes.
    """

    def __init__(self, world: World, plan: Callable[[Setup], list[Params]]) -> None:
        self._spec = world.spec
        self._plans = {setup_key(setup): plan(setup) for setup in world.spec.setups()}

    def propose(self, trials: Sequence[TrialRow], size: int, decided: Collection[str] = ()) -> Proposal:
        """Return the next entries of a setup's plan; plans repeat.

        The setup is the one with the fewest trials.
        """
        setup = next_setup(self._spec, trials, decided)
        plan = self._plans[setup_key(setup)]
        first = len(trials_of(setup, trials))
        return Proposal(setup, [plan[k % len(plan)] for k in range(first, first + size)])


def grid_at_rate(world: World) -> Proposer:
    """Return a grid of temperatures at one sensible learning rate.

    The rate is given: the search for it costs this rival nothing.
    """

    def plan(setup: Setup) -> list[Params]:
        units = (np.arange(_N_TEMPERATURES) + 0.5) / _N_TEMPERATURES
        order = [0, 4, 2, 6, 1, 5, 3, 7]  # every beginning covers the range
        known = world.sensible(setup)
        return [{TEMPERATURE: world.temperature_at(setup, float(units[k])), **known} for k in order]

    return PlannedProposer(world, plan)


def grid_of_both(world: World) -> Proposer:
    """Return a grid of temperatures and learning rates, in random order."""

    def plan(setup: Setup) -> list[Params]:
        (other,) = (path for path in world.spec.tune if path != TEMPERATURE)
        cells = [
            {TEMPERATURE: world.temperature_at(setup, u), other: world.dimension(other, setup).from_unit(v)}
            for u in (np.arange(_N_TEMPERATURES) + 0.5) / _N_TEMPERATURES
            for v in (np.arange(_N_RATES) + 0.5) / _N_RATES
        ]
        draw = np.random.default_rng([world.spec.search.seed, len(world.spec.setups())])
        return [cells[k] for k in draw.permutation(len(cells))]

    return PlannedProposer(world, plan)


RIVALS: dict[str, Callable[[World], Proposer]] = {
    "grid": grid_at_rate,
    "grid of both": grid_of_both,
    "random": lambda world: proposer_of("random", world.spec),
    "tpe": lambda world: proposer_of("tpe", world.spec),
    "tpe joint": lambda world: joint_tpe(world.spec),
}
SEARCHES = (OURS, *RIVALS)


def search_of(name: str, world: World) -> Proposer:
    """Return the search that goes by a name in `SEARCHES`."""
    return RIVALS[name](world) if name in RIVALS else proposer_of(name, world.spec)
