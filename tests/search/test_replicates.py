"""Wilcoxon's test over replicates: against its exact distribution, and what it must leave alone."""

from collections.abc import Sequence
from itertools import combinations

import pytest

from kdsearch.search.replicates import LEVEL, outranked
from kdsearch.spec import Params
from kdsearch.storage import TrialRow

GOOD: Params = {"objective.temperature": 4.0}  # any two points that are unlike
BAD: Params = {"objective.temperature": 16.0}


def rows(accuracies: dict[float, Sequence[float]], state: str = "complete") -> list[TrialRow]:
    pairs = [(temperature, accuracy) for temperature, own in accuracies.items() for accuracy in own]
    return [
        TrialRow(
            number=n,
            state=state,  # type: ignore[arg-type]
            reason=None,
            setup={},
            params={"objective.temperature": temperature},
            seed=n,
            epochs=1,
            val_accuracy=accuracy,
        )
        for n, (temperature, accuracy) in enumerate(pairs)
    ]


def exact_p(own: Sequence[float], best: Sequence[float]) -> float:
    """Return the share of deals with as low a rank sum.

    All ways to deal the ranks count; the sum is that of the first group.
    """
    ranks = sorted([*own, *best])
    observed = sum(ranks.index(a) for a in own)
    deals = [sum(deal) for deal in combinations(range(len(ranks)), len(own))]
    return sum(total <= observed for total in deals) / len(deals)


@pytest.mark.parametrize(
    "bad",
    [[0.80, 0.81, 0.82], [0.80, 0.81, 0.905], [0.80, 0.81, 0.82, 0.915], [0.912, 0.80, 0.81, 0.82, 0.83]],
)
def test_a_point_is_given_up_where_so_low_ranks_are_rare(bad: list[float]) -> None:
    good = [0.90, 0.91, 0.92]
    assert outranked([BAD, GOOD], rows({4.0: good, 16.0: bad})) == [exact_p(bad, good) <= LEVEL, False]


def test_few_replicates_judge_nothing() -> None:
    assert outranked([BAD], rows({4.0: [0.90, 0.91, 0.92], 16.0: [0.1, 0.2]})) == [False]
    assert outranked([BAD], rows({4.0: [0.90, 0.91], 16.0: [0.1, 0.2, 0.3]})) == [False]
    assert outranked([BAD], []) == [False]


def test_a_point_enqueued_as_a_whole_number_is_the_same_point() -> None:
    trials = [*rows({4.0: [0.90, 0.91, 0.92], 16.0: [0.1]}), *rows({16: [0.2, 0.3]})]
    assert outranked([BAD, {"objective.temperature": 16}], trials) == [True, True]


def test_trials_that_were_not_completed_are_no_replicates() -> None:
    pruned = rows({16.0: [0.1, 0.2, 0.3]}, state="pruned")
    assert outranked([BAD], [*rows({4.0: [0.90, 0.91, 0.92]}), *pruned]) == [False]
