"""Which temperatures were tried at tuned values, and which must be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdsearch.analysis.response.axes import FloatArray, IntArray

REGIONS = 4
"""Quarters of the range of log temperature: finer ones would ask for more trials than studies have."""

TUNED_POINTS = 0.7
"""By hand: a trial whose other parameters cost more tells less of its temperature than of them."""

USUAL_TEMPERATURE = 4.0
"""What people copy from papers; an answer is held against it wherever it may be chosen."""

_OF_RECOMMENDED, _OF_USUAL, _OF_RIVAL = 3, 2, 2
"""So many trials at tuned values each of them needs: with fewer a single lucky seed decides."""

_NEAR = 0.1
"""Temperatures within a tenth of the range (a ratio of 1.45 between 1 and 40) replicate each other."""

Tried = IntArray | Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Gap:
    """A temperature with too few trials at tuned values: its index, how many are missing, why it counts."""

    temperature: int
    missing: int
    why: str


def regions_of(positions: FloatArray) -> IntArray:
    """Return the quarter of the range of each position in [0, 1]."""
    return np.minimum((np.asarray(positions) * REGIONS).astype(np.intp), REGIONS - 1)


def tuned_temperatures(mean: FloatArray, tried: Tried) -> IntArray:
    """Return the temperature of each tuned trial.

    Its other parameters are held good at that temperature; see `find_gaps`.
    """
    temperature, other = np.asarray(tried, dtype=np.intp).reshape(-1, 2).T
    costs = mean.max(axis=1)[temperature] - mean[temperature, other]
    return np.asarray(temperature[costs <= TUNED_POINTS])


def count_tuned(places: FloatArray, mean: FloatArray, tried: Tried) -> IntArray:
    """Return how many tuned trials each quarter of the range has [4].

    See `find_gaps` for what tuned means.
    """
    return np.bincount(regions_of(places[tuned_temperatures(mean, tried)]), minlength=REGIONS)


def find_gaps(places: FloatArray, mean: FloatArray, tried: Tried, usual: int | None) -> list[Gap]:
    """Return what must be tried before the best temperature can be decided.

    At tuned values: the recommended temperature, the usual default, and in every quarter of the range
    the strongest rival or any other.

    Args:
        places: Positions of the temperatures in [0, 1] [U].
        mean: What is believed of them and the other parameters, in points [U, C].
        tried: The trials: which temperature and which of the others [N, 2].
        usual: Which temperature is the usual default; None where it can't be chosen.
    """
    tuned = places[tuned_temperatures(mean, tried)]
    profile, region = mean.max(axis=1), regions_of(places)
    best = int(profile.argmax())
    asked = [(best, _OF_RECOMMENDED, "recommended")]
    if usual is not None:
        asked.append((usual, _OF_USUAL, "usual default"))
    found = []
    for temperature, needed, why in asked:
        missing = needed - int((np.abs(tuned - places[temperature]) <= _NEAR).sum())
        if missing > 0:
            found.append(Gap(temperature, missing, why))
    for number in np.unique(region):
        among = np.flatnonzero(region == number)
        missing = _OF_RIVAL - int((regions_of(tuned) == number).sum())
        if missing > 0:
            rival = int(among[profile[among].argmax()])
            found.append(Gap(rival, missing, "strongest in its quarter of the range"))
    return found


def usual_index(temperatures: FloatArray, half_step: float) -> int | None:
    """Return which temperature stands for T = 4; None where none does.

    Args:
        temperatures: In rising order [U].
        half_step: Half the log ratio of neighbours; 0 where only these can be chosen.
    """
    apart = np.abs(np.log(np.asarray(temperatures) / USUAL_TEMPERATURE))
    nearest = int(apart.argmin())
    return nearest if apart[nearest] <= half_step + 1e-9 else None
