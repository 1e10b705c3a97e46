"""What accuracy depends on: shares of its variation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from kdsearch.analysis.labels import varied_factors
from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.candidates import even_points
from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.response.profiles import Interval
from kdsearch.analysis.response.selection import select_setups
from kdsearch.analysis.shown import Shown
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.intervals import LEVEL, check_level
from kdsearch.spec import level_label

_N_SURFACES = 2
"""By hand: with 32 draws each; shares need no finer doubt, and every pair of axes asks them all."""

_N_LEVELS = 7
"""By hand: enough for curves of one or two bends; pairs take their square."""

_N_POINTS = 128
"""By hand: even points, so means over the other axes are good to a few percent."""

_N_PAIR_POINTS = 32
"""By hand: fewer, since a pair has 49 combinations of levels."""


@dataclass(frozen=True)
class Effect:
    """The share of the variation, in [0, 1], of one path.

    Of a pair it is the share beyond those of its two.
    """

    paths: tuple[str, ...]
    share: float
    interval: Interval


@dataclass(frozen=True, repr=False)
class Importance(Shown):
    """Shares of variation: `tuned` within setups, over the whole ranges; `factors` between setups.

    The variation within a setup is that of expected accuracy over evenly spread parameters, softly floored
    3 points below the setup's top; its shares are averaged over setups. The variation between setups is that
    of their best accuracy, by the factors that vary, where these are two at least: one would have all of it,
    however little that is. `reason` tells why there is nothing to say.
    """

    study: str
    level: float
    tuned: list[Effect] = field(default_factory=list)
    factors: list[Effect] = field(default_factory=list)
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the importance as a JSON document."""
        return {
            **self.__dict__,
            "tuned": list(map(_plain, self.tuned)),
            "factors": list(map(_plain, self.factors)),
        }


@one_blas_thread
def importance(
    response: Response, *, where: Mapping[str, Any] | None = None, level: float = LEVEL
) -> Importance:
    """Return what accuracy depends on, by a decomposition of the model's variance.

    Args:
        response: What a study's trials say.
        where: Levels of factors to which the question is restricted.
        level: Probability of the intervals, between 0 and 1.

    Raises:
        RequestError: A factor or a level of `where` does not belong to the study.
    """
    check_level(level)
    study = response.spec.name
    chosen = select_setups(response.space.setups, where)
    members = [s for s in chosen if response.silence(s) is None]
    if not members:
        return Importance(study, level, reason=response.silence(chosen[0]))
    moving = [s for s in members if _varies(response, s)]
    if not moving and _are_equal(response, members):
        return Importance(study, level, reason=_CONSTANT)
    tuned = _tuned_effects(response, moving, level) if moving else []
    factors = _factor_effects(response, members, level)
    return Importance(study, level, tuned, factors, reason=None if tuned or factors else _ALIKE)


_CONSTANT = "all complete trials have the very same accuracy: there is nothing to explain."
_ALIKE = "there is one accuracy for each setup, and one factor: no share of it is to be told."


def _varies(response: Response, setup: int) -> bool:
    """Return whether a setup's trials differ in accuracy at all. If not, no parameter explains anything."""
    accuracies = response.tallies[setup].complete.val_accuracy
    return bool(len(accuracies) and accuracies.max() > accuracies.min())


def _are_equal(response: Response, setups: Sequence[int]) -> bool:
    """Return whether all trials of some setups have one accuracy.

    No factor explains anything then.
    """
    return len({a for s in setups for a in response.tallies[s].complete.val_accuracy.tolist()}) < 2


def _tuned_effects(response: Response, members: Sequence[int], level: float) -> list[Effect]:
    paths = [axis.path for axis in response.space.axes]
    groups = [(c,) for c in range(len(paths))] + list(combinations(range(len(paths)), 2))
    shares = np.mean([_shares_within(response, s, groups) for s in members], axis=0)
    return [
        _effect(tuple(paths[c] for c in group), share, level)
        for group, share in zip(groups, shares, strict=True)
    ]


def _shares_within(response: Response, setup: int, groups: Sequence[tuple[int, ...]]) -> FloatArray:
    """Return each group of axes' share in one setup's variation.

    The shares are [groups, Q].
    """
    allowed = [np.flatnonzero(response.space.allowed(setup, c)) for c in range(len(response.space.axes))]
    points = even_points(_N_POINTS, np.full(len(allowed), 0.5))
    nodes = np.column_stack(
        [own[(unit * len(own)).astype(int)] for own, unit in zip(allowed, points.T, strict=True)]
    )
    total = np.maximum(_values(response, setup, nodes).var(axis=1), 1e-12)
    explained: dict[tuple[int, ...], FloatArray] = {}
    for group in groups:
        means = _conditional_means(response, setup, group, allowed, nodes)
        lower = sum(explained[(c,)] for c in group) if len(group) > 1 else 0.0
        explained[group] = means.var(axis=1) - lower
    return np.asarray(np.clip([explained[group] / total for group in groups], 0.0, 1.0))


def _conditional_means(
    response: Response, setup: int, group: tuple[int, ...], allowed: Sequence[IntArray], nodes: IntArray
) -> FloatArray:
    """Return the mean over the other axes [Q, levels].

    There is one at each combination of levels of a group of axes.
    """
    levels = [_spread(allowed[c], _N_LEVELS) for c in group]
    combined = np.stack(np.meshgrid(*levels, indexing="ij"), axis=-1).reshape(-1, len(group))
    others = nodes if len(group) == 1 else nodes[:_N_PAIR_POINTS]
    asked = np.repeat(others[None], len(combined), axis=0)
    asked[:, :, list(group)] = combined[:, None]
    values = _values(response, setup, asked.reshape(-1, nodes.shape[1]))
    return np.asarray(values.reshape(len(values), len(combined), -1).mean(axis=2))


def _values(response: Response, setup: int, nodes: IntArray) -> FloatArray:
    return response.drawn(setup, nodes, _N_SURFACES)


def _spread(nodes: IntArray, count: int) -> IntArray:
    """Return about `count` nodes, in the middle of equal parts."""
    count = min(count, len(nodes))
    chosen: IntArray = nodes[((np.arange(count) + 0.5) / count * len(nodes)).astype(int)]
    return chosen


def _factor_effects(response: Response, members: Sequence[int], level: float) -> list[Effect]:
    setups = response.space.setups
    best = np.array([response.profile([s]).draws.max(axis=1) for s in members])
    total = np.maximum(best.var(axis=0), 1e-12)
    varied, effects = varied_factors([setups[s] for s in members]), []
    for path in varied if len(varied) > 1 else []:  # one alone has all, however little that is
        labels = np.array([level_label(setups[s][path]) for s in members])
        means = np.array([best[labels == label].mean(axis=0) for label in labels])
        effects.append(_effect((path,), means.var(axis=0) / total, level))
    return effects


def _effect(paths: tuple[str, ...], share: FloatArray, level: float) -> Effect:
    low, high = np.quantile(share, [(1 - level) / 2, (1 + level) / 2])
    return Effect(paths, float(share.mean()), (float(low), float(high)))


def _plain(effect: Effect) -> dict[str, Any]:
    return {"paths": list(effect.paths), "share": effect.share, "interval": list(effect.interval)}
