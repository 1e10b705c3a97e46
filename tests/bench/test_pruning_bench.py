"""The pruning benchmark: what it counts, on studies small enough to check."""

import numpy as np
import pytest

from kdsearch.bench.search.pruning import CurvedStudy, score_pruner
from kdsearch.bench.search.simulation import simulated_study
from kdsearch.search import Pack
from kdsearch.spec import TEMPERATURE
from kdsearch.storage import DIVERGED


def test_no_pruner_prunes_nothing_and_asha_spends_fewer_epochs() -> None:
    none, asha = (score_pruner(pruner, 144, [0]) for pruner in ("none", "asha"))
    assert none.pruned.value == 0.0
    assert asha.pruned.value > 0.1
    assert asha.epochs.value < none.epochs.value - 0.4 * asha.pruned.value
    assert none.silent.value == pytest.approx(0)


def test_the_higher_a_rate_is_above_the_best_the_later_a_student_rises() -> None:
    record = CurvedStudy(simulated_study("shared", 0, n_trials=80, lr_off=-0.5))
    setup = record.study.spec.setups()[0]
    position = record.study.truth(setup).lr_at(record.study.position(setup, 6.0))
    rates = [0.01 * 100 ** (position + above) for above in (0.0, 0.15, 0.3)]
    record.train(
        Pack("p", record.start(setup, [{TEMPERATURE: 6.0, "optimizer.lr": lr} for lr in rates], "p"))
    )
    curves = record.curves(range(3))
    begins = [next(epoch for epoch, accuracy in curves[n].items() if accuracy > 0.1) for n in range(3)]
    assert begins == [1, 7, 14]
    assert min(curve[20] for curve in curves.values()) > 0.5


def test_hopeless_catches_what_fell_to_chance_and_nothing_sound() -> None:
    hopeless, none = (score_pruner(pruner, 240, [0, 1], sampler="random") for pruner in ("hopeless", "none"))
    assert hopeless.caught is not None
    assert none.caught is not None
    assert (hopeless.pruned.value, none.caught.value) == (0.0, 0.0)
    assert hopeless.caught.value > 0.05
    assert hopeless.epochs.value < none.epochs.value
    assert hopeless.regret.error is not None


def test_a_learning_rate_far_too_high_diverges_to_nan_or_to_chance() -> None:
    record = CurvedStudy(simulated_study("shared", 0, n_trials=80, lr_off=-0.5))
    setup = record.study.spec.setups()[0]
    fine, high = ({TEMPERATURE: 6.0, "optimizer.lr": lr} for lr in (0.03, 1.0))
    record.train(Pack("p", record.start(setup, [high] * 60 + [fine] * 20, "p")))
    rows = record.trials()
    nan = [row for row in rows if row.reason == DIVERGED]
    assert 15 < len(nan) < 45
    assert {row.number for row in nan} | record.collapsed == set(range(60))
    fallen = [rows[number].val_accuracy or 0 for number in record.collapsed]
    assert np.mean(fallen) == pytest.approx(0.05, abs=0.002)
    curves = record.curves(range(80))
    assert all(len(curves[row.number]) == row.epochs - 1 <= 10 for row in nan)
    assert all(len(curves[number]) == 20 for number in range(60, 80))


def test_a_trial_that_is_given_up_ends_after_one_epoch() -> None:
    record = CurvedStudy(simulated_study("shared", 0, n_trials=80, lr_off=-0.5))
    started = record.start(record.study.spec.setups()[0], [{TEMPERATURE: 6.0, "optimizer.lr": 0.03}] * 3, "p")
    record.train(Pack("p", started, given_up=[1]))
    assert [(row.state, row.epochs) for row in record.trials()] == [
        ("complete", 20),
        ("pruned", 1),
        ("complete", 20),
    ]
    assert record.epochs_spent == 41
