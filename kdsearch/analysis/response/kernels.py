"""The covariance of accuracy over setups and tuned parameters, and its hyper-parameters.

accuracy(s, x) = offset(s) + sum over axes c of main_c(s, x_c) + joint(s, x) + noise(s)

Each term is a Gaussian process of its own: the offset's correlation falls with the number of differing
factors, `main_c` is smooth along one axis, `joint` along all of them at once. How much setups share of an
axis is learned: R_c(s, s') = (1 - own_c) exp(-sum_k fading_ck distance_k(s, s')) + own_c [s = s'].
The joint term is shared as the first axis, temperature, is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from kdsearch.analysis.response.axes import Axis, FloatArray

SHORTEST, LONGEST = 0.15, 3.0
"""Lengths in ranges: studies can't resolve a bend within 15% of an axis, and beyond 3 all is a line."""

# The priors of the hyper-parameters: medians, whose logarithm is taken, and standard deviations of the log.
# Scales and noise are variances in points squared, lengths are shares of an axis.
_SCALE_SD = 1.5
"""By hand: effects from a fifth to five times the median are believed without surprise."""

_OFFSET = 9.0, 1.5
"""Levels of setups 3 points apart, by hand: they are left out of the evidence, so little hangs on it."""

_NOISE = 0.35**2, 1.0
"""Published standard deviations over seeds are about 0.35 points."""

_OF_TEMPERATURE = 1.0
"""Effects of temperature in published tables are 0.3 to 3 points."""

_OF_OTHERS = 9.0
"""A wrong learning rate costs 3 points and more: it can ruin a training."""

_ALONG_TEMPERATURE, _ALONG_OTHERS, _LENGTH_SD = 0.35, 0.30, 0.4
"""Curves have one or two bends between T = 1 and 40; the other lengths by hand, a little shorter."""

_JOINT = 0.25
"""The best learning rate drifts slowly with T: half a point, by hand."""

_JOINT_ALONG_TEMPERATURE, _JOINT_ALONG_OTHERS, _JOINT_LENGTH_SD = 0.5, 0.4, 0.3
"""By hand: longer than the main terms', since the drift is slow."""

_FADING = 0.5, 1.2
"""Three fifths are shared for each factor in which setups, or a study and those it starts from, differ."""

_OWN_SHARE_LOGIT, _OWN_SHARE_SD = -2.0, 1.2
"""A setup keeps 12% of a curve for itself; sharing nothing was far worse on every table of students."""

_OFFSETS_FADE, _NOISES_FADE = 0.5, 0.7
"""By hand: how fast levels, and the scatter of seeds, become unlike with each factor that differs."""

_ROOT5 = np.sqrt(5.0)


def matern52(distance: FloatArray, length: float) -> tuple[FloatArray, FloatArray]:
    """Return the Matérn-5/2 correlation and d log(correlation) / d log(length)."""
    r = _ROOT5 * distance / length
    polynomial = 1 + r + r * r / 3
    return polynomial * np.exp(-r), (r * r / 3) * (1 + r) / polynomial


def exchangeable(distance: FloatArray, length: float) -> tuple[FloatArray, FloatArray]:
    """Return the correlation between unordered choices and d log(correlation) / d log(length)."""
    r = distance / length
    return np.exp(-r), r


@dataclass(frozen=True)
class Sharing:
    """How much of one axis the setups share: R [S, S], and what its gradient needs."""

    matrix: FloatArray
    decay: FloatArray
    fading: FloatArray
    own: float


@dataclass(frozen=True)
class Tables:
    """The covariance on the nodes, for one set of hyper-parameters.

    `main` and `joint` hold a correlation and its slope in the log length for each axis; the tables of
    `main` are scaled by `main_scale`. Covariances are in points squared.
    """

    offset: FloatArray
    sharing: tuple[Sharing, ...]
    main_scale: FloatArray
    main: tuple[tuple[FloatArray, FloatArray], ...]
    joint_scale: float
    joint: tuple[tuple[FloatArray, FloatArray], ...]
    noise: FloatArray


class Layout:
    """Which entry of a hyper-parameter vector is what.

    The vector holds logarithms: offset scale, noise, the scales and lengths of the main terms, then (with
    two axes or more) the joint term's scale and lengths, then (with factors) the fadings and the logit of
    the own share for each axis, then (with two setups or more) the noise profile.
    """

    def __init__(self, n_axes: int, n_factors: int, n_setups: int) -> None:
        self._end = 2
        self.offset, self.noise = 0, 1
        self.scales = self._next(n_axes)
        self.lengths = self._next(n_axes)
        self.joint_scale = self._next(1 if n_axes > 1 else 0)
        self.joint_lengths = self._next(n_axes if n_axes > 1 else 0)
        self.fadings = [self._next(n_factors) for _ in range(n_axes)]
        self.own = self._next(n_axes if n_factors else 0)
        self.profile = self._next(n_setups if n_setups > 1 else 0)
        self.size = self._end

    def _next(self, count: int) -> slice:
        self._end += count
        return slice(self._end - count, self._end)


class Kernel:
    """The covariance function of one study, with the prior of its hyper-parameters."""

    def __init__(self, axes: Sequence[Axis], distances: FloatArray) -> None:
        self.axes = tuple(axes)
        self.distances = distances
        self.n_setups, _, n_factors = distances.shape
        self.layout = Layout(len(self.axes), n_factors, self.n_setups)
        differing = (distances > 0).sum(axis=-1)
        self.offset_correlation = np.exp(-_OFFSETS_FADE * differing)
        likeness = np.exp(-_NOISES_FADE * differing) + 1e-6 * np.eye(self.n_setups)
        self.profile_root = scipy.linalg.cholesky(likeness, lower=True)
        self.prior_mean, self.prior_sd = self._prior()

    def _prior(self) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of the normal prior. Accuracies are in points."""
        at = self.layout
        mean, sd = np.zeros(at.size), np.ones(at.size)
        others = len(self.axes) - 1
        mean[at.offset], sd[at.offset] = np.log(_OFFSET[0]), _OFFSET[1]
        mean[at.noise], sd[at.noise] = np.log(_NOISE[0]), _NOISE[1]
        mean[at.scales], sd[at.scales] = np.log([_OF_TEMPERATURE, *[_OF_OTHERS] * others]), _SCALE_SD
        mean[at.lengths] = np.log([_ALONG_TEMPERATURE, *[_ALONG_OTHERS] * others])
        sd[at.lengths] = _LENGTH_SD
        mean[at.joint_scale], sd[at.joint_scale] = np.log(_JOINT), _SCALE_SD
        if others:
            mean[at.joint_lengths] = np.log([_JOINT_ALONG_TEMPERATURE, *[_JOINT_ALONG_OTHERS] * others])
            sd[at.joint_lengths] = _JOINT_LENGTH_SD
        for fadings in at.fadings:
            mean[fadings], sd[fadings] = np.log(_FADING[0]), _FADING[1]
        mean[at.own], sd[at.own] = _OWN_SHARE_LOGIT, _OWN_SHARE_SD
        return mean, sd

    def bounds(self) -> list[tuple[float, float]]:
        """Return the range of each hyper-parameter: nothing varies within 15% of an axis."""
        low, high = self.prior_mean - 5 * self.prior_sd, self.prior_mean + 5 * self.prior_sd
        for lengths in (self.layout.lengths, self.layout.joint_lengths):
            low[lengths], high[lengths] = np.log(SHORTEST), np.log(LONGEST)
        return list(zip(low, high, strict=True))

    def tables(self, theta: FloatArray) -> Tables:
        """Return the covariance on the nodes under a hyper-parameter vector."""
        at = self.layout
        joint_scale = np.exp(theta[at.joint_scale])
        return Tables(
            offset=np.exp(theta[at.offset]) * self.offset_correlation,
            sharing=tuple(self._sharing(theta)),
            main_scale=np.exp(theta[at.scales]),
            main=tuple(self._correlations(theta[at.lengths])),
            joint_scale=float(joint_scale[0]) if len(joint_scale) else 0.0,
            joint=tuple(self._correlations(theta[at.joint_lengths])),
            noise=self.noise(theta),
        )

    def noise(self, theta: FloatArray) -> FloatArray:
        """Return the noise variance of one trial of each setup."""
        profile = theta[self.layout.profile]
        around = self.profile_root @ profile if len(profile) else np.zeros(self.n_setups)
        return np.asarray(np.exp(theta[self.layout.noise] + around))

    def _correlations(self, log_lengths: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        for axis, log_length in zip(self.axes, log_lengths, strict=False):
            correlation = exchangeable if axis.choices else matern52
            yield correlation(axis.distances(), float(np.exp(log_length)))

    def _sharing(self, theta: FloatArray) -> Iterator[Sharing]:
        same = np.eye(self.n_setups)
        owns = (
            scipy.special.expit(theta[self.layout.own])
            if self.distances.shape[2]
            else np.zeros(len(self.axes))
        )
        for fadings, own in zip(self.layout.fadings, owns, strict=True):
            fading = np.exp(theta[fadings])
            decay = np.exp(-self.distances @ fading)
            yield Sharing((1 - own) * decay + own * same, decay, fading, float(own))
