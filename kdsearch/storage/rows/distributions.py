"""A spec's setups and tuned parameters in Optuna's terms, and back."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from kdsearch.spec import Choices, Params, Range, Setup, StudySpec, encode_level, level_label

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Point: TypeAlias = tuple[Setup, Params]


class OptunaSpace:
    """How a study's trials are named and bounded in Optuna.

    Factors are categorical, under their dotted paths. Tuned parameters have the ranges of their
    setup, under their dotted paths too, unless a parameter is of another kind in another setup
    (logarithmic here, linear there), which Optuna refuses under one name: then the setup's range
    follows in the name.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._setups = spec.setups()
        self._mixed = {path for path in spec.tune if len(self._kinds(path)) > 1}

    def distributions(self, setup: Setup) -> dict[str, "BaseDistribution"]:
        """Return the distribution of every factor and tuned parameter, by Optuna's name."""
        from optuna.distributions import CategoricalDistribution

        factors: dict[str, BaseDistribution] = {
            path: CategoricalDistribution([encode_level(level) for level in levels])
            for path, levels in self._spec.setup.items()
        }
        tuned = {
            self._name(path, dimension): _distribution(dimension)
            for path, dimension in self._spec.dimensions(setup).items()
        }
        return factors | tuned

    def encode(self, setup: Setup, params: Params) -> dict[str, Any]:
        """Return a trial's values by Optuna's names."""
        factors = {path: encode_level(level) for path, level in setup.items()}
        dimensions = self._spec.dimensions(setup)
        return factors | {self._name(path, dimensions[path]): value for path, value in params.items()}

    def decode(self, values: Mapping[str, Any]) -> Point:
        """Return the setup and the parameters of a trial's values. The inverse of `encode`.

        Raises:
            ValueError: A value is missing, or the study has no such level; the message says which.
        """
        setup = self._setup_of(values)
        names = {path: self._name(path, dim) for path, dim in self._spec.dimensions(setup).items()}
        missing = [path for path, name in names.items() if name not in values]
        if missing:
            raise ValueError(f"without a value of {', '.join(missing)}")
        for path, dimension in self._spec.dimensions(setup).items():
            if isinstance(dimension, Choices) and values[names[path]] not in dimension.choices:
                raise ValueError(f"with a value of {path} that is none of its choices")
        return setup, {path: values[name] for path, name in names.items()}

    def _setup_of(self, values: Mapping[str, Any]) -> Setup:
        missing = [path for path in self._spec.setup if path not in values]
        if missing:
            raise ValueError(f"without a value of {', '.join(missing)}")
        for setup in self._setups:
            if all(encode_level(level) == values[path] for path, level in setup.items()):
                return setup
        asked = {path: values[path] for path in self._spec.setup}
        raise ValueError(f"for a setup that the study does not have: {level_label(asked)}")

    def _kinds(self, path: str) -> set[str]:
        return {_kind(self._spec.dimensions(setup)[path]) for setup in self._setups}

    def _name(self, path: str, dimension: Range | Choices) -> str:
        return f"{path} [{_kind(dimension)}]" if path in self._mixed else path


def within_range(spec: StudySpec, setup: Setup, params: Params) -> Params:
    """Return a setup's parameters as plain numbers inside their ranges.

    What rounding put over an edge is put back.

    Args:
        spec: The study's spec.
        setup: The trial's setup.
        params: Its values by path.

    Raises:
        ValueError: A parameter is missing, unknown or outside its range.
    """
    dimensions = spec.dimensions(setup)
    if params.keys() != dimensions.keys():
        raise ValueError(f"`params` must have {sorted(dimensions)}, got {sorted(params)}.")
    return {path: _within(path, dimensions[path], value) for path, value in params.items()}


def _within(path: str, dimension: Range | Choices, value: Any) -> Any:
    if isinstance(dimension, Choices):
        return value
    number = float(value)
    nearest = min(max(number, dimension.low), dimension.high)
    if not math.isclose(number, nearest, rel_tol=1e-9, abs_tol=1e-12):
        raise ValueError(f"`{path}` must be in [{dimension.low:g}, {dimension.high:g}], got {number:g}.")
    return round(nearest) if dimension.integer else nearest


def _kind(dimension: Range | Choices) -> str:
    """Return what all of Optuna's distributions of one name must share."""
    if isinstance(dimension, Choices):
        return level_label(list(dimension.choices))
    return (
        " ".join(word for word, holds in (("log", dimension.log), ("integer", dimension.integer)) if holds)
        or "linear"
    )


def _distribution(dimension: Range | Choices) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.choices)
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
