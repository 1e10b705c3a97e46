"""What temperature does, the other parameters tuned for it or kept.

Temperature acts as a hidden learning rate. At one learning rate for all temperatures, those that it suits
look better than they are; the two effects together tell how much is one of tuning.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdsearch.analysis.labels import temperature_text, value_text
from kdsearch.analysis.response.profiles import Interval, TemperatureProfile

_SAME_RATIO = 1.25
"""By hand: closer temperatures lie within most intervals, and are no news."""


@dataclass(frozen=True)
class TemperatureEffect:
    """How much a setup's best temperature gains over its worst.

    Both are those of the expected accuracy.

    Attributes:
        best: The temperature with the highest expected accuracy.
        worst: The one with the lowest.
        gain: Expected accuracy between the two, as a fraction.
        interval: Holds that difference with the asked probability.
    """

    best: float
    worst: float
    gain: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return the effect as a JSON document."""
        return {**self.__dict__, "interval": list(self.interval)}


def effect_of(profile: TemperatureProfile, level: float) -> TemperatureEffect:
    """Return the effect that a profile tells of.

    Args:
        profile: Accuracy over temperature.
        level: Probability of the interval, between 0 and 1.
    """
    worst = int(profile.mean.argmin())
    gains = profile.draws[:, profile.best] - profile.draws[:, worst]
    low, high = np.quantile(gains, [(1 - level) / 2, (1 + level) / 2])
    return TemperatureEffect(
        profile.temperature,
        float(profile.temperatures[worst]),
        float(gains.mean()),
        (float(low), float(high)),
    )


def tuning_note(
    tuned: TemperatureProfile,
    common: TemperatureProfile,
    params: Mapping[str, Any] | None,
    *,
    level: float,
    tolerance: float,
) -> str | None:
    """Return a note where tuning makes a part of temperature's effect.

    The effect at common parameters is then another than at their best.

    Args:
        tuned: Accuracy with the other parameters at their best for each temperature.
        common: Draws of the same accuracy [Q, U] with the others kept.
        params: What they are kept at; None where each of several setups keeps its own.
        level: Probability with which the two must differ by more than the tolerance.
        tolerance: What is too little to tell, as a fraction of accuracy.

    Returns:
        None where the two effects are alike.
    """
    best, worst = common.best, int(common.mean.argmin())
    looks = common.draws[:, best] - common.draws[:, worst]
    remains = tuned.draws[:, best] - tuned.draws[:, worst]
    if ((looks - remains) >= tolerance).mean() < level:
        return None
    part = "most" if remains.mean() < looks.mean() / 2 else "a part"
    apart = abs(math.log(common.temperature / tuned.temperature)) > math.log(_SAME_RATIO)
    moved = f"looks best, not {temperature_text(tuned.temperature)}, and " if apart else ""
    return (
        f"With {_kept(params)}, T = {temperature_text(common.temperature)} {moved}looks "
        f"{100 * looks.mean():.1f} points better than T = {temperature_text(common.temperatures[worst])}; "
        f"retuned for each temperature, {100 * remains.mean():.1f}: {part} of the effect is one of tuning."
    )


def _kept(params: Mapping[str, Any] | None) -> str:
    if params is None:
        return "the other parameters kept as each setup's recommendation has them"
    return " and ".join(f"`{path}` kept at {value_text(value)}" for path, value in params.items())
