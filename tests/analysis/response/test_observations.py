"""What trials say: who competes, who is counted, and what pooling keeps."""

from typing import Any

import numpy as np
import pytest

from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import Observations, distinct_rows, observe, pool, weigh
from kdsearch.analysis.response.process import Posterior, Process
from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import TrialRow, columns_of

SPEC = load_spec({"name": "s", "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}}})


def row(number: int = 0, **changes: Any) -> TrialRow:
    values: dict[str, Any] = {
        "number": number,
        "state": "complete",
        "reason": None,
        "setup": {},
        "params": {TEMPERATURE: 4.0},
        "seed": 0,
        "epochs": SPEC.training.epochs,
        "val_accuracy": 0.9,
    }
    return TrialRow(**{**values, **changes})


def seen(*rows: TrialRow) -> tuple[list[float], Any]:
    observations, tallies = observe(SPEC, ResponseSpace(SPEC), rows)
    return observations.points.tolist(), tallies[0]


def test_a_complete_trial_competes():
    points, tally = seen(row())
    assert points == pytest.approx([90.0])
    assert len(tally.complete) == 1


def test_a_diverged_trial_is_information_and_a_lost_one_is_not():
    points, tally = seen(
        row(0, state="failed", reason="diverged", val_accuracy=None),
        row(1, state="failed", reason="lost", val_accuracy=None),
    )
    assert np.isnan(points).tolist() == [True]
    assert (tally.diverged, tally.failed) == (1, 1)


def test_pruned_and_shorter_trials_do_not_compete():
    points, tally = seen(row(0, state="pruned", epochs=3), row(1, epochs=3))
    assert points == []
    assert (tally.pruned, tally.other_length) == (1, 1)


def test_running_and_waiting_trials_say_nothing():
    states = [row(0, state="running", val_accuracy=None), row(1, state="waiting", val_accuracy=None)]
    assert seen(*states)[0] == []


def stopped(number: int, reached: float, **changes: Any) -> TrialRow:
    changes = {"state": "pruned", "reason": "hopeless at epoch 3", "epochs": 3} | changes
    return row(number, val_accuracy=reached, **changes)


@pytest.mark.parametrize("reached", [0.05, 0.1, 0.33, 0.6, 0.79, 0.85, 0.93])
def test_a_stopped_trial_is_between_what_it_had_reached_and_the_line(reached: float):
    sound = [row(n, val_accuracy=0.9 + n / 1000) for n in range(9)]
    observations, _ = observe(SPEC, ResponseSpace(SPEC), [*sound, stopped(9, reached)])
    assert np.isnan(observations.points).tolist() == [False] * 9 + [True]
    evidence = weigh(observations, 1)
    told = float(evidence.to_accuracy(evidence.y[-1:], 0)[0])
    line = 0.904 - 0.1
    assert min(reached, line) - 1e-9 <= told <= max(reached, line) + 1e-9
    assert told >= reached - 1e-9
    ends = evidence.to_accuracy(evidence.y[-1] + np.sqrt(3 * evidence.variance[-1]) * np.array([-1, 1]), 0)
    assert ends[0] <= reached
    assert ends[1] >= line


def test_a_diverged_trial_is_lower_than_one_that_was_stopped_high():
    rows = [row(n, val_accuracy=0.9) for n in range(9)]
    diverged = row(9, state="failed", reason="diverged", val_accuracy=None)
    evidence = weigh(observe(SPEC, ResponseSpace(SPEC), [*rows, diverged, stopped(10, 0.6)])[0], 1)
    assert evidence.y[9] < evidence.y[10] < evidence.y[0] - 5


def test_a_place_where_trials_collapsed_is_remembered_and_a_lone_accident_is_doubted():
    spec = load_spec(
        {"name": "s", "tune": {TEMPERATURE: {"low": 1, "high": 40}, "optimizer.lr": {"low": 0.03, "high": 3}}}
    )
    rates = [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.4, 2.5, 2.8, 2.9]
    ends = [0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.85]
    rows = [
        row(n, params={TEMPERATURE: 1.0 + n, "optimizer.lr": rate}, val_accuracy=end, epochs=20)
        for n, (rate, end) in enumerate(zip(rates, ends, strict=True))
    ]
    evidence = weigh(observe(spec, ResponseSpace(spec), rows)[0], 1)
    assert np.flatnonzero(evidence.variance > 1).tolist() == [8, 9]


def test_the_order_of_the_rows_does_not_matter():
    rows = [row(n, val_accuracy=0.8 + n / 100) for n in range(5)]
    assert seen(*rows)[0] == seen(*reversed(rows))[0]


def random_observations(n: int, rng: np.random.Generator) -> tuple[Kernel, Observations]:
    space = ResponseSpace(SPEC)
    nodes = rng.integers(0, 5, size=(n, 1)) * 8
    points = 90 + rng.normal(size=n)
    return Kernel(space.axes, space.distances), Observations(np.zeros(n, dtype=np.intp), nodes, points)


def test_pooled_replicates_give_the_same_posterior():
    kernel, observations = random_observations(30, np.random.default_rng(0))
    single = weigh(observations, 1)
    pooled = pool(single, [1])
    assert len(pooled) == 5
    nodes = np.arange(41)[:, None]
    setup = np.zeros(41, dtype=np.intp)
    for a, b in zip(
        Process(kernel, kernel.prior_mean, single).believe(setup, nodes),
        Process(kernel, kernel.prior_mean, pooled).believe(setup, nodes),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_pooled_replicates_tell_the_same_of_the_hyperparameters():
    kernel, observations = random_observations(30, np.random.default_rng(1))
    single = weigh(observations, 1)
    losses = []
    for evidence in (single, pool(single, [1])):
        posterior = Posterior(kernel, evidence)
        moved = kernel.prior_mean + 0.3
        losses.append(posterior.value(moved) - posterior.value(kernel.prior_mean))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_soft_floor_is_undone():
    rng = np.random.default_rng(2)
    points = 90 - rng.exponential(8, size=200)
    observations = Observations(np.zeros(200, dtype=np.intp), np.zeros((200, 1), dtype=np.intp), points)
    evidence = weigh(observations, 1)
    np.testing.assert_allclose(evidence.to_accuracy(evidence.y, 0), points / 100, atol=1e-12)
    assert evidence.y.min() > -20


def test_rows_and_columns_say_the_same():
    rng = np.random.default_rng(3)
    states = rng.choice(["complete", "pruned", "failed", "running"], 200)
    reasons = [None, "diverged", "hopeless at epoch 3", "median at epoch 2", "lost"]
    rows = [
        row(
            number,
            state=str(state),
            reason=reasons[rng.integers(len(reasons))],
            params={TEMPERATURE: float(np.exp(rng.uniform(-0.2, 4.0)))},
            epochs=int(rng.choice([SPEC.training.epochs, 3, 0])),
            val_accuracy=None if rng.random() < 0.1 else float(rng.uniform(0.5, 0.9)),
        )
        for number, state in enumerate(states)
    ]
    space = ResponseSpace(SPEC)
    (observed, [tally]), (same, _) = observe(SPEC, space, rows), observe(SPEC, space, columns_of(rows[::-1]))
    for one, other in zip(observed.arrays(), same.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    inside = [1 <= r.params[TEMPERATURE] <= 40 for r in rows]
    whole = [r.state == "complete" and r.val_accuracy is not None for r in rows]
    full = [w and r.epochs in (0, SPEC.training.epochs) for r, w in zip(rows, whole, strict=True)]
    below = [(r.state, r.reason) in (("failed", "diverged"), ("pruned", "hopeless at epoch 3")) for r in rows]
    say = [100 * r.val_accuracy if f else None for r, f in zip(rows, full, strict=True)]
    expected = [
        np.nan if b else value
        for value, b, i in zip(say, below, inside, strict=True)
        if i and (b or value is not None)
    ]
    np.testing.assert_allclose(observed.points, expected, rtol=1e-15)
    assert len(tally.complete) == sum(f and i for f, i in zip(full, inside, strict=True))
    assert tally.outside == sum(f and not i for f, i in zip(full, inside, strict=True))
    assert tally.other_length == sum(w and not f for w, f in zip(whole, full, strict=True))
    assert (tally.diverged + tally.failed, tally.pruned) == (
        sum(states == "failed"),
        sum(states == "pruned"),
    )
    assert tally.diverged == sum((r.state, r.reason) == ("failed", "diverged") for r in rows)


def test_what_competes_keeps_what_was_measured():
    measured = [
        row(1, params={TEMPERATURE: 8.0}, test_accuracy=0.7, seconds=3.0),
        row(0, params={TEMPERATURE: 2.0}),
    ]
    complete = seen(*measured)[1].complete
    assert complete.temperature.tolist() == [2.0, 8.0]
    np.testing.assert_array_equal(complete.test_accuracy, [np.nan, 0.7])
    np.testing.assert_array_equal(complete.seconds, [np.nan, 3.0])
    assert complete.n_places == 2


@pytest.mark.parametrize("widest", [3, 2**40], ids=["one number each", "more digits than a number has"])
def test_distinct_rows_are_those_that_a_sort_of_whole_rows_finds(widest: int):
    columns = np.random.default_rng(4).integers(0, 3, size=(4, 300)) * (widest // 3)
    rows, first, group = np.unique(columns.T, axis=0, return_index=True, return_inverse=True)
    found = distinct_rows(list(columns))
    assert len(rows) > 40
    np.testing.assert_array_equal(found[0], first)
    np.testing.assert_array_equal(found[1], group.reshape(-1))
