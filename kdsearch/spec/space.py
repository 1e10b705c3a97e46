"""Ranges of tuned parameters, and values at dotted paths."""

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, TypeAlias

from pydantic import (
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from kdsearch.spec.sections import Section
from kdsearch.spec.values import ASKED, Flag, Number, Scalar

Setup: TypeAlias = dict[str, Any]
"""One combination of factor levels, by dotted path; a level may be a mapping (a recipe)."""

TEMPERATURE = "objective.temperature"

LABELS = "dataset.labels"
"""The path of what may be a file's path."""

Params: TypeAlias = dict[str, Any]
"""One value for each tuned parameter, by dotted path."""


class Range(Section):
    """A numeric range; `low` and `high` belong to it."""

    low: Number
    """The lowest value."""

    high: Number
    """The highest value."""

    log: Flag = False
    """Whether values are searched on a logarithmic scale."""

    integer: Flag = False
    """Whether values are whole."""

    @model_validator(mode="after")
    def _holds_a_value(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`, got {self.low:g} and {self.high:g}.")
        if self.log and self.low <= 0:
            raise ValueError(f"`low` must be above 0 for a logarithmic range, got {self.low:g}.")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(
                f"`low` and `high` of an integer range must be whole, got {self.low:g} and {self.high:g}."
            )
        return self

    def to_unit(self, value: float) -> float:
        """Return where a value lies between `low` (0) and `high` (1).

        It is measured on the range's own scale.
        """
        return self.to_units([value])[0]

    def to_units(self, values: Iterable[float]) -> list[float]:
        """Return `to_unit` of many values."""
        if not self.log:
            return [(value - self.low) / (self.high - self.low) for value in values]
        low, high = math.log(self.low), math.log(self.high)
        return [(math.log(value) - low) / (high - low) for value in values]

    def from_unit(self, unit: float) -> float | int:
        """Return the value at a share in [0, 1] of the range."""
        low, high = (math.log(x) if self.log else x for x in (self.low, self.high))
        at = low + min(max(unit, 0.0), 1.0) * (high - low)
        value = min(max(math.exp(at) if self.log else at, self.low), self.high)
        return round(value) if self.integer else value


class Choices(Section):
    """A list of values without an order."""

    choices: tuple[Scalar, ...] = Field(min_length=1)
    """The values, each once."""

    @field_validator("choices")
    @classmethod
    def _distinct(cls, choices: tuple[Scalar, ...], info: ValidationInfo) -> tuple[Scalar, ...]:
        if len(set(map(repr, choices))) < len(choices):
            raise ValueError("must not name a choice twice.")
        if info.context == ASKED and (pair := equal_pair(choices)):
            raise ValueError(f"must not name choices that are equal, got {pair}.")
        return choices

    def from_unit(self, unit: float) -> Scalar:
        """Return the choice at a share of the list in [0, 1]. Each has an equal share."""
        return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]


def _kind(raw: Any) -> str:
    if isinstance(raw, Section):
        return type(raw).__name__
    keys = raw if isinstance(raw, Mapping) else ()
    return "ByFactor" if "by" in keys else "Choices" if "choices" in keys else "Range"


SimpleDimension: TypeAlias = Annotated[
    Annotated[Range, Tag("Range")] | Annotated[Choices, Tag("Choices")], Discriminator(_kind)
]


class ByFactor(Section):
    """A range for each level of a factor.

    In YAML the levels stand beside `by`.
    """

    by: str
    """The path of the factor; beside it stands a range or a list of choices for each of its levels."""

    ranges: dict[str, SimpleDimension]
    """The range of each level."""

    @model_validator(mode="before")
    @classmethod
    def _gather_levels(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "ranges" not in raw:
            levels = {level_label(k): v for k, v in raw.items() if k != "by"}
            return {"by": raw.get("by"), "ranges": levels}
        return raw

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of what people write: the levels beside `by`."""
        stored = handler.resolve_ref_schema(handler(core_schema))
        ranges = stored["properties"]["ranges"]["additionalProperties"]
        by = stored["properties"]["by"]
        return {
            "type": "object",
            "title": stored["title"],
            "description": stored["description"],
            "properties": {"by": by},
            "required": ["by"],
            "additionalProperties": {**ranges, "description": "What holds at this level of the factor."},
        }


Dimension: TypeAlias = Annotated[
    Annotated[Range, Tag("Range")]
    | Annotated[Choices, Tag("Choices")]
    | Annotated[ByFactor, Tag("ByFactor")],
    Discriminator(_kind),
]


def ranges_of(dimension: Dimension) -> list[Range | Choices]:
    """Return a dimension's ranges: one for each level of its factor, or the one that it is."""
    return list(dimension.ranges.values()) if isinstance(dimension, ByFactor) else [dimension]


def ends_of(dimension: Dimension) -> list[Any]:
    """Return the ends of a dimension's ranges, and all that it chooses from."""
    return [
        end
        for own in ranges_of(dimension)
        for end in (own.choices if isinstance(own, Choices) else (own.low, own.high))
    ]


def equal_pair(values: Sequence[Any]) -> str | None:
    """Return in words the first two values that Optuna confuses.

    1, 1.0 and true are one for it.
    """
    for index, value in enumerate(values):
        for earlier in values[:index]:
            if earlier == value:
                return f"{level_label(earlier)} and {level_label(value)}"
            if isinstance(earlier, str) and isinstance(value, str) and _as_seen(earlier) == _as_seen(value):
                return f"{earlier!a} and {value!a}, which look the same"
    return None


def alike_pair(names: Iterable[str], *, in_any_case: bool = False) -> tuple[str, str] | None:
    """Return the first two names that people take for one. None where all can be told apart."""
    seen: dict[str, str] = {}
    for name in names:
        text = _as_seen(name)
        other = seen.setdefault(text.casefold() if in_any_case else text, name)
        if other != name:
            return other, name
    return None


def _as_seen(text: str) -> str:
    """Return a text as tables show it, whatever its spaces and the writing of its accents."""
    visible = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(visible.split()))


def level_label(level: Any) -> str:
    """Return a level as text: for people, and as a key of `by:` ranges."""
    if isinstance(level, str):
        return level
    return json.dumps(level, sort_keys=True, separators=(",", ":"), default=str)


def level_name(path: str, level: Any) -> str:
    """Return a level as tables show it: a file of labels by its name, wherever it is."""
    is_file = path == LABELS and isinstance(level, str)
    return PurePath(level).name if is_file else level_label(level)


def is_level(path: str, asked: Any, level: Any) -> bool:
    """Return whether a level is the asked one, however that is written.

    Tables show 1.0 as 1, and a recipe may be given as any JSON of it.
    """
    if isinstance(asked, str) and isinstance(level, Mapping | list):
        try:
            return bool(json.loads(asked) == level)
        except (ValueError, RecursionError):
            return False
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (asked, level)):
        return bool(asked == level)
    return level_name(path, asked) == level_name(path, level)


def encode_level(level: Any) -> Scalar:
    """Return a level as a scalar; mappings and lists as JSON."""
    return level if isinstance(level, bool | int | float | str | None) else level_label(level)


def setup_key(setup: Setup) -> str:
    """Return a setup as canonical JSON: equal for equal setups, whatever their order."""
    return json.dumps(setup, sort_keys=True, separators=(",", ":"))


def value_at(document: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path. Raise KeyError where there is none."""
    value: Any = document
    for key in path.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(path)
        value = value[key]
    return value


def with_value(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of a document with one value replaced.

    `path` is the value's dotted path.
    """
    key, _, rest = path.partition(".")
    copy = dict(document)
    below = copy.get(key)
    copy[key] = with_value(below if isinstance(below, Mapping) else {}, rest, value) if rest else value
    return copy
