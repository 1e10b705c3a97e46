"""What is asked in a URL's query, read strictly. Unknown and wrong parameters are named."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.datastructures import QueryParams

from kdsearch.analysis.report.figures.document import STUDY_FIGURES
from kdsearch.errors import RequestError
from kdsearch.intervals import LARGEST_LOSS, LEVEL, LEVELS, SMALLEST_REGRET, TOLERANCE
from kdsearch.service.openapi import MOST_TRIALS, STATES
from kdsearch.spec import parse_levels

_Default = TypeVar("_Default", bound=float | None)
_Whole = TypeVar("_Whole", bound=int | None)
_Text = TypeVar("_Text", bound=str | None)

_LISTS = ("by", "where", "set", "study")
"""The parameters that may be given several times; of others one value would be passed over."""

_MOST_DIGITS = 30  # by hand: more than any number of 64 bits is written with
_PLAIN_NUMBER = re.compile(r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?|[0-9]+\.")
"""Python reads other texts as numbers too, such as 0.9_5."""


@dataclass(frozen=True)
class Question:
    """How answers are asked for; see `kdsearch.analysis.best` and `kdsearch.recommend`.

    Without a `regret` a forecast goes by the study's own.
    """

    by: tuple[str, ...] | None = None
    where: dict[str, Any] | None = None
    level: float = LEVEL
    tolerance: float = TOLERANCE
    regret: float | None = None
    factor: str | None = None
    setup: dict[str, Any] | None = None
    studies: tuple[str, ...] | None = None
    limit: int | None = None
    offset: int = 0
    state: str | None = None
    kind: str | None = None


def read_question(query: QueryParams, allowed: Collection[str]) -> Question:
    """Return what a query asks.

    Args:
        query: The URL's query.
        allowed: The parameters that this address takes.

    Raises:
        RequestError: A parameter is unknown or has a wrong value.
    """
    check_names(query, allowed)
    by = [path.strip() for text in query.getlist("by") for path in text.split(",") if path.strip()]
    return Question(
        by=tuple(dict.fromkeys(by)) or None,
        where=_assignments(query, "where"),
        level=_number(query, "level", Question.level, low=LEVELS[0], high=LEVELS[1]),
        tolerance=_number(query, "tolerance", Question.tolerance, low=0.0, high=LARGEST_LOSS),
        regret=_number(query, "regret", Question.regret, low=SMALLEST_REGRET, high=LARGEST_LOSS),
        factor=query.get("factor"),
        setup=_assignments(query, "set"),
        studies=tuple(query.getlist("study")) or None,
        limit=whole_number(query, "limit", None, low=1, high=MOST_TRIALS),
        offset=whole_number(query, "offset", 0, low=0, high=10**9),
        state=choice(query, "state", STATES, None),
        kind=choice(query, "kind", STUDY_FIGURES, None),
    )


def check_names(query: QueryParams, allowed: Collection[str]) -> None:
    """Raise RequestError for a parameter that this address does not take, or takes once and gets twice."""
    for name in query:
        if name not in allowed:
            known = f"Known: {', '.join(sorted(allowed))}." if allowed else "There is none here."
            raise RequestError(f"`{name[:100]}` is not a parameter of this address. {known}")
        if name not in _LISTS and (n := len(query.getlist(name))) > 1:
            raise RequestError(f"`{name}` must be given once, got it {n} times. Keep one of them.")


def whole_number(query: QueryParams, name: str, default: _Whole, *, low: int, high: int) -> int | _Whole:
    """Return a parameter that is a whole number.

    Raises:
        RequestError: It is none, or outside its bounds.
    """
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or not low <= int(text[:20]) <= high:
        raise RequestError(f"`{name}` must be a whole number from {low} to {high}, got {text[:100]!r}.")
    return int(text)


def choice(query: QueryParams, name: str, allowed: Sequence[str], default: _Text) -> str | _Text:
    """Return a parameter that is one of some words.

    Raises:
        RequestError: It is another one.
    """
    text = query.get(name)
    if text is None:
        return default
    if text not in allowed:
        raise RequestError(f"`{name}` must be one of {', '.join(allowed)}, got {text[:100]!r}.")
    return text


def _assignments(query: QueryParams, name: str) -> dict[str, Any] | None:
    example = f"{name}=optimizer.name=sgd"
    return parse_levels(query.getlist(name), name, example=example) or None


def _number(query: QueryParams, name: str, default: _Default, *, low: float, high: float) -> float | _Default:
    text = query.get(name)
    if text is None:
        return default
    is_plain = len(text) <= _MOST_DIGITS and _PLAIN_NUMBER.fullmatch(text)
    if not is_plain or not low <= float(text) <= high:
        raise RequestError(f"`{name}` must be a number from {low:g} to {high:g}, got {text[:100]!r}.")
    return float(text)
