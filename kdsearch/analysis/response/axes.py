"""A tuned parameter as an axis of a few dozen nodes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kdsearch.spec import Choices, Range

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.intp]
BoolArray: TypeAlias = NDArray[np.bool_]

_ROUNDING = 1e-6
"""What a value loses on its way to text and back."""


@dataclass(frozen=True, eq=False)
class Axis:
    """A tuned parameter's nodes.

    The positions of an ordered parameter lie in [0, 1], on `scale` where all setups share one, else
    within each setup's own range. Unordered choices are 0, 1, 2, … and equally far from one another.
    """

    path: str
    positions: FloatArray
    continuous: bool
    scale: Range | None = None
    choices: tuple[Any, ...] = ()
    _allowed: dict[Range | Choices, BoolArray] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def half_step(self) -> float:
        """Half the distance between neighbours on a continuous axis, else 0."""
        return 0.5 / (len(self) - 1) if self.continuous else 0.0

    def distances(self) -> FloatArray:
        """Return the distance between each two nodes."""
        apart = np.abs(self.positions[:, None] - self.positions)
        return (apart > 0).astype(float) if self.choices else apart

    def allowed(self, dimension: Range | Choices) -> BoolArray:
        """Return which nodes lie in a setup's range. Found once for each range, as every trial asks."""
        if dimension not in self._allowed:
            self._allowed[dimension] = self._find_allowed(dimension)
        return self._allowed[dimension]

    def _find_allowed(self, dimension: Range | Choices) -> BoolArray:
        legal = self._legal(dimension)
        if legal is not None:
            apart = np.abs(self.positions[:, None] - np.array(legal)).min(axis=1)
            return np.asarray(apart <= max(self.half_step, _ROUNDING))
        low, high = (self._position(dimension, end) for end in _ends(dimension))
        return (self.positions >= low - self.half_step) & (self.positions <= high + self.half_step)

    def nodes(self, dimension: Range | Choices, values: Sequence[Any]) -> IntArray:
        """Return the nearest node in a setup's range to each value. -1 is outside the range."""
        among = np.flatnonzero(self.allowed(dimension))
        nodes = np.full(len(values), -1, dtype=np.intp)
        held = np.flatnonzero(_held(dimension, values) & (len(among) > 0))
        if len(held):
            positions = self._positions(dimension, [values[index] for index in held.tolist()])
            nodes[held] = self._nearest(among, positions)
        return nodes

    def _nearest(self, among: IntArray, positions: FloatArray) -> IntArray:
        """Return the nearest of some nodes, at least one, to each position. The lower of two as near."""
        own = self.positions[among]
        above = np.clip(np.searchsorted(own, positions), 1, max(len(own) - 1, 1))
        is_above = np.abs(own.take(above, mode="clip") - positions) < np.abs(own[above - 1] - positions)
        return np.asarray(among[np.where(is_above, above, above - 1)])

    def value(self, dimension: Range | Choices, node: int) -> Any:
        """Return the value of a setup's range that is nearest a node."""
        if self.choices:
            return self.choices[node]
        position = float(self.positions[node])
        if isinstance(dimension, Choices):
            return min(dimension.choices, key=lambda c: abs(self._position(dimension, c) - position))
        unit = position if self.scale is None else dimension.to_unit(self.scale.from_unit(position))
        return dimension.from_unit(unit)

    def _position(self, dimension: Range | Choices, value: Any) -> float:
        return float(self._positions(dimension, [value])[0])

    def _positions(self, dimension: Range | Choices, values: Sequence[Any]) -> FloatArray:
        if self.choices:
            return np.array([self.choices.index(value) for value in values], dtype=float)
        if self.scale is not None:
            return np.array(self.scale.to_units(values))
        if isinstance(dimension, Choices):
            indices = [dimension.choices.index(value) for value in values]
            return (np.array(indices, dtype=float) + 0.5) / len(dimension.choices)
        return np.array(dimension.to_units(values))

    def _legal(self, dimension: Range | Choices) -> list[float] | None:
        values = discrete_values(dimension, len(self))
        return None if values is None else [self._position(dimension, value) for value in values]


def temperature_axis(path: str, dimensions: Sequence[Range | Choices], n_nodes: int) -> Axis:
    """Return the axis of log temperature that all setups share."""
    ends = [float(value) for dimension in dimensions for value in _ends(dimension)]
    low, high = min(ends), max(ends)
    scale = Range(low=low, high=high if high > low else 2 * low, log=True)
    return _ordered(path, dimensions, n_nodes, scale)


def parameter_axis(path: str, dimensions: Sequence[Range | Choices], n_nodes: int) -> Axis:
    """Return the axis of a parameter other than temperature.

    It is scaled within each setup's own range.
    """
    if all(isinstance(dimension, Choices) for dimension in dimensions):
        choices = tuple(dict.fromkeys(c for d in dimensions if isinstance(d, Choices) for c in d.choices))
        return Axis(path, np.arange(len(choices), dtype=float), continuous=False, choices=choices)
    return _ordered(path, dimensions, n_nodes, None)


def discrete_values(dimension: Range | Choices, limit: int) -> list[Any] | None:
    """Return a dimension's values where it has at most `limit`, else None."""
    if isinstance(dimension, Choices):
        return list(dimension.choices)
    if dimension.integer and dimension.high - dimension.low < limit:
        return list(range(int(dimension.low), int(dimension.high) + 1))
    return None


def _ordered(path: str, dimensions: Sequence[Range | Choices], n_nodes: int, scale: Range | None) -> Axis:
    even = Axis(path, np.linspace(0.0, 1.0, n_nodes), continuous=True, scale=scale)
    legal = [even._legal(dimension) for dimension in dimensions]
    listed = [positions for positions in legal if positions is not None]
    union = sorted({round(position, 9) for positions in listed for position in positions})
    if len(listed) < len(legal) or len(union) > n_nodes:
        return even
    return Axis(path, np.array(union), continuous=False, scale=scale)


def _ends(dimension: Range | Choices) -> tuple[Any, Any]:
    if isinstance(dimension, Choices):
        return min(dimension.choices, key=_number), max(dimension.choices, key=_number)
    return dimension.low, dimension.high


def _number(value: Any) -> float:
    return float(value)


def _held(dimension: Range | Choices, values: Sequence[Any]) -> BoolArray:
    """Return which values a dimension holds."""
    if isinstance(dimension, Choices):
        return np.array([value in dimension.choices for value in values], dtype=bool)
    if not set(map(type, values)) <= {int, float}:
        values = [value if _is_number(value) else np.nan for value in values]
    numbers = np.array(values, dtype=float)
    held = np.isfinite(numbers)
    if dimension.log:
        held &= numbers > 0
    units = np.full(len(values), np.nan)
    units[held] = dimension.to_units(numbers[held].tolist())
    return (units >= -_ROUNDING) & (units <= 1 + _ROUNDING)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
