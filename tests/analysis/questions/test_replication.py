"""What has to be tried before an answer can be called decided."""

import numpy as np

from kdsearch.analysis.questions.replication import count_tuned, find_gaps, usual_index
from kdsearch.analysis.response.fitted import SetupDraws

PLACES = np.linspace(0, 1, 21)
MEAN = np.column_stack(
    [90 - 4 * (PLACES - 0.5) ** 2, np.full(21, 80.0)]
)  # others: a tuned and an untuned one


def test_nothing_is_missing_where_all_were_replicated_at_tuned_values():
    tried = [(u, 0) for u in (10, 10, 11, 2, 3, 7, 8, 17, 18)]
    assert find_gaps(PLACES, MEAN, tried, usual=8) == []


def test_trials_at_untuned_values_do_not_count():
    tried = [(u, 1) for u in (10, 10, 11, 2, 3, 7, 8, 17, 18)]
    missing = {(gap.temperature, gap.missing) for gap in find_gaps(PLACES, MEAN, tried, usual=8)}
    assert missing == {(10, 3), (8, 2), (4, 2), (9, 2), (10, 2), (15, 2)}
    assert count_tuned(PLACES, MEAN, tried).tolist() == [0, 0, 0, 0]


def test_a_quarter_that_was_never_tried_at_tuned_values_has_its_strongest_rival_asked_for():
    """The evidence of a wrong answer that was called decided: 13, 1, 0 and 0 trials in the quarters."""
    tried = [(10, 0)] * 3 + [(2, 0)] * 13 + [(6, 0)]
    assert count_tuned(PLACES, MEAN, tried).tolist() == [13, 1, 3, 0]
    assert [(gap.temperature, gap.missing) for gap in find_gaps(PLACES, MEAN, tried, None)] == [
        (9, 1),
        (15, 2),
    ]


def test_the_usual_temperature_is_the_nearest_of_a_range_and_only_four_of_a_list():
    temperatures = np.exp(np.linspace(0, np.log(40), 41))
    half_step = 0.5 * np.log(40) / 40
    found = usual_index(temperatures, half_step)
    assert found is not None
    assert abs(np.log(temperatures[found] / 4)) <= half_step
    assert usual_index(np.array([1.0, 2, 8]), 0.0) is None
    assert usual_index(np.array([1.0, 4, 8]), 0.0) == 1
    assert usual_index(temperatures[temperatures < 3], half_step) is None


def test_the_nearest_places_of_many_trials_are_those_of_each():
    nodes = np.random.default_rng(0).integers(0, 12, (200, 3))
    draws = SetupDraws(np.arange(0, 12, 3), nodes[:7, 1:], np.zeros((1, 4)), *np.zeros((2, 4, 7)))
    temperatures = [abs(draws.temperature_nodes - place[0]).argmin() for place in nodes]
    others = [abs(draws.candidates - place[1:]).sum(axis=1).argmin() for place in nodes]
    assert draws.nearest(nodes).tolist() == [list(pair) for pair in zip(temperatures, others, strict=True)]
    assert draws.nearest(nodes[:0]).shape == (0, 2)
