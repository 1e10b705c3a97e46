"""Short names of setups, tuned parameters and levels."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from kdsearch.spec import Setup, level_label, level_name
from kdsearch.spec.study import TRAINING_LEAVES

NOTHING = "–"
"""Stands where there is no value."""

_SPEAKS_FOR_ITSELF = "name"
_BETWEEN = " · "
_NAMED_BY_ITS_SECTION = "arch"

_DIGITS_OF_A_LEVEL = 12
"""By hand: more than people write, and few enough to leave out how floats round."""


def varied_factors(setups: Sequence[Setup]) -> list[str]:
    """Return the factors with more than one level among the setups.

    Their order is kept.
    """
    paths = dict.fromkeys(path for setup in setups for path in setup)
    return [path for path in paths if len({level_label(setup.get(path)) for setup in setups}) > 1]


def setup_names(setups: Sequence[Setup]) -> list[str]:
    """Return a short name for each setup: only what tells it from the others.

    A single setup, and setups without factors, are named by all their levels, or `all trials`.
    """
    varied = varied_factors(setups)
    return [_join(setup, varied or list(setup)) for setup in setups]


@lru_cache  # a figure asks for it with every trial
def factor_label(path: str) -> str:
    """Return a dotted path's shortest clear ending, in words.

    It is clear where it means no other part of a spec.
    """
    keys = path.split(".")
    endings = [".".join(keys[start:]) for start in range(len(keys) - 1, 0, -1)]
    ending = next((ending for ending in endings if _is_unambiguous(ending, path)), path)
    return ending.replace(".", " ").replace("_", " ")


def effect_label(paths: Sequence[str]) -> str:
    """Return the name of a parameter's, a factor's or a pair's effect."""
    return " × ".join(map(factor_label, paths))


def _is_unambiguous(ending: str, path: str) -> bool:
    return not any(leaf != path and f".{ending}." in f".{leaf}." for leaf in TRAINING_LEAVES)


def value_text(value: Any) -> str:
    """Return a level or a parameter's value as a person reads it."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        given = {key: value_text(v) for key, v in value.items() if v is not None}
        return ", ".join(given.values() if len(given) == 1 else map(" ".join, given.items()))
    return number_text(value, _digits_of(value)) if isinstance(value, float) else level_label(value)


def _digits_of(value: float) -> int:
    """Return how many digits tell a value: a momentum or a decay is told by how little it is below 1."""
    return 2 + math.ceil(-math.log10(1 - value)) if 0.99 < value < 1 else 3


def level_text(path: str, level: Any) -> str:
    """Return a factor's level as a person reads it: a file of labels by its name, wherever it is.

    A number is whole: people chose it, and 0.9999 is not 1.
    """
    if isinstance(level, float):
        return number_text(level, _DIGITS_OF_A_LEVEL)
    return level_name(path, level) or "''" if isinstance(level, str) else value_text(level)


def temperature_text(temperature: float) -> str:
    """Return a temperature with as many digits as its uncertainty deserves: two, as 12, 1.2 and 0.12."""
    if temperature >= 9.95:
        return f"{temperature:.0f}"
    return f"{temperature:.1f}" if temperature >= 0.995 else f"{temperature:.2g}"


def number_text(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` significant digits, else a dash.

    A dash is shown where there is no number. Three digits, by hand, are more than answers are known to. Every
    digit before the point is shown: people read 480, not 4.8e+02.
    """
    if value is None:
        return NOTHING
    return f"{value:.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def points_text(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction in hundredths, else a dash.

    Accuracies are shown in percent so, and losses in points.
    """
    return NOTHING if fraction is None else f"{round(100 * fraction, digits) + 0.0:.{digits}f}"  # no -0.0


def duration_text(hours: float | None) -> str:
    """Return hours in the largest unit that fits, else a dash.

    A unit fits where there is at least one of it.
    """
    if hours is None:
        return NOTHING
    if 3600 * hours < 1:
        return "under 1 s" if hours else "0 s"
    unit, size = next((u, s) for u, s in (("h", 1.0), ("min", 1 / 60), ("s", 1 / 3600)) if hours >= 0.995 * s)
    return f"{number_text(hours / size, 2)} {unit}"


def wrapped(name: str, width: int) -> list[str]:
    """Return a setup's name in lines of at most `width` characters.

    It is broken between its levels.
    """
    lines = [""]
    for part in name.split(_BETWEEN):
        joined = f"{lines[-1]}{_BETWEEN}{part}" if lines[-1] else part
        lines = [*lines[:-1], joined] if len(joined) <= width else [*filter(None, lines), part]
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def _join(setup: Setup, paths: Sequence[str]) -> str:
    return _BETWEEN.join(_level_name(path, setup.get(path)) for path in paths) or "all trials"


def _level_name(path: str, level: Any) -> str:
    section, _, key = path.rpartition(".")
    text = level_text(path, level)
    if key == _SPEAKS_FOR_ITSELF and isinstance(level, str):
        return text
    if key == _NAMED_BY_ITS_SECTION:
        return f"{section} {text}"
    return f"{factor_label(path)} {text}"
