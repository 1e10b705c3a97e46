"""Colours that a colour-blind reader can tell apart."""

from collections.abc import Sequence
from typing import Any

from kdsearch.analysis.labels import varied_factors
from kdsearch.spec import Setup, level_label

INK = "#22303c"
MUTED = "#6b7885"
HAIRLINE = "#e3e7eb"
NEAR_OPTIMAL = "#e2eddb"

# Okabe and Ito's palette without its yellow, which a white page swallows.
_CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f")
# Viridis, dark to light, without its pale end.
_SEQUENCE = ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81))
COMPLETE, PRUNED, DIVERGED, FAILED = "#b7c3cd", "#56b4e9", "#d55e00", "#7a4a9e"


def setup_colors(setups: Sequence[Setup]) -> list[str]:
    """Return each setup's colour: that of its level of the first factor that varies."""
    varied = varied_factors(setups)
    levels = [setup.get(varied[0]) if varied else None for setup in setups]
    colors = _level_colors(list({level_label(level): level for level in levels}.values()))
    return [colors[level_label(level)] for level in levels]


def sequence_colors(count: int) -> list[str]:
    """Return colours from dark to light for `count` ordered values."""
    return [_between(index / max(count - 1, 1)) for index in range(count)]


def faded(color: str, alpha: float) -> str:
    """Return a `#rrggbb` colour with an opacity in [0, 1]."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def _level_colors(levels: list[Any]) -> dict[str, str]:
    if len(levels) > 2 and all(_is_number(level) for level in levels):
        ordered = sorted(levels)
        return dict(zip(map(level_label, ordered), sequence_colors(len(levels)), strict=True))
    colors = _CATEGORIES if len(levels) <= len(_CATEGORIES) else sequence_colors(len(levels))
    return {level_label(level): color for level, color in zip(levels, colors, strict=False)}


def _is_number(level: Any) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _between(position: float) -> str:
    place = position * (len(_SEQUENCE) - 1)
    index = min(int(place), len(_SEQUENCE) - 2)
    lower, upper = _SEQUENCE[index], _SEQUENCE[index + 1]
    mixed = (round(a + (b - a) * (place - index)) for a, b in zip(lower, upper, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
