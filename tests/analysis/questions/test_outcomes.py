"""How trials ended, by temperature and setup."""

from dataclasses import replace

import numpy as np
import pytest

from kdsearch.analysis import best
from kdsearch.analysis.questions.outcomes import TemperatureBand, band_of, temperature_bands, temperature_span
from kdsearch.analysis.report.tables import outcome_table
from kdsearch.spec import TEMPERATURE


def test_bands_count_every_finished_trial_once_by_how_it_ended(make_spec, make_trials):
    spec = make_spec()
    trials = make_trials(spec)
    ends = [("pruned", "hopeless"), ("failed", "diverged"), ("failed", "node lost"), ("running", None)]
    for index, (state, reason) in enumerate(ends):
        trials[index] = replace(trials[index], state=state, reason=reason)
    span = temperature_span(trials, spec)
    bands = temperature_bands(trials, span, n_bands=6)
    assert span == (1.0, 40.0)
    assert sum(band.finished for band in bands) == 23
    totals = [sum(getattr(band, kind) for band in bands) for kind in ("pruned", "diverged", "failed")]
    assert totals == [1, 1, 1]
    ratios = [band.high / band.low for band in bands]
    np.testing.assert_allclose(ratios, 40 ** (1 / 6))


def test_the_ends_of_the_span_belong_to_the_outer_bands():
    bands = temperature_bands([], (1.0, 40.0))
    assert [band_of(t, bands) for t in (0.9, 1.0, 39.9, 40.0, 50.0)] == [0, 0, 5, 5, 5]
    assert len(temperature_bands([], (4.0, 4.0))) == 1


def test_a_temperature_that_is_a_factor_or_a_choice_has_its_place(make_spec):
    factor = make_spec({TEMPERATURE: [2, 8]}, tune={"optimizer.lr": {"low": 0.01, "high": 1.0, "log": True}})
    assert temperature_span([], factor) == (2.0, 8.0)
    choices = make_spec({}, tune={TEMPERATURE: {"choices": [1, 4, 16]}})
    assert temperature_span([], choices) == (1.0, 16.0)


def test_each_setup_tells_what_was_pruned_at_which_temperatures(make_spec, make_trials):
    spec = make_spec({"optimizer.name": ["sgd", "adamw"], "training.epochs": [10, 20]})
    trials = [replace(t, epochs=t.setup["training.epochs"]) for t in make_trials(spec, per_setup=12)]
    slow = [t for t in trials if t.setup["optimizer.name"] == "sgd" and t.params[TEMPERATURE] > 40 ** (5 / 6)]
    for trial in slow:
        trials[trial.number] = replace(trial, state="pruned", reason="median at epoch 3", val_accuracy=None)
    for found in best(spec, trials).setups:
        pruned = [band.pruned for band in found.outcomes]
        assert pruned == ([0, 0, 0, 0, 0, 2] if found.setup["optimizer.name"] == "sgd" else [0] * 6)
        assert sum(band.finished for band in found.outcomes) == 12
    sgd, adamw = best(spec, trials, by=["optimizer.name"]).to_dict()["setups"]
    kinds = ["complete", "pruned", "diverged", "failed", "audited", "came_back"]
    assert list(sgd["outcomes"][-1]) == ["low", "high", *kinds]
    assert sgd["outcomes"][-1]["low"] == pytest.approx(40 ** (5 / 6))
    assert (sgd["outcomes"][-1]["complete"], sgd["outcomes"][-1]["pruned"]) == (0, 4)
    assert sum(band["complete"] for band in adamw["outcomes"]) == 24
    [some] = best(spec, trials, by=["optimizer.name"], where={"training.epochs": 10}).setups[:1]
    assert sum(band.pruned for band in some.outcomes) == 2


def test_audits_are_counted_among_the_complete_and_those_that_came_back_among_them(make_spec, make_trials):
    trials = make_trials(make_spec())
    trials[0] = replace(trials[0], reason="audited: hopeless at epoch 15, ended under 70.0%")
    trials[1] = replace(trials[1], reason="came back: hopeless at epoch 15, ended above 70.0%")
    bands = temperature_bands(trials, (1.0, 40.0))
    assert [sum(getattr(band, kind) for band in bands) for kind in ("audited", "came_back")] == [2, 1]
    assert sum(band.complete for band in bands) == sum(band.finished for band in bands) == len(trials)


def test_the_table_has_the_whole_study_first_and_names_what_was_lost(make_spec, make_trials):
    spec = make_spec()
    trials = make_trials(spec)
    trials[0] = replace(trials[0], state="pruned", reason="hopeless at epoch 3", val_accuracy=None)
    trials[1] = replace(trials[1], state="failed", reason="diverged", val_accuracy=None)
    bands = temperature_bands(trials, (1.0, 40.0))
    table = outcome_table(bands, best(spec, trials))
    assert [row[0] for row in table.rows] == ["all", "sgd", "adamw"]
    assert table.headings[1].text == "T 1.0 to 1.8"
    assert [row[1] for row in table.rows] == [
        "2 of 4 (1 pruned, 1 diverged)",
        "0 of 2 (1 pruned, 1 diverged)",
        "2",
    ]
    empty = outcome_table([TemperatureBand(1, 2, 0, 0, 0, 0)], best(make_spec({}), []))
    assert [row[1] for row in empty.rows] == ["–"]
