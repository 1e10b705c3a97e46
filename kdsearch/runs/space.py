"""The ranges that runs were tried in, setup by setup."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from kdsearch.errors import RequestError
from kdsearch.spec import Choices, Range, Setup, level_label, setup_key
from kdsearch.spec.roles import role_of

SimpleDimension: TypeAlias = Range | Choices
Dimensions: TypeAlias = dict[str, SimpleDimension]
"""A setup's tuned parameters: those that exist in it, with their ranges."""

_LOG_RATIO = 8.0
"""By hand: values whose ends lie this far apart were meant to be tried on a logarithmic scale."""

_NARROWER = 0.8
"""By hand: a factor's own ranges are worth having where they are this much narrower than one for all."""

ABSENT = Choices(choices=(None,))
"""What stands for a parameter in a setup that does not have it."""


def dimension_of(values: Sequence[Any]) -> SimpleDimension:
    """Return the range of the values that were tried.

    It is logarithmic where their ends lie far apart.
    """
    distinct = list(dict.fromkeys(values))
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in distinct)
    if len(distinct) == 1 or not numbers or (min(distinct) == 0 and max(distinct) > 0 and len(distinct) <= 5):
        return Choices(choices=tuple(distinct))
    low, high = min(distinct), max(distinct)
    whole = all(isinstance(value, int) for value in distinct)
    return Range(low=low, high=high, log=low > 0 and high / low >= _LOG_RATIO, integer=whole)


def temperature_range(values: Iterable[float]) -> Range:
    """Return the logarithmic range of at least two temperatures."""
    distinct = set(values)
    return Range(low=min(distinct), high=max(distinct), log=True)


def tune_section(
    factors: Sequence[str], setups: Sequence[Setup], dimensions: Mapping[str, Dimensions]
) -> dict[str, Any]:
    """Return the `tune` section for all setups' ranges.

    It has them `by` a factor where they differ.

    Args:
        factors: The factors.
        setups: The setups.
        dimensions: Each setup's own, by its key.

    Raises:
        RequestError: No factor tells in which setups a parameter exists.
    """
    paths = dict.fromkeys(path for setup in setups for path in dimensions[setup_key(setup)])
    return {path: _dimension(path, factors, setups, dimensions) for path in paths}


def _dimension(
    path: str, factors: Sequence[str], setups: Sequence[Setup], dimensions: Mapping[str, Dimensions]
) -> dict[str, Any]:
    own = [dimensions[setup_key(setup)].get(path) for setup in setups]
    there = [dimension for dimension in own if dimension is not None]
    everywhere = len(there) == len(own)
    if everywhere and all(dimension == there[0] for dimension in there):
        return there[0].model_dump(mode="json")
    together = union(there)
    split = {factor: ranges for factor in factors if (ranges := _by_level(factor, setups, own)) is not None}
    if split:
        factor, ranges = min(split.items(), key=lambda item: _width(item[1].values(), together))
        if not everywhere or _width(ranges.values(), together) < _NARROWER:
            return {"by": factor, **{level: r.model_dump(mode="json") for level, r in ranges.items()}}
    if everywhere:
        return together.model_dump(mode="json")
    raise RequestError(
        f"`{path}` must exist in all setups, or in those of some levels of one factor, and it does not. Name "
        "what it depends on with --setup."
    )


def _by_level(
    factor: str, setups: Sequence[Setup], own: Sequence[SimpleDimension | None]
) -> dict[str, SimpleDimension] | None:
    """Return the range for each level of a factor. None where a level has setups with and without one."""
    groups: dict[str, list[SimpleDimension | None]] = {}
    for setup, dimension in zip(setups, own, strict=True):
        groups.setdefault(level_label(setup[factor]), []).append(dimension)
    if any(None in group and any(group) for group in groups.values()):
        return None
    return {
        level: union([dimension for dimension in group if dimension is not None]) if any(group) else ABSENT
        for level, group in groups.items()
    }


def union(dimensions: Sequence[SimpleDimension]) -> SimpleDimension:
    """Return what holds all values of some ranges or choices."""
    ranges = [dimension for dimension in dimensions if isinstance(dimension, Range)]
    choices = [choice for own in dimensions if isinstance(own, Choices) for choice in own.choices]
    if not ranges:
        return Choices(choices=tuple(dict.fromkeys(choices)))
    numbers = [float(choice) for choice in choices if isinstance(choice, int | float)]
    ends = [*(r.low for r in ranges), *(r.high for r in ranges), *numbers]
    low, high = min(ends), max(ends)
    log = low > 0 and (any(r.log for r in ranges) or high / low >= _LOG_RATIO)
    whole = all(r.integer for r in ranges) and all(end.is_integer() for end in ends)
    return Range(low=low, high=high, log=log, integer=whole)


def _width(ranges: Iterable[SimpleDimension], together: SimpleDimension) -> float:
    """Return the mean width of ranges as a share of `together`.

    That one holds them all.
    """
    if isinstance(together, Choices):
        shares = [len(own.choices) / len(together.choices) for own in ranges if isinstance(own, Choices)]
    else:
        shares = [
            together.to_unit(own.high) - together.to_unit(own.low) if isinstance(own, Range) else 0.0
            for own in ranges
        ]
    return math.fsum(shares) / len(shares)


def merged_names(
    factors: Sequence[str], setups: Sequence[Setup], exists: Mapping[str, Sequence[bool]]
) -> dict[str, str]:
    """Return which parameters are one under the levels of a factor: `lr_sgd` and `lr_adamw` are `lr`.

    Args:
        factors: The factors.
        setups: The setups.
        exists: In which setups each parameter exists.
    """
    roles: dict[str, str] = {}
    for factor in factors:
        for level in dict.fromkeys(setup[factor] for setup in setups):
            inside = [setup[factor] == level for setup in setups]
            for name, where in exists.items():
                if list(where) == inside and (role := role_of(name, [level_label(level)])) != name:
                    roles[name] = role
    taken = set(exists) | set(factors)
    return {
        name: role
        for name, role in roles.items()
        if role not in taken and sum(other == role for other in roles.values()) > 1
    }
