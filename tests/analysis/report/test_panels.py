from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.analysis import best, fit_response, response_curves
from kdsearch.analysis.report.panels import accuracy_window, response_panels, temperature_ticks, trial_text

MEAN = [0.86, 0.90, 0.88]  # highest in the middle, so that neither end stands for it
HIGH = [0.87, 0.905, 0.89]  # wider at the ends than at the best


def test_terrible_trials_do_not_flatten_the_curve():
    low, high = accuracy_window([0.89, 0.90, 0.88, 0.87, 0.1, 0.05], MEAN, HIGH)
    assert low > 0.78
    assert (0.90 - 0.86) / (high - low) > 0.35
    assert high >= 0.905


def test_the_whole_mean_curve_is_shown():
    low, high = accuracy_window([0.9] * 9, [0.3, 0.9, 0.5], [0.35, 0.91, 0.6])
    assert low < 0.3 < 0.9 < high


def test_no_room_is_left_empty_below_the_lowest_trial():
    low, _ = accuracy_window([0.88, 0.89, 0.90], [0.895, 0.90], [0.9, 0.905])
    assert low > 0.87


def test_without_a_curve_the_better_half_of_the_trials_is_shown():
    low, high = accuracy_window([0.1, 0.8, 0.85, 0.9], [], [])
    assert 0.1 < low < 0.825 < 0.9 < high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.lists(st.floats(0, 1), max_size=5))
def test_a_window_is_never_empty_and_never_far_outside_of_accuracies(accuracies, mean):
    low, high = accuracy_window(accuracies, mean, mean)
    assert -0.02 <= low < high <= 1.02


def test_panels_show_pruned_trials_as_incomplete_and_leave_out_those_without_accuracy(make_spec, make_trials):
    spec = make_spec()
    trials = make_trials(spec)
    trials[0] = replace(trials[0], state="pruned", reason="hopeless", epochs=3)
    trials[1] = replace(trials[1], state="failed", reason="diverged", val_accuracy=None)
    trials[2] = replace(trials[2], state="running")
    panels = response_panels(response_curves(fit_response(spec, trials)), trials, best(spec, trials))
    first, second = panels
    assert [point.is_complete for point in first.points].count(False) == 1
    assert (len(first.points), len(second.points)) == (10, 12)
    assert first.answer.setup == {"optimizer.name": "sgd"}
    assert "hopeless" in first.points[0].text[0]


def test_alike_panels_share_a_window_and_unlike_ones_do_not(make_spec, make_trials):
    spec = make_spec()
    trials = make_trials(spec)
    alike = response_panels(response_curves(fit_response(spec, trials)), trials)
    assert alike[0].window == alike[1].window
    worse = [
        replace(t, val_accuracy=t.val_accuracy - 0.6) if t.setup["optimizer.name"] == "sgd" else t
        for t in trials
    ]
    unlike = response_panels(response_curves(fit_response(spec, worse)), worse)
    assert unlike[0].window[1] < unlike[1].window[0]


def test_an_empty_panel_takes_the_others_window(make_spec, make_trials):
    spec = make_spec()
    half = [t for t in make_trials(spec) if t.setup["optimizer.name"] == "sgd"]
    panels = response_panels(response_curves(fit_response(spec, half)), half)
    assert panels[1].points == []
    assert panels[0].window == panels[1].window
    nothing = response_panels(response_curves(fit_response(spec, [])))
    assert [panel.window for panel in nothing] == [(0.0, 1.0)] * 2


def test_curves_alone_give_their_points_too(make_spec, make_trials):
    spec = make_spec()
    panels = response_panels(response_curves(fit_response(spec, make_trials(spec))))
    assert [len(panel.points) for panel in panels] == [12, 12]
    assert panels[0].answer is None


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 40, [1, 2, 4, 8, 16, 32]),
        (0.5, 4, [0.5, 1, 2, 4]),
        (3, 3.5, [3, 3.5]),
        (1, 2**16, [4.0**k for k in range(9)]),
    ],
)
def test_ticks_are_powers_of_two(low, high, ticks):
    assert temperature_ticks(low, high) == ticks


def test_a_trials_text_names_what_it_is(make_spec, make_trials):
    trial = make_trials(make_spec())[3]
    assert trial_text(trial)[0] == "trial 3 · complete"
    assert any(line.startswith("optimizer lr 0.") for line in trial_text(trial))
