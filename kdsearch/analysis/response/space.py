"""Where trials lie: setups by factors, parameters on axes.

Temperature is the first axis and is the same for all setups: T = 4 is T = 4 everywhere. A temperature that
is a factor becomes an axis of its levels, so that the answer is the best level.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kdsearch.analysis.response.axes import (
    Axis,
    BoolArray,
    FloatArray,
    IntArray,
    parameter_axis,
    temperature_axis,
)
from kdsearch.spec import TEMPERATURE, Choices, Params, Range, Setup, StudySpec, level_label
from kdsearch.spec.space import ByFactor

Nodes: TypeAlias = tuple[int, ...]
Labels: TypeAlias = tuple[str, ...]

_TEMPERATURE_NODES = 41
"""By hand: from 1 to 40 neighbours are 10% apart, which is one temperature for any use."""

_PARAMETER_NODES = 33
"""By hand: neighbours are 3% of the range apart, a fifth of the shortest length."""


@dataclass(frozen=True)
class Site:
    """A setup's place in the model, its ranges and their nodes.

    `fixed` are values of the axes' parameters that an earlier study did not tune.
    """

    setup: Setup
    index: int
    dimensions: dict[str, Range | Choices]
    allowed: tuple[BoolArray, ...]
    fixed: Params

    def column(self, path: str, params: Iterable[Params]) -> list[Any]:
        """Return the value at a path in each trial. Else it is the setup's or the fixed one."""
        default = self.setup.get(path, self.fixed.get(path))
        return [values.get(path, default) for values in params]


class ResponseSpace:
    """The setups and axes of a study's model.

    It leads from trials to nodes and back. `setups` are those that are owed an answer. `distances` [S, S, F]
    say how far the levels of each factor lie apart: 1 for different ones, a share of the ranks where levels
    are numbers.

    The setups of earlier studies follow in the model, on the spec's axes. What is a factor anywhere is one
    everywhere, with the level that a study fixes; all else in which two studies differ is one more factor.
    """

    def __init__(self, spec: StudySpec, earlier: Sequence[StudySpec] = ()) -> None:
        studies = (spec, *earlier)
        listed = [(n, setup) for n, study in enumerate(studies) for setup in study.setups()]
        owed = {_place(n, setup): (n, without_temperature(setup)) for n, setup in listed}
        places = {place: index for index, place in enumerate(owed)}
        self.setups = [setup for n, setup in owed.values() if n == 0]
        self.axes = _axes(spec)
        self.distances = _setup_distances(studies, list(owed.values()))
        self.sites = [self._site(spec, studies[n], setup, places[_place(n, setup)]) for n, setup in listed]
        self._site_of = {(n, _labels(setup)): at for at, (n, setup) in enumerate(listed)}

    def _site(self, spec: StudySpec, source: StudySpec, setup: Setup, index: int) -> Site:
        is_own = source is spec
        dimensions = _dimensions(spec, setup) if is_own else _dimensions_elsewhere(spec, source, setup)
        allowed = tuple(axis.allowed(dimensions[axis.path]) for axis in self.axes)
        fixed = {axis.path: level_of(source, setup, axis.path) for axis in self.axes}
        return Site(setup, index, dimensions, allowed, {} if is_own else fixed)

    def site(self, setup: Setup, study: int = 0) -> Site | None:
        """Return the site of a trial's setup.

        `study` asks for it in the n-th earlier study. None where that study's spec has no such setup.
        """
        found = self._site_of.get((study, _labels(setup)))
        return None if found is None else self.sites[found]

    def sites_of(self, setups: Sequence[Setup], study: int = 0) -> IntArray:
        """Return where among `sites` the site of each trial's setup is. -1 where there is none."""
        known: dict[int, int] = {}  # by identity: trials of one setup mostly share its mapping
        for setup in setups:
            if id(setup) not in known:
                known[id(setup)] = self._site_of.get((study, _labels(setup)), -1)
        return np.array([known[id(setup)] for setup in setups], dtype=np.intp)

    def setups_of(self, setups: Sequence[Setup]) -> IntArray:
        """Return the place in the model of each trial's setup. -1 where the study has no such setup."""
        indices = np.array([*(site.index for site in self.sites), -1])
        return np.asarray(indices[self.sites_of(setups)])

    def locate(self, site: Site, params: Params) -> Nodes | None:
        """Return a trial's node on each axis. None where a parameter is missing or out of its range."""
        nodes = self.locate_all(site, [params])[0]
        return None if nodes[0] < 0 else tuple(nodes.tolist())

    def locate_all(self, site: Site, params: Sequence[Params]) -> IntArray:
        """Return the nodes [N, P] of many trials of a site. -1 on every axis where `locate` has None."""
        columns = [
            axis.nodes(site.dimensions[axis.path], site.column(axis.path, params)) for axis in self.axes
        ]
        nodes = np.stack(columns, axis=-1)
        nodes[(nodes < 0).any(axis=1)] = -1
        return nodes

    def site_at(self, index: int, temperature_node: int) -> Site:
        """Return the site of a setup at a temperature that it allows."""
        return next(s for s in self.sites if s.index == index and s.allowed[0][temperature_node])

    def allowed(self, index: int, axis: int) -> BoolArray:
        """Return which nodes of an axis a setup may use."""
        masks = [site.allowed[axis] for site in self.sites if site.index == index]
        return np.asarray(np.logical_or.reduce(masks))

    def values(self, site: Site, nodes: Sequence[int]) -> Params:
        """Return the values at a node of each axis.

        They include temperature, and are in the setup's own units.
        """
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


def _dimensions_elsewhere(spec: StudySpec, source: StudySpec, setup: Setup) -> dict[str, Range | Choices]:
    """Return the spec's ranges for a setup of another study. T = 4 or lr = 0.1 there is the same here.

    Where a range depends on a level that the spec does not have, the other study's own range stands for it:
    the learning rate of another optimizer means the same as a share of its range at most.
    """
    every = [_dimensions(spec, own) for own in spec.setups()]
    ranges = {TEMPERATURE: _any_temperature(spec, [own[TEMPERATURE] for own in every])}
    for path, dimension in spec.tune.items():
        if path != TEMPERATURE and isinstance(dimension, ByFactor):
            label = level_label(level_of(source, setup, dimension.by))
            own = source.dimensions(setup).get(path)
            fallback = own if isinstance(own, type(every[0][path])) else every[0][path]
            ranges[path] = dimension.ranges.get(label, fallback)
        elif path != TEMPERATURE:
            ranges[path] = every[0][path]
    return ranges


def _any_temperature(spec: StudySpec, ranges: Sequence[Range | Choices]) -> Range | Choices:
    """Return a range of temperature that holds every temperature of a spec."""
    if TEMPERATURE in spec.setup:
        return Choices(choices=spec.setup[TEMPERATURE])
    numbers = [dimension for dimension in ranges if isinstance(dimension, Range)]
    if len(numbers) < len(ranges):
        return ranges[0]
    low, high = min(r.low for r in numbers), max(r.high for r in numbers)
    return numbers[0].model_copy(update={"low": low, "high": high})


def level_of(spec: StudySpec, setup: Setup, path: str) -> Any:
    """Return a setup's value at a dotted path, else None."""
    if path in setup:
        return setup[path]
    try:
        return None if path in spec.tune else spec.value_at(path)
    except KeyError:
        return None


def _place(study: int, setup: Setup) -> tuple[int, Labels]:
    return study, _labels(without_temperature(setup))


def without_temperature(setup: Setup) -> Setup:
    """Return a setup as the model tells it from others. A temperature that is a factor is an axis there."""
    return {path: level for path, level in setup.items() if path != TEMPERATURE}


def _labels(setup: Setup) -> Labels:
    return tuple(f"{path}={level_label(setup[path])}" for path in sorted(setup))


def _setup_distances(studies: Sequence[StudySpec], owed: Sequence[tuple[int, Setup]]) -> FloatArray:
    """Return how far each two setups are apart [S, S, F].

    F counts the factors by which they differ, and their study.
    """
    tuned = studies[0].tune
    paths = dict.fromkeys(path for study in studies for path in study.setup if path not in tuned)
    paths.pop(TEMPERATURE, None)
    columns = [_level_distances([level_of(studies[n], setup, path) for n, setup in owed]) for path in paths]
    columns.append(_level_distances([studies[n].name for n, _ in owed]))
    varied = list({column.tobytes(): column for column in columns if column.any()}.values())
    return np.stack(varied, axis=-1) if varied else np.zeros((len(owed), len(owed), 0))


def _level_distances(levels: Sequence[Any]) -> FloatArray:
    if all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels):
        ranks = np.unique(np.array(levels, dtype=float), return_inverse=True)[1]
        return np.asarray(np.abs(ranks[:, None] - ranks) / max(1, ranks.max()))
    labels = np.array([level_label(level) for level in levels])
    return np.asarray(labels[:, None] != labels, dtype=float)
