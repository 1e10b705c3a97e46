"""Temperature's effect, retuned and not, against known truths.

In them the learning rate does a known part of it.
"""

import json
from collections.abc import Callable

import numpy as np
import pytest

from kdsearch.analysis import best, fit_response, response_curves
from kdsearch.analysis.questions.effects import effect_of, tuning_note
from kdsearch.analysis.report.plots import plot_response
from kdsearch.analysis.report.tables import effect_table
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import TrialRow

LR = "optimizer.lr"
LOG_T = {"low": 1, "high": 40, "log": True}
LOG_LR = {"low": 0.01, "high": 1, "log": True}
TEMPERATURES = np.array([1.0, 4.0, 16.0])


def spec_of(*tuned: str, setup: dict | None = None) -> StudySpec:
    ranges = {TEMPERATURE: LOG_T, LR: LOG_LR}
    return load_spec({"name": "s", "tune": {path: ranges[path] for path in tuned}, "setup": setup or {}})


def trials_of(spec: StudySpec, truth: Callable[[float, float], float], n: int = 48) -> list[TrialRow]:
    """Return trials spread over both unit ranges; `truth(u, v)` is the accuracy."""
    rng = np.random.default_rng(0)
    rows: list[TrialRow] = []
    for setup in spec.setups():
        for k in range(n):
            u, v = (k + 0.5) / n, rng.random()
            accuracy = truth(u, v) + 0.001 * rng.normal()
            params = {path: {TEMPERATURE: 40**u, LR: 100 ** (v - 1)}[path] for path in spec.tune}
            rows.append(TrialRow(len(rows), "complete", None, setup, params, 0, 20, accuracy))
    return rows


def only_tuning(u: float, v: float) -> float:
    """The best learning rate moves with temperature, which itself does nothing."""
    return 0.9 - 0.1 * (v - 0.2 - 0.6 * u) ** 2


def no_tuning(u: float, v: float) -> float:
    """One learning rate is best everywhere: at u = 0.5 and v = 0.5 the accuracy is 90%."""
    return 0.9 - 0.08 * (u - 0.5) ** 2 - 0.1 * (v - 0.5) ** 2


def profile(*draws: list[float]) -> TemperatureProfile:
    return TemperatureProfile(TEMPERATURES, np.array(draws), 0.1)


def test_an_effect_is_what_the_best_gains_over_the_worst():
    effect = effect_of(profile([0.80, 0.90, 0.85], [0.82, 0.88, 0.85]), level=0.9)
    assert (effect.best, effect.worst) == (4.0, 1.0)
    assert effect.gain == pytest.approx(0.08)
    assert effect.interval == pytest.approx((0.062, 0.098))


def test_the_note_tells_what_remains_of_the_effect_once_retuned():
    tuned, common = profile([0.88, 0.90, 0.89]), profile([0.80, 0.90, 0.85])
    note = tuning_note(tuned, common, {LR: 0.1}, level=0.9, tolerance=0.005)
    assert note == (
        "With `optimizer.lr` kept at 0.1, T = 4.0 looks 10.0 points better than T = 1.0; "
        "retuned for each temperature, 2.0: most of the effect is one of tuning."
    )
    assert tuning_note(common, common, {LR: 0.1}, level=0.9, tolerance=0.005) is None


def test_the_note_names_another_best_temperature():
    note = tuning_note(
        profile([0.80, 0.85, 0.90]), profile([0.70, 0.88, 0.75]), None, level=0.9, tolerance=0.005
    )
    assert note is not None
    assert "T = 4.0 looks best, not 16, and looks 18.0 points better than T = 1.0" in note
    assert note.endswith("5.0: most of the effect is one of tuning.")


def test_an_effect_of_tuning_alone_is_told_as_one():
    spec = spec_of(TEMPERATURE, LR)
    [answer] = best(spec, trials_of(spec, only_tuning)).setups
    assert answer.effect is not None
    assert answer.effect_at_common is not None
    assert answer.effect.gain < 0.005
    assert answer.effect_at_common.gain > 0.008
    assert any("most of the effect is one of tuning" in note for note in answer.warnings)


def test_an_effect_without_tuning_is_the_same_in_both_ways():
    spec = spec_of(TEMPERATURE, LR)
    [answer] = best(spec, trials_of(spec, no_tuning)).setups
    assert answer.effect is not None
    assert answer.effect_at_common is not None
    assert answer.effect.gain == pytest.approx(0.02, abs=0.004)
    assert answer.effect_at_common.gain == pytest.approx(0.02, abs=0.004)
    assert answer.regret_at_common == pytest.approx(answer.regret_of, abs=0.003)
    assert not any("tuning" in note for note in answer.warnings)


def test_where_temperature_alone_is_tuned_there_is_one_effect_and_one_line():
    spec = spec_of(TEMPERATURE)
    trials = trials_of(spec, lambda u, v: no_tuning(u, 0.5))
    [answer] = best(spec, trials).setups
    assert (answer.effect_at_common, answer.regret_at_common) == (None, None)
    [curve] = response_curves(fit_response(spec, trials))
    assert curve.at_common == []
    assert "not retuned" not in str(plot_response([curve]).data)


def test_the_document_the_figure_and_the_table_show_both():
    spec = spec_of(TEMPERATURE, LR, setup={"optimizer.name": ["sgd", "adamw"]})
    trials = trials_of(spec, only_tuning)
    answer = best(spec, trials)
    document = json.loads(json.dumps(answer.to_dict()))["setups"][0]
    assert document["effect_at_common"]["gain"] > document["effect"]["gain"]
    assert document["regret_at_common"].keys() == {"1", "4"}
    figure = plot_response(response_curves(fit_response(spec, trials)), trials, answer)
    dashed = [trace for trace in figure.data if trace.line.dash == "dash" and trace.x[0] is not None]
    assert len(dashed) == 2
    assert "at optimizer lr 0." in dashed[0].hovertemplate
    table = effect_table(answer)
    assert [row[0] for row in table.rows] == ["sgd", "adamw"]
    kept = [heading.text for heading in table.headings].index("best over worst T, not retuned")
    assert f": {100 * document['effect_at_common']['gain']:.1f} (" in table.rows[0][kept]


def test_a_marginal_answer_keeps_each_setup_at_its_own_recommendation():
    spec = spec_of(TEMPERATURE, LR, setup={"optimizer.name": ["sgd", "adamw"]})
    [answer] = best(spec, trials_of(spec, only_tuning), by=[]).setups
    assert answer.effect_at_common is not None
    assert answer.effect_at_common.gain > 0.008
    assert any("as each setup's recommendation has them" in note for note in answer.warnings)
