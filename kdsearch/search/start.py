"""How a search starts: like a grid in temperature at the default of every other parameter."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from kdsearch.spec import TEMPERATURE, Choices, Params, Range, Setup, StudySpec, level_label, setup_key

AROUND_DEFAULT = 0.1
ENOUGH_TRIALS = 4


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

    Temperature runs through its range by a scrambled Sobol sequence; the other numbers stay within about
    10% of their range around the spec's value, or around the middle where that lies outside the range.
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
    if path == TEMPERATURE:
        return unit
    default = default_unit(spec, path, dimension)
    if isinstance(dimension, Choices):
        return unit if default is None else default
    centre = 0.5 if default is None else default
    return min(max(centre + AROUND_DEFAULT * float(ndtri(min(max(unit, 0.02), 0.98))), 0.0), 1.0)


def default_unit(spec: StudySpec, path: str, dimension: Range | Choices) -> float | None:
    """Return where the spec's own value of a tuned parameter lies in its range; None where it does not."""
    try:
        value = spec.value_at(path)
    except KeyError:
        return None
    if isinstance(dimension, Choices):
        is_choice = value in dimension.choices
        return (dimension.choices.index(value) + 0.5) / len(dimension.choices) if is_choice else None
    if isinstance(value, bool | str) or value is None or not dimension.low <= value <= dimension.high:
        return None
    return dimension.to_unit(value)
