"""Values of the other parameters among which the best is sought."""

import numpy as np

from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.observations import Evidence, distinct_rows
from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.analysis.response.surfaces import Surfaces

_MOST_COMBINATIONS = 128
"""By hand: all of so many are still cheap at every temperature."""

_N_SPREAD = 32
"""By hand: the draws' own best lie elsewhere than the mean's; some are kept whatever it likes."""

_N_LIKED = 96
"""By hand: with those that are spread, as many as of few combinations."""

_N_SEARCHED = 1024
"""By hand: the mean surface alone is asked at them, which costs little."""


def candidates(
    space: ResponseSpace, setup: int, mean: Surfaces, evidence: Evidence, rng: np.random.Generator
) -> IntArray:
    """Return nodes [C, P - 1] of the other parameters to search.

    All combinations where they are few; else some that are spread evenly, and those that the mean surface
    likes best at some temperature, out of many more and all that were tried.

    Args:
        space: The study's space.
        setup: The setup's place in it.
        mean: The mean surface.
        evidence: What was tried.
        rng: Shifts the points that are spread.
    """
    others = [np.flatnonzero(space.allowed(setup, axis)) for axis in range(1, len(space.axes))]
    if not others:
        return np.zeros((1, 0), dtype=np.intp)
    sizes = [len(nodes) for nodes in others]
    if np.prod(sizes) <= _MOST_COMBINATIONS:
        return _pick(others, np.indices(sizes).reshape(len(sizes), -1).T)
    spread = _pick(others, (even_points(_N_SEARCHED, rng.random(len(sizes))) * sizes).astype(np.intp))
    tried = evidence.nodes[evidence.setup == setup, 1:]
    searched = np.unique(np.concatenate([spread, tried]), axis=0)
    temperature_nodes = np.flatnonzero(space.allowed(setup, 0))
    coarse = temperature_nodes[:: max(1, len(temperature_nodes) // 6)]
    values = mean.at(setup, product_nodes(coarse, searched)).reshape(len(coarse), -1)
    liked = np.argsort(-values, axis=1)[:, : _N_LIKED // len(coarse)]
    return np.unique(np.concatenate([spread[:_N_SPREAD], searched[np.unique(liked)]]), axis=0)


def even_points(count: int, shift: FloatArray) -> FloatArray:
    """Return points [count, D] that fill the unit cube evenly.

    They start from a shift [D]. Multiples of the generalised golden ratio, modulo 1 (Roberts, 2018,
    extremelearning.com.au).
    """
    ratio = 2.0
    for _ in range(50):
        ratio = (1 + ratio) ** (1 / (len(shift) + 1))
    steps = ratio ** -np.arange(1.0, len(shift) + 1)
    return np.asarray((shift + np.arange(count)[:, None] * steps) % 1.0)


def product_nodes(temperature_nodes: IntArray, others: IntArray) -> IntArray:
    """Return every temperature with every candidate: nodes [U * C, P], the candidates running fastest."""
    temperatures = np.repeat(temperature_nodes, len(others))
    return np.column_stack([temperatures, np.tile(others, (len(temperature_nodes), 1))])


def nearest_places(temperature_nodes: IntArray, others: IntArray, nodes: IntArray) -> IntArray:
    """Return the nearest temperature and other [N, 2] of each trial.

    Each distinct node is looked at once: trials are many, nodes few.

    Args:
        temperature_nodes: Nodes on the temperature axis [U].
        others: Nodes of the other parameters [C, P - 1].
        nodes: The trials' nodes on each axis [N, P].
    """
    temperatures, at = np.unique(nodes[:, 0], return_inverse=True)
    nearest = np.abs(temperature_nodes - temperatures[:, None]).argmin(axis=1)
    first, group = distinct_rows(list(nodes[:, 1:].T) or [np.zeros(len(nodes), dtype=np.intp)])
    found = [np.abs(others - own).sum(axis=1).argmin() for own in nodes[first, 1:]]
    return np.column_stack([nearest[at], np.array(found, dtype=np.intp)[group]]).astype(np.intp)


def _pick(nodes: list[IntArray], indices: IntArray) -> IntArray:
    return np.column_stack([own[column] for own, column in zip(nodes, indices.T, strict=True)])
