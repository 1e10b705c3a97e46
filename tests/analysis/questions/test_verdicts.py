"""Verdicts: claims that are true, opposite and of no effect, on trials whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from kdsearch.analysis.questions.quantities import effects_of
from kdsearch.analysis.questions.verdicts import claims_digest, verdicts_of
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.spec import TEMPERATURE, Claim, load_spec
from kdsearch.storage import TrialRow

FACTOR = "optimizer.name"
TEMPERATURES = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


def claim(quantity: str, direction: str = "higher", at_least: float = 0.003, **more) -> Claim:
    levels = {"factor": FACTOR, "levels": ["sgd", "adamw"]}
    document = {"says": quantity, "quantity": quantity, "direction": direction, "at_least": at_least}
    return Claim.model_validate({**document, **levels, **more})


def profile(*points: float) -> TemperatureProfile:
    return TemperatureProfile(TEMPERATURES, np.array([points]) / 100, math.log(2) / 2)


@pytest.mark.parametrize(
    ("asked", "first", "second", "effect"),
    [
        (claim("best_temperature", at_least=2), (90, 92, 91, 89, 88), (88, 89, 91, 92, 90), math.log(4)),
        (claim("best_temperature", at_least=2), (92, 92.05, 92, 92, 92), (92, 92, 92, 92.05, 92), 0.0),
        (claim("shared_temperature"), (90, 92, 91, 89, 88), (88, 89, 91, 92, 90), 0.01),
        (claim("spread"), (90, 92, 91, 89, 88), (91, 91, 91, 92, 91), -0.03),
        (claim("crossing", temperatures=[2, 8]), (90, 92, 91, 89, 88), (88, 89, 91, 91, 90), 0.02),
        (claim("crossing", temperatures=[2, 8]), (88, 89, 91, 91, 90), (90, 92, 91, 89, 88), -0.02),
        (claim("crossing", temperatures=[2, 8]), (90, 92, 91, 89, 88), (90, 92, 91, 89, 88), 0.0),
        (claim("accuracy"), (90, 92, 91, 89, 88), (93, 89, 91, 91, 90), 0.01),
    ],
)
def test_a_quantity_is_its_formula(asked: Claim, first: tuple, second: tuple, effect: float) -> None:
    found = effects_of(asked, [profile(*first), profile(*second)])
    assert [*found.low, *found.high, found.median] == pytest.approx([effect] * 3, abs=1e-12)


@pytest.mark.parametrize("quantity", ["spread", "shared_temperature"])
def test_doubt_alone_makes_no_effect(quantity: str) -> None:
    rng = np.random.default_rng(0)
    flat = [
        TemperatureProfile(TEMPERATURES, 0.9 + rng.normal(0, 0.01, (400, 5)), math.log(2) / 2)
        for _ in range(2)
    ]
    asked = Claim.model_validate(
        {"says": quantity, "quantity": quantity, "direction": "higher", "at_least": 0.003}
    )
    found = effects_of(asked, flat if quantity == "shared_temperature" else flat[:1])
    lifted, fixed = ((bound > 0.003).mean() for bound in (found.high, found.low))
    assert lifted > 0.5  # each draw's own maxima
    assert fixed < 0.6 * lifted
    assert (found.low <= found.high).all()


def test_a_level_that_is_known_worse_has_no_larger_spread() -> None:
    rng = np.random.default_rng(0)
    known, vague = (
        TemperatureProfile(TEMPERATURES, 0.9 + rng.normal(0, sd, (400, 5)), math.log(2) / 2)
        for sd in (0.001, 0.01)
    )
    asked = claim("spread", at_least=0.005)
    found = effects_of(asked, [known, vague])
    assert (np.ptp(vague.draws, axis=1) - np.ptp(known.draws, axis=1) > 0.005).mean() > 0.95
    assert (found.low > 0.005).mean() < 0.6


@pytest.fixture(scope="module")
def spec():
    return load_spec(
        {
            "name": "claimed",
            "setup": {FACTOR: ["sgd", "adamw"]},
            "tune": {
                TEMPERATURE: {"low": 1, "high": 40, "log": True},
                "optimizer.lr": {"low": 0.01, "high": 1.0, "log": True},
            },
            "claims": [claim("best_temperature", at_least=2).model_dump(mode="json")],
        }
    )


@pytest.fixture(scope="module")
def trials(spec) -> list[TrialRow]:
    """Return trials whose best temperature is 3 or 15.

    Under sgd it is 3, under adamw 15, which is also a point better; the depths are the same.
    """
    rng = np.random.default_rng(0)
    rows = []
    for setup, best, top in zip(spec.setups(), (3.0, 15.0), (0.90, 0.91), strict=True):
        for u, v in zip((np.arange(32) + 0.5) / 32, rng.permutation(32) / 32, strict=True):
            rate = 10 ** (2 * v - 2)
            lost = 0.02 * math.log(40**u / best) ** 2 + 0.02 * math.log10(rate / 0.1) ** 2
            accuracy = top - lost + rng.normal(0, 0.002)
            params = {TEMPERATURE: float(40**u), "optimizer.lr": float(rate)}
            rows.append(TrialRow(len(rows), "complete", None, setup, params, len(rows), 20, accuracy))
    return rows


def test_what_is_claimed_is_confirmed_its_opposite_reversed_and_a_small_effect_named(spec, trials) -> None:
    asked = [
        claim("best_temperature", at_least=2),
        claim("best_temperature", "lower", at_least=2),
        claim("best_temperature", "none", at_least=2),
        claim("accuracy"),
        claim("accuracy", at_least=0.03),
        claim("accuracy", "none", at_least=0.03),
        claim("shared_temperature", at_least=0.005),
    ]
    found = verdicts_of(fit_response(spec, trials), claims=asked)
    assert [one.verdict for one in found.verdicts] == [
        "confirmed",
        "reversed",
        "reversed",
        "confirmed",
        "no effect that matters",
        "confirmed",
        "confirmed",
    ]
    ratio = found.verdicts[0]
    assert ratio.interval[0] < 5 < ratio.interval[1]
    assert ratio.interval_at_common[0] < 5 < ratio.interval_at_common[1]
    assert found.written == "after 64 complete trials"


def test_best_temperatures_beyond_the_range_in_common_are_not_compared_in_it() -> None:
    """Within 6 to 8, which both levels were searched in, neither their ratio nor their rank is the true one."""
    ranges = {"sgd": {"low": 1, "high": 8, "log": True}, "adamw": {"low": 6, "high": 60, "log": True}}
    spec = load_spec(
        {"name": "apart", "setup": {FACTOR: [*ranges]}, "tune": {TEMPERATURE: {"by": FACTOR, **ranges}}}
    )
    rng = np.random.default_rng(0)
    rows = []
    for setup, best, top in zip(spec.setups(), (3.0, 30.0), (0.90, 0.92), strict=True):
        for temperature in np.geomspace(*list(ranges[setup[FACTOR]].values())[:2], 32):
            accuracy = top - 0.02 * math.log(temperature / best) ** 2 + rng.normal(0, 0.002)
            params = {TEMPERATURE: float(temperature)}
            rows.append(TrialRow(len(rows), "complete", None, setup, params, len(rows), 20, accuracy))
    asked = [
        claim("best_temperature", "none", at_least=2),
        claim("accuracy", "none", at_least=0.015),
        claim("spread", "none", at_least=0.05),
        claim("shared_temperature", "none", at_least=0.05),
        claim("crossing", temperatures=[6.1, 7.9]),
    ]
    *others, crossing = verdicts_of(fit_response(spec, rows), claims=asked).verdicts
    for found in others:
        assert (found.verdict, found.claim.quantity) == ("not resolved", found.claim.quantity)
        assert "beyond the temperatures that all compared setups were searched in" in found.reasons[0]
    assert crossing.verdict == "confirmed"


def test_the_studys_own_claims_were_written_before_it_ran(spec, trials) -> None:
    found = verdicts_of(fit_response(spec, trials))
    assert (found.written, found.digest) == ("before any trial had finished", claims_digest(spec.claims))
    other = [spec.claims[0].model_copy(update={"at_least": 1.5})]
    assert claims_digest(other) != found.digest


@pytest.mark.parametrize("quantity", ["best_temperature", "spread", "accuracy"])
def test_trials_of_one_accuracy_resolve_nothing(spec, trials, quantity: str) -> None:
    stuck = [replace(row, val_accuracy=0.5) for row in trials]
    (found,) = verdicts_of(
        fit_response(spec, stuck),
        claims=[claim(quantity, at_least=1.5 if quantity == "best_temperature" else 0.005)],
    ).verdicts
    assert found.verdict == "not resolved"
    assert any("trials have an accuracy of 50%" in reason for reason in found.reasons)


def test_few_trials_resolve_nothing_and_say_what_would(spec, trials) -> None:
    few = [row for row in trials if row.number % 4 == 0]
    found = verdicts_of(fit_response(spec, few)).verdicts[0]
    assert found.verdict == "not resolved"
    assert found.reasons
    none = verdicts_of(fit_response(spec, trials[:2])).verdicts[0]
    assert none.verdict == "not resolved"
    assert "too few trials" in none.reasons[0]
    assert none.effect is None


def test_an_effect_that_turns_around_at_a_common_rate_is_not_resolved(spec) -> None:
    """At its own rate adamw is half a point better.

    At the rate that suits both it is 0.4 points worse.
    """
    rng = np.random.default_rng(1)
    rows = []
    for setup, steep, place, top in zip(spec.setups(), (0.3, 0.12), (0.25, 0.75), (0.9, 0.905), strict=True):
        for u, v in zip((np.arange(48) + 0.5) / 48, rng.permutation(48) / 48, strict=True):
            lost = 0.005 * math.log(40**u / 6) ** 2 + steep * (v - place) ** 2
            params = {TEMPERATURE: float(40**u), "optimizer.lr": float(10 ** (2 * v - 2))}
            accuracy = top - lost + rng.normal(0, 0.0005)
            rows.append(TrialRow(len(rows), "complete", None, setup, params, len(rows), 20, accuracy))
    found = verdicts_of(fit_response(spec, rows), claims=[claim("accuracy", at_least=0.002)]).verdicts[0]
    assert found.probability > 0.95
    assert found.effect_at_common < 0 < found.effect
    assert found.verdict == "not resolved"
    assert "other sign" in found.reasons[0]


def test_an_objective_without_temperature_has_a_rank_but_no_best_temperature() -> None:
    levels = {"factor": "objective.name", "levels": ["kd", "mse"]}
    spec = load_spec(
        {
            "name": "ranked",
            "setup": {"objective.name": ["kd", "mse"]},
            "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
        }
    )
    rng = np.random.default_rng(2)
    rows = []
    for setup, bent, top in zip(spec.setups(), (0.01, 0.0), (0.9, 0.92), strict=True):
        for u in (np.arange(32) + 0.5) / 32:
            accuracy = top - bent * math.log(40**u / 6) ** 2 + rng.normal(0, 0.002)
            params = {TEMPERATURE: float(40**u)}
            rows.append(TrialRow(len(rows), "complete", None, setup, params, len(rows), 20, accuracy))
    asked = [claim("accuracy", at_least=0.01, **levels), claim("best_temperature", at_least=2, **levels)]
    rank, ratio = verdicts_of(fit_response(spec, rows), claims=asked).verdicts
    assert (rank.verdict, rank.effect) == ("confirmed", pytest.approx(0.02, abs=0.004))
    assert (ratio.verdict, ratio.effect) == ("not resolved", None)
    assert "no effect with `objective.name: mse`" in ratio.reasons[0]
