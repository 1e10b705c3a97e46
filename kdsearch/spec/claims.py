"""Claims: what a study is to confirm or refute."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from kdsearch.intervals import LARGEST_LOSS
from kdsearch.spec.sections import Section
from kdsearch.spec.space import (
    TEMPERATURE,
    Choices,
    Range,
    ends_of,
    level_label,
    level_name,
    ranges_of,
)
from kdsearch.spec.values import ASKED, Number, Temperature

if TYPE_CHECKING:
    from kdsearch.spec.study import StudySpec

Quantity: TypeAlias = Literal["best_temperature", "shared_temperature", "spread", "crossing", "accuracy"]
Direction: TypeAlias = Literal["higher", "lower", "none"]
Place: TypeAlias = tuple[tuple[str, ...], str]
"""Where in a claim something is wrong, as keys, and what."""

MOST_CLAIMS = 50
"""Each is weighed by itself: of 50 that are false, two or three at 95% are confirmed by luck."""

_MOST_CHARACTERS = 300  # by hand: longer texts are no single sentence, and break tables
_OF_LEVELS = ("best_temperature", "crossing", "accuracy")
_MEANING = {
    "best_temperature": "the ratio of two levels' best temperatures",
    "crossing": "how two temperatures change places between two levels",
    "accuracy": "the difference between two levels' best accuracies",
}


def _sentence(text: str) -> str:
    if not text.strip() or len(text) > _MOST_CHARACTERS:
        raise ValueError(f"must be a sentence of 1 to {_MOST_CHARACTERS} characters, got {len(text)}.")
    return text


def _above_zero(value: float) -> float:
    if not value > 0:
        raise ValueError(f"must be above 0, got {value:g}.")
    return value


def _evidence(probability: float) -> float:
    if not 0.5 < probability < 1:
        raise ValueError(f"must be above 0.5 and below 1, such as 0.95, got {probability:g}.")
    return probability


class Claim(Section):
    """One contrast that a study decides, and what would confirm it.

    `docs/claims.md` defines each quantity. Accuracies are fractions, `at_least` of `best_temperature` is a
    ratio above 1. `direction` tells what is claimed of the second level against the first: that the quantity
    is higher, lower, or that there is no effect that matters.
    """

    says: Annotated[str, AfterValidator(_sentence)]
    """The claim as a sentence of at most 300 characters."""

    quantity: Quantity
    """What is compared."""

    factor: str | None = None
    """The path of the factor whose levels are compared."""

    levels: tuple[Any, ...] = ()
    """The levels that are compared, the first with the second."""

    temperatures: tuple[Temperature, ...] = ()
    """The two temperatures of a `crossing`."""

    where: dict[str, Any] = Field(default_factory=dict)
    """Levels of other factors to which the claim is restricted, by path."""

    direction: Direction
    """What is claimed of the second level against the first; `none` is no effect that matters."""

    at_least: Annotated[Number, AfterValidator(_above_zero)]
    """The smallest effect that matters, above 0: a ratio above 1, or a difference of accuracies."""

    probability: Annotated[Number, AfterValidator(_evidence)] = 0.95
    """The probability that confirms or reverses it, above 0.5 and below 1."""

    @property
    def has_sign(self) -> bool:
        """Whether the quantity may fall below 0.

        Only then a claim of it can be reversed in sign.
        """
        return self.quantity != "shared_temperature" and bool(self.levels)

    @model_validator(mode="after")
    def _names_what_it_compares(self) -> "Claim":
        if self.quantity in _OF_LEVELS and not (self.factor and len(self.levels) == 2):
            raise ValueError(
                f"needs a `factor` and two `levels` of it: {self.quantity} is {_MEANING[self.quantity]}."
            )
        if (self.factor is None) != (not self.levels) and self.quantity != "shared_temperature":
            raise ValueError("needs `factor` and `levels` together, or neither of them.")
        if self.levels and self.factor is None:
            raise ValueError("needs the `factor` that `levels` are of.")
        if self.levels and self.quantity != "shared_temperature" and len(self.levels) != 2:
            raise ValueError(f"needs two `levels`, got {len(self.levels)}.")
        if len(set(map(level_label, self.levels))) < len(self.levels):
            raise ValueError("must not name a level twice in `levels`.")
        return self

    @model_validator(mode="after")
    def _names_temperatures_where_they_cross(self) -> "Claim":
        if self.quantity != "crossing":
            if self.temperatures:
                raise ValueError("must have no `temperatures`: only crossing compares two of them.")
        elif len(self.temperatures) != 2 or self.temperatures[0] >= self.temperatures[1]:
            given = list(self.temperatures)
            raise ValueError(f"needs two `temperatures`, the lower one first, got {given}.")
        return self

    @model_validator(mode="after")
    def _can_be_confirmed(self, info: ValidationInfo) -> "Claim":
        if self.direction == "lower" and not self.has_sign:
            raise ValueError(
                f"must have `direction` higher or none: {self.quantity} is never below 0 where no two levels "
                "are compared."
            )
        if info.context == ASKED and self.quantity == "shared_temperature" and len(self.levels) == 1:
            raise ValueError("needs two `levels` or more, or none for all: one alone costs nothing.")
        if self.quantity == "best_temperature" and self.at_least <= 1:
            raise ValueError(f"must have a ratio above 1 as `at_least`, such as 2, got {self.at_least:g}.")
        if self.quantity != "best_temperature" and self.at_least > LARGEST_LOSS and info.context == ASKED:
            raise ValueError(
                f"must have an accuracy of at most {LARGEST_LOSS:g} as `at_least`, ten points, got "
                f"{self.at_least:g}. Divide points by 100."
            )
        return self


def problems_in_claims(spec: "StudySpec") -> Iterator[Place]:
    """Yield what claims ask for that the study's space lacks."""
    if len(spec.claims) > MOST_CLAIMS:
        yield ("claims",), f"must be at most {MOST_CLAIMS}, got {len(spec.claims)}."
    for number, claim in enumerate(spec.claims):
        for keys, message in _problems_of(claim, spec):
            yield ("claims", str(number), *keys), message


def idle_claims(spec: "StudySpec") -> Iterator[Place]:
    """Yield claims whose verdict is known before any trial.

    They are larger than any effect could be, claimed twice, or one of two of which one must hold.
    """
    largest = _largest_ratio(spec)
    for number, claim in enumerate(spec.claims):
        keys = ("claims", str(number))
        if claim.quantity == "best_temperature" and claim.at_least >= largest:
            yield (
                (*keys, "at_least"),
                f"must be below the ratio of the highest and lowest temperature, {largest:g}, got "
                f"{claim.at_least:g}: no effect is as large. Write 2 for twice the temperature.",
            )
        for other, earlier in enumerate(spec.claims[:number]):
            if problem := _problem_beside(claim, earlier):
                yield keys, problem.format(f"`claims.{other}`")


def _largest_ratio(spec: "StudySpec") -> float:
    """Return the ratio of the ends of all temperatures. Where ranges may grow it is not known."""
    dimension = spec.tune.get(TEMPERATURE)
    if dimension is None:
        return float(max(spec.setup[TEMPERATURE]) / min(spec.setup[TEMPERATURE]))
    if spec.search.widen:
        return math.inf
    ends = [end for end in ends_of(dimension) if isinstance(end, int | float)]
    return max(ends) / min(ends)


def _problem_beside(claim: Claim, earlier: Claim) -> str | None:
    """Return what is wrong with a claim beside another, `{}` standing for that one. None where nothing is."""
    if _contrast(claim) != _contrast(earlier):
        return None
    directions = {_direction(claim), _direction(earlier)}
    if len(directions) == 1:
        is_same = claim.at_least == earlier.at_least
        return "is the same claim as {}: it would count twice. Leave one of them out." if is_same else None
    if "none" in directions:
        none, some = (claim, earlier) if claim.direction == "none" else (earlier, claim)
        if some.at_least < none.at_least:
            return None
    return (
        "must not stand beside {}, its opposite: of both one would be confirmed, whatever is true. Keep one: "
        "its verdict tells where the other holds."
    )


def _contrast(claim: Claim) -> tuple[Any, ...]:
    """Return what a claim measures, whatever the order of its levels."""
    where = tuple(sorted((path, level_name(path, level)) for path, level in claim.where.items()))
    levels = tuple(sorted(map(level_label, claim.levels)))
    return claim.quantity, claim.factor, levels, claim.temperatures, where


def _direction(claim: Claim) -> Direction:
    """Return a claim's direction from the level whose name is first in the alphabet to the other."""
    labels = [level_label(level) for level in claim.levels]
    if not claim.has_sign or labels == sorted(labels):
        return claim.direction
    turned: dict[Direction, Direction] = {"higher": "lower", "lower": "higher", "none": "none"}
    return turned[claim.direction]


def _problems_of(claim: Claim, spec: "StudySpec") -> Iterator[Place]:
    factors = {path: levels for path, levels in spec.setup.items() if path != TEMPERATURE}
    if claim.factor is not None:
        yield from _unknown_levels(("factor", "levels"), claim.factor, claim.levels, factors)
    for path, level in claim.where.items():
        yield from _unknown_levels(("where", "where"), path, [level], factors)
    if claim.factor is not None and claim.factor in claim.where:
        yield ("where",), f"must not fix `{claim.factor}`, whose levels are compared."
    yield from _unreachable_temperatures(claim, spec)


def _unknown_levels(
    keys: tuple[str, str], path: str, asked: Any, factors: Mapping[str, tuple[Any, ...]]
) -> Iterator[Place]:
    if path not in factors:
        known = ", ".join(factors) or "none"
        yield (keys[0],), f"must name a factor under `setup`, got {path!r}. Factors: {known}."
        return
    levels = [level_name(path, level) for level in factors[path]]
    for level in asked:
        if level_name(path, level) not in levels:
            yield (
                (keys[1],),
                f"must name levels of `{path}`, got {level_label(level)}. Levels: {', '.join(levels)}.",
            )


def _unreachable_temperatures(claim: Claim, spec: "StudySpec") -> Iterator[Place]:
    if not claim.temperatures:
        return
    if TEMPERATURE in spec.setup:
        levels = spec.setup[TEMPERATURE]
        yield from (
            (("temperatures",), f"must be levels of `objective.temperature`, got {temperature:g}.")
            for temperature in claim.temperatures
            if temperature not in levels
        )
        return
    dimension = spec.tune.get(TEMPERATURE)
    ranges = ranges_of(dimension) if dimension is not None else []
    for temperature in claim.temperatures:
        if not all(_holds(own, temperature) for own in ranges):
            yield ("temperatures",), f"must lie in the range of `objective.temperature`, got {temperature:g}."


def _holds(dimension: Range | Choices, temperature: float) -> bool:
    if isinstance(dimension, Choices):
        return temperature in dimension.choices
    return dimension.low <= temperature <= dimension.high
