"""Short names of setups, tuned parameters and levels, as figures and tables show them."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdsearch.spec import Setup, level_label, level_name
from kdsearch.spec.study import TRAINING_LEAVES

_SPEAKS_FOR_ITSELF = "name"
_BETWEEN = " · "
_NAMED_BY_ITS_SECTION = "arch"


def varied_factors(setups: Sequence[Setup]) -> list[str]:
    """Return the factors that take more than one level among the setups, in their order."""
    paths = dict.fromkeys(path for setup in setups for path in setup)
    return [path for path in paths if len({level_label(setup.get(path)) for setup in setups}) > 1]


def setup_names(setups: Sequence[Setup]) -> list[str]:
    """Return a short name for each setup: only what tells it from the others.

    A single setup, and setups without factors, are named by all their levels, or `all trials`.
    """
    varied = varied_factors(setups)
    return [_join(setup, varied or list(setup)) for setup in setups]


def factor_label(path: str) -> str:
    """Return the shortest end of a dotted path that means no other part of a spec, in words."""
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
    if isinstance(value, float):
        return f"{value:.3g}"
    return level_label(value)


def temperature_text(temperature: float) -> str:
    """Return a temperature with as many digits as its uncertainty deserves."""
    return f"{temperature:.0f}" if temperature >= 10 else f"{temperature:.1f}"


def wrapped(name: str, width: int) -> list[str]:
    """Return a setup's name in lines of at most `width` characters, broken between its levels."""
    lines = [""]
    for part in name.split(_BETWEEN):
        joined = f"{lines[-1]}{_BETWEEN}{part}" if lines[-1] else part
        lines = [*lines[:-1], joined] if len(joined) <= width else [*filter(None, lines), part]
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def _join(setup: Setup, paths: Sequence[str]) -> str:
    return _BETWEEN.join(_level_name(path, setup.get(path)) for path in paths) or "all trials"


def _level_name(path: str, level: Any) -> str:
    section, _, key = path.rpartition(".")
    text = level_name(path, level) if isinstance(level, str) else value_text(level)
    if key == _SPEAKS_FOR_ITSELF and isinstance(level, str):
        return text
    if key == _NAMED_BY_ITS_SECTION:
        return f"{section} {text}"
    return f"{factor_label(path)} {text}"
