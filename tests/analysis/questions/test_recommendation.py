"""The temperature for a setup that was not run: what it draws from, how sure it is, and what it refuses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kdsearch.analysis import best
from kdsearch.analysis.questions.recommendation import Recommendation, recommend_from
from kdsearch.analysis.response.warm_start import EarlierStudy
from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.errors import RequestError
from kdsearch.search import build_proposer
from kdsearch.spec import TEMPERATURE, StudySpec, load_stored_spec, spec_document
from kdsearch.storage import TrialRow

pytestmark = pytest.mark.simulated

LR = "optimizer.lr"
EPOCHS = "teacher.finetune.epochs"
MakeSpec = Callable[..., StudySpec]
MakeTrials = Callable[..., list[TrialRow]]


def trained(spec: StudySpec, best_of: Callable[[Mapping[str, Any]], float], n: int = 12) -> EarlierStudy:
    """Return a study whose setups peak where `best_of` says."""
    rng = np.random.default_rng(0)
    rows: list[TrialRow] = []
    for setup in spec.setups():
        for k in range(n):
            temperature = 40 ** ((k + rng.random()) / n)
            accuracy = 0.9 - 0.02 * math.log(temperature / best_of(setup)) ** 2 + rng.normal(0, 0.002)
            params = {TEMPERATURE: temperature, LR: 0.1 * math.exp(rng.normal(0, 0.3))}
            rows.append(
                TrialRow(len(rows), "complete", None, setup, params, len(rows), 20, val_accuracy=accuracy)
            )
    return EarlierStudy(spec, rows)


def width(found: Recommendation) -> float:
    assert found.interval is not None
    return math.log(found.interval[1] / found.interval[0])


def test_a_number_between_two_levels_gets_a_temperature_between_theirs(make_spec: MakeSpec):
    spec = make_spec({EPOCHS: [2, 10, 50, 200]})
    study = trained(spec, lambda setup: {2: 2.5, 10: 5.0, 50: 10.0, 200: 20.0}[setup[EPOCHS]])
    found = recommend_from([study], {EPOCHS: 22})
    assert found.temperature is not None
    assert 5.0 < found.temperature < 10.5
    assert found.trials == 0
    assert {source.setup[EPOCHS] for source in found.sources[:2]} == {10, 50}
    assert found.warnings == ()
    assert set(found.params or {}) == {LR}
    beyond = recommend_from([study], {EPOCHS: 1000})
    assert "outside what was run, 2 to 200" in beyond.warnings[0]
    assert width(beyond) > width(found)


def test_an_unknown_level_is_only_as_sure_as_setups_differ_little(make_spec: MakeSpec):
    spec = make_spec({"optimizer.name": ["sgd", "adam", "rmsprop"]})
    alike = recommend_from([trained(spec, lambda _: 6.0)], {"optimizer.name": "adamw"})
    peaks = {"sgd": 2.0, "adam": 7.0, "rmsprop": 30.0}
    apart = recommend_from([trained(spec, lambda s: peaks[s["optimizer.name"]])], {"optimizer.name": "adamw"})
    assert "optimizer.name=adamw was never run" in alike.warnings[0]
    assert width(apart) > 1.5 * width(alike)
    assert alike.interval is not None
    assert alike.interval[0] < 6.0 < alike.interval[1]


def test_a_setup_that_was_run_gets_the_answer_of_best(make_spec: MakeSpec):
    study = trained(make_spec(), lambda setup: 4.0 if setup["optimizer.name"] == "sgd" else 12.0, n=24)
    found = recommend_from([study], {"optimizer.name": "adamw"})
    known = best(study.spec, study.trials).setups[1]
    assert found.trials == 24
    assert found.temperature == pytest.approx(known.temperature, rel=0.2)
    assert [source.setup for source in found.sources] == [{"optimizer.name": "sgd"}]
    assert found.warnings[0].startswith(f"24 trials of this very setup are in {study.spec.name}: `best`")


def test_a_level_is_known_however_its_number_is_written(make_spec: MakeSpec):
    study = trained(make_spec({"objective.alpha": [0.5, 1.0]}, objective={"name": "kd"}), lambda _: 6.0)
    whole, written = (recommend_from([study], {"objective.alpha": level}) for level in (1, 1.0))
    assert (
        (whole.trials, whole.temperature) == (written.trials, written.temperature) == (12, whole.temperature)
    )
    fixed = recommend_from([study], {"objective.alpha": 1.0, "augment.mixup": 0})
    assert fixed.trials == 12


@pytest.mark.parametrize(
    "levels", [{"objective.name": "mse"}, {"objective.name": "kd", "objective.alpha": 0}]
)
def test_where_temperature_has_no_effect_none_is_recommended(make_spec: MakeSpec, levels: dict[str, Any]):
    study = trained(make_spec({"objective.name": ["kd", "mse"]}), lambda _: 6.0)
    found = recommend_from([study], levels)
    assert found.temperature is None
    assert "temperature has no effect with" in (found.reason or "")


def test_studies_are_drawn_from_together(make_spec: MakeSpec):
    sgd = make_spec({EPOCHS: [2, 20, 80]}, name="sgd", optimizer={"name": "sgd"})
    adamw = make_spec({EPOCHS: [2, 80]}, name="adamw", optimizer={"name": "adamw"})
    peaks = {2: 3.0, 20: 8.0, 80: 20.0}
    studies = [trained(spec, lambda setup: peaks[setup[EPOCHS]]) for spec in (sgd, adamw)]
    found = recommend_from(studies, {EPOCHS: 20, "optimizer.name": "adamw"})
    assert found.temperature is not None
    assert 4.0 < found.temperature < 16.0
    assert {source.study for source in found.sources} == {"sgd", "adamw"}


def test_temperatures_of_a_factor_are_recommended_from(make_spec: MakeSpec):
    tune = {LR: {"low": 0.01, "high": 1.0, "log": True}}
    spec = make_spec({EPOCHS: [2, 20], TEMPERATURE: [1, 4, 16]}, tune=tune)
    rows = []
    for n in range(48):
        setup = spec.setups()[n % 6]
        accuracy = 0.9 - 0.02 * math.log(setup[TEMPERATURE] / 4) ** 2
        rows.append(TrialRow(n, "complete", None, setup, {LR: 0.1}, n, 20, val_accuracy=accuracy))
    found = recommend_from([EarlierStudy(spec, rows)], {EPOCHS: 10})
    assert found.temperature == 4
    assert found.interval is not None
    assert 1 < found.interval[0] <= 4 <= found.interval[1]


def test_without_trials_there_is_a_reason_and_no_number(make_spec: MakeSpec, make_trials: MakeTrials):
    spec = make_spec()
    found = recommend_from([EarlierStudy(spec, make_trials(spec)[:3])], {"optimizer.name": "lion"})
    assert found.temperature is None
    assert found.reason is not None
    assert recommend_from([], {}).reason is not None


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"optimizer.name": "sgd"}, "missing: training.epochs .10, 40."),
        ({"optimizer.name": "sgdd", "training.epochs": 10}, "Did you mean 'sgd'"),
        ({"optimizer.nam": "sgd", "optimizer.name": "sgd", "training.epochs": 10}, "optimizer.name"),
        ({"optimizer.name": "sgd", "training.epochs": 10, TEMPERATURE: 4}, "must not name objective.temp"),
        ({"optimizer.name": "sgd", "training.epochs": 10, LR: 0.1}, "must not name optimizer.lr"),
    ],
)
def test_wrong_setups_are_refused(make_spec: MakeSpec, levels: dict[str, Any], message: str):
    spec = make_spec({"optimizer.name": ["sgd", "adamw"], "training.epochs": [10, 40]})
    with pytest.raises(RequestError, match=message):
        recommend_from([trained(spec, lambda _: 6.0, n=4)], levels)


def test_a_study_of_an_earlier_version_is_drawn_from_though_its_spec_would_be_refused(make_spec: MakeSpec):
    study = trained(make_spec({"optimizer.name": ["sgd", "adamw"]}), lambda _: 4.0)
    document = {**spec_document(study.spec), "search": {"stop": {"regret": 2.0}}}
    old = replace(study, spec=load_stored_spec(document))
    levels = {"optimizer.name": "adamw"}
    assert recommend_from([old], levels) == recommend_from([study], levels)


def without(study: SimulatedStudy, setup: dict[str, Any]) -> EarlierStudy:
    return EarlierStudy(study.spec, [row for row in study.rows if row.setup != setup])


def test_setups_left_out_are_covered_and_beat_copying_four():
    copied, recommended, covered = [], [], []
    for seed in range(2):
        study = simulated_study("shared", seed, levels=(2, 3, 1), n_trials=48)
        study.search(build_proposer(study.spec), 48)
        for setup in study.spec.setups():
            found = recommend_from([without(study, setup)], setup)
            assert found.temperature is not None
            assert found.interval is not None
            recommended.append(study.regret(setup, found.temperature))
            copied.append(study.regret(setup, 4.0))
            low, high = (study.position(setup, t) for t in found.interval)
            covered.append(low <= study.truth(setup).best <= high)
    assert np.mean(recommended) < 0.6 * np.mean(copied)
    assert np.mean(covered) >= 0.8


def test_the_order_of_trials_does_not_matter(make_spec: MakeSpec):
    study = trained(make_spec(), lambda _: 6.0)
    turned = replace(study, trials=list(study.trials)[::-1])
    asked = {"optimizer.name": "adam"}
    assert recommend_from([study], asked).to_dict() == recommend_from([turned], asked).to_dict()
