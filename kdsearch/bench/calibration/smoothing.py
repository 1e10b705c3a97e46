"""The truth of a table: a setup's accuracy over temperature and rate, smoothed, no polynomial assumed.

A Gaussian process per setup with a rough kernel along temperature, its scales by maximum likelihood, each
cell with its own noise. What all students of a seed share is taken out first: it moves no difference.
"""

import numpy as np
from jaxtyping import Float64
from scipy.optimize import minimize

from kdsearch.bench.calibration.worlds import Truth

_FLOOR = 6.0  # points below the top from which a student counts less and less: far down is no question
_FINE = (43, 25)  # temperatures and rates of the truth
_DRAWS = 200  # by hand: a share over them is known to 0.035 at worst
_POOLED = 2.0  # degrees of freedom that the noise of neighbouring cells has in a cell's own
_LEAST_NOISE = 0.05  # points: cells whose few seeds agree by luck are not taken as exact


def smoothed(
    accuracies: Float64[np.ndarray, "U L K"], temperatures: tuple[float, ...], seed: int = 0
) -> Truth:
    """Return the truth of one setup.

    Args:
        accuracies: In points, of students by temperature, rate and seed; NaN where one diverged.
        temperatures: Evenly spread in their logarithm [U].
        seed: Fixes the draws.
    """
    floored = _floored(accuracies)
    paired = _without_seed_effects(floored)
    mean, noise = paired.mean(axis=-1), _noise_of(paired)
    places = _places(*mean.shape)
    scales = _fitted(places, mean.ravel(), noise.ravel())
    fine = _places(*_FINE)
    centre = float(np.median(mean))
    within = _kernel(places, places, scales) + np.diag(noise.ravel())
    across, around = _kernel(fine, places, scales), _kernel(fine, fine, scales)
    weights = np.linalg.solve(within, across.T).T
    believed = centre + weights @ (mean.ravel() - centre)
    covariance = around - weights @ across.T
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance)) * scales[0])
    draws = believed + (root @ np.random.default_rng(seed).standard_normal((len(fine), _DRAWS))).T
    over_rates = draws.reshape(_DRAWS, *_FINE).max(axis=-1)
    low, high = np.log(temperatures[0]), np.log(temperatures[-1])
    return Truth(np.exp(np.linspace(low, high, _FINE[0])), over_rates)


def _floored(accuracies: Float64[np.ndarray, "U L K"]) -> Float64[np.ndarray, "U L K"]:
    """Return accuracies, logarithmic from some points below the best cell on. Diverged ones far down."""
    known = np.where(np.isnan(accuracies), 0.0, accuracies)
    below = np.median(known, axis=-1).max() - known
    deep = _FLOOR * (1 + np.log(np.maximum(below, _FLOOR) / _FLOOR))
    return np.asarray(known + below - np.where(below > _FLOOR, deep, below))


def _without_seed_effects(accuracies: Float64[np.ndarray, "U L K"]) -> Float64[np.ndarray, "U L K"]:
    apart = accuracies - accuracies.mean(axis=-1, keepdims=True)
    mean = accuracies.mean(axis=-1)
    near = mean >= mean.max() - _FLOOR / 2
    return np.asarray(accuracies - apart[near].mean(axis=0))


def _noise_of(accuracies: Float64[np.ndarray, "U L K"]) -> Float64[np.ndarray, "U L"]:
    """Return the variance of each cell's mean: its own, drawn towards that of all cells of its rate."""
    n_seeds = accuracies.shape[-1]
    own = accuracies.var(axis=-1, ddof=1)
    pooled = np.median(own, axis=0, keepdims=True)
    variance = ((n_seeds - 1) * own + _POOLED * pooled) / (n_seeds - 1 + _POOLED)
    return np.asarray(np.maximum(variance, _LEAST_NOISE**2) / n_seeds)


def _places(n_temperatures: int, n_rates: int) -> Float64[np.ndarray, "N 2"]:
    axes = np.linspace(0, 1, n_temperatures), np.linspace(0, 1, n_rates)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def _kernel(
    one: Float64[np.ndarray, "N 2"], other: Float64[np.ndarray, "M 2"], scales: Float64[np.ndarray, " 3"]
) -> Float64[np.ndarray, "N M"]:
    """Return Matérn-3/2 over temperature times Matérn-5/2 over rate. Scales: variance and two lengths."""
    variance, *lengths = scales
    u, v = (np.abs(one[:, None, k] - other[None, :, k]) / lengths[k] for k in range(2))
    rough = (1 + np.sqrt(3) * u) * np.exp(-np.sqrt(3) * u)
    smooth = (1 + np.sqrt(5) * v + 5 / 3 * v**2) * np.exp(-np.sqrt(5) * v)
    return np.asarray(variance * rough * smooth)


def _fitted(
    places: Float64[np.ndarray, "N 2"], mean: Float64[np.ndarray, " N"], noise: Float64[np.ndarray, " N"]
) -> Float64[np.ndarray, " 3"]:
    y = mean - np.median(mean)

    def surprise(logs: Float64[np.ndarray, " 3"]) -> float:
        root = np.linalg.cholesky(_kernel(places, places, np.exp(logs)) + np.diag(noise))
        white = np.linalg.solve(root, y)
        return float(0.5 * white @ white + np.log(np.diag(root)).sum())

    bounds = [np.log([0.2, 400.0]), np.log([0.1, 5.0]), np.log([0.15, 3.0])]
    starts = [np.log([max(y.var(), 0.3), length, 0.4]) for length in (0.4, 1.5)]
    found = [minimize(surprise, start, method="L-BFGS-B", bounds=bounds) for start in starts]
    return np.asarray(np.exp(min(found, key=lambda one: one.fun).x))
