"""A teacher that has the data's classes in another order, known by what it predicts."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_FEW = 5  # images of a class, by hand: with fewer, two classes may be taken for each other by chance


def exchanged_classes(logits: Float[Tensor, "N C"], labels: Int64[Tensor, " N"]) -> list[int]:
    """Return classes that a network takes for each other in a circle, or none.

    Most examples of each are taken for the next one, and most of the last for the first. A weak network
    takes one class for another, but not the other for the one: with right labels it learned neither.
    """
    n_classes = logits.shape[1]
    pairs, counts = torch.unique(labels * n_classes + logits.argmax(1), return_counts=True)
    sizes = torch.bincount(labels, minlength=n_classes)
    of_class = pairs // n_classes
    is_most = (2 * counts > sizes[of_class]) & (sizes[of_class] >= _FEW)
    taken_for = dict(zip(of_class[is_most].tolist(), (pairs[is_most] % n_classes).tolist(), strict=True))
    circles = (_circle_from(first, taken_for) for first in taken_for)
    return next((circle for circle in circles if len(circle) > 1), [])


def _circle_from(first: int, taken_for: Mapping[int, int]) -> list[int]:
    """Return the classes on the way from one back to itself. There are none where the way ends elsewhere."""
    circle = [first]
    while (following := taken_for.get(circle[-1])) is not None and following not in circle:
        circle.append(following)
    return circle if following == first else []
