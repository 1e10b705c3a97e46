"""When a running trial is given up.

Early accuracy favours small temperatures under SGD, so by default a trial is stopped only where no
catch-up that was ever seen in its setup, and half as much again, would bring it near the others. The
usual rules, which know no such caution, are here for comparison. A rule travels with a pack as
numbers, one floor an epoch, so that a worker need not ask anyone.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TypeAlias

import numpy as np

from kdsearch.trial import Metrics

Curve: TypeAlias = Mapping[int, float]
"""A trial's validation accuracy by epoch, epochs counted from 1."""

Floors: TypeAlias = dict[int, float]
"""The validation accuracy by epoch under which a trial is given up."""

FLOORED = ("hopeless", "median", "asha")
"""The pruners that are floors; `wilcoxon` judges replicates instead."""

MIN_CURVES = 8
CATCH_UP = 1.5
MARGIN = 0.1
WARM_UP = 0.25
REDUCTION = 3


def floors_of(pruner: str, curves: Sequence[Curve], epochs: int) -> Floors:
    """Return the floors that a `search.pruner` draws from the curves of trials of one setup and length.

    Args:
        pruner: One of `FLOORED`.
        curves: Accuracy curves of trials that are complete or were pruned.
        epochs: The length that was asked for; the last epoch has no floor.
    """
    if pruner == "hopeless":
        return hopeless_floors(curves, epochs)
    if pruner == "median":
        return median_floors(curves, epochs)
    return asha_floors(curves, epochs)


def hopeless_floors(curves: Sequence[Curve], epochs: int) -> Floors:
    """Return the floors that follow from a setup's complete trials.

    At epoch e the floor is `median(last) - MARGIN - CATCH_UP * max(last - at e)`: a trial under it
    would stay `MARGIN` under the median even after one and a half times the largest gain that any
    trial made from e to its end.

    Args:
        curves: Accuracy curves of complete trials of the asked-for length.
        epochs: The asked-for length; the last epoch has no floor.
    """
    whole = [curve for curve in curves if epochs in curve]
    if len(whole) < MIN_CURVES:
        return {}
    target = median(curve[epochs] for curve in whole) - MARGIN
    floors: Floors = {}
    for epoch in range(1, epochs):
        gains = [curve[epochs] - curve[epoch] for curve in whole if epoch in curve]
        if gains and (floor := target - CATCH_UP * max(0.0, *gains)) > 0:
            floors[epoch] = floor
    return floors


def median_floors(curves: Sequence[Curve], epochs: int) -> Floors:
    """Return the median rule's floors: the median of all trials at the same epoch, after a warm-up.

    The rule of Golovin et al. (2017), section 3.2.2, on accuracies as they are and not on running means.

    Args:
        curves: Accuracy curves of complete and pruned trials of the asked-for length.
        epochs: The asked-for length; its first quarter and its last epoch have no floor.
    """
    return _floors(curves, range(int(WARM_UP * epochs) + 1, epochs), 0.5)


def asha_floors(curves: Sequence[Curve], epochs: int) -> Floors:
    """Return successive halving's floors: at each rung the best third of those that came there goes on.

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
