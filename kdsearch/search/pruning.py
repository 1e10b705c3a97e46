"""When a running trial is given up.

Early accuracy favours small temperatures under SGD, so a trial is stopped only where no catch-up
that was ever seen in its setup, and half as much again, would bring it near the others. The rule
travels with a pack as numbers, one floor an epoch, so that a worker need not ask anyone.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TypeAlias

from kdsearch.trial import Metrics

Curve: TypeAlias = Mapping[int, float]
"""A trial's validation accuracy by epoch, epochs counted from 1."""

Floors: TypeAlias = dict[int, float]
"""The validation accuracy by epoch under which a trial is given up."""

MIN_CURVES = 8
CATCH_UP = 1.5
MARGIN = 0.1


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


def under_floor(floors: Floors, epoch: int, metrics: Metrics) -> bool:
    """Return whether a trial with these metrics is to be given up."""
    return metrics["val_accuracy"] < floors.get(epoch, 0.0)
