from collections import Counter
from dataclasses import replace

import pytest

from kdsearch.analysis import BestAnswer, SetupAnswer, best, fit_response, response_curves
from kdsearch.analysis.questions.outcomes import temperature_bands
from kdsearch.analysis.report.figure_layout import CONFIG, Grid
from kdsearch.analysis.report.plots import (
    plot_best_temperatures,
    plot_learning_curves,
    plot_outcomes,
    plot_progress,
    plot_response,
)
from kdsearch.analysis.response.fitted import ResponseCurve

SETUPS_BY_COUNT = {
    1: {},
    4: {"optimizer.name": ["sgd", "adamw"], "teacher.finetune.epochs": [2, 20]},
    12: {"training.epochs": [10, 20, 40], "student.arch": ["resnet8", "vgg8", "mlp_64", "mlp_32"]},
    24: {"training.epochs": [10, 20, 40], "teacher.seed": list(range(8))},
}


def bare_curves(spec):
    temperatures, mean = [1.0, 6.0, 40.0], [0.86, 0.9, 0.87]
    low, high = [0.85, 0.895, 0.86], [0.87, 0.905, 0.88]
    return [ResponseCurve(setup, temperatures, mean, low, high, [(5.0, 0.9)]) for setup in spec.setups()]


def full_answer(spec, **changes):
    found = SetupAnswer(
        {}, temperature=6.0, interval=(3.0, 12.0), near_optimal=(2.0, 15.0), accuracy=0.9, trials=12
    )
    return BestAnswer("demo", 0.9, 0.005, [replace(found, setup=setup, **changes) for setup in spec.setups()])


def marks(figure, symbol):
    return [t for t in figure.data if t.marker.symbol == symbol and t.x and t.x[0] is not None]


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (12, 3), (24, 4)])
def test_every_setup_has_a_panel_inside_the_figure(make_spec, count, columns):
    spec = make_spec(SETUPS_BY_COUNT[count])
    figure = plot_response(bare_curves(spec), answer=full_answer(spec))
    assert len(marks(figure, "diamond")) == count
    assert len({(t.xaxis, t.yaxis) for t in marks(figure, "diamond")}) == count
    assert Grid(count).columns == columns
    bottoms = [figure.layout[f"yaxis{k or ''}"].domain[0] for k in [0, *range(2, count + 1)]]
    assert min(bottoms) >= 0
    panel_height = (figure.layout.yaxis.domain[1] - figure.layout.yaxis.domain[0]) * (
        figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    )
    assert panel_height > 150


def test_the_best_temperature_stands_with_its_interval_and_near_optimal_range(make_spec):
    spec = make_spec({})
    figure = plot_response(bare_curves(spec), answer=full_answer(spec))
    (best_mark,) = marks(figure, "diamond")
    assert (best_mark.x[0], best_mark.y[0]) == (6.0, 0.9)
    assert (best_mark.error_x.array[0], best_mark.error_x.arrayminus[0]) == (6.0, 3.0)
    (near,) = (shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (near.x0, near.x1) == (2.0, 15.0)
    assert figure.layout.xaxis.type == "log"


def test_a_setup_without_an_answer_says_why(make_spec):
    spec = make_spec({})
    silent = full_answer(
        spec, temperature=None, interval=None, near_optimal=None, accuracy=None, reason="too few trials: 1."
    )
    empty = [ResponseCurve({}, [], [], [], [], [(5.0, 0.9)])]
    figure = plot_response(empty, answer=silent)
    assert "too few trials: 1." in figure.layout.annotations[0].text
    assert not marks(figure, "diamond")
    assert "too few trials" in plot_best_temperatures(silent, (1, 40)).layout.annotations[0].text


def test_a_study_without_trials_can_be_drawn(make_spec):
    spec = make_spec()
    figure = plot_response(response_curves(fit_response(spec, [])), [], best(spec, []))
    assert figure.layout.xaxis.type == "log"


def test_terrible_trials_stand_at_the_lower_edge_with_their_true_accuracy_to_read(make_spec, make_trials):
    spec = make_spec({})
    trials = make_trials(spec)
    trials[4] = replace(trials[4], val_accuracy=0.1)
    figure = plot_response(bare_curves(spec), trials)
    (edge,) = marks(figure, "triangle-down-open")
    assert edge.y[0] == figure.layout.yaxis.range[0] > 0.7
    assert "10.00%" in edge.text[0]


def test_names_are_text_not_markup(make_spec):
    spec = make_spec({"options.note": ["<b>bold</b>", "plain"]}, trainer="mine:train")
    figure = plot_response(bare_curves(spec), answer=full_answer(spec))
    assert "&lt;b&gt;bold" in figure.layout.annotations[0].text
    assert "&lt;b&gt;bold" in plot_best_temperatures(full_answer(spec), (1, 40)).layout.yaxis.ticktext[0]


def test_side_by_side_each_setup_has_a_row(make_spec):
    spec = make_spec(SETUPS_BY_COUNT[24])
    figure = plot_best_temperatures(full_answer(spec), (1.0, 40.0))
    assert sorted(t.y[0] for t in marks(figure, "diamond")) == list(range(24))
    assert figure.layout.height > 24 * 25
    assert figure.layout.annotations[0].text == "T = 6.0 (3.0 to 12)"


def test_learning_curves_of_a_band_are_one_trace_with_gaps(make_spec, make_trials):
    spec = make_spec({})
    trials = make_trials(spec)
    bands = temperature_bands(trials, (1.0, 40.0))
    curves = {trial.number: [(1, 0.5), (2, 0.8)] for trial in trials[:4]}
    figure = plot_learning_curves(spec.setups(), trials, curves, bands)
    drawn = [t for t in figure.data if t.x[0] is not None]
    assert sum(list(t.x).count(None) for t in drawn) == 4
    assert len(drawn) == 2
    assert len({t.line.color for t in drawn}) == 2


def test_outcomes_stack_to_the_number_of_finished_trials(make_spec, make_trials):
    spec = make_spec()
    trials = make_trials(spec)
    trials[0] = replace(trials[0], state="failed", reason="diverged")
    figure = plot_outcomes(temperature_bands(trials, (1.0, 40.0)))
    counts = Counter()
    for bar in (trace for trace in figure.data if trace.type == "bar"):
        counts[bar.name] += sum(bar.x)
    assert counts == {"complete": 23, "diverged": 1}


def test_progress_never_falls_and_counts_complete_trials_alone(make_spec, make_trials):
    spec = make_spec({})
    trials = make_trials(spec)
    trials[2] = replace(trials[2], state="pruned", val_accuracy=0.99)
    (line,) = (t for t in plot_progress(spec.setups(), trials).data if t.x[0] is not None)
    assert list(line.y) == sorted(line.y)
    assert 2 not in line.x
    assert max(line.y) < 0.95


def test_no_button_sends_a_figure_to_anyone():
    assert CONFIG["showSendToCloud"] is False
