"""When a running trial is given up.

By default a trial is stopped only where not even the fastest rise that was ever seen in its setup would bring
it near the others in the epochs that are left. Early accuracy decides nothing: it favours small temperatures
and small learning rates, and under a falling schedule high rates rise last. One in eight of those that would
be stopped is trained to its end all the same, and shows how often the rule is wrong. The usual rules, which
know no such caution, are here for comparison. A rule travels with a pack as numbers, one floor an epoch, so
that a worker need not ask anyone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kdsearch.seeds import numbered_seed
from kdsearch.spec.sections import Training
from kdsearch.trial import AUDITED, CAME_BACK, Metrics

Curve: TypeAlias = Mapping[int, float]
"""A trial's validation accuracy by epoch, epochs counted from 1."""

Floors: TypeAlias = dict[int, float]
"""The validation accuracy by epoch under which a trial is given up."""

FLOORED = ("hopeless", "median", "asha")
"""The pruners that are floors; `wilcoxon` judges replicates instead."""

MIN_CURVES = 8
"""So many complete trials a rule needs."""

MARGIN = 0.1
"""So far under the setup's median a trial is of no use to the answer."""

AUDIT_EVERY = 8
"""One in so many trials is trained to its end whatever the rule says."""

WARM_UP = 0.25
"""By hand: in the first quarter curves cross too often for a median to say anything."""

REDUCTION = 3
"""Hyperband's authors advise 3 or 4 (Li et al., 2018); the smaller one stops fewer."""

_FALLEN = 0.5  # the share of its peak at which a learning rate has fallen
_ONE_CYCLE_RISE = 0.3
"""torch's own: OneCycleLR rises for 30% of its steps."""


def floors_of(pruner: str, curves: Sequence[Curve], training: Training) -> Floors:
    """Return a pruner's floors, from curves of one setup and length.

    Args:
        pruner: One of `FLOORED`.
        curves: Accuracy curves of trials that are complete or were pruned.
        training: How they are trained; the last epoch has no floor.
    """
    if pruner == "hopeless":
        return hopeless_floors(curves, training.epochs, first_judged(training))
    if pruner == "median":
        return median_floors(curves, training.epochs)
    return asha_floors(curves, training.epochs)


def first_judged(training: Training) -> int:
    """Return the first epoch at which a trial may be hopeless.

    That is half of the training, or later: when the schedule has brought the learning rate to half its peak.
    """
    epochs, warm_up = training.epochs, training.warmup_epochs
    fallen = epochs / 2
    if training.schedule == "cosine":
        fallen = (warm_up + epochs) / 2
    elif training.schedule == "one_cycle":
        fallen = ((warm_up or _ONE_CYCLE_RISE * epochs) + epochs) / 2
    elif training.schedule == "step":
        factors = ((at, training.gamma**count) for count, at in enumerate(sorted(training.milestones), 1))
        fallen = epochs * next((at for at, factor in factors if factor <= _FALLEN), 0.5)
    return math.ceil(max(fallen, epochs / 2))


def hopeless_floors(curves: Sequence[Curve], epochs: int, first: int = 1) -> Floors:
    """Return floors from which even the fastest known rise falls short.

    At epoch e the floor is `line_of(curves) - best_rises(curves)[epochs - e]`: the line, less the most that
    any trial of the setup gained in as many epochs as are left, whenever that was.

    Args:
        curves: Accuracy curves of trials that are complete or were pruned, of the asked-for length.
        epochs: The asked-for length; the last epoch has no floor.
        first: The first epoch that has a floor.
    """
    line = line_of(curves, epochs)
    if line is None:
        return {}
    left = line - best_rises(curves, epochs)
    return {e: float(left[epochs - e]) for e in range(max(first, 1), epochs) if left[epochs - e] > 0}


def line_of(curves: Sequence[Curve], epochs: int) -> float | None:
    """Return the accuracy under which a trial ends in vain. None while too few trials are complete."""
    ends = [curve[epochs] for curve in curves if epochs in curve]
    return median(ends) - MARGIN if len(ends) >= MIN_CURVES else None


def best_rises(curves: Sequence[Curve], epochs: int) -> NDArray[np.float64]:
    """Return the most that any trial gained within 0, 1, … epochs.

    The shape is [epochs + 1]. Before its first epoch a trial has the lowest accuracy that any trial ever had.
    """
    level = np.full((len(curves), epochs + 1), np.nan)
    for own, curve in zip(level, curves, strict=True):
        known = [epoch for epoch in curve if 1 <= epoch <= epochs]
        own[known] = [curve[epoch] for epoch in known]
    level[:, 0] = np.fmin.reduce(level, axis=None)
    rises = np.zeros(epochs + 1)
    for width in range(1, epochs + 1):
        gained = np.fmax.reduce(level[:, width:] - level[:, :-width], axis=None)
        rises[width] = np.fmax(rises[width - 1], gained)
    return rises


def audited_of(numbers: Iterable[int], seed: int) -> list[int]:
    """Return which trials are trained to their end anyway: one of each eight numbers.

    Args:
        numbers: The trials' numbers in their study.
        seed: The study's seed, which picks the trial of each eight.
    """
    return [n for n in numbers if _picked(seed, n // AUDIT_EVERY) == n % AUDIT_EVERY]


def _picked(seed: int, block: int) -> int:
    return int(np.random.default_rng(numbered_seed(seed, block)).integers(AUDIT_EVERY))


def audit_reason(epoch: int, accuracy: float, line: float) -> str:
    """Return the text recorded of a trial the rule would have stopped.

    `epoch` is the one after which it would have been.
    """
    kind, side = (CAME_BACK, "above") if accuracy >= line else (AUDITED, "under")
    return f"{kind}: hopeless at epoch {epoch}, ended {side} {100 * line:.1f}%"


def median_floors(curves: Sequence[Curve], epochs: int) -> Floors:
    """Return the median of all trials at each epoch after a warm-up.

    The rule of Golovin et al. (2017), section 3.2.2, on accuracies as they are and not on running means.

    Args:
        curves: Accuracy curves of complete and pruned trials of the asked-for length.
        epochs: The asked-for length; its first quarter and its last epoch have no floor.
    """
    return _floors(curves, range(int(WARM_UP * epochs) + 1, epochs), 0.5)


def asha_floors(curves: Sequence[Curve], epochs: int) -> Floors:
    """Return successive halving's floors: at each rung the best third go on.

    Rungs lie at the asked-for length divided by 3, 9, 27, … The asynchronous rule of Li et al. (2020),
    Algorithm 2, stopping instead of promoting.

    Args:
        curves: Accuracy curves of complete and pruned trials of the asked-for length.
        epochs: The asked-for length.
    """
    rungs = []
    rung = epochs // REDUCTION
    while rung >= 1:
        rungs.append(rung)
        rung //= REDUCTION
    return _floors(curves, sorted(rungs), 1 - 1 / REDUCTION)


def _floors(curves: Sequence[Curve], at: Sequence[int], quantile: float) -> Floors:
    floors: Floors = {}
    for epoch in at:
        reached = [curve[epoch] for curve in curves if epoch in curve]
        if len(reached) >= MIN_CURVES:
            floors[epoch] = float(np.quantile(reached, quantile))
    return floors


def under_floor(floors: Floors, epoch: int, metrics: Metrics) -> bool:
    """Return whether a trial with these metrics is to be given up."""
    return metrics["val_accuracy"] < floors.get(epoch, 0.0)


class FloorWatch:
    """Applies a pack's floors, and notes which audited trials they would stop.

    Args:
        floors: Accuracies by epoch.
        audited: The numbers of the trials that go on under a floor.
        line: The accuracy under which a trial ends in vain.
    """

    def __init__(self, floors: Floors, audited: Iterable[int], line: float) -> None:
        self._floors = floors
        self._audited = frozenset(audited)
        self._line = line
        self._crossed: dict[int, int] = {}

    def stops(self, number: int, epoch: int, metrics: Metrics) -> bool:
        """Return whether a trial is to be stopped after an epoch."""
        is_under = under_floor(self._floors, epoch, metrics)
        if is_under and number in self._audited:
            self._crossed.setdefault(number, epoch)
            return False
        return is_under

    def audit_of(self, number: int, accuracy: float) -> str | None:
        """Return the text recorded of a complete trial that crossed a floor.

        None where it crossed none.
        """
        if number not in self._crossed:
            return None
        return audit_reason(self._crossed[number], accuracy, self._line)
