"""The luck of which images were held out for validation. More trials on the same images do not lessen it.

All students are judged by the same validation images, and some of these happen to suit one temperature. On
tables of really trained students the curve over temperature by validation images differs from that by others
by 17% of the accuracy's binomial standard deviation (clothes: 0.33 points with 500 images at 76%), by 13 to
21% (digits, 900 images) and by less than 13% (digits, 500), smoothly in temperature.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.kernels import matern52

_SHARE = 0.25
"""Of the binomial standard deviation: about its mean over temperature such a curve then scatters by 13%."""

_LENGTH = 0.5
"""Half the range of log temperature: neighbouring temperatures make nearly the same mistakes."""

_FEWEST, _MOST = 20, 20_000
"""Fewer images are no validation part; with more their luck is under 0.05 points."""

_ENOUGH_VALUES = 5
"""By hand: fewer distinct accuracies are shares of many numbers of images."""

_TYPICAL = 0.75
"""The quantile of a setup's accuracies that stands for a tuned student, by hand: most are less tuned."""

_MOST_VALUES = 48
"""By hand: more do not narrow it down any further."""

_ROUNDING = 1e-6
"""More than accuracies lose as float32."""


def held_out_images(accuracies: FloatArray) -> int | None:
    """Return of how many images measured accuracies are shares. None where they are of no such number.

    So nobody has to say it: it holds for a fraction of a data set and for users' own trainers.

    Args:
        accuracies: As fractions [N].
    """
    inside = accuracies[(accuracies > 0) & (accuracies < 1)]
    distinct = np.unique(inside)
    if len(distinct) < _ENOUGH_VALUES:
        return None
    chosen = distinct[np.linspace(0, len(distinct) - 1, min(len(distinct), _MOST_VALUES)).astype(int)]
    fitting = np.arange(_FEWEST, _MOST + 1)
    for accuracy in chosen:
        shares = accuracy * fitting
        fitting = fitting[np.abs(shares - np.rint(shares)) <= _ROUNDING * fitting]
    return int(fitting[0]) if len(fitting) else None


@dataclass(frozen=True)
class SplitLuck:
    """What the validation images add to the curves: draws of mean 0 and variance 1, the same for all setups.

    Attributes:
        draws: At the nodes of the temperature axis [Q, G].
        sd: How much it is in each setup, in points; 0 where it is not known of how many images [S].
    """

    draws: FloatArray
    sd: FloatArray

    def at(self, setup: int, nodes: IntArray) -> FloatArray:
        """Return draws of one setup at some nodes, in points [Q, N]."""
        return np.asarray(self.sd[setup] * self.draws[:, nodes])


def draw_split_luck(
    positions: FloatArray,
    accuracies: Sequence[FloatArray],
    n_draws: int,
    rng: np.random.Generator,
    *,
    n_splits: int = 1,
) -> SplitLuck:
    """Return the luck of a study's validation images.

    Args:
        positions: Of the nodes of the temperature axis, in [0, 1] [G].
        accuracies: Of each setup's complete trials, as fractions.
        n_draws: How many draws.
        rng: Draws them.
        n_splits: Over how many splits the trials are spread: each has images of its own.
    """
    correlation = matern52(np.abs(positions[:, None] - positions), _LENGTH)[0]
    root = np.linalg.cholesky(correlation + 1e-8 * np.eye(len(positions)))
    draws = rng.standard_normal((n_draws, len(positions))) @ root.T
    in_all = held_out_images(np.concatenate(accuracies)) if len(accuracies) else None
    sd = [_sd(own, held_out_images(own) or in_all) for own in accuracies]
    return SplitLuck(draws - draws.mean(axis=0), np.array(sd) / np.sqrt(n_splits))


def _sd(accuracies: FloatArray, n_images: int | None) -> float:
    if n_images is None or not len(accuracies):
        return 0.0
    typical = float(np.quantile(accuracies, _TYPICAL))
    return float(_SHARE * 100 * np.sqrt(typical * (1 - typical) / n_images))
