"""The floors that prune: against a brute-force reading of each rule, and never unfair to late risers."""

import numpy as np
import pytest

from kdsearch.search.pruning import (
    CATCH_UP,
    FLOORED,
    MARGIN,
    MIN_CURVES,
    asha_floors,
    floors_of,
    hopeless_floors,
    median_floors,
    under_floor,
)
from kdsearch.spec.catalogue import PRUNERS


def curves(n: int, epochs: int, seed: int = 0) -> list[dict[int, float]]:
    rng = np.random.default_rng(seed)
    tops, speeds = rng.uniform(0.8, 0.9, n), rng.uniform(0.1, 1.0, n)
    return [
        {e: float(top * (1 - np.exp(-speed * e))) for e in range(1, epochs + 1)}
        for top, speed in zip(tops, speeds, strict=True)
    ]


def test_a_trial_under_the_floor_could_not_have_come_near() -> None:
    known = curves(20, 30)
    floors = hopeless_floors(known, 30)
    target = float(np.median([curve[30] for curve in known])) - MARGIN
    for epoch, floor in floors.items():
        largest_gain = max(curve[30] - curve[epoch] for curve in known)
        assert floor + CATCH_UP * largest_gain <= target + 1e-12


def test_no_complete_trial_would_have_been_pruned_unless_it_ended_low() -> None:
    known = curves(40, 30, seed=1)
    floors = hopeless_floors(known, 30)
    for curve in known:
        pruned = any(under_floor(floors, e, {"val_accuracy": a}) for e, a in curve.items())
        assert not pruned or curve[30] < np.median([c[30] for c in known]) - MARGIN


def test_chance_level_is_given_up_late_and_not_early() -> None:
    floors = hopeless_floors(curves(20, 30), 30)
    stuck = {"val_accuracy": 0.1}
    assert not under_floor(floors, 1, stuck)
    assert under_floor(floors, 28, stuck)


def test_few_or_shorter_curves_prune_nothing() -> None:
    assert hopeless_floors(curves(MIN_CURVES - 1, 30), 30) == {}
    assert hopeless_floors(curves(20, 10), 30) == {}


def test_the_last_epoch_has_no_floor() -> None:
    assert 30 not in hopeless_floors(curves(20, 30), 30)


def test_the_median_rule_stops_the_lower_half_after_its_warm_up() -> None:
    known = curves(15, 20, seed=2)
    floors = median_floors(known, 20)
    assert sorted(floors) == list(range(6, 20))
    for epoch, floor in floors.items():
        below = [c for c in known if under_floor(floors, epoch, {"val_accuracy": c[epoch]})]
        assert len(below) == 7
        assert sorted(c[epoch] for c in known)[7] == floor


def test_successive_halving_lets_the_best_third_of_each_rung_go_on() -> None:
    known = curves(30, 27, seed=3)
    floors = asha_floors(known, 27)
    assert sorted(floors) == [1, 3, 9]
    for epoch in floors:
        going_on = [c for c in known if not under_floor(floors, epoch, {"val_accuracy": c[epoch]})]
        assert len(going_on) == 10
        assert {c[epoch] for c in going_on} == set(sorted(c[epoch] for c in known)[-10:])


def test_pruned_trials_count_at_the_epochs_that_they_reached() -> None:
    known = curves(MIN_CURVES, 27, seed=4)
    stopped = [{epoch: value for epoch, value in curve.items() if epoch <= 3} for curve in known]
    assert sorted(asha_floors(stopped, 27)) == [1, 3]


@pytest.mark.parametrize("pruner", FLOORED)
def test_every_pruner_with_floors_has_its_rule(pruner: str) -> None:
    floors = floors_of(pruner, curves(20, 27), 27)
    assert pruner in PRUNERS
    assert floors
    assert 27 not in floors
