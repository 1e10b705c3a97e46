"""Samplers that do not learn, and Optuna's: inside the ranges, balanced, the same after a restart."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from kdsearch.search import build_proposer
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec, setup_key
from kdsearch.storage import TrialRow


def study(sampler: str, **changes: Any) -> StudySpec:
    document: dict[str, Any] = {
        "name": "s",
        "setup": {"optimizer.name": ["sgd", "adamw"], "training.epochs": [2, 4]},
        "tune": {
            TEMPERATURE: {"low": 1, "high": 40, "log": True},
            "optimizer.lr": {
                "by": "optimizer.name",
                "sgd": {"low": 0.01, "high": 1, "log": True},
                "adamw": {"low": 1e-4, "high": 1e-2, "log": True},
            },
            "training.batch_size": {"low": 16, "high": 64, "log": True, "integer": True},
            "optimizer.nesterov": {"choices": [True, False]},
        },
        "search": {"trials": 96, "sampler": sampler, "seed": 3},
    }
    return load_spec({**document, **changes})


def run(spec: StudySpec, n: int, size: int = 8) -> list[TrialRow]:
    """Return the trials of a study that peaks at T = 6."""
    rows: list[TrialRow] = []
    while len(rows) < n:
        proposal = build_proposer(spec).propose(rows, min(size, n - len(rows)))
        for params in proposal.params:
            accuracy = 0.9 - 0.05 * math.log(params[TEMPERATURE] / 6) ** 2
            rows.append(TrialRow(len(rows), "complete", None, proposal.setup, params, 0, 2, accuracy))
    return rows


@pytest.mark.parametrize(
    "sampler", ["random", "qmc", "grid", "tpe", pytest.param("gp", marks=pytest.mark.long)]
)
def test_proposals_lie_in_the_ranges_of_their_setup_and_no_setup_starves(sampler: str) -> None:
    spec = study(sampler)
    rows = run(spec, 64 if sampler != "gp" else 36)
    counts = Counter(setup_key(row.setup) for row in rows)
    assert max(counts.values()) - min(counts.values()) <= 8
    assert len(counts) == 4
    for row in rows:
        low, high = (0.01, 1) if row.setup["optimizer.name"] == "sgd" else (1e-4, 1e-2)
        assert low <= row.params["optimizer.lr"] <= high
        assert 1 <= row.params[TEMPERATURE] <= 40
        assert isinstance(row.params["training.batch_size"], int)
        assert row.params["optimizer.nesterov"] in (True, False)


@pytest.mark.parametrize("sampler", ["random", "qmc", "grid", "tpe"])
def test_a_restarted_study_goes_on_as_one_that_never_stopped(sampler: str) -> None:
    spec = study(sampler)
    rows = run(spec, 40)
    assert build_proposer(spec).propose(rows, 8) == build_proposer(study(sampler)).propose(rows, 8)


def test_lost_trials_do_not_count_for_their_setup_but_diverged_ones_do() -> None:
    spec = study("random")
    first = spec.setups()[0]
    lost = [TrialRow(k, "failed", "its worker ended", first, {}, 0, 0) for k in range(8)]
    assert build_proposer(spec).propose(lost, 1).setup == first
    diverged = [TrialRow(k, "failed", "diverged", first, {}, 0, 0) for k in range(8)]
    assert build_proposer(spec).propose(diverged, 1).setup == spec.setups()[1]


def test_a_grid_covers_temperature_evenly() -> None:
    tune = {
        TEMPERATURE: {"low": 1, "high": 40, "log": True},
        "optimizer.lr": {"low": 0.01, "high": 1, "log": True},
    }
    spec = study("grid", tune=tune)
    rows = [row for row in run(spec, 96) if row.setup == spec.setups()[0]]
    units = sorted({round(math.log(row.params[TEMPERATURE]) / math.log(40), 9) for row in rows})
    assert np.allclose(np.diff(units), 1 / len(units))
    assert len({(row.params[TEMPERATURE], row.params["optimizer.lr"]) for row in rows}) == len(rows)


def test_tpe_learns_the_best_temperature_and_random_does_not() -> None:
    tune = {TEMPERATURE: {"low": 1, "high": 40, "log": True}}

    def late_distance(sampler: str) -> float:
        rows = run(study(sampler, setup={}, tune=tune), 60, size=4)[30:]
        return float(np.mean([abs(math.log(row.params[TEMPERATURE] / 6)) for row in rows]))

    assert late_distance("tpe") < 0.7 * late_distance("random")


def test_enqueued_trials_with_foreign_values_do_no_harm() -> None:
    spec = study("tpe")
    odd = TrialRow(0, "complete", None, spec.setups()[0], {TEMPERATURE: 99.0}, 0, 2, 0.5)
    assert len(build_proposer(spec).propose([odd], 3).params) == 3
