"""The simulated truths are as described, and scores follow from them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from kdsearch.bench.search.baselines import GridProposer
from kdsearch.bench.search.campaign import Answered, Case, first_evidence, run_case
from kdsearch.bench.search.campaign import Result as StudyResult
from kdsearch.bench.search.command import search_command
from kdsearch.bench.search.scores import SetupScore, best_trial_scores, model_scores
from kdsearch.bench.search.simulation import SCENARIOS, SimulatedStudy, simulated_study
from kdsearch.bench.search.summaries import Condition, Mean, Summary, summaries_of
from kdsearch.bench.search.targets import targets_of
from kdsearch.bench.search.times import Times, times_of
from kdsearch.bench.search.trainer import train
from kdsearch.search import build_proposer
from kdsearch.spec import TEMPERATURE
from kdsearch.storage import DIVERGED
from kdsearch.trial import Trial

SMALL = ["--scenario", "shared", "--trials", "16", "--levels", "2", "1", "1"]
CASE = Case("shared", "profile", 0, (16,), (2, 1, 1))


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


def test_packs_are_no_larger_than_a_launched_studys():
    study = simulated_study("shared", 0, levels=(2, 2, 1), n_trials=24, pack=12)
    study.search(build_proposer(study.spec), 24)
    assert len({tuple(row.setup.items()) for row in study.rows}) == 4


def test_answers_are_scored_against_the_truth():
    study = simulated_study("shared", 0, levels=(2, 1, 1), n_trials=48)
    study.search(build_proposer(study.spec), 48)
    for score in model_scores(study):
        assert score is not None
        assert score.covered
        assert 0 <= score.regret < 0.3
        assert score.near_found is not None
        assert score.near_found > 0.3
        assert not score.truly_flat
    assert all(score is not None and score.regret < 2 for score in best_trial_scores(study))


def test_a_grid_covers_the_range_from_the_beginning_on():
    study = simulated_study("shared", 0, levels=(1, 1, 1))
    params = GridProposer(study.spec).propose([], 4).params
    positions = sorted(study.position({}, p[TEMPERATURE]) for p in params)
    assert np.diff(positions).min() > 0.2


def trial_of(study: SimulatedStudy, seed: int, temperature: float = 6.0, lr: float = 0.1) -> Trial:
    setup, params = study.spec.setups()[0], {TEMPERATURE: temperature, "optimizer.lr": lr}
    return Trial(seed, seed, setup, params, study.spec.resolve(setup, params))


def test_the_trainer_computes_what_the_study_measures():
    study = simulated_study("shared", 2, lr_off=0.4)
    reported: list[tuple[int, float]] = []

    def report(epoch: int, metrics: dict[str, float]) -> bool:
        reported.append((epoch, metrics["val_accuracy"]))
        return False

    rows = [study.run(trial.setup, trial.params) for trial in [trial_of(study, 0)] * 20]
    trials = [trial_of(study, row.seed) for row in rows]
    trained = [train(trial, report)["val_accuracy"] for trial in trials]
    assert trained == [row.val_accuracy for row in rows]
    assert len(set(trained)) == 20
    assert reported == [(trial.epochs, value) for trial, value in zip(trials, trained, strict=True)]


def test_the_trainers_student_diverges_or_is_lost_where_the_studys_does():
    study = simulated_study("failures", 0)
    high = trial_of(study, 0, lr=1.0)
    assert study.run(high.setup, high.params).reason == DIVERGED
    assert math.isnan(train(high, lambda epoch, metrics: True)["val_accuracy"])
    rows = [study.run(trial.setup, trial.params) for trial in [trial_of(study, 0)] * 200]
    lost = [row.seed for row in rows if row.reason == "lost worker"]
    assert 8 < len(lost) < 35
    with pytest.raises(RuntimeError, match="lost worker"):
        train(trial_of(study, lost[0]), lambda epoch, metrics: False)


@pytest.mark.parametrize("sampler", ["grid at default", "tpe joint"])
def test_baselines_are_scored_too(sampler: str):
    model, best_trial = run_case(replace(CASE, sampler=sampler)).answers
    assert (model.by, best_trial.by) == ("model", "best trial")
    assert all(score is None or (score.regret >= 0 and score.covered is None) for score in best_trial.scores)
    assert any(score is not None for score in model.scores)


def test_trials_count_up_to_the_one_that_fills_the_budget():
    study = simulated_study("failures", 1, n_trials=40)
    rows = list(study.search(build_proposer(study.spec), 40))
    lost = [row.number for row in rows if row.reason == "lost worker"]
    some = first_evidence(rows, 20)
    assert len(some) == 20 + sum(number <= some[-1].number for number in lost)
    assert some[-1].number not in lost


def run(*arguments: str) -> Result:
    return CliRunner().invoke(search_command, [*SMALL, *arguments])


def test_each_study_is_a_line_and_what_is_there_is_not_run_again(tmp_path: Path, monkeypatch):
    out = tmp_path / "studies.jsonl"
    first = run("--studies", "2", "--jobs", "2", "--out", str(out))
    assert first.exit_code == 0, first.output
    lines = out.read_text().splitlines()
    assert sorted(json.loads(line)["case"]["seed"] for line in lines) == [0, 1]
    monkeypatch.setattr("kdsearch.bench.search.campaign.run_case", None)  # nothing is left to run
    again = run("--studies", "2", "--out", str(out))
    assert again.exit_code == 0, again.output
    assert out.read_text().splitlines() == lines
    assert again.output.splitlines()[-3:] == first.output.splitlines()[-3:]


def test_a_line_that_was_cut_off_is_run_again(tmp_path: Path):
    out = tmp_path / "studies.jsonl"
    line = run_case(CASE).to_line()
    out.write_text(line + "\n" + line[:50])
    assert run("--studies", "2", "--out", str(out)).exit_code == 0
    first, second = out.read_text().splitlines()
    assert first == line
    assert json.loads(second)["case"]["seed"] == 1


def test_another_file_is_refused_and_kept(tmp_path: Path):
    out = tmp_path / "notes.txt"
    out.write_text("my notes\n")
    refused = run("--out", str(out))
    assert refused.exit_code == 2
    assert "`--out` must be a file of this benchmark" in refused.output
    assert out.read_text() == "my notes\n"
    alone = run("--through", "launch", "--sampler", "tpe joint")
    assert alone.exit_code == 2
    assert "samplers that ship" in alone.output


def test_a_summary_takes_studies_for_repetitions_and_not_setups():
    def result(seed: int, *regrets: float) -> StudyResult:
        scores = tuple(
            SetupScore(r, covered=r < 0.2, width=0.1, near_found=1, flat=False, truly_flat=False)
            for r in regrets
        )
        return StudyResult(replace(CASE, seed=seed), (Answered("model", 16, (*scores, None)),))

    [summary] = summaries_of([result(0, 0.1, 0.1), result(1, 0.2, 0.4), result(2, 0.5)])
    means = [0.1, 0.3, 0.5]
    assert summary.regret.value == pytest.approx(np.mean(means))
    assert summary.regret.error == pytest.approx(np.std(means, ddof=1) / math.sqrt(3))
    assert (summary.worst, summary.studies) == (0.5, 3)
    assert summary.silent == pytest.approx(3 / 8)
    assert summary.covered is not None
    assert summary.covered.value == pytest.approx(1 / 3)
    assert summary.flat_said is None
    assert summary.flat_said_wrongly == Mean(0.0, 0.0)


SHARED = Condition("shared", 12, 0.0, 4, "sampler")


def summary(
    sampler: str, by: str, trials: int, regret: float, condition: Condition = SHARED, **changes
) -> Summary:
    share = Mean(0.9, 0.01)
    found = Summary(
        condition,
        sampler,
        by,
        trials,
        20,
        Mean(regret, 0.01),
        1.0,
        0.0,
        share,
        share,
        share,
        None,
        Mean(0.0, 0.0),
    )
    return replace(found, **changes)


def verdicts(*summaries: Summary) -> dict[str, bool | None]:
    return {target.name[0]: target.met for target in targets_of(summaries)}


def test_ours_is_to_need_a_third_of_optunas_trials():
    ours = [summary("profile", "model", n, r) for n, r in ((48, 0.15), (96, 0.1), (144, 0.05))]
    slow = [summary("tpe", "best trial", n, r) for n, r in ((48, 0.9), (96, 0.4), (144, 0.15))]
    fast = [summary("gp", "best trial", n, r) for n, r in ((48, 0.9), (96, 0.19), (144, 0.15))]
    assert verdicts(*ours, *slow)["a"] is True
    assert verdicts(*ours, *slow, *fast)["a"] is False
    never = [summary("tpe", "best trial", n, 0.5) for n in (48, 96, 144)]
    assert verdicts(*ours, *never)["a"] is True
    assert verdicts(*ours[:1], *never[:1])["a"] is None
    assert "a" not in verdicts(*ours)


def test_a_regret_counts_as_reached_where_it_stays_so_and_every_setup_has_an_answer():
    grid = [summary("grid at default", "model", n, 0.1) for n in (48, 96)]
    assert verdicts(summary("profile", "model", 48, 0.1), summary("profile", "model", 96, 0.1), *grid)["b"]
    relapsed = summary("profile", "model", 48, 0.1), summary("profile", "model", 96, 0.3)
    assert verdicts(*relapsed, *grid)["b"] is False
    silent = summary("profile", "model", 48, 0.1, silent=0.1), summary("profile", "model", 96, 0.1)
    assert verdicts(*silent, *grid)["b"] is False


def test_every_other_target_has_its_bound():
    ours = summary("profile", "model", 192, 0.1)
    assert verdicts(ours) == {"d": True, "e": True, "f": True}
    wide = replace(ours, covered=Mean(0.99, 0.0), near_found=Mean(0.4, 0.1), flat_said_wrongly=Mean(0.1, 0.1))
    assert verdicts(wide) == {"d": False, "e": False, "f": False}
    flat = summary("profile", "model", 96, 0.0, replace(SHARED, scenario="flat"), flat_said_wrongly=None)
    assert verdicts(replace(flat, flat_said=Mean(0.8, 0.1))) == {"e": False}
    failing = replace(SHARED, scenario="failures")
    late = [summary("profile", "model", n, r, failing) for n, r in ((96, 0.3), (144, 0.1))]
    assert verdicts(*late)["c"] is False


def test_a_pack_is_to_be_asked_within_a_second():
    fast, slow = Times(12, 2000, 0.9, 0.1, 3.0), Times(12, 2000, 1.1, 0.1, 3.0)
    early = Times(12, 100, 5.0, 0.1, 3.0)
    assert [target.met for target in targets_of([], [fast, slow, early])] == [True, False, False]
    assert "first 1.10 s, next 0.10 s; all answers 3.00 s" in targets_of([], [slow])[0].line()
    measured = times_of(40, levels=(2, 1, 1))
    assert (measured.n_setups, measured.trials) == (2, 40)
    assert min(measured.first_ask_s, measured.next_ask_s, measured.answer_s) > 0
