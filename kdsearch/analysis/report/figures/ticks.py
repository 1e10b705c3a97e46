"""Where an axis has its ticks, and what they say."""

import math

from kdsearch.analysis.report.figures.document import Axis
from kdsearch.analysis.report.panels import temperature_ticks

_STEPS = (1, 2, 2.5, 5, 10)  # what people count in, times a power of ten
_WHOLE = ("epochs", "trials")


def ticks_of(axis: Axis, most: int = 6) -> list[tuple[float, str]]:
    """Return the ticks of an axis as (value, text).

    A linear one has at most `most` steps: six labels fit beside one another in a card.
    """
    if axis.scale == "log":
        return [(value, tick_text(axis, value)) for value in temperature_ticks(axis.low, axis.high)]
    steps = round_steps(axis.low, axis.high, most)
    return [(v, tick_text(axis, v)) for v in steps if axis.unit not in _WHOLE or v == int(v)]


def tick_text(axis: Axis, value: float) -> str:
    """Return a value with as many digits as a tick needs."""
    if axis.unit in ("fraction", "points"):
        shown = f"{round(100 * value, 2) + 0.0:g}"  # no -0
        return f"{shown}%" if axis.unit == "fraction" else shown.replace("-", "−")
    return f"×{value:g}" if axis.unit == "ratio" else f"{value:g}"


def round_steps(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers inside a range, at most `most` steps."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]
