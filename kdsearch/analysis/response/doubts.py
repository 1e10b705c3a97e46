"""Which trials are doubted: what is surprisingly low, and all where noise is larger than elsewhere."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import Evidence, distinct_rows
from kdsearch.analysis.response.process import Process

OUTLIER_VARIANCE = 1e4
"""Of a trial's own noise: what counts so little says nothing."""

_OUTLIER_SDS = 3.0
"""The usual three standard deviations; beyond, the tail's doubt would still let it pull."""

_TAIL = 4.0
"""Degrees of freedom of Student's t: a usual choice for robust fits, with a finite variance."""

_SLOPES = np.linspace(-4, 4, 81)
"""By hand, of the log variance of noise along the range of temperatures: a factor of 7 of the deviation."""

_LEVELS = np.exp(np.linspace(-1.5, 1.5, 13))
"""By hand, of the usual variance: a usual one that is wrong must not pass for growth."""

_SLOPE_SD = 1.5
"""Tuned students scatter by 0.9 to 1.3 of the usual anywhere; what dozens of trials show is believed."""

_SD_OF_MEDIAN_DEVIATION = 1.4826
"""Of a normal distribution, 1 / 0.6745."""

_ENOUGH_FOR_OUTLIERS = 20
"""By hand: with fewer, a median of residuals is as doubtful as what it would doubt."""

_ENOUGH_TO_GROW = 40
"""By hand: of fewer a slope is known to no better than 0.7, and an even noise passes for one that grows."""

_ENOUGH_FOR_OWN_SCALE = 8
"""By hand: with so many residuals a setup's own scale and that of all weigh alike."""


def doubted(kernel: Kernel, theta: FloatArray, plain: Evidence, evidence: Evidence) -> Evidence:
    """Return evidence with more variance for what is surprisingly low, or where noise is larger.

    It is compared with the prediction from the others. The residuals' scale is their median deviation, not
    the fitted noise: a few broken trials inflate that one and would hide behind it.
    """
    if len(plain) < _ENOUGH_FOR_OUTLIERS:
        return plain
    left_out = _left_out(Process(kernel, theta, evidence), kernel, evidence)
    growth = _growth(kernel, plain, left_out).at(kernel, plain)
    deviation = left_out.residual / np.sqrt(left_out.belief + left_out.noise * growth)
    return plain.with_variance(_doubt(deviation, plain.variance, growth))


class _LeftOut(NamedTuple):
    """Evidence against the prediction from the others.

    Attributes:
        residual: Its residuals [N].
        belief: The prediction's variance without noise [N].
        noise: The usual variance of residuals in its setup [N].
    """

    residual: FloatArray
    belief: FloatArray
    noise: FloatArray


def _left_out(process: Process, kernel: Kernel, evidence: Evidence) -> _LeftOut:
    residual, variance = process.leave_one_out()
    belief = np.maximum(variance - process.tables.noise[evidence.setup] * evidence.variance, 0)
    scale = _typical_residuals(residual, evidence.setup, kernel.n_setups)[evidence.setup]
    return _LeftOut(residual, belief, scale**2)


@dataclass(frozen=True)
class _Growth:
    """How noise grows with temperature: its variance by exp(slope) along the range, 1 at a place of it."""

    slope: float
    around: float

    def at(self, kernel: Kernel, evidence: Evidence) -> FloatArray:
        """Return the multiples of a trial's noise where evidence was measured [N]."""
        return np.exp(self.slope * (_places(kernel, evidence) - self.around))


def _places(kernel: Kernel, evidence: Evidence) -> FloatArray:
    return kernel.axes[0].positions[evidence.nodes[:, 0]]


def _growth(kernel: Kernel, plain: Evidence, left_out: _LeftOut) -> _Growth:
    """Return the most probable growth of noise. Broken trials count in it no more than the largest usual."""
    places, measured = _places(kernel, plain), plain.variance == 1.0
    around = float(places.mean())
    if not kernel.axes[0].continuous or measured.sum() < _ENOUGH_TO_GROW:
        return _Growth(0.0, around)
    belief, noise, squared = (
        own[measured] for own in (left_out.belief, left_out.noise, left_out.residual**2)
    )
    growth = np.exp(np.multiply.outer(_SLOPES, places[measured] - around))
    variance = belief + noise * _LEVELS[:, None, None] * growth
    surprise = np.log(variance) + np.minimum(squared / variance, _OUTLIER_SDS**2)
    cost = surprise.sum(axis=-1).min(axis=0) + (_SLOPES / _SLOPE_SD) ** 2
    return _Growth(float(_SLOPES[cost.argmin()]), around)


def doubted_unseen(
    kernel: Kernel, theta: FloatArray, plain: Evidence, sample: Evidence, unseen: Evidence
) -> FloatArray:
    """Return noise multiples for evidence outside the sample.

    They follow from what the sample believes of its places. `plain` is the sample before it was doubted.
    """
    process = Process(kernel, theta, sample)
    first, place = distinct_rows([unseen.setup, *unseen.nodes.T])
    mean, belief = process.believe_each(unseen.setup[first], unseen.nodes[first])
    growth = _growth(kernel, plain, _left_out(process, kernel, sample)).at(kernel, unseen)
    sd = np.sqrt(belief[place] + process.tables.noise[unseen.setup] * unseen.variance * growth)
    return _doubt((unseen.y - mean[place]) / sd, unseen.variance, growth)


def _doubt(deviation: FloatArray, variance: FloatArray, growth: FloatArray) -> FloatArray:
    """Return noise multiples that doubt what deviates downwards, in standard deviations of grown noise.

    Trials break downwards, so noise has a long lower tail: a Student t's, which raises the variance with the
    deviation. What lies far below says nothing at all. Diverged trials are taken as they are.
    """
    low = np.minimum(deviation, 0.0)
    tail = np.maximum((_TAIL + low**2) / (_TAIL + 1), 1.0)
    doubted = np.where(deviation < -_OUTLIER_SDS, OUTLIER_VARIANCE, tail * growth)
    return np.asarray(np.where(variance == 1.0, doubted, variance))


def _typical_residuals(residual: FloatArray, setup: IntArray, n_setups: int) -> FloatArray:
    """Return the scale of each setup's residuals [S]: their median deviation, drawn to that of all."""
    deviation = np.maximum(np.abs(residual), 1e-6)
    scale = np.full(n_setups, np.log(np.median(deviation)))
    for s in np.unique(setup):
        own = deviation[setup == s]
        share = len(own) / (len(own) + _ENOUGH_FOR_OWN_SCALE)
        scale[s] += share * (np.log(np.median(own)) - scale[s])
    return np.asarray(_SD_OF_MEDIAN_DEVIATION * np.exp(scale))
