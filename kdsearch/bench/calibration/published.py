"""Curves over temperature that others have published: means of the runs in `studies/public_tables.csv`.

Between two temperatures a curve is a line in log T. Its single runs have luck in them; as shapes they are of
nobody's choosing.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

Points: TypeAlias = Float64[np.ndarray, "*U"]

_MEASURED: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "published VOC": ((0.25, 0.5, 1, 1.5, 2), (68.87, 68.70, 68.28, 69.13, 69.31)),
    "published small nets": ((0.5, 2, 5, 10, 15, 25), (70.33, 70.71, 72.18, 72.07, 71.35, 71.36)),
    "published Imagenette": ((1, 2, 4, 8), (90.29, 90.62, 88.48, 74.62)),
    "published Adam": ((1, 2, 4, 8, 16), (85.38, 85.27, 86.46, 86.33, 86.58)),
}
"""Temperatures and accuracy or mean IoU in percent. A fifth table has two temperatures: no curve."""


def published_losses() -> dict[str, Callable[[Points], Points]]:
    """Return what temperature loses in each table.

    Losses are in points, temperatures are shares of the table's range of log T.
    """
    return {name: _losing(*measured) for name, measured in _MEASURED.items()}


def _losing(temperatures: Sequence[float], accuracies: Sequence[float]) -> Callable[[Points], Points]:
    logs = np.log(temperatures)
    places = (logs - logs[0]) / (logs[-1] - logs[0])
    losses = max(accuracies) - np.array(accuracies)
    return lambda u: np.interp(u, places, losses)
