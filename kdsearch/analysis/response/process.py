"""The Gaussian process: likelihoods and beliefs."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import scipy

from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.kernels import Kernel, Tables
from kdsearch.analysis.response.observations import Evidence

_JITTER = 1e-8
"""Keeps the factorisation stable; nothing beside a noise of 0.1 points squared."""

_IMPOSSIBLE = 1e10
"""Worse than any log posterior: L-BFGS steps back from where no factorisation exists."""

_PLACES_AT_ONCE = 1024
"""By hand: their covariance with 700 places then takes 6 MB."""


class Posterior:
    """How well hyper-parameters explain the evidence: minus their log posterior, with its gradient."""

    def __init__(self, kernel: Kernel, evidence: Evidence) -> None:
        self._kernel = kernel
        self._evidence = evidence
        self._setups = _pairs(evidence.setup, kernel.n_setups)
        self._nodes = [
            _pairs(nodes, len(axis)) for nodes, axis in zip(evidence.nodes.T, kernel.axes, strict=True)
        ]
        self._member = np.eye(kernel.n_setups)[evidence.setup]

    def value(self, theta: FloatArray) -> float:
        """Return minus the log posterior, up to a constant."""
        factor = self._factor(self._covariance(self._kernel.tables(theta))[0])
        return _IMPOSSIBLE if factor is None else self._value(theta, factor)

    def value_and_gradient(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Return minus the log posterior and its gradient."""
        tables = self._kernel.tables(theta)
        covariance, mains, joint = self._covariance(tables)
        factor = self._factor(covariance)
        if factor is None:
            return _IMPOSSIBLE, np.zeros_like(theta)
        inverse = scipy.linalg.lapack.dpotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        alpha = inverse @ self._evidence.y
        gain = np.outer(alpha, alpha) - inverse
        pull = (theta - self._kernel.prior_mean) / self._kernel.prior_sd**2
        return self._value(theta, factor), pull - 0.5 * self._slopes(theta, tables, gain, mains, joint)

    def _covariance(self, tables: Tables) -> tuple[FloatArray, list[FloatArray], FloatArray]:
        """Return the evidence's covariance with noise, and its unshared parts."""
        mains = [
            scale * table.take(pairs)
            for scale, (table, _), pairs in zip(tables.main_scale, tables.main, self._nodes, strict=True)
        ]
        joint = np.full((len(self._evidence),) * 2, tables.joint_scale)
        for (table, _), pairs in zip(tables.joint, self._nodes, strict=False):
            joint *= table.take(pairs)
        covariance = tables.offset.take(self._setups)
        for index, (main, sharing) in enumerate(zip(mains, tables.sharing, strict=True)):
            unshared = main + joint if index == 0 else main
            covariance = covariance + sharing.matrix.take(self._setups) * unshared
        evidence = self._evidence
        covariance.flat[:: len(evidence) + 1] += tables.noise[evidence.setup] * evidence.variance + _JITTER
        return covariance, mains, joint

    @staticmethod
    def _factor(covariance: FloatArray) -> FloatArray | None:
        factor, failure = scipy.linalg.lapack.dpotrf(covariance, lower=1, clean=1)
        return None if failure else cast(FloatArray, factor)

    def _value(self, theta: FloatArray, factor: FloatArray) -> float:
        evidence, noise = self._evidence, self._kernel.noise(theta)
        whitened = scipy.linalg.solve_triangular(factor, evidence.y, lower=True)
        pull = (theta - self._kernel.prior_mean) / self._kernel.prior_sd
        replicates = evidence.n_spare @ np.log(noise) + evidence.spread @ (1 / noise)
        squares = whitened @ whitened + pull @ pull + replicates
        return float(0.5 * squares + np.log(np.diag(factor)).sum())

    def _slopes(
        self,
        theta: FloatArray,
        tables: Tables,
        gain: FloatArray,
        mains: Sequence[FloatArray],
        joint: FloatArray,
    ) -> FloatArray:
        """Return the gradient for each hyper-parameter.

        It is the sum of gain times d covariance / d theta.
        """
        at, slopes = self._kernel.layout, np.zeros_like(theta)
        slopes[at.offset] = (gain * tables.offset.take(self._setups)).sum()
        for index, (main, sharing) in enumerate(zip(mains, tables.sharing, strict=True)):
            shared = gain * sharing.matrix.take(self._setups)
            part = shared * main
            slopes[at.scales.start + index] = part.sum()
            slopes[at.lengths.start + index] = self._along(part, tables.main[index][1], index)
            if index == 0 and tables.joint:
                part = shared * joint
                slopes[at.joint_scale] = part.sum()
                for axis, (_, slope) in enumerate(tables.joint):
                    slopes[at.joint_lengths.start + axis] = self._along(part, slope, axis)
            if self._kernel.distances.shape[2]:
                unshared = gain * (main + joint if index == 0 else main)
                self._add_sharing_slopes(slopes, tables, unshared, index)
        self._add_noise_slopes(slopes, tables, gain)
        return slopes

    def _along(self, part: FloatArray, slope: FloatArray, axis: int) -> float:
        return float(np.vdot(part, slope.take(self._nodes[axis])))

    def _add_sharing_slopes(
        self, slopes: FloatArray, tables: Tables, unshared: FloatArray, index: int
    ) -> None:
        at, sharing = self._kernel.layout, tables.sharing[index]
        between = self._member.T @ unshared @ self._member
        weights = between * sharing.decay
        reach = np.einsum("ij,ijk->k", weights, self._kernel.distances)
        slopes[at.fadings[index]] = -(1 - sharing.own) * sharing.fading * reach
        own = sharing.own * (1 - sharing.own)
        slopes[at.own.start + index] = own * (np.trace(between) - weights.sum())

    def _add_noise_slopes(self, slopes: FloatArray, tables: Tables, gain: FloatArray) -> None:
        at, evidence = self._kernel.layout, self._evidence
        diagonal = tables.noise[evidence.setup] * evidence.variance * np.diag(gain)
        per_setup = np.asarray(np.bincount(evidence.setup, diagonal, self._kernel.n_setups), dtype=float)
        per_setup += evidence.spread / tables.noise - evidence.n_spare
        slopes[at.noise] = per_setup.sum()
        if at.profile.stop > at.profile.start:
            slopes[at.profile] = self._kernel.profile_root.T @ per_setup


class Process:
    """The Gaussian process given evidence, under one set of hyper-parameters.

    Means are on the model's scale: points, softly floored, centred.
    """

    def __init__(self, kernel: Kernel, theta: FloatArray, evidence: Evidence) -> None:
        self.kernel = kernel
        self.tables = kernel.tables(theta)
        self.evidence = evidence
        self.setup, self.nodes = evidence.setup, evidence.nodes
        covariance = self.covariance(self.setup, self.nodes, self.setup, self.nodes)
        noise = self.tables.noise[self.setup] * evidence.variance + _JITTER
        covariance.flat[:: len(evidence) + 1] += noise
        self._factor = np.linalg.cholesky(covariance)
        self.alpha = self.solve(evidence.y)

    def covariance(
        self, setup: IntArray, nodes: IntArray, other_setup: IntArray, other_nodes: IntArray
    ) -> FloatArray:
        """Return the prior covariance between two lists of places."""
        tables, setups = self.tables, np.ix_(setup, other_setup)
        places = [np.ix_(a, b) for a, b in zip(nodes.T, other_nodes.T, strict=True)]
        total = tables.offset[setups]
        for index, sharing in enumerate(tables.sharing):
            part = tables.main_scale[index] * tables.main[index][0][places[index]]
            if index == 0 and tables.joint:
                part += self._joint(places)
            total += sharing.matrix[setups] * part
        return total

    def _joint(self, places: Sequence[tuple[IntArray, ...]]) -> FloatArray:
        product = self.tables.joint[0][0][places[0]] * self.tables.joint_scale
        for (table, _), place in zip(self.tables.joint[1:], places[1:], strict=True):
            product *= table[place]
        return np.asarray(product)

    def solve(self, values: FloatArray) -> FloatArray:
        """Return the inverse covariance of the evidence times values.

        The values are [N] or [N, Q].
        """
        return np.asarray(scipy.linalg.lapack.dpotrs(self._factor, values, lower=1)[0]).reshape(values.shape)

    def believe(self, setup: IntArray, nodes: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the posterior mean and covariance at a list of places."""
        cross = self.covariance(self.setup, self.nodes, setup, nodes)
        whitened = scipy.linalg.solve_triangular(self._factor, cross, lower=True)
        prior = self.covariance(setup, nodes, setup, nodes)
        return cross.T @ self.alpha, prior - whitened.T @ whitened

    def believe_each(self, setup: IntArray, nodes: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the posterior mean and variance at each of many places."""
        mean, explained = np.empty(len(setup)), np.empty(len(setup))
        for at in range(0, len(setup), _PLACES_AT_ONCE):
            part = slice(at, at + _PLACES_AT_ONCE)
            cross = self.covariance(self.setup, self.nodes, setup[part], nodes[part])
            mean[part] = cross.T @ self.alpha
            whitened = scipy.linalg.solve_triangular(self._factor, cross, lower=True)
            explained[part] = np.einsum("ij,ij->j", whitened, whitened)
        tables = self.tables
        prior = tables.offset[0, 0] + tables.main_scale.sum() + tables.joint_scale
        return mean, np.maximum(prior - explained, 1e-12)

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """Return each cell's residual when left out, and its prediction's variance."""
        root = scipy.linalg.solve_triangular(self._factor, np.eye(len(self.evidence)), lower=True)
        precision = np.einsum("ij,ij->j", root, root)
        return self.alpha / precision, 1 / precision


def _pairs(values: IntArray, size: int) -> IntArray:
    """Return each two values' place in a flattened [size, size] table."""
    return values[:, None] * size + values
