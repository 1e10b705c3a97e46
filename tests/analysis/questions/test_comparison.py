"""Shifts that are there are found, shifts that aren't are not claimed."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from kdsearch.analysis import Comparison, compare, fit_response
from kdsearch.errors import RequestError
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import TrialRow

SPEC = load_spec(
    {
        "name": "s",
        "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
        "setup": {"optimizer.name": ["sgd", "adam", "adamw"], "teacher.arch": ["mlp_32", "mlp_64"]},
    }
)


def trials(
    best: dict[str, float], depth: float = 0.02, seed: int = 0, spec: StudySpec = SPEC
) -> list[TrialRow]:
    """Return 14 trials a setup.

    Their best temperature depends on the optimizer alone.
    """
    rng = np.random.default_rng(seed)
    rows: list[TrialRow] = []
    for setup in spec.setups():
        for k in range(14):
            temperature = 40 ** ((k + rng.random()) / 14)
            loss = depth * math.log(temperature / best[setup["optimizer.name"]]) ** 2
            rows.append(
                TrialRow(
                    number=len(rows),
                    state="complete",
                    reason=None,
                    setup=setup,
                    params={TEMPERATURE: temperature},
                    seed=0,
                    epochs=spec.training.epochs,
                    val_accuracy=0.9 - loss + 0.003 * rng.normal(),
                )
            )
    return rows


ONE_DIFFERS = {"sgd": 4.0, "adam": 4.0, "adamw": 16.0}  # the best temperatures; a ratio of 4 is plain to see
NONE_DIFFERS = {"sgd": 6.0, "adam": 6.0, "adamw": 6.0}  # near the middle of 1 to 40 in log T


def pair(found: Comparison, first: str, second: str):
    return next(p for p in found.pairs if p.levels == (first, second))


def test_a_real_shift_is_found_with_its_size():
    found = compare(fit_response(SPEC, trials(ONE_DIFFERS)), "optimizer.name")
    shift = pair(found, "sgd", "adamw")
    assert shift.interval[0] <= math.log(4) <= shift.interval[1]
    assert shift.probability > 0.95
    assert pair(found, "sgd", "adam").probability < 0.5
    assert found.probability is not None
    assert found.probability > 0.95
    assert found.statement is not None
    assert "adamw takes" in found.statement
    assert [answer.temperature for answer in found.levels] == pytest.approx([4, 4, 16], rel=0.25)


@pytest.mark.parametrize("depth", [0.02, 0.0])
def test_no_shift_is_rarely_claimed(depth: float):
    claims = [
        compare(fit_response(SPEC, trials(NONE_DIFFERS, depth, seed)), "optimizer.name").statement or ""
        for seed in range(10)
    ]
    assert sum("depends on" in claim for claim in claims) <= 2


def test_what_is_said_without_a_shift_follows_its_probability():
    for seed in range(4):
        found = compare(fit_response(SPEC, trials(NONE_DIFFERS, 10.0, seed)), "optimizer.name")
        assert found.probability is not None
        sure = found.probability <= 0.1
        said = f"{1 - found.probability if sure else found.probability:.2f}"
        assert (found.statement or "").startswith("One temperature serves" if sure else "Undecided")
        assert said in (found.statement or "")


def test_intervals_of_all_pairs_together_are_wider():
    for shift in compare(fit_response(SPEC, trials(ONE_DIFFERS)), "optimizer.name").pairs:
        narrow, wide = shift.interval, shift.family_interval
        assert wide[1] - wide[0] >= 0.9 * (narrow[1] - narrow[0])


def test_the_document_is_plain_json():
    document = json.loads(
        json.dumps(compare(fit_response(SPEC, trials(ONE_DIFFERS)), "optimizer.name").to_dict())
    )
    assert document["factor"] == "optimizer.name"
    assert [p["levels"] for p in document["pairs"]] == [["sgd", "adam"], ["sgd", "adamw"], ["adam", "adamw"]]
    assert document["reason"] is None


def test_only_matched_setups_are_compared():
    rows = [
        r for r in trials(ONE_DIFFERS) if r.setup != {"optimizer.name": "adamw", "teacher.arch": "mlp_32"}
    ]
    found = compare(fit_response(SPEC, rows), "optimizer.name")
    assert found.reason is None
    rows = [r for r in rows if r.setup["optimizer.name"] != "adamw"]
    assert "too few trials" in (compare(fit_response(SPEC, rows), "optimizer.name").reason or "")


def test_a_factor_with_one_level_left_says_so():
    found = compare(
        fit_response(SPEC, trials(ONE_DIFFERS)), "optimizer.name", where={"optimizer.name": "sgd"}
    )
    assert "single level" in (found.reason or "")


def test_an_unknown_factor_is_named_with_the_known_ones():
    with pytest.raises(RequestError, match=r"Factors: optimizer\.name, teacher\.arch"):
        compare(fit_response(SPEC, []), "optimizer.lr")


def test_levels_without_an_answer_are_told_with_the_reason():
    spec = load_spec(
        {
            "name": "s",
            "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
            "setup": {"optimizer.name": ["sgd", "adamw"], "objective.name": ["kd", "mse"]},
        }
    )
    rows = trials(NONE_DIFFERS, spec=spec)
    ignored = compare(fit_response(spec, rows), "objective.name")
    assert not ignored.pairs
    assert "temperature has no effect with `objective.name: mse`" in (ignored.reason or "")
    assert "too few" not in (ignored.reason or "")
    stuck = [replace(row, val_accuracy=0.5) for row in rows]
    constant = compare(fit_response(spec, stuck), "optimizer.name", where={"objective.name": "kd"})
    assert not constant.pairs
    assert "14 trials have an accuracy of 50%" in (constant.reason or "")


@pytest.mark.parametrize("lowest", [1, 10])
def test_levels_that_were_searched_in_other_ranges_have_no_shift(lowest: float):
    """Both are best at T = 6: one range ends at 4, the other overlaps it or lies beyond."""
    ends = {"sgd": (1, 4), "adamw": (lowest, 40)}
    ranges = {name: {"low": low, "high": high, "log": True} for name, (low, high) in ends.items()}
    tune = {TEMPERATURE: {"by": "optimizer.name", **ranges}}
    spec = load_spec({"name": "s", "tune": tune, "setup": {"optimizer.name": [*ends]}})
    rows = []
    for row in trials(NONE_DIFFERS, spec=spec):
        low, high = ends[row.setup["optimizer.name"]]
        temperature = low * (high / low) ** (math.log(row.params[TEMPERATURE]) / math.log(40))
        accuracy = 0.9 - 0.05 * math.log(temperature / 6) ** 2
        rows.append(replace(row, params={TEMPERATURE: temperature}, val_accuracy=accuracy))
    found = compare(fit_response(spec, rows), "optimizer.name")
    assert not found.pairs
    assert "beyond those that all levels of `optimizer.name` were searched in" in (found.reason or "")
