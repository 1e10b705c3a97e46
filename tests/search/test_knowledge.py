"""The knowledge gradient against its definition, and what a pack of it looks like."""

import numpy as np
import pytest
from scipy.stats import norm

from kdsearch.search.knowledge import knowledge_gradient_pack, plausible_maximisers


def smooth_covariance(n: int, length: float = 0.2) -> np.ndarray:
    x = np.linspace(0, 1, n)
    return np.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + 1e-9 * np.eye(n)


def expected_gain(mean: np.ndarray, covariance: np.ndarray, noise: float, place: int) -> float:
    """E[max of the mean after one observation] - max of the mean, by numerical integration."""
    step = covariance[:, place] / np.sqrt(covariance[place, place] + noise)
    z = np.linspace(-5, 5, 2001)
    return float((norm.pdf(z) * (mean[:, None] + step[:, None] * z).max(axis=0)).sum() * 0.005 - mean.max())


@pytest.mark.parametrize("seed", range(5))
def test_a_single_place_has_nearly_the_largest_expected_gain(seed: int):
    rng = np.random.default_rng(seed)
    covariance = smooth_covariance(25)
    mean = rng.multivariate_normal(np.zeros(25), 0.3 * covariance)
    [place] = knowledge_gradient_pack(mean, covariance, 0.1, 1, rng)
    gains = [expected_gain(mean, covariance, 0.1, k) for k in range(25)]
    assert gains[place] >= 0.95 * max(gains)


def test_a_pack_spreads_where_little_is_known():
    pack = knowledge_gradient_pack(np.zeros(41), smooth_covariance(41), 0.01, 4, np.random.default_rng(0))
    assert min(abs(a - b) for i, a in enumerate(pack) for b in pack[:i]) >= 5


def test_a_pack_of_noisy_trials_repeats_the_two_that_are_in_doubt():
    mean, covariance = np.array([0.0, -5.0, 0.0]), np.diag([1.0, 0.01, 1.0])
    pack = knowledge_gradient_pack(mean, covariance, 4.0, 6, np.random.default_rng(0))
    assert set(pack) == {0, 2}


def test_places_that_cannot_be_best_are_left_out():
    mean, variance = np.array([0.0, -1.0, -3.0]), np.array([0.1, 0.5, 0.5])
    assert plausible_maximisers(mean, variance, np.random.default_rng(0)).tolist() == [0, 1]


def test_the_best_place_is_kept_among_many():
    mean = np.linspace(0, 0.1, 500)
    kept = plausible_maximisers(mean, np.ones(500), np.random.default_rng(0))
    assert len(kept) <= 61
    assert 499 in kept
