"""The simulated truths are what they say, and the scores follow from them."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kdsearch.bench.baselines import GridProposer
from kdsearch.bench.search import best_trial_scores, model_scores, score_sampler, search_command
from kdsearch.bench.simulation import SCENARIOS, simulated_study
from kdsearch.search import build_proposer
from kdsearch.spec import TEMPERATURE


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_best_temperature_loses_nothing_and_no_other_gains(scenario):
    study = simulated_study(scenario, 0)
    for setup in study.spec.setups():
        truth = study.truth(setup)
        assert study.regret(setup, 40**truth.best) == pytest.approx(0, abs=1e-9)
        assert min(study.regret(setup, t) for t in np.geomspace(1, 40, 50)) >= 0


def test_measured_accuracy_scatters_around_the_truth():
    study = simulated_study("shared", 0)
    setup = study.spec.setups()[0]
    truth = study.truth(setup)
    lr = study.spec.dimensions(setup)["optimizer.lr"].from_unit(truth.lr_at(truth.best))
    rows = [study.run(setup, {TEMPERATURE: 40**truth.best, "optimizer.lr": lr}) for _ in range(200)]
    points = np.array([100 * (row.val_accuracy or 0) for row in rows])
    assert points.mean() == pytest.approx(truth.top, abs=0.1)
    assert points.std() == pytest.approx(truth.noise, rel=0.15)


def test_a_study_is_the_same_for_the_same_seed():
    runs = [simulated_study("failures", 3, n_trials=24) for _ in range(2)]
    for study in runs:
        study.search(build_proposer(study.spec), 24)
    assert runs[0].rows == runs[1].rows


def test_lost_workers_do_not_count():
    study = simulated_study("failures", 1, n_trials=40)
    study.search(build_proposer(study.spec), 40)
    lost = sum(row.reason == "lost worker" for row in study.rows)
    assert lost > 0
    assert len(study.rows) - lost >= 40


def test_answers_are_scored_against_the_truth():
    study = simulated_study("shared", 0, levels=(2, 1, 1), n_trials=48)
    study.search(build_proposer(study.spec), 48)
    for score in model_scores(study):
        assert score is not None
        assert score.covered
        assert 0 <= score.regret < 0.3
        assert score.near_found is not None
        assert score.near_found > 0.5
        assert not score.truly_flat
    assert all(score is not None and score.regret < 2 for score in best_trial_scores(study))


def test_a_grid_covers_the_range_from_the_beginning_on():
    study = simulated_study("shared", 0, levels=(1, 1, 1))
    params = GridProposer(study.spec).propose([], 4).params
    positions = sorted(study.position({}, p[TEMPERATURE]) for p in params)
    assert np.diff(positions).min() > 0.2


@pytest.mark.parametrize("sampler", ["grid at default", "tpe joint"])
def test_baselines_are_scored_too(sampler: str):
    model, best_trial = score_sampler("shared", sampler, [16], [0], levels=(2, 1, 1))[::-1]
    assert (model.answered_by, best_trial.answered_by) == ("model", "best trial")
    assert best_trial.regret >= 0
    assert best_trial.covered is None


def test_the_command_writes_what_it_prints(tmp_path: Path):
    out = tmp_path / "scores.json"
    arguments = ["--scenario", "shared", "--trials", "16", "--levels", "2", "1", "1", "--studies", "1"]
    result = CliRunner().invoke(search_command, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    scores = json.loads(out.read_text())
    assert [score["answered_by"] for score in scores] == ["best trial", "model"]
    assert f"{scores[1]['regret']:.3f}" in result.output
