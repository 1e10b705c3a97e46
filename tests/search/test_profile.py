"""The profile sampler: how it starts, what it learns, and that it needs nothing but the trials."""

import math
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kdsearch.analysis import best
from kdsearch.bench.search.simulation import simulated_study
from kdsearch.search import build_proposer
from kdsearch.search.balance import covering_order
from kdsearch.spec import TEMPERATURE, Choices, StudySpec, load_spec, setup_key
from kdsearch.storage import TrialRow

pytestmark = pytest.mark.simulated

LR = "optimizer.lr"
LOG_T = {"low": 1, "high": 40, "log": True}
LOG_LR = {"low": 0.01, "high": 1, "log": True}
FACTORS = {"optimizer.name": ["sgd", "adamw"], "training.epochs": [10, 20]}


def spec_of(tune: dict | None = None, setup: dict | None = None, **document: Any) -> StudySpec:
    tune = {TEMPERATURE: LOG_T, LR: LOG_LR} if tune is None else tune
    return load_spec(
        {
            "name": "s",
            "tune": tune,
            "setup": FACTORS if setup is None else setup,
            "optimizer": {"lr": 0.1},
            **document,
        }
    )


def trained(spec: StudySpec, number: int, setup: dict, params: dict, **changes: Any) -> TrialRow:
    values = {**setup, **params}
    accuracy = 0.9 - 0.02 * math.log(values[TEMPERATURE] / 6) ** 2
    if LR in values:
        accuracy -= 0.02 * math.log(values[LR] / 0.2) ** 2
    row = TrialRow(
        number=number,
        state="complete",
        reason=None,
        setup=setup,
        params=params,
        seed=number,
        epochs=spec.resolve(setup, params).training.epochs,
        val_accuracy=accuracy + 0.002 * math.sin(7.7 * number),
    )
    return replace(row, **changes)


SEARCHES: dict[tuple[str, int], list[TrialRow]] = {}
"""The trials of each search so far, by spec and size of a pack."""


def run(spec: StudySpec, n: int, size: int) -> list[TrialRow]:
    """Return the first trials of a search in whole packs.

    Every pack is asked for by a new proposer, which knows only the trials: one search serves all who ask for a
    part of it.
    """
    assert n % size == 0
    rows = SEARCHES.setdefault((spec.model_dump_json(), size), [])
    while len(rows) < n:
        proposal = build_proposer(spec).propose(list(rows), size)
        for params in proposal.params:
            rows.append(trained(spec, len(rows), proposal.setup, params))
    return rows[:n]


def assert_inside(spec: StudySpec, rows: list[TrialRow]) -> None:
    for row in rows:
        dimensions = spec.dimensions(row.setup)
        assert row.params.keys() == dimensions.keys()
        for path, dimension in dimensions.items():
            if isinstance(dimension, Choices):
                assert row.params[path] in dimension.choices
            else:
                assert dimension.low <= row.params[path] <= dimension.high
                assert not dimension.integer or isinstance(row.params[path], int)


def strata(values: list[float], low: float, high: float, count: int) -> list[int]:
    """Return the equal part of a logarithmic range of each value.

    There are `count` parts.
    """
    return sorted(int(count * math.log(value / low) / math.log(high / low)) for value in values)


def test_the_first_pack_spreads_temperature_and_the_learning_rate():
    proposal = build_proposer(spec_of()).propose([], 8)
    assert strata([p[TEMPERATURE] for p in proposal.params], 1, 40, 8) == list(range(8))
    inner = 0.01 * 100**0.15, 0.01 * 100**0.85
    assert strata([p[LR] for p in proposal.params], *inner, 8) == list(range(8))


def test_a_search_starts_in_setups_that_cover_all_levels():
    setups = spec_of().setups()
    assert covering_order(setups) == [setups[0], setups[3], setups[1], setups[2]]
    assert [row.setup for row in run(spec_of(), 16, 8)[::8]] == [setups[0], setups[3]]


def test_every_first_pack_runs_through_the_whole_range_of_temperatures():
    rows = run(spec_of(), 32, 8)
    for setup in spec_of().setups():
        own = [row.params[TEMPERATURE] for row in rows if row.setup == setup]
        assert {min(3, int(4 * math.log(t) / math.log(40))) for t in own} == {0, 1, 2, 3}


def test_later_first_packs_take_the_learning_rate_from_the_model():
    """After 24 trials the fourth setup need not search its rate.

    The truth's best rate is 0.2 everywhere.
    """
    rows = run(spec_of(), 32, 8)
    first, last = rows[:8], rows[24:]
    apart = [np.mean([abs(math.log(row.params[LR] / 0.2)) for row in part]) for part in (first, last)]
    assert apart[1] < apart[0] / 2


def test_no_early_accident_keeps_a_region_from_being_tried_again():
    """Early trials above T = 6 lose three points by bad luck.

    Later ones there are tried all the same.
    """
    spec = spec_of(setup={})
    rows: list[TrialRow] = []
    while len(rows) < 64:
        for params in build_proposer(spec).propose(rows, 8).params:
            row = trained(spec, len(rows), {}, params)
            is_unlucky = len(rows) < 16 and params[TEMPERATURE] > 6
            rows.append(replace(row, val_accuracy=row.val_accuracy - 0.03 * is_unlucky))
    late = [row.params[TEMPERATURE] for row in rows[16:]]
    counts = np.bincount([int(4 * math.log(t) / math.log(40) * (1 - 1e-9)) for t in late], minlength=4)
    assert counts[2] >= 4  # the best lies at its lower end


def test_a_nearly_decided_answer_is_held_against_its_rivals():
    """The last pack replicates the best temperature and its rivals.

    With a steep, known response these are T = 4 and every quarter of the range.
    """
    spec = spec_of(setup={}, search={"trials": 64, "pack": 8, "stop": {"regret": 0.02}})
    rows = run(spec, 16, 8)
    asked = [p[TEMPERATURE] for p in build_proposer(spec).propose(rows, 8).params]
    near = [abs(math.log(t / 4)) / math.log(40) <= 0.1 for t in asked]
    assert sum(near) >= 1
    assert max(asked) > 6


@pytest.mark.parametrize("size", [1, 3, 8])
def test_no_setup_starves(size: int):
    rows = run(spec_of(), 48, size)
    counts = Counter(setup_key(row.setup) for row in rows)
    assert len(counts) == 4
    assert min(counts.values()) >= 0.6 * 48 / 4


MANY = {
    TEMPERATURE: LOG_T,
    LR: {"by": "optimizer.name", "sgd": LOG_LR, "adamw": {"low": 1e-4, "high": 1e-2, "log": True}},
    "training.batch_size": {"low": 16, "high": 64, "log": True, "integer": True},
    "optimizer.nesterov": {"choices": [True, False]},
}


@pytest.mark.parametrize("n_tuned", [1, 2, 4])
def test_every_point_lies_in_its_setups_ranges(n_tuned: int):
    spec = spec_of(dict(list(MANY.items())[:n_tuned]))
    assert_inside(spec, run(spec, 32, 4))


def test_temperatures_may_be_choices_or_a_factor():
    spec = spec_of({TEMPERATURE: {"choices": [1, 4, 16]}, LR: LOG_LR})
    assert_inside(spec, run(spec, 32, 4))
    spec = spec_of({LR: LOG_LR}, {TEMPERATURE: [1, 4, 16]})
    rows = run(spec, 24, 4)
    assert_inside(spec, rows)
    assert len({row.setup[TEMPERATURE] for row in rows}) == 3


def test_the_learning_rate_is_learned():
    rows = run(spec_of(), 48, 4)
    late = [abs(math.log(row.params[LR] / 0.2)) for row in rows[32:]]
    assert np.median(late) < 0.5


def test_a_search_that_goes_on_is_as_one_that_never_stopped():
    spec = spec_of()
    proposer = build_proposer(spec)
    rows: list[TrialRow] = []
    while len(rows) < 40:
        proposal = proposer.propose(rows, 4)
        rows += [trained(spec, len(rows) + k, proposal.setup, p) for k, p in enumerate(proposal.params)]
    assert rows == run(spec, 40, 4)


def test_running_trials_count_as_asked_for():
    spec = spec_of(setup={})
    rows = run(spec, 16, 4)
    first = build_proposer(spec).propose(rows, 4)
    running = [
        trained(spec, 16 + k, {}, params, state="running", val_accuracy=None)
        for k, params in enumerate(first.params)
    ]
    second = build_proposer(spec).propose([*rows, *running], 4)
    assert second.params != first.params


def test_very_many_running_trials_keep_others_away():
    spec = spec_of(setup={})
    rows = run(spec, 16, 4)
    first = build_proposer(spec).propose(rows, 4).params
    rng = np.random.default_rng(0)
    running = [
        trained(
            spec, 16 + k, {}, {path: value * math.exp(rng.normal(0, 0.15)) for path, value in params.items()}
        )
        for k, params in enumerate(first * 150)
    ]
    asked = [replace(row, state="running", val_accuracy=None) for row in running]
    second = build_proposer(spec).propose([*rows, *asked], 4).params
    assert min(far(a, b) for a in first for b in second) > 0.1
    assert min(far(a, b) for a in first for b in build_proposer(spec).propose(rows, 4).params) == 0


def far(one: dict, other: dict) -> float:
    """Return how far two points are from each other.

    It is by the logarithms of temperature and learning rate.
    """
    return math.hypot(*(math.log(one[path] / other[path]) for path in (TEMPERATURE, LR)))


def test_trials_that_say_nothing_do_no_harm():
    spec = spec_of()
    rows = run(spec, 24, 4)
    odd = [
        replace(rows[0], number=100, state="failed", reason="lost", val_accuracy=None),
        replace(rows[1], number=101, state="pruned", epochs=1),
        replace(rows[2], number=102, state="failed", reason="diverged", val_accuracy=None),
        replace(rows[3], number=103, params={TEMPERATURE: 400.0, LR: 0.1}),
        replace(rows[4], number=104, params={}),
        replace(rows[5], number=105, setup={"optimizer.name": "rmsprop"}),
        replace(rows[6], number=106, state="waiting", val_accuracy=None),
    ]
    proposal = build_proposer(spec).propose([*rows, *odd], 4)
    assert len(proposal.params) == 4


def test_trials_that_all_failed_are_followed_by_more_of_the_start():
    spec = spec_of()
    rows = [replace(row, state="failed", reason="diverged", val_accuracy=None) for row in run(spec, 16, 4)]
    assert len(build_proposer(spec).propose(rows, 4).params) == 4


def test_a_diverging_corner_is_avoided():
    spec = spec_of(setup={})
    rows: list[TrialRow] = []
    while len(rows) < 40:
        proposal = build_proposer(spec).propose(rows, 4)
        for params in proposal.params:
            failed = {"state": "failed", "reason": "diverged", "val_accuracy": None}
            row = trained(spec, len(rows), {}, params, **(failed if params[LR] > 0.15 else {}))
            rows.append(row)
    assert sum(row.state == "failed" for row in rows[24:]) <= 4


@pytest.mark.slow
def test_it_beats_random_design_on_simulated_studies():
    regret: dict[str, list[float]] = {"profile": [], "random": []}
    for sampler, regrets in regret.items():
        for seed in range(3):
            study = simulated_study(
                "shared", seed, levels=(2, 2, 1), n_trials=48, sampler=sampler, lr_off=0.3
            )
            study.search(build_proposer(study.spec), 48)
            for answer in best(study.spec, study.rows).setups:
                assert answer.temperature is not None
                regrets.append(study.regret(answer.setup, answer.temperature))
    assert np.mean(regret["profile"]) < np.mean(regret["random"])


def test_a_pack_of_eight_at_two_thousand_trials_takes_under_a_second():
    spec = spec_of(setup={"optimizer.name": ["sgd", "adam", "adamw"], "training.epochs": [5, 10, 20, 40]})
    rng = np.random.default_rng(0)
    setups = spec.setups()
    rows = [
        trained(spec, n, setups[n % 12], {TEMPERATURE: 40 ** rng.random(), LR: 100 ** (rng.random() - 1)})
        for n in range(2000)
    ]
    proposer = build_proposer(spec)
    start = time.process_time()
    proposer.propose(rows, 8)
    assert time.process_time() - start < 2.0  # twice the target, for slow and busy machines
