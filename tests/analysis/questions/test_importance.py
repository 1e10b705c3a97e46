"""Importance against functions whose decomposition is known."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kdsearch.analysis import fit_response, importance
from kdsearch.analysis.report.plots import plot_importance
from kdsearch.analysis.report.tables import importance_table
from kdsearch.analysis.response.warm_start import EarlierStudy
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import TrialRow

LR = "optimizer.lr"
SPEC = load_spec(
    {
        "name": "s",
        "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}, LR: {"low": 0.01, "high": 1, "log": True}},
        "setup": {"optimizer.name": ["sgd", "adamw"], "teacher.arch": ["mlp_32", "mlp_64"]},
    }
)


def trials(accuracy: Any, spec: StudySpec = SPEC) -> list[TrialRow]:
    rng = np.random.default_rng(0)
    rows: list[TrialRow] = []
    for setup in spec.setups():
        for _ in range(30):
            u, v = rng.random(2)
            value = accuracy(setup, u, v) + 0.001 * rng.normal()
            params = {TEMPERATURE: 40**u, LR: 100 ** (v - 1)}
            rows.append(TrialRow(len(rows), "complete", None, setup, params, 0, spec.training.epochs, value))
    return rows


def shares(accuracy: Any) -> dict[tuple[str, ...], float]:
    found = importance(fit_response(SPEC, trials(accuracy)))
    return {effect.paths: effect.share for effect in [*found.tuned, *found.factors]}


def test_a_sum_of_two_effects_is_split_by_their_variances():
    found = shares(lambda setup, u, v: 0.9 + 0.02 * u + 0.01 * v)
    assert found[(TEMPERATURE,)] == pytest.approx(0.8, abs=0.1)
    assert found[(LR,)] == pytest.approx(0.2, abs=0.1)
    assert found[(TEMPERATURE, LR)] < 0.1


def test_a_pure_interaction_is_one():
    found = shares(lambda setup, u, v: 0.9 + 0.05 * (u - 0.5) * (v - 0.5))
    assert found[(TEMPERATURE, LR)] > 0.7


def test_the_factor_that_moves_the_best_accuracy_is_named():
    found = shares(lambda setup, u, v: 0.9 + 0.01 * u + 0.02 * (setup["optimizer.name"] == "sgd"))
    assert found[("optimizer.name",)] > 0.9
    assert found[("teacher.arch",)] < 0.1


def test_one_factor_alone_has_all_of_what_setups_differ_by_and_is_left_out():
    found = importance(
        fit_response(SPEC, trials(lambda setup, u, v: 0.9 - u / 50)), where={"optimizer.name": "sgd"}
    )
    assert found.tuned
    assert not found.factors
    flat = [
        replace(row, val_accuracy={"mlp_32": 0.9, "mlp_64": 0.8}[row.setup["teacher.arch"]])
        for row in trials(lambda setup, u, v: 0.9)
    ]
    alike = importance(fit_response(SPEC, flat), where={"optimizer.name": "sgd"})
    assert not alike.tuned
    assert "one accuracy for each setup" in (alike.reason or "")


def test_without_trials_there_is_a_reason_and_the_document_is_json():
    assert "too few trials" in (importance(fit_response(SPEC, [])).reason or "")
    document = importance(fit_response(SPEC, trials(lambda setup, u, v: 0.9 - u / 50))).to_dict()
    assert json.loads(json.dumps(document))["tuned"][0]["paths"] == [TEMPERATURE]


@pytest.mark.parametrize("where", [{}, {"optimizer.name": "sgd", "teacher.arch": "mlp_32"}])
def test_where_all_accuracies_are_equal_there_are_words_and_no_shares(where: dict[str, str]) -> None:
    flat = [replace(row, val_accuracy=0.9) for row in trials(lambda setup, u, v: 0.9)]
    found = importance(fit_response(SPEC, flat), where=where)
    assert found.reason == "all complete trials have the very same accuracy: there is nothing to explain."
    assert not found.tuned
    assert not found.factors


def test_setups_of_one_accuracy_each_differ_by_their_factor_alone() -> None:
    accuracy = {"sgd": 0.9, "adamw": 0.8}
    flat = [
        replace(row, val_accuracy=accuracy[row.setup["optimizer.name"]])
        for row in trials(lambda setup, u, v: 0.9)
    ]
    found = importance(fit_response(SPEC, flat))
    assert not found.tuned
    assert {e.paths: round(e.share, 3) for e in found.factors} == {
        ("optimizer.name",): 1.0,
        ("teacher.arch",): 0.0,
    }


def test_an_earlier_study_informs_the_shares_of_a_new_one_without_being_in_them():
    truth = lambda setup, u, v: 0.9 - 0.05 * (u - 0.5) ** 2  # noqa: E731
    few = trials(truth)[::6]
    earlier = EarlierStudy(SPEC.model_copy(update={"name": "before"}), trials(truth))
    alone, informed = (
        importance(fit_response(SPEC, few, earlier=before)).tuned[0].interval for before in ((), (earlier,))
    )
    assert informed[1] - informed[0] < alone[1] - alone[0]
    assert importance(fit_response(SPEC, [], earlier=[earlier])).reason


def test_figure_and_table_show_every_effect_with_its_doubt():
    found = importance(
        fit_response(
            SPEC, trials(lambda setup, u, v: 0.9 - u / 50 + 0.02 * (setup["optimizer.name"] == "sgd"))
        )
    )
    figure = plot_importance(found)
    effects = [*found.tuned, *found.factors]
    names = ["temperature", "optimizer lr", "temperature × optimizer lr", "optimizer name", "teacher arch"]
    assert list(figure.layout.yaxis.ticktext) == names
    assert [t.x[0] for t in figure.data if t.type == "bar"] == [effect.share for effect in effects]
    ends = [t.x for t in figure.data if t.type == "scatter" and t.mode == "lines"]
    assert ends == [effect.interval for effect in effects]
    table = importance_table(found)
    assert len(table.rows) == len(found.tuned) + len(found.factors)
    assert table.rows[0][2] == f"{100 * found.tuned[0].share:.0f}"
