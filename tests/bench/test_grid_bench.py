"""The exhaustive grid: what it makes of a truth that can be read off, and one small grid that is trained."""

import numpy as np
import pytest

from kdsearch.bench.grid import score, true_profile
from kdsearch.spec import load_spec


def test_a_recommendation_is_looked_up_in_the_truth() -> None:
    temperatures, truth = [1.0, 2.0, 4.0, 8.0], np.array([0.80, 0.898, 0.90, 0.85])
    found = score({"optimizer.name": "sgd"}, temperatures, truth, 2.0)
    assert (found.best_of_grid, found.near_of_grid, found.near) == (4.0, (2.0, 4.0), True)
    assert found.lost == pytest.approx(0.002)
    between = score({}, temperatures, truth, float(np.sqrt(4.0 * 8.0)))
    assert between.lost == pytest.approx(0.025)
    assert not between.near


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
    temperatures, truth = true_profile(spec, spec.setups()[0], (2, 2, 1), tmp_path)
    assert temperatures == pytest.approx([1.0, 40.0])
    assert (truth > 0.5).all(), "a rate of a millionth learns nothing; the other one is taken"
