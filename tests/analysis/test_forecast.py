"""Forecasts and decisions, against simulated studies whose truth is known."""

from dataclasses import replace

import numpy as np

from kdsearch.analysis import best
from kdsearch.analysis.forecast import ENOUGH_TO_DECIDE, forecast
from kdsearch.bench.baselines import proposer_of
from kdsearch.bench.simulation import SimulatedStudy, simulated_study
from kdsearch.spec import setup_key


def decisions(study: SimulatedStudy, regret: float) -> dict[str, str]:
    return forecast(study.spec, study.rows, regret=regret).decisions(study.spec.setups())


def test_the_needed_trials_lie_in_the_forecast_range_mostly() -> None:
    held = []
    for seed in range(2):
        study = simulated_study("shared", seed, n_trials=240)
        proposer = proposer_of("profile", study.spec)
        seen = []
        for n_trials in range(72, 241, 24):
            study.search(proposer, n_trials)
            seen.append(forecast(study.spec, study.rows, regret=0.0007).setups)
        for own in zip(*seen, strict=True):
            decided_at = next((one.trials for one in own if one.decided), None)
            early = own[0]
            if early.more_trials is not None and not early.decided and decided_at is not None:
                low, _, high = early.more_trials
                held.append(low - 2 <= decided_at - early.trials <= high + 2)
    assert len(held) > 10
    assert np.mean(held) > 0.6


def test_decided_setups_are_as_good_as_was_asked() -> None:
    study = simulated_study("shared", 5, n_trials=240)
    proposer = proposer_of("profile", study.spec)
    while len(decided := decisions(study, 0.0005)) < len(study.spec.setups()):
        proposal = proposer.propose(study.rows, 4, decided)
        assert setup_key(proposal.setup) not in decided
        for params in proposal.params:
            study.run(proposal.setup, params)
        assert len(study.rows) < 240
    assert len(study.rows) > 12 * ENOUGH_TO_DECIDE, "the regret decides, not the number of trials alone"
    for found in forecast(study.spec, study.rows, regret=0.0005).setups:
        assert found.trials >= ENOUGH_TO_DECIDE
        assert found.more_trials == (0, 0, 0)
    regrets = [study.regret(a.setup, a.temperature or 0.0) for a in best(study.spec, study.rows).setups]
    assert np.mean(regrets) < 0.05


def test_few_trials_forecast_nothing() -> None:
    study = simulated_study("shared", 0)
    (first, *_) = study.spec.setups()
    study.run(first, {"objective.temperature": 4.0, "optimizer.lr": 0.1})
    found = forecast(study.spec, study.rows)
    assert all(setup.more_trials is None and "too few" in (setup.reason or "") for setup in found.setups)
    assert not found.decided
    assert decisions(simulated_study("shared", 0), 0.01) == {}


def test_a_learning_rate_at_the_edge_of_its_range_decides_nothing() -> None:
    study = simulated_study("shared", 1, n_trials=120)
    study.truths = {key: replace(truth, best_lr=1.3) for key, truth in study.truths.items()}
    study.search(proposer_of("profile", study.spec), 120)
    found = forecast(study.spec, study.rows, regret=0.02).setups
    blocked = [setup for setup in found if not setup.decided]
    assert len(blocked) > 6
    assert all("optimizer.lr" in (setup.reason or "") for setup in blocked)
