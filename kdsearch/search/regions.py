"""Packs that try every region of temperature at good rates."""

from collections.abc import Sequence

import numpy as np

from kdsearch.analysis.questions.replication import REGIONS, count_tuned, regions_of
from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.search.beliefs import SetupBelief

NEAR_POINTS = 0.2
"""A region whose best is within so many points of the draw's best may be recommended without harm."""

_ALIVE = 0.05
"""By hand: a region with less chance than one in twenty hardly holds the best."""

_LEAST_ALIVE, _LEAST = 0.15, 0.1
"""A region gets at least this share of the most likely one's trials: where it may hold the best, and where
it hardly does. Without the second an early accident would never be looked at again."""

_EXPLORES_EVERY = 8
"""Every eighth trial of a setup goes to the region that has the fewest, whatever is believed of it."""

_N_MEAN = 4
"""Rates are the best on the mean of so many draws: one draw's would spread too far, the mean's not at all."""

_APART = 0.06
_ATTEMPTS = 8
"""A pack's temperatures lie so far apart, as a share of the range, if as many attempts find such."""


def balanced_pack(
    belief: SetupBelief,
    positions: FloatArray,
    tried: Sequence[Sequence[int]],
    size: int,
    rng: np.random.Generator,
    *,
    look_everywhere: bool,
    challenged: Sequence[int] = (),
) -> list[tuple[int, ...]]:
    """Return the nodes of `size` trials.

    Args:
        belief: What is believed of the setup.
        positions: Of the nodes of the temperature axis, in [0, 1].
        tried: Nodes of the setup's trials that are measured, or will be.
        size: How many trials are wanted.
        rng: Draws them.
        look_everywhere: Whether all regions count alike, whatever is believed, as in a setup's first pack.
        challenged: Temperatures that are tried first, by their indices.
    """
    places = positions[belief.temperatures]
    region = regions_of(places)
    weight = np.ones(REGIONS) if look_everywhere else _weights(belief, region)
    weight[np.bincount(region, minlength=REGIONS) == 0] = 0.0
    count = count_tuned(places, belief.mean, belief.nearest(tried))
    taken: list[int] = []
    for k in range(size):
        if k < len(challenged):
            temperature = challenged[k]
        else:
            explores = (len(tried) + k) % _EXPLORES_EVERY == _EXPLORES_EVERY - 1
            due = np.minimum(weight, _LEAST) if explores else weight
            among = np.flatnonzero(region == _next_region(count, due, rng))
            temperature = _draw_temperature(belief, places, among, taken, rng, evenly=look_everywhere)
        count[region[temperature]] += 1
        taken.append(temperature)
    return [belief.nodes(temperature, _draw_others(belief, temperature, rng)) for temperature in taken]


def _next_region(count: IntArray, weight: FloatArray, rng: np.random.Generator) -> int:
    """Return the region that has the fewest trials for its weight."""
    due = (count + 0.5 + 0.01 * rng.random(REGIONS)) / np.maximum(weight, 1e-9)
    return int(np.where(weight > 0, due, np.inf).argmin())


def _weights(belief: SetupBelief, region: IntArray) -> FloatArray:
    """Return each region's weight by its chance of nearly the best.

    Regions get trials in proportion; one with little chance keeps a least weight.
    """
    top = belief.profile.max(axis=1)
    weight = np.zeros(REGIONS)
    for number in np.unique(region):
        best = belief.profile[:, region == number].max(axis=1)
        chance = float((best >= top - NEAR_POINTS).mean())
        weight[number] = max(chance, _LEAST_ALIVE) if chance >= _ALIVE else _LEAST
    return weight


def _draw_temperature(
    belief: SetupBelief,
    places: FloatArray,
    among: IntArray,
    taken: Sequence[int],
    rng: np.random.Generator,
    *,
    evenly: bool,
) -> int:
    """Return one of a region's temperatures that the pack has not. Any, or the best of a draw."""
    for _ in range(_ATTEMPTS):
        draw = belief.profile[rng.integers(len(belief.profile)), among]
        found = int(rng.choice(among)) if evenly else int(among[draw.argmax()])
        if all(abs(places[found] - places[other]) > _APART for other in taken):
            break
    return found


def _draw_others(belief: SetupBelief, temperature: int, rng: np.random.Generator) -> int:
    draws = rng.integers(len(belief.values), size=_N_MEAN)
    return int(belief.values[draws, temperature].mean(axis=0).argmax())
