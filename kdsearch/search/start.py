"""How a search starts: like a grid in temperature at the default of every other parameter."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from kdsearch.spec import (
    ENOUGH_TRIALS,
    TEMPERATURE,
    Choices,
    Params,
    Range,
    Setup,
    StudySpec,
    level_label,
    setup_key,
)
from kdsearch.spec.space import ByFactor

AROUND_DEFAULT = 0.03
_WELL_INSIDE = 0.1


def covering_setups(setups: Sequence[Setup], pack: int) -> list[Setup]:
    """Return the setups that the search starts with: a share of 4 / pack that differ as far as they can.

    A pack of more than four trials is more than a setup needs to begin with.
    """
    n_first = max(min(2, len(setups)), math.ceil(len(setups) * min(1.0, ENOUGH_TRIALS / pack)))
    labels = np.array([[level_label(level) for level in setup.values()] for setup in setups])
    differing = (labels[:, None] != labels).sum(axis=-1).astype(float)
    chosen = [0]
    while len(chosen) < n_first:
        apart = differing[:, chosen].min(axis=1) + 0.1 * differing[:, chosen].mean(axis=1)
        apart[chosen] = -1.0
        chosen.append(int(apart.argmax()))
    return [setups[index] for index in chosen]


def start_points(spec: StudySpec, setup: Setup, first: int, size: int, seed: int) -> list[Params]:
    """Return the points `first`, `first + 1`, … of a setup's start design.

    Temperature runs through its range by a scrambled Sobol sequence; the other numbers scatter by about
    3% of their range around the place that `start_centre` tells.
    """
    dimensions = spec.dimensions(setup)
    digest = hashlib.sha256(f"{seed}:{setup_key(setup)}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    n_points = 2 ** math.ceil(math.log2(first + size))
    points = qmc.Sobol(max(1, len(dimensions)), rng=rng).random(n_points)[first : first + size]
    return [
        {
            path: dimension.from_unit(_start_unit(spec, path, dimension, float(unit)))
            for (path, dimension), unit in zip(dimensions.items(), point, strict=False)
        }
        for point in points
    ]


def _start_unit(spec: StudySpec, path: str, dimension: Range | Choices, unit: float) -> float:
    centre = None if path == TEMPERATURE else start_centre(spec, path, dimension)
    if centre is None:
        return unit
    if isinstance(dimension, Choices):
        return centre
    return min(max(centre + AROUND_DEFAULT * float(ndtri(min(max(unit, 0.02), 0.98))), 0.0), 1.0)


def start_centre(spec: StudySpec, path: str, dimension: Range | Choices) -> float | None:
    """Return around which place of its range a parameter is first tried; None for all of its choices.

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
