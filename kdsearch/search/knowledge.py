"""Which trials teach most about a setup's best accuracy: the knowledge gradient of a pack."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

_MOST_CANDIDATES = 60
_N_OUTCOMES = 12
_N_JOINT_OUTCOMES = 32

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def plausible_maximisers(mean: FloatArray, variance: FloatArray, rng: np.random.Generator) -> IntArray:
    """Return the places that may be best, at most 60: those with mean + 2 sd above the best mean.

    Where there are more, the likelier ones are kept more often; the best mean always is.
    """
    sd = np.sqrt(variance)
    plausible = np.flatnonzero(mean + 2 * sd >= mean.max())
    if len(plausible) > _MOST_CANDIDATES:
        chance = ndtr((mean[plausible] - mean.max()) / sd[plausible]) + 1e-9
        plausible = rng.choice(plausible, _MOST_CANDIDATES, replace=False, p=chance / chance.sum())
    return np.union1d(plausible, [mean.argmax()])


def knowledge_gradient_pack(
    mean: FloatArray, covariance: FloatArray, noise: float, size: int, rng: np.random.Generator
) -> list[int]:
    """Return the places whose joint observation raises the expected best mean most, chosen greedily.

    Args:
        mean: What is believed of each place [M].
        covariance: Of the beliefs [M, M].
        noise: Variance of one observation.
        size: How many places; one may be chosen more than once.
        rng: Draws the pack's quasi-random outcomes.
    """
    outcomes = ndtri((np.arange(_N_OUTCOMES) + 0.5) / _N_OUTCOMES)[:, None]
    joint = qmc.Sobol(size, rng=rng).random(_N_JOINT_OUTCOMES)
    joint_outcomes = ndtri(np.clip(joint, 1e-4, 1 - 1e-4))
    chosen: list[int] = []
    futures = mean[:, None]
    left = covariance.copy()
    for k in range(size):
        step = left / np.sqrt(np.maximum(np.diag(left), 1e-10) + noise)
        drawn = outcomes if k == 0 else joint_outcomes[:, [k]]
        best = int(_expected_best(futures, step, drawn).argmax())
        chosen.append(best)
        futures = futures + step[:, [best]] * joint_outcomes[:, k]
        left = left - np.outer(step[:, best], step[:, best])
    return chosen


def _expected_best(futures: FloatArray, step: FloatArray, drawn: FloatArray) -> FloatArray:
    """Return the expected best mean [M] after observing each place, over outcomes drawn [N, 1].

    `futures` [M, 1 or N] are the means after what is chosen already, `step` [M, M] how far one standard
    deviation at a place (its column) moves every mean.
    """
    moved = futures.T[:, :, None] + drawn[:, :, None] * step[None]
    return np.asarray(moved.max(axis=1).mean(axis=0))
