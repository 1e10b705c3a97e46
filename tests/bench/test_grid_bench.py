"""The exhaustive grid: what it makes of a truth that can be read off, and one small grid that is trained."""

import numpy as np
import pytest

from kdsearch.bench.search.grid import Truth, score, true_profile
from kdsearch.spec import load_spec

TEMPERATURES = np.geomspace(1, 40, 12).tolist()
POSITION = np.linspace(0, 1, 12)
PEAK = 0.95 - 0.1 * (POSITION - 0.3) ** 2


def measured(rng: np.random.Generator, n_seeds: int) -> np.ndarray:
    """Return accuracies around `PEAK`: luck that each seed has everywhere, and luck of each student."""
    return PEAK + rng.normal(0, 0.02, (n_seeds, 1)) + rng.normal(0, 0.01, (n_seeds, 12))


def test_a_recommendation_is_looked_up_in_the_truth() -> None:
    truth = Truth.of(TEMPERATURES, np.tile(PEAK, (2, 1)))
    found = score({"optimizer.name": "sgd"}, truth, TEMPERATURES[3])
    assert found.best_of_grid == TEMPERATURES[3]  # at 3/11 of the range, where the peak is at 0.3
    assert found.lost == pytest.approx(0.0, abs=1e-12)
    assert found.near_of_grid == (TEMPERATURES[1], TEMPERATURES[5])
    far = score({}, truth, 40.0)
    assert far.lost == pytest.approx(0.1 * (0.7**2 - (0.3 - 3 / 11) ** 2))
    assert not far.near


def test_the_error_of_a_loss_is_what_other_seeds_scatter_by() -> None:
    rng = np.random.default_rng(0)
    losses, errors = [], []
    for _ in range(600):
        truth = Truth.of(TEMPERATURES, measured(rng, 5))
        assert truth.coefficients.shape == (4,)
        first, last = truth.profile()[[0, -1]]
        losses.append(first - last)
        apart = np.array([0.0, -1.0, -1.0, -1.0])
        errors.append(np.sqrt(apart @ truth.covariance @ apart))
    assert np.mean(losses) == pytest.approx(PEAK[0] - PEAK[-1], abs=0.001)
    assert np.mean(errors) == pytest.approx(np.std(losses), rel=0.1)


def test_a_trained_grid_takes_the_best_rate_of_each_temperature(tmp_path) -> None:
    spec = load_spec(
        {
            "name": "small",
            "dataset": {"train_size": 100, "validation_size": 100},
            "student": {"arch": "mlp_16"},
            "objective": {"alpha": 0.0},
            "training": {"epochs": 20, "batch_size": 16},
            "setup": {"optimizer.name": ["sgd"]},
            "tune": {
                "objective.temperature": {"low": 1, "high": 40, "log": True},
                "optimizer.lr": {"low": 1.0e-6, "high": 0.1, "log": True},
            },
        }
    )
    truth = true_profile(spec, spec.setups()[0], (2, 2, 1), tmp_path)
    assert truth.temperatures == pytest.approx([1.0, 40.0])
    assert (truth.profile() > 0.5).all(), "a rate of a millionth learns nothing; the other one is taken"
