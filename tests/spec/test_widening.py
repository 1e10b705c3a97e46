"""Widened ranges: how far, which, and never beyond what the spec allows."""

import math
from typing import Any

import pytest

from kdsearch.errors import SpecError
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.spec.widening import Widening, level_of_range, may_widen, widen_range, widened

LR = {"low": 0.01, "high": 1.0, "log": True}


def spec_with(tune: dict[str, Any], **search: Any) -> StudySpec:
    temperature = {TEMPERATURE: {"low": 1, "high": 40, "log": True}}
    setup = {"optimizer.name": ["sgd", "adamw"]}
    return load_spec({"name": "w", "setup": setup, "tune": {**temperature, **tune}, "search": search})


def test_a_range_grows_by_half_its_width_at_one_end_on_its_own_scale() -> None:
    spec = spec_with({"optimizer.lr": LR, "objective.alpha": {"low": 0.2, "high": 0.4}})
    up = widen_range(spec, "optimizer.lr", None, is_high=True, reason="r")
    down = widen_range(spec, "optimizer.lr", None, is_high=False, reason="r")
    linear = widen_range(spec, "objective.alpha", None, is_high=False, reason="r")
    assert up is not None
    assert down is not None
    assert linear is not None
    assert (up.was_low, up.was_high, up.low) == (0.01, 1.0, 0.01)
    assert up.high == pytest.approx(10)
    assert (down.low, down.high) == (pytest.approx(0.001), 1.0)
    assert (linear.low, linear.high) == (pytest.approx(0.1), 0.4)


@pytest.mark.parametrize(
    ("path", "dimension", "limit"),
    [
        ("optimizer.momentum", {"low": 0.5, "high": 0.95, "log": True}, 1.0),
        ("objective.alpha", {"low": 0.1, "high": 0.9, "log": True}, 1.0),
    ],
)
def test_what_the_spec_does_not_allow_is_not_reached(
    path: str, dimension: dict[str, Any], limit: float
) -> None:
    spec = spec_with({path: dimension})
    for _ in range(20):
        found = widen_range(spec, path, None, is_high=True, reason="r")
        if found is None:
            break
        assert found.was_high < found.high <= limit
        spec = widened(spec, [found])
    assert dimension["high"] < spec.dimensions(spec.setups()[0])[path].high <= limit  # type: ignore[union-attr]


def test_an_integer_range_ends_at_whole_numbers() -> None:
    spec = spec_with({"training.batch_size": {"low": 2, "high": 16, "log": True, "integer": True}})
    up = widen_range(spec, "training.batch_size", None, is_high=True, reason="r")
    down = widen_range(spec, "training.batch_size", None, is_high=False, reason="r")
    assert up is not None
    assert up.high == math.floor(16 * 8**0.5)
    assert down is not None
    assert down.low == 1
    ended = widened(spec, [down])
    assert widen_range(ended, "training.batch_size", None, is_high=False, reason="r") is None


def test_one_levels_range_is_widened_alone_and_later_widenings_hold() -> None:
    by = {"by": "optimizer.name", "sgd": LR, "adamw": {"low": 1e-4, "high": 1e-2, "log": True}}
    spec = spec_with({"optimizer.lr": by})
    sgd, adamw = spec.setups()
    assert level_of_range(spec, "optimizer.lr", adamw) == "adamw"
    assert level_of_range(spec, TEMPERATURE, adamw) is None
    first = widen_range(spec, "optimizer.lr", "adamw", is_high=True, reason="r")
    assert first is not None
    second = widen_range(widened(spec, [first]), "optimizer.lr", "adamw", is_high=False, reason="r")
    assert second is not None
    assert (second.was_low, second.was_high) == (1e-4, first.high)
    now = widened(spec, [first, second])
    assert now.dimensions(sgd) == spec.dimensions(sgd)
    lr = now.dimensions(adamw)["optimizer.lr"]
    assert (lr.low, lr.high) == (second.low, first.high)  # type: ignore[union-attr]
    assert now.search == spec.search


def test_true_leaves_out_temperature_and_what_a_training_costs_unless_they_are_named() -> None:
    tune = {"optimizer.lr": LR, "training.epochs": {"low": 2, "high": 8, "integer": True}}
    asked: list[tuple[Any, list[bool]]] = [
        (False, [False, False, False]),
        (True, [True, False, False]),
        ([TEMPERATURE], [False, True, False]),
        (["training.epochs", "optimizer.lr"], [True, False, True]),
    ]
    for widen, expected in asked:
        spec = spec_with(tune, widen=widen)
        paths = ("optimizer.lr", TEMPERATURE, "training.epochs")
        assert [may_widen(spec, path) for path in paths] == expected


def test_a_widening_is_told_in_a_sentence() -> None:
    found = Widening("optimizer.lr", "sgd", 0.01, 1.0, 0.01, 10.0, "because")
    assert str(found) == "optimizer.lr of sgd from 0.01 … 1 to 0.01 … 10: because"


def test_only_tuned_parameters_can_be_named() -> None:
    with pytest.raises(
        SpecError, match=r"`search.widen` must name tuned parameters, got 'optimizer.momentum'"
    ):
        spec_with({"optimizer.lr": LR}, widen=["optimizer.lr", "optimizer.momentum"])
