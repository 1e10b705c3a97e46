"""The quantities that claims are about, from draws of accuracy.

Each is a number for each draw on a scale on which 0 means no effect: the log of a ratio of temperatures, or a
fraction of accuracy. `docs/claims.md` has the formulas.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kdsearch.analysis.questions.comparison import FREE_COST, cost_of_one_temperature
from kdsearch.analysis.response.axes import FloatArray
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.spec import Claim

Profiles: TypeAlias = Sequence[TemperatureProfile]


@dataclass(frozen=True)
class Effects:
    """The quantity of a claim in each draw [Q], between two bounds. They are equal where it has no bias.

    A spread and the cost of one temperature are made of each draw's own maxima, which doubt alone lifts: of a
    flat curve that is known to within a point each draw has a spread of a point. So `high` is made of
    each draw's maxima, and `low` of temperatures that are the same for all draws.
    """

    low: FloatArray
    high: FloatArray

    @property
    def median(self) -> float:
        """The effect as it is told: the median of what lies midway."""
        return float(np.median((self.low + self.high) / 2))

    def interval(self, probability: float) -> tuple[float, float]:
        """Return what holds the effect with a probability.

        It does so whichever bound is nearer to the truth.
        """
        out = (1 - probability) / 2
        return float(np.quantile(self.low, out)), float(np.quantile(self.high, 1 - out))


def effects_of(claim: Claim, profiles: Profiles) -> Effects:
    """Return the quantity of a claim in each draw. Above 0 is in the direction from first to second.

    Args:
        claim: The claim.
        profiles: Those of its levels in their order, or of each setup where it names none.
    """
    return _QUANTITIES[claim.quantity](claim, profiles)


def least_effect(claim: Claim) -> float:
    """Return the smallest effect that matters, on the scale of `effects_of`."""
    return math.log(claim.at_least) if claim.quantity == "best_temperature" else claim.at_least


def as_told(claim: Claim, effect: float) -> float:
    """Return an effect for people: a ratio of temperatures, or a fraction of accuracy."""
    return math.exp(effect) if claim.quantity == "best_temperature" else effect


def _best_temperature(_: Claim, profiles: Profiles) -> Effects:
    """Log of the ratio of best temperatures. 0 where one temperature for both is free."""
    first, second = profiles
    matters = cost_of_one_temperature(profiles) >= FREE_COST
    return _exact(np.where(matters, second.log_best - first.log_best, 0.0))


def _shared_temperature(_: Claim, profiles: Profiles) -> Effects:
    """What one temperature for all costs.

    It is at least what it costs the temperatures that are recommended.
    """
    high = cost_of_one_temperature(profiles)
    own = [p.regret[:, p.best] for p in profiles]
    return Effects(np.maximum(high - np.mean(own, axis=0), 0.0), high)


def _spread(_: Claim, profiles: Profiles) -> Effects:
    bounds = [_spread_of(profile) for profile in profiles]
    if len(bounds) == 1:
        return bounds[0]
    first, second = bounds
    return Effects(second.low - first.high, second.high - first.low)


def _spread_of(profile: TemperatureProfile) -> Effects:
    """The spread of accuracy over temperature at one level.

    It is at least that between the mean curve's best and worst temperature.
    """
    mean = profile.draws.mean(axis=0)
    fixed = profile.draws[:, mean.argmax()] - profile.draws[:, mean.argmin()]
    return Effects(np.maximum(fixed, 0.0), np.ptp(profile.draws, axis=1))


def _crossing(claim: Claim, profiles: Profiles) -> Effects:
    """How far both levels are beyond a tie. Below 0 where the temperatures change places the other way."""
    low, high = claim.temperatures
    first, second = (profile.accuracy_at(high) - profile.accuracy_at(low) for profile in profiles)
    overtakes, falls_behind = np.minimum(-first, second), np.minimum(first, -second)
    return _exact(np.maximum(overtakes, 0.0) - np.maximum(falls_behind, 0.0))


def _accuracy(_: Claim, profiles: Profiles) -> Effects:
    """Each level at the temperature that is recommended for it. Draws' own maxima would favour doubt."""
    first, second = (profile.draws[:, profile.best] for profile in profiles)
    return _exact(second - first)


def _exact(effects: FloatArray) -> Effects:
    return Effects(effects, effects)


_QUANTITIES: Mapping[str, Callable[[Claim, Profiles], Effects]] = {
    "best_temperature": _best_temperature,
    "shared_temperature": _shared_temperature,
    "spread": _spread,
    "crossing": _crossing,
    "accuracy": _accuracy,
}
