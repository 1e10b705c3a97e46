"""The quantities that claims are about, computed from draws of accuracy over temperature.

Each is a number for each draw on a scale on which 0 means no effect: the log of a ratio of temperatures, or a
fraction of accuracy. `docs/claims.md` has the formulas.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from kdsearch.analysis.questions.comparison import FREE_COST, cost_of_one_temperature
from kdsearch.analysis.response.axes import FloatArray
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.spec import Claim

Profiles: TypeAlias = Sequence[TemperatureProfile]


def effect_draws(claim: Claim, profiles: Profiles) -> FloatArray:
    """Return the quantity of a claim in each draw [Q]; above 0 is in the direction from first to second.

    Args:
        claim: The claim.
        profiles: Those of its levels in their order, or of each setup where it names none.
    """
    return np.asarray(_QUANTITIES[claim.quantity](claim, profiles))


def least_effect(claim: Claim) -> float:
    """Return the smallest effect that matters, on the scale of `effect_draws`."""
    return math.log(claim.at_least) if claim.quantity == "best_temperature" else claim.at_least


def as_told(claim: Claim, effect: float) -> float:
    """Return an effect as people are told it: a ratio of temperatures, or a fraction of accuracy."""
    return math.exp(effect) if claim.quantity == "best_temperature" else effect


def _best_temperature(_: Claim, profiles: Profiles) -> FloatArray:
    """Log of the ratio of best temperatures; 0 where one temperature for both is free."""
    first, second = profiles
    matters = cost_of_one_temperature(profiles) >= FREE_COST
    return np.where(matters, second.log_best - first.log_best, 0.0)


def _shared_temperature(_: Claim, profiles: Profiles) -> FloatArray:
    return cost_of_one_temperature(profiles)


def _spread(_: Claim, profiles: Profiles) -> FloatArray:
    ranges = [np.ptp(profile.draws, axis=1) for profile in profiles]
    return np.asarray(ranges[1] - ranges[0] if len(ranges) > 1 else ranges[0])


def _crossing(claim: Claim, profiles: Profiles) -> FloatArray:
    """How far both levels are beyond a tie; below 0 where the temperatures change places the other way."""
    low, high = claim.temperatures
    first, second = (profile.accuracy_at(high) - profile.accuracy_at(low) for profile in profiles)
    overtakes, falls_behind = np.minimum(-first, second), np.minimum(first, -second)
    return np.maximum(overtakes, 0.0) - np.maximum(falls_behind, 0.0)


def _accuracy(_: Claim, profiles: Profiles) -> FloatArray:
    """Each level at the temperature that is recommended for it: draws' own maxima would favour doubt."""
    first, second = (profile.draws[:, profile.best] for profile in profiles)
    return np.asarray(second - first)


_QUANTITIES: Mapping[str, Callable[[Claim, Profiles], FloatArray]] = {
    "best_temperature": _best_temperature,
    "shared_temperature": _shared_temperature,
    "spread": _spread,
    "crossing": _crossing,
    "accuracy": _accuracy,
}
