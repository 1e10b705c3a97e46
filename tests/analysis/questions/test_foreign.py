"""Answers from runs that exist: public tables, and a plain Optuna script whose truth is known."""

import math
from pathlib import Path

import numpy as np
import optuna
import pytest

from kdsearch.analysis import best, best_of_optuna
from kdsearch.analysis.questions.runs import RunsAnswer, answer_runs
from kdsearch.errors import RequestError
from kdsearch.runs import Asked, read_table, runs_of
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import TrialRow

TRUTH = {"sgd": 6.0, "adamw": 2.5}  # best temperatures, none of them the usual 4
RATES = {"sgd": 0.1, "adamw": 0.001}  # usual rates of each, so that no range fits both


@pytest.fixture(scope="module")
def public() -> RunsAnswer:
    return answer_runs(runs_of(read_table(Path("studies/public_tables.csv")), Asked(setup=("table",))))


def test_fifteen_public_runs_have_no_unique_winner(public: RunsAnswer) -> None:
    (voc,) = [a for a in public.answer.setups if a.setup["table"] == "voc-segmentation-miou"]
    assert voc.trials == 15
    assert voc.interval is not None
    assert voc.forecast is not None
    assert voc.interval[0] < 0.5
    assert voc.interval[1] == pytest.approx(2)
    assert not voc.forecast.decided


def test_few_public_runs_are_answered_with_doubt(public: RunsAnswer) -> None:
    found = {a.setup["table"]: a for a in public.answer.setups}
    assert found["cifar10-alpha07-10epochs"].temperature is None
    assert "2 distinct points" in (found["cifar10-alpha07-10epochs"].reason or "")
    assert not any(a.forecast and a.forecast.decided for a in public.answer.setups)
    imagenette = found["imagenette-vgg16"]
    assert imagenette.interval is not None
    assert imagenette.interval[1] < 4
    assert imagenette.regret_of is not None
    assert imagenette.regret_of["4"] > 0.01
    best_of_tutorial = found["cifar10-tutorial-nets"].interval
    assert best_of_tutorial is not None
    assert best_of_tutorial[0] < 5 < 10 < best_of_tutorial[1]
    assert any("at this one learning rate" in note for note in public.notes)


def accuracy(optimizer: str, temperature: float, rate: float) -> float:
    """The truth: a student loses a point where T is off by e."""
    off = math.log(temperature / TRUTH[optimizer]), math.log10(rate / RATES[optimizer])
    return 0.9 - 0.01 * off[0] ** 2 - 0.02 * off[1] ** 2


@pytest.fixture(scope="module")
def script() -> optuna.Study:
    """A plain script: a grid-like random search with a learning rate of each optimizer's own."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rng = np.random.default_rng(1)

    def objective(trial: optuna.Trial) -> float:
        optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
        temperature = trial.suggest_float("T", 1, 40, log=True)
        centre = RATES[optimizer]
        rate = trial.suggest_float(f"lr_{optimizer}", centre / 10, centre * 10, log=True)
        return accuracy(optimizer, temperature, rate) + rng.normal(0, 0.004)

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=200)
    return study


def test_a_plain_optuna_script_is_answered_as_a_study_would_be(script: optuna.Study) -> None:
    answer = best_of_optuna(script, temperature="T", setup=["optimizer"])
    spec = load_spec(
        {
            "name": "plain",
            "trainer": "some.module:train",
            "setup": {"optimizer.name": ["sgd", "adamw"]},
            "tune": {
                TEMPERATURE: {"low": 1, "high": 40, "log": True},
                "optimizer.lr": {
                    "by": "optimizer.name",
                    **{o: {"low": lr / 10, "high": lr * 10, "log": True} for o, lr in RATES.items()},
                },
            },
        }
    )
    rows = [
        TrialRow(
            number=trial.number,
            state="complete",
            reason=None,
            setup={"optimizer.name": (o := trial.params["optimizer"])},
            params={TEMPERATURE: trial.params["T"], "optimizer.lr": trial.params[f"lr_{o}"]},
            seed=trial.number,
            epochs=0,
            val_accuracy=trial.value,
        )
        for trial in script.trials
    ]
    own = {a.setup["optimizer.name"]: a for a in best(spec, rows).setups}
    assert len(answer.setups) == 2
    for found in answer.setups:
        optimizer = found.setup["optimizer"]
        assert found.temperature is not None
        assert found.interval is not None
        assert found.params is not None
        assert found.interval[0] < TRUTH[optimizer] < found.interval[1]
        assert accuracy(optimizer, found.temperature, RATES[optimizer]) > 0.9 - 0.002
        assert abs(math.log(found.temperature / (own[optimizer].temperature or 0))) < 0.15
        assert found.params[f"lr_{optimizer}"] == pytest.approx(RATES[optimizer], rel=0.8)


def test_misspelt_parameters_are_refused(script: optuna.Study) -> None:
    for asked in ({"setup": ["optimiser"]}, {"temperature": "tau", "setup": ["optimizer"]}):
        with pytest.raises(RequestError, match="Parameters: optimizer, T, lr_"):
            best_of_optuna(script, **asked)


def test_a_parameter_without_its_condition_is_refused(script: optuna.Study) -> None:
    with pytest.raises(RequestError, match="Name what it depends on with --setup"):
        best_of_optuna(script, temperature="T")


def test_a_minimised_objective_needs_its_unit() -> None:
    study = optuna.create_study(direction="minimize")
    study.optimize(
        lambda t: 0.1 + 0.01 * math.log(t.suggest_float("T", 1, 40, log=True) / 5) ** 2, n_trials=16
    )
    with pytest.raises(RequestError, match="which minimises"):
        best_of_optuna(study)
    (found,) = best_of_optuna(study, points=0.01).setups
    assert found.accuracy == pytest.approx(0.9, abs=0.005)
    assert found.interval is not None
    assert found.interval[0] < 5 < found.interval[1]


def test_a_range_of_temperatures_that_begins_at_0_begins_with_what_was_tried() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: 0.9 - 0.02 * math.log(trial.suggest_float("T", 0, 10) / 4) ** 2, n_trials=24)
    (found,) = best_of_optuna(study).setups
    assert found.interval is not None
    assert found.outcomes[0].low == pytest.approx(min(trial.params["T"] for trial in study.trials))
