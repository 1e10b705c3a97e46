"""A temperature that moves within a run, around the searched one."""

import math

from jaxtyping import Float
from torch import Tensor


def temperature_in(
    epoch: int, epochs: int, middle: Float[Tensor, " K"], ratio: Float[Tensor, " K"], shape: str
) -> Float[Tensor, " K"]:
    """Return each student's temperature in an epoch.

    It begins at `middle / sqrt(ratio)` and ends at `middle * sqrt(ratio)`; a run of one epoch has the middle.
    But for `linear`, the mean of log T over the epochs is that of the middle.

    Args:
        epoch: The epoch, from 1.
        epochs: How many there are.
        middle: The geometric mean of both ends.
        ratio: The last epoch's temperature by the first's; 1 stays where it is.
        shape: geometric (even steps of log T), linear (of T), cosine (of log T, slow at both ends) or step
            (from one end to the other half-way; the epoch in the middle, if any, has the middle).
    """
    if epochs == 1:
        return middle
    share = (epoch - 1) / (epochs - 1)
    if shape == "linear":
        first = middle / ratio.sqrt()
        return first + (ratio - 1) * first * share
    if shape == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    elif shape == "step":
        share = (2 * share > 1) / 2 + (2 * share >= 1) / 2
    return middle * ratio ** (share - 0.5)
