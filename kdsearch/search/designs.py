"""Samplers that do not learn: points of a fixed design."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import numpy as np

from kdsearch.search.balance import next_setup, trials_of
from kdsearch.search.proposer import Proposal
from kdsearch.seeds import design_seed, numbered_seed
from kdsearch.spec import TEMPERATURE, Choices, Params, Range, StudySpec, setup_key
from kdsearch.storage import TrialRow

Design: TypeAlias = Callable[[int, int, int], Sequence[float]]
"""`(seed, index, n_parameters)` to one point in the unit cube; the temperature comes first."""


def random_design(seed: int, index: int, n_parameters: int) -> Sequence[float]:
    """Return a uniform point."""
    return list(np.random.default_rng(numbered_seed(seed, index)).random(n_parameters))


def sobol_design(seed: int, index: int, n_parameters: int) -> Sequence[float]:
    """Return a point of a scrambled Sobol sequence."""
    from scipy.stats import qmc  # as long to load as all else that a search needs

    sequence = qmc.Sobol(n_parameters, scramble=True, rng=np.random.default_rng(seed))
    if index > 0:  # SciPy can't fast-forward by nothing
        sequence.fast_forward(index)
    return list(sequence.random(1)[0])


def grid_design(n_points: int) -> Design:
    """Return a grid of at most `n_points`, finest in temperature.

    Its cells are visited in an order drawn from the seed. With one other parameter, 24 points are 12
    temperatures by 2 values and 48 are 12 by 4; a trial beyond the last point replicates the first.
    """

    def design(seed: int, index: int, n_parameters: int) -> Sequence[float]:
        others = max(2, math.floor((n_points / 3) ** (1 / n_parameters))) if n_parameters > 1 else 1
        temperatures = max(1, n_points // others ** (n_parameters - 1))
        shape = (temperatures, *[others] * (n_parameters - 1))
        cells = np.random.default_rng(seed).permutation(math.prod(shape))
        cell = np.unravel_index(cells[index % len(cells)], shape)
        return [float((i + 0.5) / n) for i, n in zip(cell, shape, strict=True)]

    return design


def build_design(name: str, spec: StudySpec) -> Design:
    """Return the design that a sampler's name stands for."""
    if name == "grid":
        return grid_design(max(1, spec.search.trials // len(spec.setups())))
    return {"random": random_design, "qmc": sobol_design}[name]


DESIGNS = ("random", "qmc", "grid")


class DesignProposer:
    """Proposes a design's next points, for the setup with the fewest trials."""

    def __init__(self, spec: StudySpec, design: Design) -> None:
        self._spec = spec
        self._design = design

    def propose(self, trials: Sequence[TrialRow], size: int, decided: Collection[str] = ()) -> Proposal:
        """Return `size` points of one setup that no trial has had."""
        setup = next_setup(self._spec, trials, decided)
        first = len(trials_of(setup, trials))
        dimensions = self._spec.dimensions(setup)
        seed = design_seed(self._spec.search.seed, setup_key(setup))
        points = [self._design(seed, first + k, max(1, len(dimensions))) for k in range(size)]
        return Proposal(setup=setup, params=[_values(dimensions, point) for point in points])


def _values(dimensions: dict[str, Range | Choices], point: Sequence[float]) -> Params:
    paths = sorted(dimensions, key=lambda path: path != TEMPERATURE)
    units = dict(zip(paths, point, strict=False))
    return {path: dimension.from_unit(units[path]) for path, dimension in dimensions.items()}
