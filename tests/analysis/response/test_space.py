"""Trials land on nodes and come back as values.

The values are of their setup's own ranges.
"""

import math
from typing import Any

import numpy as np
import pytest

from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec

LOG_T = {"low": 1, "high": 40, "log": True}


def study(tune: dict, setup: dict | None = None) -> StudySpec:
    return load_spec({"name": "s", "tune": tune, "setup": setup or {}})


def back_and_forth(space: ResponseSpace, setup: dict, params: dict) -> dict:
    site = space.site(setup)
    assert site is not None
    nodes = space.locate(site, params)
    assert nodes is not None
    return space.values(site, nodes)


def test_a_value_comes_back_within_half_a_node():
    space = ResponseSpace(study({TEMPERATURE: LOG_T, "optimizer.lr": {"low": 0.01, "high": 1, "log": True}}))
    for temperature, lr in [(1, 0.01), (3.3, 0.12), (40, 1)]:
        values = back_and_forth(space, {}, {TEMPERATURE: temperature, "optimizer.lr": lr})
        assert abs(np.log(values[TEMPERATURE] / temperature)) <= np.log(40) / 80 + 1e-9
        assert abs(np.log(values["optimizer.lr"] / lr)) <= np.log(100) / 64 + 1e-9


def test_integers_and_choices_come_back_exactly():
    tune = {
        TEMPERATURE: LOG_T,
        "training.batch_size": {"low": 16, "high": 40, "integer": True},
        "optimizer.nesterov": {"choices": [True, False]},
    }
    space = ResponseSpace(study(tune))
    for size, nesterov in [(16, True), (23, False), (40, True)]:
        params = {TEMPERATURE: 4, "training.batch_size": size, "optimizer.nesterov": nesterov}
        values = back_and_forth(space, {}, params)
        assert (values["training.batch_size"], values["optimizer.nesterov"]) == (size, nesterov)


def test_a_conditional_range_is_scaled_by_itself_and_temperature_by_all():
    tune = {
        TEMPERATURE: {"by": "optimizer.name", "sgd": LOG_T, "adamw": {"low": 2, "high": 20, "log": True}},
        "optimizer.lr": {
            "by": "optimizer.name",
            "sgd": {"low": 0.01, "high": 1, "log": True},
            "adamw": {"low": 1e-4, "high": 1e-2, "log": True},
        },
    }
    space = ResponseSpace(study(tune, {"optimizer.name": ["sgd", "adamw"]}))
    sgd, adamw = space.sites
    nodes = space.locate(sgd, {TEMPERATURE: 4, "optimizer.lr": 0.1})
    assert nodes is not None
    assert nodes == space.locate(adamw, {TEMPERATURE: 4, "optimizer.lr": 1e-3})
    allowed = space.temperatures()[space.allowed(1, 0)]
    assert allowed.min() == pytest.approx(2, rel=0.05)
    assert allowed.max() == pytest.approx(20, rel=0.05)


def nearest(low: float, high: float, n_nodes: int, log: bool, value: Any) -> int | None:
    """Return the node nearest to a value, by trying all."""
    if isinstance(value, bool) or not isinstance(value, int | float) or (log and value <= 0):
        return None
    ends = (math.log(low), math.log(high), math.log(value)) if log else (low, high, value)
    unit = (ends[2] - ends[0]) / (ends[1] - ends[0])
    if not 0 <= unit <= 1:
        return None
    return min(range(n_nodes), key=lambda node: (abs(node / (n_nodes - 1) - unit), node))


def test_many_trials_lie_where_a_search_through_the_nodes_finds_each():
    tune = {
        TEMPERATURE: LOG_T,
        "optimizer.lr": {"low": 0.01, "high": 1, "log": True},
        "optimizer.momentum": {"low": 0.5, "high": 0.99},
        "training.batch_size": {"choices": [64, 16, 32]},
    }
    space = ResponseSpace(study(tune))
    rng = np.random.default_rng(0)
    even = [float(np.exp((k + 0.5) / 8 * np.log(40))) for k in range(8)]  # halfway between two nodes
    odd = [0.5, 41, -1, 0, None, True, "4", 1, 40]
    temperatures = [*even, *odd, *np.exp(rng.uniform(0, np.log(40), 300)).tolist()]
    params = [
        {
            TEMPERATURE: temperature,
            "optimizer.lr": float(np.exp(rng.uniform(np.log(0.009), np.log(1.05)))),
            "optimizer.momentum": float(rng.uniform(0.49, 1.0)),
            "training.batch_size": int(rng.choice([16, 32, 64, 128])),
        }
        for temperature in temperatures
    ]
    expected = []
    for values in params:
        nodes = (
            nearest(1, 40, 41, True, values[TEMPERATURE]),
            nearest(0.01, 1, 33, True, values["optimizer.lr"]),
            nearest(0.5, 0.99, 33, False, values["optimizer.momentum"]),
            {64: 0, 16: 1, 32: 2}.get(values["training.batch_size"]),
        )
        expected.append((-1,) * 4 if None in nodes else nodes)
    located = space.locate_all(space.sites[0], params)
    assert [tuple(nodes) for nodes in located.tolist()] == expected
    assert 50 < (located[:, 0] >= 0).sum() < 300
    assert space.locate_all(space.sites[0], []).shape == (0, 4)


def test_setups_are_found_whether_they_share_their_mapping_or_not():
    space = ResponseSpace(study({TEMPERATURE: LOG_T}, {"optimizer.name": ["sgd", "adamw"]}))
    sgd, adamw, other = ({"optimizer.name": name} for name in ("sgd", "adamw", "lion"))
    setups = [adamw, sgd, adamw, other, dict(adamw), dict(other)]
    assert space.setups_of(setups).tolist() == [1, 0, 1, -1, 1, -1]


@pytest.mark.parametrize("params", [{TEMPERATURE: 100.0}, {}, {TEMPERATURE: None}, {TEMPERATURE: "4"}])
def test_a_trial_outside_the_ranges_has_no_place(params: dict):
    space = ResponseSpace(study({TEMPERATURE: LOG_T}))
    assert space.locate(space.sites[0], params) is None


def test_a_setup_that_is_not_of_the_study_has_no_place():
    space = ResponseSpace(study({TEMPERATURE: LOG_T}, {"optimizer.name": ["sgd"]}))
    assert space.site({"optimizer.name": "adamw"}) is None


def test_a_temperature_that_is_a_factor_becomes_an_axis_of_its_levels():
    setup = {TEMPERATURE: [1, 4, 16], "optimizer.name": ["sgd", "adamw"]}
    space = ResponseSpace(study({"optimizer.lr": {"low": 0.01, "high": 1, "log": True}}, setup))
    assert space.setups == [{"optimizer.name": "sgd"}, {"optimizer.name": "adamw"}]
    assert space.temperatures() == pytest.approx([1, 4, 16])
    values = back_and_forth(space, {TEMPERATURE: 4, "optimizer.name": "sgd"}, {"optimizer.lr": 0.1})
    assert values[TEMPERATURE] == 4


def test_levels_that_are_numbers_are_as_far_apart_as_their_ranks():
    space = ResponseSpace(study({TEMPERATURE: LOG_T}, {"training.epochs": [10, 20, 200]}))
    assert space.distances[:, :, 0] == pytest.approx(np.array([[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]]))


def test_a_range_for_one_setup_and_choices_for_another_share_an_axis():
    tune = {
        TEMPERATURE: LOG_T,
        "optimizer.lr": {
            "by": "optimizer.name",
            "sgd": {"low": 0.01, "high": 1, "log": True},
            "adamw": {"choices": [1e-3, 1e-2]},
        },
    }
    space = ResponseSpace(study(tune, {"optimizer.name": ["sgd", "adamw"]}))
    params = {TEMPERATURE: 4, "optimizer.lr": 1e-2}
    assert back_and_forth(space, {"optimizer.name": "adamw"}, params)["optimizer.lr"] == 1e-2
