"""The parts of an answer never contradict each other.

They are the recommendation, the interval, the near-optimal range, flatness and the cost of defaults.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdsearch.analysis import SetupAnswer, best
from kdsearch.analysis.questions.best import best_of
from kdsearch.analysis.questions.decision import ENOUGH_TO_DECIDE
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.runs import Asked, read_table, runs_of
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import TrialRow

LR = "optimizer.lr"
SHAPES = {
    "ceiling": lambda u, rng: 1.0 + 0 * u,
    "nearly the ceiling": lambda u, rng: 1.002 - 0.02 * np.maximum(u - 0.6, 0),
    "equal everywhere": lambda u, rng: 0.5 + 0 * u,
    "falls": lambda u, rng: 0.9 - 0.05 * u**0.7,
    "peak": lambda u, rng: 0.8 - 0.2 * abs(u - rng.uniform(0.2, 0.8)),
    "noise": lambda u, rng: 0.7 + 0.03 * rng.standard_normal(len(u)),
}


def a_study(shape: str, seed: int, n_trials: int, *, listed: bool) -> tuple[StudySpec, list[TrialRow]]:
    rng = np.random.default_rng(seed)
    temperature = {"choices": [1, 2, 4, 8, 16]} if listed else {"low": 1, "high": 40, "log": True}
    spec = load_spec(
        {
            "name": "s",
            "setup": {"optimizer.name": ["sgd", "adamw"]},
            "tune": {TEMPERATURE: temperature, LR: {"low": 0.01, "high": 1, "log": True}},
        }
    )
    rows = []
    for s, setup in enumerate(spec.setups()):
        units = rng.random(n_trials)
        noise = 0.0 if shape in ("ceiling", "equal everywhere") else 0.003
        accuracy = SHAPES[shape](units, rng) + noise * rng.standard_normal(n_trials)
        for k, unit in enumerate(units):
            params = {
                path: dimension.from_unit(float(unit if path == TEMPERATURE else rng.random()))
                for path, dimension in spec.dimensions(setup).items()
            }
            value = float(np.clip(np.round(accuracy[k] * 500) / 500, 0, 1))
            rows.append(
                TrialRow(
                    number=s * n_trials + k,
                    state="complete",
                    reason=None,
                    setup=setup,
                    params=params,
                    seed=k,
                    epochs=spec.training.epochs,
                    val_accuracy=value,
                )
            )
    return spec, rows


def assert_one_story(answer: SetupAnswer, ends: tuple[float, float], target: float) -> None:
    assert answer.temperature is not None
    assert answer.interval is not None
    assert answer.interval[0] <= answer.temperature <= answer.interval[1]
    near = answer.near_optimal
    assert near is None or near[0] <= answer.temperature <= near[1]
    knows_enough = answer.trials >= ENOUGH_TO_DECIDE
    assert answer.flat or near != pytest.approx(ends) or not knows_enough, (
        "all are near-optimal: none matters"
    )
    assert knows_enough or not answer.flat, "few trials can't say that temperature does not matter"
    for name, lost in (answer.regret_of or {}).items():
        low, high = (answer.regret_interval_of or {})[name]
        assert lost >= -1e-9, "the recommended temperature is the best on average"
        assert low - 1e-9 <= lost <= high + 1e-9 or low <= high
        assert not answer.flat or lost <= 0.02, "what costs much is no temperature that hardly matters"
        if near is not None and near[0] <= float(name) <= near[1]:
            assert low <= answer_tolerance(), "what is near-optimal can't surely lose more than the tolerance"
    assert answer.effect is not None
    assert answer.effect.best == answer.temperature
    forecast = answer.forecast
    assert forecast is not None
    assert forecast.regret is not None
    assert forecast.decided == (not forecast.missing)
    assert not forecast.decided or forecast.regret <= target
    assert answer.interval_loss == pytest.approx(max(0.001, forecast.regret))
    assert sum(answer.tuned_trials or ()) <= answer.trials


def answer_tolerance() -> float:
    return 0.005


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_trials", [5, 20])
def test_answers_of_random_studies_tell_one_story(shape: str, n_trials: int, listed: bool):
    for seed in range(2):
        spec, rows = a_study(shape, seed, n_trials, listed=listed)
        response = fit_response(spec, rows)
        found = best_of(response, rows)
        profile = response.profile([0])
        ends = float(profile.temperatures[0]), float(profile.temperatures[-1])
        for answer in found.setups:
            if answer.reason is None:
                assert_one_story(answer, ends, found.target)
        document = found.to_dict()["setups"][0]
        assert document["flat"] == found.setups[0].flat
        assert document["interval"] == (found.setups[0].interval and list(found.setups[0].interval))


def test_at_the_ceiling_any_temperature_will_do():
    spec, rows = a_study("ceiling", 0, 20, listed=False)
    for answer in best(spec, rows).setups:
        assert answer.flat
        assert answer.interval is not None
        assert answer.interval[1] / answer.interval[0] > 10, "no temperature is singled out"


def test_what_temperature_does_at_one_learning_rate_is_not_called_flat() -> None:
    spec, rows = a_study("ceiling", 0, 20, listed=False)
    rows = [replace(row, params={**row.params, LR: 0.1}) for row in rows]
    assert not any(answer.flat for answer in best(spec, rows).setups)


def test_other_draws_give_the_same_answer():
    """The seed of the draws changes no answer.

    A share of what is expected to be lost may change with it.
    """
    spec, rows = a_study("peak", 3, 20, listed=False)
    regrets = [
        [a.forecast.regret for a in best(spec, rows, seed=seed).setups if a.forecast] for seed in range(4)
    ]
    spread = np.ptp(np.array(regrets, dtype=float), axis=0)
    assert (spread <= 0.35 * np.mean(regrets, axis=0) + 0.0002).all()


def test_few_steep_trials_beside_flat_setups_are_not_called_flat() -> None:
    asked = Asked(setup=("table",), ignore=("description",))
    runs = runs_of(read_table(Path("studies/public_tables.csv")), asked)
    answers = best(runs.spec(runs.setups), runs.of(runs.setups)).setups
    (steep,) = (answer for answer in answers if answer.setup["table"] == "imagenette-vgg16")
    assert steep.trials == 4  # 90.3, 90.6, 88.5 and 74.6% at T = 1, 2, 4 and 8
    assert not steep.flat
