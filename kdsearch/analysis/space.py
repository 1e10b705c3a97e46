"""Where trials lie: setups told apart by their factors, tuned parameters on axes of nodes.

Temperature is the first axis and is the same for all setups: T = 4 is T = 4 everywhere. A temperature that
is a factor becomes an axis of its levels, so that the answer is the best level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kdsearch.analysis.axes import Axis, BoolArray, FloatArray, parameter_axis, temperature_axis
from kdsearch.spec import TEMPERATURE, Choices, Params, Range, Setup, StudySpec, level_label

Nodes: TypeAlias = tuple[int, ...]
Labels: TypeAlias = tuple[str, ...]

_TEMPERATURE_NODES = 41
_PARAMETER_NODES = 33


@dataclass(frozen=True)
class Site:
    """A setup as the spec lists it: its place in the model, its ranges, and the nodes inside them."""

    setup: Setup
    index: int
    dimensions: dict[str, Range | Choices]
    allowed: tuple[BoolArray, ...]


class ResponseSpace:
    """The setups and the axes of a study's model, and the way from trials to nodes and back.

    `setups` are those that are owed an answer; `distances` [S, S, F] say how far the levels of each
    factor lie apart: 1 for different ones, a share of the ranks where levels are numbers.
    """

    def __init__(self, spec: StudySpec) -> None:
        setups = [(setup, _without_temperature(setup)) for setup in spec.setups()]
        self.setups = list({_labels(owed): owed for _, owed in setups}.values())
        self.axes = _axes(spec)
        self.distances = _factor_distances(self.setups)
        places = {_labels(owed): index for index, owed in enumerate(self.setups)}
        self.sites = [self._site(spec, setup, places[_labels(owed)]) for setup, owed in setups]
        self._site_of = {_labels(site.setup): site for site in self.sites}

    def _site(self, spec: StudySpec, setup: Setup, index: int) -> Site:
        dimensions = _dimensions(spec, setup)
        allowed = tuple(axis.allowed(dimensions[axis.path]) for axis in self.axes)
        return Site(setup, index, dimensions, allowed)

    def site(self, setup: Setup) -> Site | None:
        """Return the site of a trial's setup; None where the spec has no such setup."""
        return self._site_of.get(_labels(setup))

    def locate(self, site: Site, params: Params) -> Nodes | None:
        """Return a trial's node on each axis; None where a parameter is missing or out of its range."""
        values = {**site.setup, **params}
        nodes = [axis.node(site.dimensions[axis.path], values.get(axis.path)) for axis in self.axes]
        known = tuple(node for node in nodes if node is not None)
        return known if len(known) == len(nodes) else None

    def site_at(self, index: int, temperature_node: int) -> Site:
        """Return the site of a setup at a temperature that it allows."""
        return next(s for s in self.sites if s.index == index and s.allowed[0][temperature_node])

    def allowed(self, index: int, axis: int) -> BoolArray:
        """Return which nodes of an axis a setup may use."""
        masks = [site.allowed[axis] for site in self.sites if site.index == index]
        return np.asarray(np.logical_or.reduce(masks))

    def values(self, site: Site, nodes: Sequence[int]) -> Params:
        """Return the values at a node of each axis, temperature included, in the setup's own units."""
        pairs = zip(self.axes, nodes, strict=True)
        return {axis.path: axis.value(site.dimensions[axis.path], int(node)) for axis, node in pairs}

    def temperatures(self) -> FloatArray:
        """Return the temperature at each node of the first axis."""
        return np.array([self._temperature(node) for node in range(len(self.axes[0]))])

    def _temperature(self, node: int) -> float:
        site = next((site for site in self.sites if site.allowed[0][node]), self.sites[0])
        return float(self.axes[0].value(site.dimensions[TEMPERATURE], node))


def _axes(spec: StudySpec) -> tuple[Axis, ...]:
    dimensions = [_dimensions(spec, setup) for setup in spec.setups()]
    first = temperature_axis(TEMPERATURE, [d[TEMPERATURE] for d in dimensions], _TEMPERATURE_NODES)
    others = [path for path in spec.tune if path != TEMPERATURE]
    return first, *(parameter_axis(path, [d[path] for d in dimensions], _PARAMETER_NODES) for path in others)


def _dimensions(spec: StudySpec, setup: Setup) -> dict[str, Range | Choices]:
    fixed = {TEMPERATURE: Choices(choices=(setup[TEMPERATURE],))} if TEMPERATURE in setup else {}
    return {**fixed, **spec.dimensions(setup)}


def _without_temperature(setup: Setup) -> Setup:
    return {path: level for path, level in setup.items() if path != TEMPERATURE}


def _labels(setup: Setup) -> Labels:
    return tuple(f"{path}={level_label(setup[path])}" for path in sorted(setup))


def _factor_distances(setups: Sequence[Setup]) -> FloatArray:
    columns = [_level_distances([setup[path] for setup in setups]) for path in setups[0]]
    varied = [column for column in columns if column.any()]
    return np.stack(varied, axis=-1) if varied else np.zeros((len(setups), len(setups), 0))


def _level_distances(levels: Sequence[Any]) -> FloatArray:
    if all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels):
        ranks = np.unique(np.array(levels, dtype=float), return_inverse=True)[1]
        return np.asarray(np.abs(ranks[:, None] - ranks) / max(1, ranks.max()))
    labels = np.array([level_label(level) for level in levels])
    return np.asarray(labels[:, None] != labels, dtype=float)
