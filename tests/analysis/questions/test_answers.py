"""Answers against simulated truths, and words where there is none."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from kdsearch.analysis import SetupAnswer, best, fit_response, importance, response_curves
from kdsearch.analysis.questions.forecast import forecast_of
from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.errors import RequestError
from kdsearch.search import build_proposer
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import TrialRow

pytestmark = pytest.mark.simulated

LR = "optimizer.lr"
CONTRACT = {
    *("setup", "temperature", "interval", "near_optimal", "accuracy", "accuracy_interval"),
    *("test_accuracy", "params", "trials", "failed", "pruned", "regret_of"),
}


@cache
def searched(
    scenario: Any, seed: int, n_trials: int = 40, levels: tuple[int, int, int] = (2, 2, 1)
) -> SimulatedStudy:
    """Return a study after its search. Those who ask for the same one share it, and leave it as it is."""
    study = simulated_study(scenario, seed, n_trials=n_trials, levels=levels)
    study.search(build_proposer(study.spec), n_trials)
    return study


def answers(study: SimulatedStudy) -> list[SetupAnswer]:
    return best(study.spec, study.rows).setups


def trials_of(
    spec: StudySpec, accuracy: Any, n: int = 24, noise: float = 0.002, seed: int = 0
) -> list[TrialRow]:
    """Return n trials for each setup, spread over the ranges.

    `accuracy(setup, params, units)` is the truth.
    """
    rng = np.random.default_rng(seed)
    rows: list[TrialRow] = []
    for setup in spec.setups():
        dimensions = spec.dimensions(setup)
        for k in range(n):
            units = {path: rng.random() for path in dimensions}
            if TEMPERATURE in units:
                units[TEMPERATURE] = (k + 0.5) / n
            params = {path: dimensions[path].from_unit(unit) for path, unit in units.items()}
            value = accuracy(setup, params, units) + noise * rng.normal()
            rows.append(
                TrialRow(
                    number=len(rows),
                    state="complete",
                    reason=None,
                    setup=setup,
                    params=params,
                    seed=len(rows),
                    epochs=spec.training.epochs,
                    val_accuracy=value,
                    test_accuracy=value - 0.01,
                )
            )
    return rows


def spec_of(tune: dict, setup: dict | None = None, **document: Any) -> StudySpec:
    return load_spec({"name": "s", "tune": tune, "setup": setup or {}, **document})


LOG_T = {"low": 1, "high": 40, "log": True}
LOG_LR = {"low": 0.01, "high": 1, "log": True}


def peak_at_six(setup: dict, params: dict, units: dict) -> float:
    temperature = {**setup, **params}[TEMPERATURE]
    return 0.9 - 0.02 * np.log(temperature / 6) ** 2 - 0.1 * (units.get(LR, 0.5) - 0.5) ** 2


def test_the_document_is_the_contracts():
    spec = spec_of({TEMPERATURE: LOG_T, LR: LOG_LR}, {"optimizer.name": ["sgd", "adamw"]})
    document = json.loads(json.dumps(best(spec, trials_of(spec, peak_at_six)).to_dict()))
    assert {"study", "metric", "level", "tolerance", "setups"} <= document.keys()
    assert document["metric"] == "val_accuracy"
    answer = document["setups"][0]
    assert answer.keys() >= CONTRACT
    assert answer["setup"] == {"optimizer.name": "sgd"}
    assert answer["interval"][0] <= answer["temperature"] <= answer["interval"][1]
    assert answer["near_optimal"][0] <= answer["temperature"] <= answer["near_optimal"][1]
    assert answer["accuracy_interval"][0] <= answer["accuracy"] <= answer["accuracy_interval"][1]
    assert answer["test_accuracy"] == pytest.approx(answer["accuracy"] - 0.01, abs=0.01)
    assert answer["params"].keys() == {LR}
    assert (answer["trials"], answer["failed"], answer["pruned"]) == (24, 0, 0)
    assert answer["regret_of"].keys() == {"1", "4"}
    assert answer["regret_of"]["1"] > answer["regret_of"]["4"] >= 0


def test_an_answer_names_the_best_of_the_trials_that_are_nearest_to_it():
    spec = spec_of({TEMPERATURE: LOG_T, LR: LOG_LR})
    rows = trials_of(spec, peak_at_six)
    [answer] = best(spec, rows).setups
    at = {TEMPERATURE: answer.temperature, **answer.params}
    first = len(rows)
    rows += [
        replace(rows[0], number=first + k, seed=first + k, params=at, val_accuracy=answer.accuracy + luck)
        for k, luck in enumerate((-0.001, 0.001, 0.0))
    ]
    [again] = best(spec, rows).setups
    nearest = rows[again.nearest_trial]
    assert nearest.number == first + 1
    [marginal] = best(spec, rows, by=[]).setups
    assert marginal.nearest_trial is None


def test_no_trial_is_named_where_none_is_near_the_answer():
    spec = spec_of({TEMPERATURE: LOG_T})
    ends = [row for row in trials_of(spec, peak_at_six) if not 3 < row.params[TEMPERATURE] < 12]
    [answer] = best(spec, ends).setups
    assert 4 < answer.temperature < 9
    assert answer.nearest_trial is None


@pytest.mark.parametrize("n_tuned", [1, 2, 3])
def test_the_truth_is_found_with_any_number_of_tuned_parameters(n_tuned: int):
    tune = {
        TEMPERATURE: LOG_T,
        LR: LOG_LR,
        "optimizer.weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
    }
    spec = spec_of(dict(list(tune.items())[:n_tuned]), {"optimizer.name": ["sgd", "adamw"]})
    for answer in best(spec, trials_of(spec, peak_at_six, n=30)).setups:
        assert answer.interval is not None
        assert answer.interval[0] <= 6 <= answer.interval[1]
        assert answer.temperature == pytest.approx(6, rel=0.35)
        assert answer.accuracy == pytest.approx(0.9, abs=0.01)


def test_choices_and_integers_are_answered_in_their_own_values():
    tune = {
        TEMPERATURE: {"choices": [1, 2, 4, 8, 16]},
        "training.batch_size": {"low": 16, "high": 64, "integer": True, "log": True},
        "optimizer.nesterov": {"choices": [True, False]},
    }
    spec = spec_of(tune)

    def accuracy(setup: dict, params: dict, units: dict) -> float:
        return 0.9 - 0.02 * np.log(params[TEMPERATURE] / 8) ** 2 - 0.02 * (not params["optimizer.nesterov"])

    [answer] = best(spec, trials_of(spec, accuracy, n=40)).setups
    assert answer.temperature == 8
    assert answer.interval == (8, 8)
    assert answer.params is not None
    assert answer.params["optimizer.nesterov"] is True
    assert isinstance(answer.params["training.batch_size"], int)


def test_a_temperature_that_is_a_factor_is_answered_by_its_best_level():
    spec = spec_of({LR: LOG_LR}, {TEMPERATURE: [1, 4, 16], "optimizer.name": ["sgd", "adamw"]})
    answers = best(spec, trials_of(spec, peak_at_six, n=8)).setups
    assert [answer.setup for answer in answers] == [{"optimizer.name": "sgd"}, {"optimizer.name": "adamw"}]
    assert [answer.temperature for answer in answers] == [4, 4]
    assert answers[0].trials == 24


def test_the_same_trials_and_seed_give_the_same_answer():
    study = searched("shared", 1)
    once, again = (best(study.spec, rows).to_dict() for rows in (study.rows, study.rows[::-1]))
    assert once == again
    assert best(study.spec, study.rows, seed=1).to_dict() != once


def test_too_few_trials_give_a_reason_and_no_number():
    spec = spec_of({TEMPERATURE: LOG_T}, {"optimizer.name": ["sgd", "adamw"]})
    rows = [row for row in trials_of(spec, peak_at_six) if row.setup["optimizer.name"] == "sgd"]
    replicate = [replace(rows[0], number=100 + n, setup={"optimizer.name": "adamw"}) for n in range(6)]
    sgd, adamw = best(spec, [*rows, *replicate]).setups
    assert sgd.reason is None
    assert adamw.reason == "too few trials: complete ones at 1 distinct point, at least 4 are needed."
    assert adamw.trials == 6
    assert [adamw.temperature, adamw.interval, adamw.accuracy, adamw.params, adamw.regret_of] == [None] * 5


def test_a_setup_without_others_that_ran_owes_them_nothing():
    spec = spec_of({TEMPERATURE: LOG_T}, {"optimizer.name": ["sgd", "adamw"]})
    rows = trials_of(spec, peak_at_six)
    first = [row for row in rows if row.setup["optimizer.name"] == "sgd"]
    assert [best(spec, known).setups[0].alone is None for known in (first, rows)] == [True, False]


def test_a_study_without_trials_answers_every_setup_with_a_reason():
    spec = spec_of({TEMPERATURE: LOG_T}, {"optimizer.name": ["sgd", "adamw"]})
    assert all(answer.reason for answer in best(spec, []).setups)
    assert [curve.temperatures for curve in response_curves(fit_response(spec, []))] == [[], []]


def test_diverged_failed_and_pruned_trials_are_counted_apart():
    spec = spec_of({TEMPERATURE: LOG_T})
    rows = trials_of(spec, peak_at_six)
    rows[0] = replace(rows[0], state="failed", reason="diverged", val_accuracy=None)
    rows[1] = replace(rows[1], state="failed", reason="lost", val_accuracy=None)
    rows[2] = replace(rows[2], state="pruned", epochs=2)
    answer = best(spec, rows)
    counts = {"trials": 21, "diverged": 1, "failed": 1, "pruned": 1}
    table, [document], [row] = answer.table(), answer.to_dict()["setups"], answer.rows()
    shown = dict(zip((heading.text for heading in table.headings), table.rows[0], strict=True))
    for kind, count in counts.items():
        assert (document[kind], row[kind], shown[kind]) == (count, count, str(count))


def test_all_faces_say_that_all_trials_diverged():
    spec = spec_of({TEMPERATURE: LOG_T})
    rows = [
        replace(row, state="failed", reason="diverged", val_accuracy=None)
        for row in trials_of(spec, peak_at_six)
    ]
    response = fit_response(spec, rows)
    reasons = {
        best(spec, rows).setups[0].reason,
        forecast_of(response).setups[0].reason,
        importance(response).reason,
    }
    assert len(reasons) == 1
    assert "trials diverged: their loss or accuracy was not finite" in str(reasons)


def test_trials_of_unequal_budget_do_not_compete():
    spec = spec_of({TEMPERATURE: LOG_T})
    rows = trials_of(spec, peak_at_six)
    short = [
        replace(row, number=100 + row.number, epochs=1, val_accuracy=0.99, params={TEMPERATURE: 40.0})
        for row in rows[:5]
    ]
    [answer] = best(spec, [*rows, *short]).setups
    assert answer.temperature == best(spec, rows).setups[0].temperature
    assert "another number of epochs" in answer.warnings[0]


WIDEN_YOURSELF = "Widen the range, or set `search.widen`."
IS_WIDENED = (
    "The search widens a range once trials lie at its end, 3 times at most; "
    "what lies further out takes a study with a wider one."
)


@pytest.mark.parametrize(
    ("widen", "remedy"),
    [
        (False, WIDEN_YOURSELF),
        (True, IS_WIDENED),
        ([LR], IS_WIDENED),
        ([TEMPERATURE], WIDEN_YOURSELF),
    ],
)
def test_a_best_learning_rate_at_the_edge_of_its_range_is_flagged(widen: Any, remedy: str):
    spec = spec_of({TEMPERATURE: LOG_T, LR: LOG_LR}, search={"widen": widen})

    def accuracy(setup: dict, params: dict, units: dict) -> float:
        return peak_at_six(setup, params, {}) - 0.05 * (1 - units[LR])

    [answer] = best(spec, trials_of(spec, accuracy)).setups
    assert any(
        "`optimizer.lr` probably lies at the edge of its range (1)" in warning and warning.endswith(remedy)
        for warning in answer.warnings
    )
    assert best(spec, trials_of(spec, peak_at_six)).setups[0].warnings == ()


def test_a_best_temperature_at_the_edge_is_flagged_where_it_is_probable():
    spec = spec_of({TEMPERATURE: LOG_T})
    rising = trials_of(spec, lambda setup, params, units: 0.8 + 0.1 * units[TEMPERATURE])
    assert "may be above 40" in best(spec, rising).setups[0].warnings[0]
    noise = trials_of(spec, lambda setup, params, units: 0.8, noise=0.005)
    assert not any("edge" in warning for warning in best(spec, noise).setups[0].warnings)


def test_marginal_answers_average_over_the_other_factors():
    spec = spec_of({TEMPERATURE: LOG_T}, {"optimizer.name": ["sgd", "adamw"], "training.epochs": [10, 20]})

    def accuracy(setup: dict, params: dict, units: dict) -> float:
        best_log = np.log(3) if setup["optimizer.name"] == "sgd" else np.log(12)
        return 0.9 - 0.02 * (np.log(params[TEMPERATURE]) - best_log) ** 2 + setup["training.epochs"] / 1000

    rows = [replace(row, epochs=row.setup["training.epochs"]) for row in trials_of(spec, accuracy, n=16)]
    sgd, adamw = best(spec, rows, by=["optimizer.name"]).setups
    assert (sgd.setup, sgd.trials, sgd.params) == ({"optimizer.name": "sgd"}, 32, None)
    assert sgd.temperature == pytest.approx(3, rel=0.25)
    assert adamw.temperature == pytest.approx(12, rel=0.25)
    assert sgd.accuracy == pytest.approx(0.915, abs=0.005)
    [whole] = best(spec, rows, by=[]).setups
    assert (whole.setup, whole.trials) == ({}, 64)


def test_setups_without_a_common_temperature_have_no_marginal_answer():
    ranges = {
        "by": "optimizer.name",
        "sgd": {"choices": [1, 2, 3, 4]},
        "adamw": {"choices": [10, 20, 30, 40]},
    }
    spec = spec_of({TEMPERATURE: ranges}, {"optimizer.name": ["sgd", "adamw"]})
    [answer] = best(spec, trials_of(spec, peak_at_six), by=[]).setups
    assert answer.reason == "the setups have no temperature in common."
    assert [a.temperature for a in best(spec, trials_of(spec, peak_at_six)).setups] == [4, 10]


def test_where_restricts_the_answers_but_not_the_evidence():
    study = searched("shared", 2)
    path, level = "optimizer.name", "adam"
    some = best(study.spec, study.rows, where={path: level}).setups
    every = [a for a in best(study.spec, study.rows).setups if a.setup[path] == level]
    assert some == every


@pytest.mark.parametrize(
    "options",
    [{"by": ["optimizer.lr"]}, {"where": {"student.arch": "x"}}, {"where": {"optimizer.name": "rmsprop"}}],
)
def test_a_wrong_factor_or_level_is_named_with_the_right_ones(options: dict):
    study = searched("shared", 3)
    with pytest.raises(RequestError, match=r"Factors: optimizer\.name|Levels: sgd, adam"):
        best(study.spec, study.rows, **options)


def coverage(scenario: Any, seeds: Sequence[int]) -> float:
    covered = []
    for seed in seeds:
        study = searched(scenario, seed)
        for answer in best(study.spec, study.rows).setups:
            assert answer.interval is not None
            low, high = (study.position(answer.setup, end) for end in answer.interval)
            covered.append(low <= study.truth(answer.setup).best <= high)
    return float(np.mean(covered))


def test_the_interval_covers_the_truth():
    assert coverage("unshared", range(4)) >= 0.8
    assert coverage("shared", range(4)) >= 0.8


def test_flat_is_said_where_the_curve_is_flat_and_only_there():
    flat, peaked = (
        [answer.flat for n in range(seeds) for answer in answers(searched(name, n, 192, levels=(2, 3, 2)))]
        for name, seeds in (("flat", 2), ("shared", 1))
    )
    assert np.mean(flat) >= 0.6
    assert not any(peaked)


def test_curves_pass_through_the_answers():
    study = searched("shared", 3)
    for curve, answer in zip(
        response_curves(fit_response(study.spec, study.rows)),
        best(study.spec, study.rows).setups,
        strict=True,
    ):
        assert curve.setup == answer.setup
        assert curve.temperatures[int(np.argmax(curve.mean))] == answer.temperature
        assert all(
            low <= mean <= high for low, mean, high in zip(curve.low, curve.mean, curve.high, strict=True)
        )
        assert len(curve.points) == answer.trials


def test_the_curve_at_common_parameters_lies_below_the_tuned_one():
    spec = spec_of({TEMPERATURE: LOG_T, LR: LOG_LR})

    def coupled(setup: dict, params: dict, units: dict) -> float:
        return 0.9 - 0.1 * (units[LR] - 0.2 - 0.6 * units[TEMPERATURE]) ** 2

    [curve] = response_curves(fit_response(spec, trials_of(spec, coupled, n=40)))
    lost = np.array(curve.mean) - np.array(curve.at_common)
    assert lost.min() >= -1e-3
    assert lost.max() > 0.01


def test_an_answer_says_what_its_temperature_stands_for_where_it_moves() -> None:
    """Each level of the ratio has its own best temperature."""
    best_at = {0.25: 0.2, 1: 0.5, 4: 0.8}
    spec = load_spec(
        {
            "name": "moving",
            "setup": {"objective.temperature_ratio": list(best_at)},
            "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
        }
    )

    def accuracy(setup: Any, params: Any, units: Any) -> float:
        return float(0.9 - 0.3 * (units[TEMPERATURE] - best_at[setup["objective.temperature_ratio"]]) ** 2)

    falling, still, rising = best(spec, trials_of(spec, accuracy)).setups
    for found, unit in zip((falling, still, rising), best_at.values(), strict=True):
        assert found.temperature is not None
        assert abs(np.log(found.temperature) / np.log(40) - unit) < 0.1
    notes = [[note for note in found.warnings if "moves" in note] for found in (falling, still, rising)]
    assert notes[1] == []
    assert [own[0].partition(":")[0] for own in (notes[0], notes[2])] == [
        "T moves within each training, from 2 T to 0.5 T",
        "T moves within each training, from 0.5 T to 2 T",
    ]


def test_a_steep_setup_that_flat_ones_contradict_is_answered_by_its_own_trials() -> None:
    tables = ["one", "two", "three", "steep"]
    spec = load_spec(
        {
            "name": "beside",
            "trainer": "kdsearch.runs:none",
            "setup": {"options.table": tables},
            "tune": {TEMPERATURE: {"low": 1, "high": 16, "log": True}},
        }
    )
    rng = np.random.default_rng(0)
    measured = [
        (table, float(T), 0.9 + rng.normal(0, 0.003)) for table in tables[:3] for T in np.geomspace(1, 16, 9)
    ]
    measured += [("steep", T, a) for T, a in ((1.0, 0.9029), (2.0, 0.9062), (4.0, 0.8848), (8.0, 0.7462))]
    rows = [
        TrialRow(n, "complete", None, {"options.table": table}, {TEMPERATURE: T}, n, 20, a)
        for n, (table, T, a) in enumerate(measured)
    ]
    *flat, steep = best(spec, rows).setups
    assert 1 <= steep.temperature <= 2.9
    assert steep.interval[1] < 4
    assert steep.regret_of["4"] > 0.01
    assert any("contradict the other setups" in warning for warning in steep.warnings)
    assert not steep.forecast.decided
    curve = response_curves(fit_response(spec, rows))[-1]
    at_8 = int(np.abs(np.log(np.array(curve.temperatures) / 8)).argmin())
    assert curve.mean[at_8] == pytest.approx(0.7462, abs=0.03)
    for answer in flat:
        assert answer.regret_of["4"] == pytest.approx(0, abs=0.004)
        assert not any("contradict" in warning for warning in answer.warnings)


def test_one_accident_among_many_trials_contradicts_nothing() -> None:
    study = searched("shared", 0, 48)
    key = study.rows[-1].setup
    broken = [n for n, row in enumerate(study.rows) if row.setup == key][-1]
    rows = [replace(row, val_accuracy=0.3) if n == broken else row for n, row in enumerate(study.rows)]
    assert not any("contradict" in w for answer in best(study.spec, rows).setups for w in answer.warnings)
