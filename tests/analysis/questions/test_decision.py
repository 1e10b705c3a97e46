"""An answer is called decided only where it was earned."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from kdsearch.analysis import SetupAnswer, best
from kdsearch.analysis.questions.decision import ENOUGH_TO_DECIDE, _beyond, what_is_missing
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec, spec_document
from kdsearch.storage import TrialRow

LR = "optimizer.lr"
EPOCHS = "teacher.finetune.epochs"
Truth = Callable[[float, float], float]


def a_study(pack: int = 4) -> StudySpec:
    tune = {TEMPERATURE: {"low": 1, "high": 40, "log": True}, LR: {"low": 0.01, "high": 1, "log": True}}
    factors = {EPOCHS: [5, 40], "optimizer.name": ["sgd", "adamw"]}
    return load_spec({"name": "s", "setup": factors, "tune": tune, "search": {"trials": 96, "pack": pack}})


def trials(
    spec: StudySpec, places: list[list[tuple[float, float]]], truths: list[Truth], noise: float = 0.002
) -> list[TrialRow]:
    """Return trials of each setup at its places: positions of temperature and rate in their ranges."""
    rng, rows = np.random.default_rng(0), []
    for setup, own, truth in zip(spec.setups(), places, truths, strict=True):
        for u, v in own:
            dimensions = spec.dimensions(setup)
            params = {TEMPERATURE: dimensions[TEMPERATURE].from_unit(u), LR: dimensions[LR].from_unit(v)}
            accuracy = truth(u, v) + noise * rng.standard_normal()
            rows.append(TrialRow(len(rows), "complete", None, setup, params, len(rows), 20, accuracy))
    return rows


def spread(n: int) -> list[tuple[float, float]]:
    """Return places that run through the range of temperatures.

    Their rates are on both sides of the middle.
    """
    return [((k * 0.382) % 1.0, 0.35 + 0.3 * ((k * 0.618) % 1.0)) for k in range(n)]


def peak(at: float, depth: float = 0.15) -> Truth:
    return lambda u, v: 0.9 - depth * (u - at) ** 2 - 0.1 * (v - 0.5) ** 2


def answers(spec: StudySpec, rows: list[TrialRow]) -> list[SetupAnswer]:
    return best(spec, rows).setups


def missing(answer: SetupAnswer) -> str:
    assert answer.forecast is not None
    assert answer.forecast.decided == (not answer.forecast.missing)
    return "; ".join(answer.forecast.missing)


def test_a_clear_answer_with_evidence_everywhere_is_decided():
    spec = a_study()
    found = answers(spec, trials(spec, [spread(24)] * 4, [peak(0.4)] * 4))
    assert [missing(answer) for answer in found] == [""] * 4
    for answer in found:
        assert math.log(answer.temperature or 0) / math.log(40) == pytest.approx(0.4, abs=0.1)


def test_few_trials_decide_nothing():
    spec = a_study()
    found = answers(spec, trials(spec, [spread(ENOUGH_TO_DECIDE - 1)] * 4, [peak(0.4)] * 4))
    assert all(f"{ENOUGH_TO_DECIDE} complete trials, it has 11" in missing(answer) for answer in found)


def test_a_range_that_was_never_tried_at_a_tuned_rate_decides_nothing():
    """The evidence of a wrong answer that was called decided: 13, 1, 0 and 0 trials in the quarters."""
    spec = a_study()
    clustered = [(0.02 * k, 0.5) for k in range(13)] + [(0.3, 0.5)]
    untuned = [(0.6, 0.05), (0.7, 0.95), (0.8, 0.03), (0.95, 0.98)]
    truths = [peak(0.0)] * 3 + [lambda u, v: 0.9 - 0.03 * u - 0.4 * (v - 0.5) ** 2]
    found = answers(spec, trials(spec, [spread(24)] * 3 + [clustered + untuned], truths))[3]
    assert "strongest in its quarter of the range" in missing(found)
    assert found.tuned_trials is not None
    assert found.tuned_trials[0] >= 10
    assert sum(found.tuned_trials[2:]) <= 1


@pytest.mark.parametrize(("place", "rate"), [(0.35, 0.0487), (0.95, 0.75)])
def test_one_learning_rate_for_all_trials_decides_nothing(place: float, rate: float):
    """What temperature does at other rates is unknown.

    That is so however often each temperature was repeated.
    """
    spec = a_study()
    at_one = [((k % 8 + 0.5) / 8, place) for k in range(24)]
    found = answers(spec, trials(spec, [at_one] * 4, [peak(0.4)] * 4))
    for answer in found:
        assert f"None of its trials has `optimizer.lr` other than about {rate:g}" in missing(answer)
        assert any(f"other than about {rate:g}" in warning for warning in answer.warnings)
        assert (answer.params or {})[LR] == pytest.approx(rate, rel=0.01)


def test_rates_below_the_best_alone_decide_nothing():
    spec = a_study()
    below = [((k * 0.382) % 1.0, 0.15 + 0.2 * ((k * 0.618) % 1.0)) for k in range(24)]
    rising: Truth = lambda u, v: peak(0.4)(u, 0.5) + 0.15 * (v - 0.35)  # noqa: E731
    found = answers(spec, trials(spec, [spread(24)] * 3 + [below], [peak(0.4)] * 3 + [rising]))[3]
    assert "None of its trials has `optimizer.lr` above 0.0" in missing(found)


@pytest.mark.parametrize(("slope", "says"), [(0.6, "rises"), (-0.6, "falls")])
def test_rates_that_move_with_the_temperature_decide_nothing(slope: float, says: str) -> None:
    """A rate that undoes what temperature does looks flat along the only line that was tried."""
    spec = a_study()
    tied = [((k % 8 + 0.5) / 8, 0.5 + slope * ((k % 8 + 0.5) / 8 - 0.5)) for k in range(24)]
    level: Truth = lambda u, v: 0.9  # noqa: E731
    found = answers(spec, trials(spec, [spread(24)] * 3 + [tied], [level] * 4))
    assert missing(found[3])
    assert any(f"{says} with the temperature" in warning for warning in found[3].warnings)
    assert [answer.flat for answer in found] == [True, True, True, False]


def test_trials_of_one_accuracy_decide_nothing() -> None:
    spec = a_study()
    constant: Truth = lambda u, v: 0.8  # noqa: E731
    found = answers(spec, trials(spec, [spread(24)] * 4, [constant] * 4, noise=0.0))
    assert all("accuracies that differ, all of its 24 trials have 80%" in missing(a) for a in found)
    assert not any(a.flat or a.near_optimal for a in found)
    ceiling: Truth = lambda u, v: 1.0  # noqa: E731
    above = answers(spec, trials(spec, [spread(24)] * 4, [ceiling] * 4, noise=0.0))
    assert not any("that differ" in missing(a) for a in above)
    assert all(a.flat for a in above)


def test_a_best_rate_at_the_end_of_a_range_is_told_on_every_scale() -> None:
    spec = a_study()
    document = spec_document(spec)
    document["tune"][LR] = {"low": 0.03, "high": 0.1}
    linear = load_spec(document)
    falling: Truth = lambda u, v: peak(0.4)(u, 0.5) - 0.05 * v  # noqa: E731
    rows = trials(linear, [[(u, float(k % 2)) for k, (u, _) in enumerate(spread(24))]] * 4, [falling] * 4)
    for answer in answers(linear, rows):
        assert any(
            "best `optimizer.lr` probably lies at the edge of its range (0.03)" in w for w in answer.warnings
        )
        assert answer.forecast is not None
        assert not answer.forecast.decided


def test_certainty_that_is_borrowed_from_other_setups_decides_nothing():
    """Three setups fall steeply; the fourth's own noisy trials tell hardly anything."""
    spec = a_study()
    rng = np.random.default_rng(1)
    noisy: Truth = lambda u, v: 0.9 + 0.02 * rng.standard_normal()  # noqa: E731
    rows = trials(spec, [spread(24)] * 3 + [spread(14)], [peak(0.0, 0.2)] * 3 + [noisy])
    found = answers(spec, rows)[3]
    assert missing(found)
    assert found.alone is not None
    assert found.alone.interval[1] / found.alone.interval[0] > 10


def test_what_the_latest_pack_alone_says_decides_nothing():
    spec = a_study(pack=8)
    rows = trials(spec, [spread(24)] * 4, [peak(0.4)] * 3 + [peak(0.4)])
    early = [row for row in rows if row.setup != spec.setups()[3]]
    own = [row for row in rows if row.setup == spec.setups()[3]]
    flipped = [
        row if k >= 16 else TrialRow(**{**row.__dict__, "val_accuracy": 0.88 - 0.001 * k})
        for k, row in enumerate(own)
    ]
    found = answers(spec, [*early, *flipped])[3]
    assert missing(found)


def test_a_top_that_may_be_a_cusp_decides_nothing():
    """A smooth model is too sure of it: what it tells of cusps is less than half of what they lose."""

    def cusp(u: float, v: float) -> float:
        return 0.9 - 0.1 * abs(u - 0.4) - 0.1 * (v - 0.5) ** 2

    spec = a_study()
    for noise, count in ((0.004, 0), (0.0005, 4)):
        found = answers(spec, trials(spec, [spread(24)] * 4, [cusp] * 4, noise))
        assert sum("sharp peak" not in missing(answer) for answer in found) == count


def test_an_own_model_is_shown_beside_the_shared_one():
    spec = a_study()
    found = answers(spec, trials(spec, [spread(24)] * 4, [peak(0.4)] * 4))[0]
    assert found.alone is not None
    assert found.alone.to_dict().keys() == {"temperature", "interval", "regret"}
    assert found.alone.interval[0] <= found.alone.temperature <= found.alone.interval[1]
    assert found.alone.regret < 0.005


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"objective": {"name": "mse"}}, "objective.name: mse"),
        ({"objective": {"alpha": 0.0}}, "objective.alpha: 0"),
    ],
)
def test_a_temperature_without_effect_has_no_answer(changes: dict, cause: str):
    """Mean squared error of logits knows no temperature: a best one would be the luckiest seed's."""
    document = {**spec_document(a_study()), **changes}
    spec = load_spec(document)
    for found in answers(spec, trials(spec, [spread(14)] * 4, [peak(0.4)] * 4)):
        assert found.temperature is None
        assert cause in (found.reason or "")


def test_what_is_beyond_a_bound_never_reads_like_the_bound():
    spec = a_study()
    response = fit_response(spec, trials(spec, [spread(12)] * 4, [peak(0.4)] * 4, noise=0.02))
    profile = response.profile([0])
    lost = profile.expected_regret
    for part in (0.3, 0.9, 0.99, 0.999, 0.9999):
        told = "; ".join(what_is_missing(response, 0, profile, part * lost))
        bounds = re.findall(r"at most ([\d.]+) points, it is ([\d.]+)", told)
        bounds += re.findall(r"at most ([\d.]+)% .*?, it is ([\d.]+)%", told)
        assert bounds, told
        for bound, value in bounds:
            assert float(value) > float(bound), told


def test_numbers_are_told_with_no_more_digits_than_needed():
    assert _beyond(0.00213, 0.002) == "0.21"
    assert _beyond(0.00201, 0.002) == "0.201"
    assert _beyond(0.0534, 0.05, ".0f") == "5.3"
    assert _beyond(0.178, 0.05, ".0f") == "18"
