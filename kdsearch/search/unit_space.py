"""An Optuna search space as a study spec."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from kdsearch.search.conditions import Conditions, Levels
from kdsearch.spec import TEMPERATURE, Choices, Params, Range, Setup, StudySpec, load_spec
from kdsearch.spec.study import NO_TRAINER

Space: TypeAlias = Mapping[str, BaseDistribution]

_MOST_LISTED = 41
"""As many as the model has nodes for a temperature."""

_ONE_OVER = 40.0
"""The model's own range of temperatures is 1 to 40, whatever the user's."""

_NO_CONDITIONS = Conditions()


class UnitSpace:
    """The model's view of an Optuna space, with conversion both ways.

    The parameter called `temperature` is the one whose profile is learned; where the space has none, the
    model looks for the best of all parameters alike. Parameters named by `setup` are conditions: each
    combination of their choices is to have an answer. Parameters that exist under some of these alone share
    one of the model's by their role; where a setup has none of a role, the model's stays at its middle.
    """

    def __init__(
        self,
        space: Space,
        temperature: str,
        setup: Sequence[str],
        seed: int,
        conditions: Conditions = _NO_CONDITIONS,
    ) -> None:
        self._conditional = {n: d for n, d in conditions.distributions.items() if n in space}
        self._space = {n: d for n, d in space.items() if not d.single() and n not in self._conditional}
        self._fixed = {name: _only_value(d) for name, d in space.items() if d.single()}
        self._paths = {
            name: TEMPERATURE if name == temperature else f"options.p{index}"
            for index, name in enumerate(self._space)
        }
        self._setup = [name for name in setup if name in self._space]
        self._shared: dict[str, Range | Choices] = {}
        self._within = {levels: self._slots(own) for levels, own in conditions.roles.items()}
        self.spec = self._build_spec(seed)

    def _build_spec(self, seed: int) -> StudySpec:
        factors: dict[str, list[Any]] = {
            self._paths[name]: list(range(len(_choices(self._space[name])))) for name in self._setup
        }
        tuned = {
            self._paths[name]: _dimension(distribution, is_temperature=self._paths[name] == TEMPERATURE)
            for name, distribution in self._space.items()
            if name not in self._setup
        }
        tuned |= self._shared
        if TEMPERATURE not in tuned:
            factors[TEMPERATURE] = [1.0]
        tune = {path: dimension.model_dump() for path, dimension in tuned.items()}
        document = {"name": "optuna", "trainer": NO_TRAINER, "setup": factors, "tune": tune}
        return load_spec({**document, "search": {"seed": seed}})

    def _slots(self, roles: Mapping[str, str]) -> dict[str, str]:
        """Return a setup's parameter for each shared one of the model."""
        slots = {}
        for name, role in roles.items():
            if name in self._conditional:
                dimension = _dimension(self._conditional[name], is_temperature=False)
                digest = hashlib.sha256(f"{role} {dimension.model_dump_json()}".encode()).hexdigest()
                path = f"options.c{digest[:12]}"
                self._shared[path] = dimension
                slots[path] = name
        return slots

    def encode(self, values: Mapping[str, Any]) -> tuple[Setup, Params]:
        """Return the setup and the parameters of Optuna's values. What is missing or outside is left out."""
        setup: Setup = {} if TEMPERATURE in self.spec.tune else {TEMPERATURE: 1.0}
        params: Params = {}
        for name, distribution in self._space.items():
            if name not in values or not _holds(distribution, values[name]):
                continue
            if name in self._setup:
                setup[self._paths[name]] = _choices(distribution).index(values[name])
            else:
                path = self._paths[name]
                params[path] = _to_model(self.spec.tune[path], distribution, values[name])
        within = self._within.get(self._levels(values), {})
        for path, dimension in self._shared.items():
            own = within.get(path)
            if own is None:
                params[path] = _middle(dimension)
            elif own in values and _holds(self._conditional[own], values[own]):
                params[path] = _to_model(dimension, self._conditional[own], values[own])
        return setup, params

    def _levels(self, values: Mapping[str, Any]) -> Levels:
        return tuple(values.get(name) for name in self._setup)

    def decode(self, setup: Setup, params: Params) -> dict[str, Any]:
        """Return Optuna's values, one for each parameter of the space."""
        values = dict(self._fixed)
        for name, distribution in self._space.items():
            path = self._paths[name]
            if name in self._setup:
                values[name] = _choices(distribution)[setup[path]]
            else:
                values[name] = _to_optuna(self.spec.tune[path], distribution, params[path])
        for path, name in self._within.get(self._levels(values), {}).items():
            values[name] = _to_optuna(self._shared[path], self._conditional[name], params[path])
        return values


def _dimension(distribution: BaseDistribution, *, is_temperature: bool) -> Range | Choices:
    if is_temperature:
        listed = _listed(distribution)
        if listed is None:
            return Range(low=1.0, high=_ONE_OVER, log=True)
        return Choices(choices=tuple(_ONE_OVER ** _unit(distribution, value) for value in listed))
    if isinstance(distribution, CategoricalDistribution):
        return Choices(choices=tuple(range(len(distribution.choices))))
    listed = _listed(distribution)
    if listed is not None and not getattr(distribution, "log", False):
        return Range(low=0, high=len(listed) - 1, integer=True)
    return Range(low=0.0, high=1.0)


def _middle(dimension: Range | Choices) -> Any:
    return dimension.choices[0] if isinstance(dimension, Choices) else dimension.from_unit(0.5)


def _to_model(dimension: Any, distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(dimension, Choices) and not isinstance(distribution, CategoricalDistribution):
        return min(dimension.choices, key=lambda c: abs(_model_unit(c) - _unit(distribution, value)))
    if isinstance(dimension, Choices):
        return dimension.choices[_choices(distribution).index(value)]
    return dimension.from_unit(_unit(distribution, value))


def _to_optuna(dimension: Any, distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(dimension, Choices) and isinstance(distribution, CategoricalDistribution):
        return distribution.choices[dimension.choices.index(value)]
    unit = _model_unit(value) if isinstance(dimension, Choices) else dimension.to_unit(value)
    return _value(distribution, unit)


def _model_unit(temperature: Any) -> float:
    return float(np.log(temperature) / np.log(_ONE_OVER))


def _listed(distribution: BaseDistribution) -> list[Any] | None:
    """Return the ordered values of choices or of a short range.

    None for a range without steps or with more than 41 values.
    """
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 - Optuna has no other
    if (
        distribution.step is None
        or (distribution.high - distribution.low) / distribution.step >= _MOST_LISTED
    ):
        return None
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + k * distribution.step for k in range(count)]


def _unit(distribution: BaseDistribution, value: Any) -> float:
    """Return a value's place from 0 to 1 on its distribution's scale.

    The scale is logarithmic where the distribution is.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value) / (len(distribution.choices) - 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 - Optuna has no other
    ends = float(distribution.low), float(distribution.high), float(value)
    low, high, at = np.log(ends) if distribution.log else ends
    return float((at - low) / (high - low))


def _value(distribution: BaseDistribution, unit: float) -> Any:
    """Return the value at a place from 0 to 1. The inverse of `_unit`."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 - others are listed
    ends = float(distribution.low), float(distribution.high)
    low, high = np.log(ends) if distribution.log else ends
    at = float(low + unit * (high - low))
    value = float(np.exp(at)) if distribution.log else at
    if distribution.step is not None:
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 - Optuna has no other
    return bool(distribution.low <= value <= distribution.high)


def _choices(distribution: BaseDistribution) -> tuple[Any, ...]:
    if not isinstance(distribution, CategoricalDistribution):
        raise ValueError(f"`setup` must name categorical parameters, got one that is {distribution}.")  # noqa: TRY004 - a wrong request
    return tuple(distribution.choices)


def _only_value(distribution: BaseDistribution) -> Any:
    return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low  # type: ignore[attr-defined]  # a number's
