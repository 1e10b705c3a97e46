"""Forecasts and decisions, against simulated studies whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from kdsearch.analysis import best
from kdsearch.analysis.questions.decision import ENOUGH_TO_DECIDE
from kdsearch.analysis.questions.forecast import Forecast, forecast_of
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.bench.search.baselines import proposer_of
from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.spec import load_spec, setup_key, spec_document

pytestmark = pytest.mark.simulated


def decisions(study: SimulatedStudy, regret: float) -> dict[str, str]:
    return forecast_of(fit_response(study.spec, study.rows), regret=regret).decisions(study.spec.setups())


@pytest.fixture(scope="module")
def followed() -> list[Forecast]:
    """The forecasts of one study as it grows."""
    study = simulated_study("shared", 0, levels=(2, 2, 1), n_trials=160)
    proposer = proposer_of("profile", study.spec)
    seen = []
    for n_trials in range(24, 161, 16):
        study.search(proposer, n_trials)
        seen.append(forecast_of(fit_response(study.spec, study.rows), regret=0.003))
    return seen


def test_the_needed_trials_lie_in_the_forecast_range_mostly(followed: list[Forecast]) -> None:
    held = []
    for own in zip(*(found.setups for found in followed), strict=True):
        decided_at = next((one.trials for one in own if one.decided), None)
        early = own[0]
        if early.more_trials is not None and not early.decided and decided_at is not None:
            low, _, high = early.more_trials
            held.append(low - 4 <= decided_at - early.trials <= high + 4)
    assert len(held) >= 2
    assert np.mean(held) > 0.6


def test_what_is_not_decided_says_what_it_takes(followed: list[Forecast]) -> None:
    for found in (setup for one in followed for setup in one.setups):
        assert found.decided == (not found.missing)
        assert found.decided == (found.more_trials == (0, 0, 0))
        if found.trials < ENOUGH_TO_DECIDE:
            assert f"{ENOUGH_TO_DECIDE} complete trials, it has {found.trials}" in found.missing


def test_decided_setups_are_as_good_as_was_asked_and_get_no_more_trials() -> None:
    study = simulated_study("shared", 12, levels=(2, 2, 1), n_trials=160)
    proposer = proposer_of("profile", study.spec)
    decided: dict[str, str] = {}
    while len(decided) < len(study.spec.setups()) and len(study.rows) < 160:
        for _ in range(4):
            proposal = proposer.propose(study.rows, 4, decided)
            assert setup_key(proposal.setup) not in decided
            for params in proposal.params:
                study.run(proposal.setup, params)
        decided = decisions(study, 0.002)
    answers = best(study.spec, study.rows).setups
    regrets = [study.regret(a.setup, a.temperature or 0.0) for a in answers if setup_key(a.setup) in decided]
    assert len(regrets) >= 2
    assert max(regrets) < 0.5
    assert np.mean(regrets) < 0.1


def test_few_trials_forecast_nothing() -> None:
    study = simulated_study("shared", 0)
    (first, *_) = study.spec.setups()
    study.run(first, {"objective.temperature": 4.0, "optimizer.lr": 0.1})
    found = forecast_of(fit_response(study.spec, study.rows))
    assert all(setup.more_trials is None and "too few" in (setup.reason or "") for setup in found.setups)
    assert not found.decided
    assert decisions(simulated_study("shared", 0), 0.01) == {}


@pytest.fixture(scope="module")
def study() -> SimulatedStudy:
    study = simulated_study("shared", 0, levels=(2, 1, 1), n_trials=24)
    study.search(proposer_of("profile", study.spec), 24)
    return study


def test_hours_are_those_of_the_slots_and_best_tells_the_same(study: SimulatedStudy) -> None:
    rows = [replace(row, seconds=360.0) for row in study.rows]
    one, four = (
        forecast_of(fit_response(study.spec, rows), regret=1e-5, slots=slots) for slots in (1.0, 4.0)
    )
    for alone, shared in zip(one.setups, four.setups, strict=True):
        assert alone.more_trials is not None
        assert alone.hours == pytest.approx(alone.more_trials[1] / 10)
        assert shared.hours == pytest.approx(alone.hours / 4)
    known = forecast_of(fit_response(study.spec, rows), slots=4.0)
    answer = best(study.spec, rows, slots=4.0)
    assert (answer.target, answer.slots) == (known.target, 4.0)
    for found, told in zip(answer.setups, known.setups, strict=True):
        assert found.forecast == told
    document = answer.to_dict()["setups"][0]["forecast"]
    assert document["more_trials"] == list(known.setups[0].more_trials or ())
    assert best(study.spec, rows, by=["optimizer.name"]).setups[0].forecast is None


def test_a_study_that_stops_at_a_regret_is_forecast_for_it(study: SimulatedStudy) -> None:
    document = spec_document(study.spec)
    document["search"]["stop"]["regret"] = 1e-6
    spec = load_spec(document)
    answer = best(spec, study.rows)
    assert answer.target == 1e-6
    response = fit_response(spec, study.rows)
    asked = forecast_of(response, regret=1e-6)
    assert [a.forecast for a in answer.setups] == asked.setups
    assert not any(a.forecast is None or a.forecast.decided for a in answer.setups)
    assert forecast_of(response) == asked


def test_a_learning_rate_at_the_edge_of_its_range_decides_nothing() -> None:
    study = simulated_study("shared", 1, n_trials=120)
    study.truths = {key: replace(truth, best_lr=1.3) for key, truth in study.truths.items()}
    study.search(proposer_of("profile", study.spec), 120)
    found = forecast_of(fit_response(study.spec, study.rows), regret=0.02).setups
    blocked = [setup for setup in found if not setup.decided]
    assert len(blocked) > 6
    assert all("optimizer.lr" in (setup.reason or "") for setup in blocked)
