"""Whole surfaces of accuracy, drawn jointly for all setups.

A surface is held by weights: one for each setup, one for each node of each axis, and one for each feature
of the joint term. The features are the leading products of the axes' eigenvectors, scaled to give every
node its exact variance. Draws follow Matheron's rule: a draw from the prior, moved by what the
evidence says about it (Wilson et al., 2021, arXiv:2011.04026).
"""

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np

from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.kernels import Kernel, Tables
from kdsearch.analysis.response.process import Process

_MAX_FEATURES = 200
"""By hand: a product over axes has thousands, of which the first have nearly all the variance."""

_MAX_PER_AXIS = 14
"""By hand: the spectrum of a smooth correlation falls that fast."""

_NEGLIGIBLE = 1e-4
"""Of the variance: beside it a surface's own doubt is a hundred times as large."""

_MAX_TABLE = 5000
"""Places; by hand: a table of all costs some megabytes, above it products are made as they are asked for."""


class JointFeatures:
    """Features whose products are very nearly the joint term's correlation.

    Their variances are exact.
    """

    def __init__(self, tables: Tables) -> None:
        roots = [_leading_roots(table) for table, _ in tables.joint]
        shares = reduce(np.multiply.outer, [(root**2).sum(axis=0) / len(root) for root in roots])
        order = np.argsort(-shares, axis=None)[:_MAX_FEATURES]
        order = order[shares.ravel()[order] > _NEGLIGIBLE * shares.sum()]
        columns = np.unravel_index(order, shares.shape)
        self._roots = [root[:, column] for root, column in zip(roots, columns, strict=True)]
        self.size = len(order)
        shape = tuple(len(root) for root in roots)
        self._table = self._products(_all_nodes(shape)) if math.prod(shape) <= _MAX_TABLE else None
        self._shape = shape

    def at(self, nodes: IntArray) -> FloatArray:
        """Return the features [N, M] at nodes [N, P]."""
        if self._table is None:
            return self._products(nodes)
        return np.asarray(self._table[np.ravel_multi_index(tuple(nodes.T), self._shape)])

    def _products(self, nodes: IntArray) -> FloatArray:
        product = self._roots[0][nodes[:, 0]]
        for root, column in zip(self._roots[1:], nodes.T[1:], strict=True):
            product = product * root[column]
        return np.asarray(product / np.linalg.norm(product, axis=1, keepdims=True))


@dataclass(frozen=True)
class Surfaces:
    """Q surfaces: offset [Q, S], main [Q, S, G] for each axis, joint [Q, S, M]."""

    offset: FloatArray
    main: tuple[FloatArray, ...]
    joint: FloatArray | None
    features: JointFeatures | None

    def at(self, setup: int, nodes: IntArray) -> FloatArray:
        """Return the values [Q, N] at nodes [N, P] of one setup."""
        total = self.offset[:, setup, None] + sum(
            main[:, setup, column] for main, column in zip(self.main, nodes.T, strict=True)
        )
        if self.joint is not None and self.features is not None:
            total = total + self.joint[:, setup] @ self.features.at(nodes).T
        return np.asarray(total)


def mean_surface(process: Process) -> Surfaces:
    """Return the posterior mean as a single surface."""
    features = JointFeatures(process.tables) if process.tables.joint else None
    return _moved(process, features, None, process.alpha[:, None])


def draw_surfaces(process: Process, n_draws: int, rng: np.random.Generator) -> Surfaces:
    """Return joint draws of all setups' surfaces.

    Args:
        process: The model under one set of hyper-parameters.
        n_draws: How many.
        rng: What is drawn from.
    """
    features = JointFeatures(process.tables) if process.tables.joint else None
    prior = _prior_draws(process.kernel, process.tables, features, n_draws, rng)
    evidence = process.evidence
    at_evidence = np.empty((n_draws, len(evidence)))
    for s in np.unique(evidence.setup):
        own = evidence.setup == s
        at_evidence[:, own] = prior.at(int(s), evidence.nodes[own])
    sd = np.sqrt(process.tables.noise[evidence.setup] * evidence.variance)
    missing = evidence.y - at_evidence - sd * rng.standard_normal(at_evidence.shape)
    return _moved(process, features, prior, process.solve(np.ascontiguousarray(missing.T)))


def _prior_draws(
    kernel: Kernel, tables: Tables, features: JointFeatures | None, n_draws: int, rng: np.random.Generator
) -> Surfaces:
    n_setups = kernel.n_setups
    sharing = [_root(part.matrix) for part in tables.sharing]
    offset = rng.standard_normal((n_draws, n_setups)) @ _root(tables.offset).T
    main = tuple(
        np.sqrt(scale) * (shared @ rng.standard_normal((n_draws, n_setups, len(table))) @ _root(table).T)
        for scale, shared, (table, _) in zip(tables.main_scale, sharing, tables.main, strict=True)
    )
    joint = None
    if features is not None:
        normal = rng.standard_normal((n_draws, n_setups, features.size))
        joint = np.sqrt(tables.joint_scale) * (sharing[0] @ normal)
    return Surfaces(offset, main, joint, features)


def _moved(
    process: Process, features: JointFeatures | None, prior: Surfaces | None, gain: FloatArray
) -> Surfaces:
    """Return the prior surfaces moved by the evidence's gain [N, Q].

    Without a prior they are what the gain alone moves.
    """
    tables, setup, nodes = process.tables, process.evidence.setup, process.evidence.nodes
    n_setups = process.kernel.n_setups
    by_setup = _gather(gain, setup, n_setups)
    offset = (tables.offset @ by_setup).T
    main = []
    for axis, (table, _) in enumerate(tables.main):
        at_nodes = _gather(gain, setup * len(table) + nodes[:, axis], n_setups * len(table))
        spread = table @ at_nodes.reshape(n_setups, len(table), -1) * tables.main_scale[axis]
        main.append(np.einsum("ab,bgq->qag", tables.sharing[axis].matrix, spread, optimize=True))
    joint = None
    if features is not None:
        values = features.at(nodes)
        per_setup = np.stack([values[setup == s].T @ gain[setup == s] for s in range(n_setups)])
        shared = tables.joint_scale * tables.sharing[0].matrix
        joint = np.einsum("ab,bmq->qam", shared, per_setup, optimize=True)
    if prior is None:
        return Surfaces(offset, tuple(main), joint, features)
    moved_joint = None if joint is None or prior.joint is None else prior.joint + joint
    moved_main = tuple(a + b for a, b in zip(prior.main, main, strict=True))
    return Surfaces(prior.offset + offset, moved_main, moved_joint, features)


def _gather(gain: FloatArray, places: IntArray, n_places: int) -> FloatArray:
    """Return the sums of gains [N, Q] by place [n_places, Q]."""
    total = np.zeros((n_places, gain.shape[1]))
    np.add.at(total, places, gain)
    return total


def _root(matrix: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.cholesky(matrix + 1e-8 * np.eye(len(matrix))))


def _leading_roots(correlation: FloatArray) -> FloatArray:
    """Return the leading eigenvectors of a correlation, scaled.

    Their outer products sum to the correlation.
    """
    values, vectors = np.linalg.eigh(correlation)
    leading = np.argsort(-values)[:_MAX_PER_AXIS]
    return np.asarray(vectors[:, leading] * np.sqrt(np.maximum(values[leading], 0)))


def _all_nodes(shape: tuple[int, ...]) -> IntArray:
    return np.indices(shape).reshape(len(shape), -1).T
