"""Whether the best temperature depends on a factor, and what that costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np

from kdsearch.analysis.labels import setup_names
from kdsearch.analysis.questions.contrasts import Contrast, share_beyond
from kdsearch.analysis.response.axes import FloatArray
from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.response.profiles import Interval, TemperatureProfile
from kdsearch.analysis.response.selection import check_factor, group_setups, select_setups
from kdsearch.analysis.shown import Shown
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.intervals import LEVEL, check_level
from kdsearch.spec import level_label

SAME_RATIO = 1.1
"""By hand: best temperatures within 10% are one for any use."""

FREE_COST = 0.001
"""By hand: a tenth of a point is less than the luck of one seed."""


@dataclass(frozen=True)
class LevelAnswer:
    """The best temperature at one level, averaged over other factors."""

    level: Any
    temperature: float
    interval: Interval


@dataclass(frozen=True)
class Shift:
    """How the best temperature moves from the first level to the second.

    Attributes:
        levels: The two levels.
        shift: Median of log(T of the second / T of the first).
        interval: Holds the shift with the asked probability.
        family_interval: Intervals of all pairs hold together with the asked probability.
        probability: That the shift is real: it has the median's direction, is more than 10%, and one
            temperature for both levels costs at least 0.1 points of accuracy.
        cost: Expected accuracy lost, as a mean of both levels, by the one temperature that suits them best.
    """

    levels: tuple[Any, Any]
    shift: float
    interval: Interval
    family_interval: Interval
    probability: float
    cost: float


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Whether the best temperature depends on a factor.

    `reason` tells why that can't be said. `probability` is that at least one pair of levels really differs;
    `statement` says it in words.
    """

    study: str
    factor: str
    level: float
    levels: list[LevelAnswer] = field(default_factory=list)
    pairs: list[Shift] = field(default_factory=list)
    probability: float | None = None
    statement: str | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON document."""
        return {
            **self.__dict__,
            "levels": [_plain(answer) for answer in self.levels],
            "pairs": [_plain(pair) for pair in self.pairs],
        }


@one_blas_thread
def compare(
    response: Response, factor: str, *, where: Mapping[str, Any] | None = None, level: float = LEVEL
) -> Comparison:
    """Return how the best temperature shifts between the levels of a factor.

    Only setups that every level has, the other factors being equal, are compared: no other factor's effect
    is taken for this one's.

    Args:
        response: What a study's trials say.
        factor: The factor's dotted path.
        where: Levels of other factors to which the comparison is restricted.
        level: Probability of the intervals, between 0 and 1.

    Raises:
        RequestError: The factor, or a level of `where`, does not belong to the study.
    """
    check_level(level)
    study, setups = response.spec.name, response.space.setups
    check_factor(setups, factor, "factor")
    chosen = select_setups(setups, where)
    groups = group_setups(setups, chosen, [factor])
    levels = [group[factor] for group, _ in groups]
    matched = _matched(response, factor, [members for _, members in groups])
    if len(levels) < 2:
        reason = f"`{factor}` has a single level here: there is nothing to compare."
    elif not matched:
        why = next(f"{setup_names(setups)[s]}: {why}" for s in chosen if (why := _silence(response, s)))
        reason = f"no setup has an answer at every level of `{factor}`; {why}"
    elif (share := share_beyond(response, contrast := _contrast(matched), "best_temperature")) > 1 - level:
        reason = (
            f"with a probability of {share:.2f} a best temperature lies beyond those that all levels of "
            f"`{factor}` were searched in: a shift would be one of the ranges."
        )
    else:
        profiles = [response.profile(members) for members in contrast.groups]
        return _compared(Comparison(study, factor, level), levels, profiles)
    return Comparison(study, factor, level, reason=reason)


def _matched(response: Response, factor: str, groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the groups of setups that differ in the factor alone.

    There is one for each combination of the other factors whose setups can be answered at every level.
    """
    setups = response.space.setups
    by_others: dict[tuple[str, ...], list[int]] = {}
    for s in (s for members in groups for s in members):
        if _silence(response, s) is None:
            others = tuple(level_label(level) for path, level in setups[s].items() if path != factor)
            by_others.setdefault(others, []).append(s)
    return [members for members in by_others.values() if len(members) == len(groups)]


def _contrast(matched: Sequence[Sequence[int]]) -> Contrast:
    """Return the setups of each level, matched by their order."""
    return Contrast([list(members) for members in zip(*matched, strict=True)])


def _silence(response: Response, setup: int) -> str | None:
    """Return why a setup has no part, or None where it has one."""
    return response.silence(setup) or response.stalemate(setup)


def _compared(known: Comparison, levels: Sequence[Any], profiles: Sequence[TemperatureProfile]) -> Comparison:
    pairs = list(combinations(range(len(levels)), 2))
    shifts = np.array([profiles[b].log_best - profiles[a].log_best for a, b in pairs])
    costs = np.array([cost_of_one_temperature([profiles[a], profiles[b]]) for a, b in pairs])
    together = _family_intervals(shifts, known.level)
    found = [
        _shift((levels[a], levels[b]), shifts[i], costs[i], together[i], known.level)
        for i, (a, b) in enumerate(pairs)
    ]
    probability = float((cost_of_one_temperature(profiles) >= FREE_COST).mean())
    return replace(
        known,
        levels=[
            LevelAnswer(level, profile.temperature, profile.interval(known.level))
            for level, profile in zip(levels, profiles, strict=True)
        ],
        pairs=found,
        probability=probability,
        statement=_statement(known, found, probability),
    )


def _shift(
    levels: tuple[Any, Any], shifts: FloatArray, costs: FloatArray, together: Interval, level: float
) -> Shift:
    middle = float(np.median(shifts))
    low, high = np.quantile(shifts, [(1 - level) / 2, (1 + level) / 2])
    real = (np.sign(middle) * shifts > math.log(SAME_RATIO)) & (costs >= FREE_COST)
    return Shift(
        levels=levels,
        shift=middle,
        interval=(float(low), float(high)),
        family_interval=together,
        probability=float(real.mean()),
        cost=float(costs.mean()),
    )


def cost_of_one_temperature(profiles: Sequence[TemperatureProfile]) -> FloatArray:
    """Return each draw's mean loss [Q] under one temperature for all levels.

    It is the temperature that suits them best together.
    """
    shared = reduce(np.intersect1d, [profile.temperatures for profile in profiles])
    if not len(shared):
        return np.full(len(profiles[0].draws), np.inf)
    regrets = [p.regret[:, np.isin(p.temperatures, shared)] for p in profiles]
    return np.asarray(np.mean(regrets, axis=0).min(axis=1))


def _family_intervals(shifts: FloatArray, level: float) -> list[Interval]:
    """Return intervals of the pairs' shifts that all hold together.

    The shifts are [pairs, Q]; `level` is the probability that all hold.
    """
    middle = np.median(shifts, axis=1, keepdims=True)
    scale = np.maximum(shifts.std(axis=1, keepdims=True), 1e-9)
    reach = np.quantile(np.abs((shifts - middle) / scale).max(axis=0), level)
    ends = np.hstack([middle - reach * scale, middle + reach * scale])
    return [(float(low), float(high)) for low, high in ends]


def _statement(known: Comparison, pairs: Sequence[Shift], probability: float) -> str:
    """Return the answer in words. A pair is called different only where all such calls hold together."""
    real = [p for p in pairs if p.probability >= known.level and not _holds_zero(p.family_interval)]
    if not real:
        if probability <= 1 - known.level:
            return (
                f"One temperature serves all levels of `{known.factor}`, "
                f"with probability {1 - probability:.2f}."
            )
        return (
            f"Undecided: with probability {probability:.2f} no one temperature serves "
            f"all levels of `{known.factor}`."
        )
    parts = [
        f"{level_label(p.levels[1])} takes {math.exp(p.shift):.2g} times the temperature of "
        f"{level_label(p.levels[0])}"
        for p in real
    ]
    return f"The best temperature depends on `{known.factor}`: {'; '.join(parts)}."


def _holds_zero(interval: Interval) -> bool:
    return interval[0] <= 0 <= interval[1]


def _plain(record: LevelAnswer | Shift) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in record.__dict__.items()}
