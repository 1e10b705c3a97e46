"""The floors that prune: each rule by hand, never unfair to late risers, and audited."""

from typing import Any

import numpy as np
import pytest

from kdsearch.distill.optim.schedules import schedule_of
from kdsearch.search.pruning import (
    FLOORED,
    MIN_CURVES,
    Curve,
    Floors,
    FloorWatch,
    asha_floors,
    audit_reason,
    audited_of,
    best_rises,
    first_judged,
    floors_of,
    hopeless_floors,
    line_of,
    median_floors,
    under_floor,
)
from kdsearch.spec.catalogue import PRUNERS
from kdsearch.spec.sections import Training


def curves(n: int, epochs: int, seed: int = 0) -> list[dict[int, float]]:
    rng = np.random.default_rng(seed)
    tops, speeds = rng.uniform(0.8, 0.9, n), rng.uniform(0.1, 1.0, n)
    return [
        {e: float(top * (1 - np.exp(-speed * e))) for e in range(1, epochs + 1)}
        for top, speed in zip(tops, speeds, strict=True)
    ]


def late_riser(epochs: int, begins: int, width: int = 8, top: float = 0.87) -> dict[int, float]:
    """Return a curve that stays at chance and then rises.

    It rises within some epochs, as under a high rate.
    """
    return {e: 0.1 + (top - 0.1) * float(np.clip((e - begins) / width, 0, 1)) for e in range(1, epochs + 1)}


def stopped_at(floors: Floors, curve: Curve) -> int | None:
    return next((e for e, a in curve.items() if under_floor(floors, e, {"val_accuracy": a})), None)


def test_the_floor_is_the_line_less_the_fastest_rise_in_the_epochs_that_are_left() -> None:
    known = [{1: 0.1, 2: 0.5, 3: 0.6, 4: 0.7}] * 4 + [{1: 0.3, 2: 0.4, 3: 0.75, 4: 0.9}] * 4
    np.testing.assert_allclose(best_rises(known, 4), [0, 0.4, 0.5, 0.65, 0.8])
    assert line_of(known, 4) == pytest.approx(0.7)
    assert hopeless_floors(known, 4) == pytest.approx({1: 0.05, 2: 0.2, 3: 0.3})


def test_a_late_riser_survives_among_trials_that_rise_early() -> None:
    floors = hopeless_floors(curves(20, 40), 40, 20)
    assert floors
    for begins in range(5, 31):
        assert stopped_at(floors, late_riser(40, begins)) is None


def test_a_trial_that_sits_at_chance_is_stopped_when_the_fastest_rise_would_come_too_late() -> None:
    known = curves(20, 40)
    stuck = dict.fromkeys(range(1, 41), 0.1)
    at = stopped_at(hopeless_floors(known, 40, 20), stuck)
    assert at is not None
    assert 30 <= at < 40


def test_no_trial_that_ended_above_the_line_would_have_been_stopped() -> None:
    known = curves(40, 30, seed=1)
    floors, line = hopeless_floors(known, 30), line_of(known, 30)
    assert line is not None
    assert any(stopped_at(floors, curve) for curve in [*known, dict.fromkeys(range(1, 31), 0.0)])
    assert all(curve[30] < line for curve in known if stopped_at(floors, curve))


@pytest.mark.parametrize(
    ("training", "first"),
    [
        ({"schedule": "constant"}, 20),
        ({"schedule": "cosine"}, 20),
        ({"schedule": "cosine", "warmup_epochs": 10}, 25),
        ({"schedule": "one_cycle"}, 26),
        ({"schedule": "one_cycle", "warmup_epochs": 20}, 30),
        ({"schedule": "step", "milestones": (0.75, 0.25)}, 20),
        ({"schedule": "step", "milestones": (0.75, 0.9)}, 30),
        ({"schedule": "step", "milestones": (0.6, 0.8), "gamma": 0.7}, 32),
    ],
)
def test_nothing_is_judged_before_the_rate_has_fallen_to_half(training: dict[str, Any], first: int) -> None:
    how = Training(epochs=40, **training)
    assert first_judged(how) == first
    assert min(floors_of("hopeless", curves(20, 40), how)) >= first
    factor = schedule_of(how, 10)
    assert how.schedule == "constant" or max(map(factor, range(10 * first, 400))) <= 0.51


def test_few_or_shorter_curves_prune_nothing() -> None:
    assert hopeless_floors(curves(MIN_CURVES - 1, 30), 30) == {}
    assert hopeless_floors(curves(20, 10), 30) == {}


def test_the_last_epoch_has_no_floor() -> None:
    assert 30 not in hopeless_floors(curves(20, 30), 30)


def test_of_each_eight_trials_one_is_audited_the_same_whenever_it_is_asked() -> None:
    audited = audited_of(range(800), 3)
    assert [n // 8 for n in audited] == list(range(100))
    assert audited == [n for start in range(0, 800, 5) for n in audited_of(range(start, start + 5), 3)]
    assert audited != audited_of(range(800), 4)
    assert max(np.bincount([n % 8 for n in audited])) < 30


def test_what_is_recorded_of_an_audit_says_who_was_right() -> None:
    assert audit_reason(23, 0.61, 0.834) == "audited: hopeless at epoch 23, ended under 83.4%"
    assert audit_reason(23, 0.834, 0.834) == "came back: hopeless at epoch 23, ended above 83.4%"


def test_an_audited_trial_goes_on_and_tells_where_it_would_have_been_stopped() -> None:
    watch = FloorWatch({2: 0.3, 3: 0.4}, audited=[5, 6], line=0.7)
    low, high = {"val_accuracy": 0.1}, {"val_accuracy": 0.9}
    assert watch.stops(4, 2, low)
    assert not any(watch.stops(number, epoch, low) for number in (5, 6) for epoch in (2, 3))
    assert not watch.stops(7, 3, high)
    assert watch.audit_of(5, 0.8) == "came back: hopeless at epoch 2, ended above 70.0%"
    assert watch.audit_of(6, 0.2) == "audited: hopeless at epoch 2, ended under 70.0%"
    assert watch.audit_of(7, 0.8) is None


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
    floors = floors_of(pruner, curves(20, 27), Training(epochs=27))
    assert pruner in PRUNERS
    assert floors
    assert 27 not in floors
