"""How a search starts while nothing is known: spread out."""

from typing import Any

import numpy as np

from kdsearch.seeds import start_seed
from kdsearch.spec import TEMPERATURE, Choices, Params, Range, Setup, StudySpec, setup_key
from kdsearch.spec.space import ByFactor

_WELL_INSIDE = 0.1
"""By hand: a value nearer to an end of its range than a tenth is no middle to start around."""

_MARGIN = 0.15
"""The outer 15% of a range other than temperature's are left to later packs: users' ranges end where
training fails."""


def start_points(spec: StudySpec, setup: Setup, first: int, size: int, seed: int) -> list[Params]:
    """Return `size` points of a Latin square. Each share of each range is met once.

    Args:
        spec: The study's spec.
        setup: The setup that they are for.
        first: How many trials it has; other numbers give other squares.
        size: How many points.
        seed: Fixes them.
    """
    dimensions = spec.dimensions(setup)
    rng = np.random.default_rng(start_seed(seed, setup_key(setup), first))
    units = {path: (rng.permutation(size) + rng.random(size)) / size for path in dimensions}
    return [
        {path: dimension.from_unit(_inside(path, units[path][k])) for path, dimension in dimensions.items()}
        for k in range(size)
    ]


def _inside(path: str, unit: float) -> float:
    return float(unit if path == TEMPERATURE else _MARGIN + (1 - 2 * _MARGIN) * unit)


def start_centre(spec: StudySpec, path: str, dimension: Range | Choices) -> float | None:
    """Return around which place of its range a parameter is first tried. None for all of its choices.

    That is the spec's own value, if it lies well inside the range and the range is not one for each level of
    a factor (a learning rate that suits SGD tells nothing of AdamW's); else the middle.
    """
    value = None if isinstance(spec.tune[path], ByFactor) else _own_value(spec, path)
    if isinstance(dimension, Choices):
        is_choice = value in dimension.choices
        return (dimension.choices.index(value) + 0.5) / len(dimension.choices) if is_choice else None
    if not isinstance(value, int | float) or not dimension.low <= value <= dimension.high:
        return 0.5
    unit = dimension.to_unit(value)
    return unit if _WELL_INSIDE <= unit <= 1 - _WELL_INSIDE else 0.5


def _own_value(spec: StudySpec, path: str) -> Any:
    try:
        return spec.value_at(path)
    except KeyError:
        return None
