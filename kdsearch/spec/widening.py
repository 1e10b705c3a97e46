"""Ranges that a search widens by itself."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kdsearch.errors import SpecError
from kdsearch.spec.loading import load_spec, spec_document
from kdsearch.spec.space import TEMPERATURE, ByFactor, Range, Setup, level_label
from kdsearch.spec.study import StudySpec

_STEP = 0.5
"""Of the range's width on its own scale, by hand: a step that matters and is still near what was tried."""

_SMALLER_STEPS = 5
"""Where the spec allows no such step: halves of it, down to a sixteenth."""

_COSTLY = "training."


@dataclass(frozen=True)
class Widening:
    """A range that was widened, and why.

    It was [`was_low`, `was_high`] and became [`low`, `high`]. `level` tells which range of a `by:` it is,
    None where there is one for all setups.
    """

    path: str
    level: str | None
    was_low: float
    was_high: float
    low: float
    high: float
    reason: str

    def __str__(self) -> str:
        of = f" of {self.level}" if self.level is not None else ""
        was, now = (f"{low:.3g} … {high:.3g}" for low, high in self._ranges())
        return f"{self.path}{of} from {was} to {now}: {self.reason}"

    def _ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (self.was_low, self.was_high), (self.low, self.high)


def may_widen(spec: StudySpec, path: str) -> bool:
    """Return whether `search.widen` asks for a parameter's range to be widened.

    `true` leaves out the temperature, whose range says what is asked, and what decides how long a training
    takes; each is widened where it is named.
    """
    asked = spec.search.widen
    if isinstance(asked, bool):
        return asked and path != TEMPERATURE and not path.startswith(_COSTLY)
    return path in asked


def level_of_range(spec: StudySpec, path: str, setup: Setup) -> str | None:
    """Return which level's range of a tuned parameter holds in a setup. None where all setups share one."""
    dimension = spec.tune[path]
    return level_label(setup[dimension.by]) if isinstance(dimension, ByFactor) else None


def widened(spec: StudySpec, widenings: Iterable[Widening]) -> StudySpec:
    """Return the spec with ranges widened.

    Raises:
        SpecError: A range holds what the spec does not allow.
    """
    return load_spec(widened_document(spec_document(spec), widenings))


def widened_document(document: Mapping[str, Any], widenings: Iterable[Widening]) -> dict[str, Any]:
    """Return a spec's document with ranges widened, the later ones last."""
    tune = dict(document.get("tune", {}))
    for widening in widenings:
        ends = {"low": widening.low, "high": widening.high}
        found = tune[widening.path]
        if widening.level is None:
            tune[widening.path] = {**found, **ends}
        else:
            ranges = found["ranges"]
            tune[widening.path] = {
                **found,
                "ranges": {**ranges, widening.level: {**ranges[widening.level], **ends}},
            }
    return {**document, "tune": tune}


def widen_range(
    spec: StudySpec, path: str, level: str | None, *, is_high: bool, reason: str
) -> Widening | None:
    """Return how a range is widened at one end.

    It grows by half its width, or by less where the spec allows no more, as a momentum stays below 1. None
    where the spec allows nothing.

    Args:
        spec: The study's spec.
        path: The tuned parameter's path.
        level: The level of `by` whose range it is; None for a range of all setups.
        is_high: Whether its high end is moved.
        reason: Why, in words.
    """
    dimension = spec.tune[path]
    now = dimension.ranges[level] if isinstance(dimension, ByFactor) and level is not None else dimension
    assert isinstance(now, Range)  # noqa: S101 - choices have no end
    for halvings in range(_SMALLER_STEPS):
        low, high = _stretched(now, _STEP / 2**halvings, is_high=is_high)
        if (low, high) == (now.low, now.high):
            return None
        found = Widening(path, level, now.low, now.high, low, high, reason)
        try:
            widened(spec, [found])
        except SpecError:
            continue
        return found
    return None


def _stretched(dimension: Range, share: float, *, is_high: bool) -> tuple[float, float]:
    """Return a range's ends, one moved outwards.

    It moves by a share of the range's width.
    """
    low, high = dimension.low, dimension.high
    if dimension.log:
        factor = (high / low) ** share
        moved = high * factor if is_high else low / factor
    else:
        moved = high + share * (high - low) if is_high else low - share * (high - low)
    if dimension.integer:
        moved = float(math.floor(moved) if is_high else math.ceil(moved))
    return (low, moved) if is_high else (moved, high)
