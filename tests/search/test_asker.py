"""Asking for packs: which setups are stopped, and what is told of it."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from kdsearch.analysis import best
from kdsearch.analysis.questions.edges import MOST_WIDENINGS
from kdsearch.analysis.questions.widening import find_widenings
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.bench.search.record import SimulatedRecord
from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.search import PackAsker
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec, setup_key, spec_document
from kdsearch.storage import StudyRecord, TrialRow, load_spec_of, load_study, open_database
from kdsearch.trial import Trial, TrialResult

pytestmark = pytest.mark.simulated


def asker_of(record: SimulatedRecord, regret: float | None) -> PackAsker:
    document = spec_document(record.study.spec)
    document["search"]["stop"]["regret"] = regret
    spec = load_spec(document)
    return PackAsker(spec, record)


@pytest.fixture
def study() -> SimulatedStudy:
    return simulated_study("shared", 5, levels=(2, 1, 1), n_trials=80)


def keys(spec: StudySpec) -> set[str]:
    return {setup_key(setup) for setup in spec.setups()}


def test_it_tells_why_setups_are_stopped_and_that_they_go_on_when_more_is_asked(
    study: SimulatedStudy,
) -> None:
    record = SimulatedRecord(study)
    asker = asker_of(record, 0.02)
    while asker.ask("p", 80 - len(study.rows)):
        assert len(record.stopped) < 2
    assert set(record.stopped) == keys(study.spec)
    assert all(
        reason.startswith("expected to lose") and reason.endswith("at most 2 were asked for")
        for reason in record.stopped.values()
    )
    assert asker_of(record, None).ask("p", 1) is not None
    assert record.stopped == {}


def test_a_temperature_that_is_a_factor_is_decided_for_all_its_levels(study: SimulatedStudy) -> None:
    document = spec_document(study.spec)
    document["setup"][TEMPERATURE] = [1.0, 4.0, 16.0]
    del document["tune"][TEMPERATURE]
    by_level = load_spec(document)
    record = SimulatedRecord(SimulatedStudy(by_level, {}))
    for setup in by_level.setups():
        for lr in (0.03, 0.08, 0.09, 0.1, 0.11, 0.12, 0.3):
            params = {TEMPERATURE: setup[TEMPERATURE], "optimizer.lr": lr}
            bare = {path: level for path, level in setup.items() if path != TEMPERATURE}
            row = study.run(bare, params)
            record.study.rows.append(
                row.__class__(**{**row.__dict__, "setup": setup, "params": {"optimizer.lr": lr}})
            )
    asker = asker_of(record, 0.1)
    assert asker.ask("p", 1) is None
    assert set(record.stopped) == keys(by_level)


BEYOND = 0.7
"""The best learning rate lies about a fifth of its range beyond the end of it."""


@cache
def search_beyond(*, widen: bool) -> SimulatedRecord:
    study = simulated_study("shared", 1, levels=(2, 3, 1), n_trials=96, lr_beyond=BEYOND)
    document = spec_document(study.spec)
    document["search"]["widen"] = widen
    study.spec = load_spec(document)
    record = SimulatedRecord(study)
    while (room := 96 - len(study.rows)) > 0:
        # A new asker each time: what it knows is in the record, as after a restart.
        asker = PackAsker(record.spec, record)
        for _ in range(6):
            if room > 0 and asker.ask("p", room):
                room = 96 - len(study.rows)
    return record


def mean_regret(record: SimulatedRecord) -> float:
    answers = best(record.spec, record.study.rows).setups
    return float(np.mean([record.study.regret(a.setup, a.temperature or 1.0) for a in answers]))


def test_a_best_learning_rate_beyond_its_range_makes_no_effect_of_temperature_where_it_is_widened() -> None:
    kept, wider = search_beyond(widen=False), search_beyond(widen=True)
    widening = wider.widenings()[0]
    assert (widening.path, widening.low, widening.was_high) == ("optimizer.lr", 0.01, 1.0)
    assert widening.high == pytest.approx(10)
    assert all("upper end" in one.reason for one in wider.widenings())
    assert kept.widenings() == []
    warnings = [" ".join(a.warnings) for a in best(kept.spec, kept.study.rows).setups]
    assert all("The best `optimizer.lr` probably lies at the edge of its range (1)" in w for w in warnings)
    assert mean_regret(wider) < 0.5 * mean_regret(kept)


def test_a_range_that_holds_the_best_stays() -> None:
    study = simulated_study("failures", 0, levels=(2, 3, 1), n_trials=96)
    document = spec_document(study.spec)
    document["search"]["widen"] = ["optimizer.lr", TEMPERATURE]
    study.spec = load_spec(document)
    record = SimulatedRecord(study)
    asker = PackAsker(study.spec, record)
    while (room := 96 - len(study.rows)) > 0:
        asker.ask("p", room)
    assert record.widenings() == []


def test_a_range_is_widened_three_times_at_most() -> None:
    record = search_beyond(widen=False)
    document = spec_document(record.spec)
    document["search"]["widen"] = True
    response = fit_response(load_spec(document), record.study.rows)
    (found,) = find_widenings(response, [])
    assert find_widenings(response, [found] * (MOST_WIDENINGS - 1)) == [found]
    assert find_widenings(response, [found] * MOST_WIDENINGS) == []
    assert find_widenings(response, [replace(found, path="optimizer.momentum")] * MOST_WIDENINGS) == [found]


def test_the_database_keeps_what_was_widened_for_the_next_driver(tmp_path: Path) -> None:
    study = simulated_study("shared", 1, levels=(2, 1, 1), n_trials=40, pack=8, lr_beyond=BEYOND)
    document = spec_document(study.spec)
    document["search"]["widen"] = True
    spec = load_spec(document)
    with open_database(f"sqlite:///{tmp_path}/s.db", create=True) as database:
        while len(study.rows) < 40:
            record = StudyRecord.open(database, spec)  # as each launch of the same file does
            record.recover()
            pack = PackAsker(record.spec, record).ask(f"p{len(study.rows)}", 8)
            assert pack is not None
            for trial in pack.trials:
                row = study.run(trial.setup, trial.params)
                metrics = {"val_accuracy": row.val_accuracy or 0.0}
                record.finish(TrialResult(trial.number, "complete", trial.epochs, metrics))
        (widening,) = load_study(database, spec.name).widened
        assert 16 <= widening.trials < 40
        assert max(row.params["optimizer.lr"] for row in record.trials()) > 1.0
        found = best(load_spec_of(database, spec.name), record.trials())
        document = found.of_study(load_study(database, spec.name)).to_dict()
        assert [w["high"] for w in document["widened"]] == [widening.high]
        assert all((setup["params"] or {})["optimizer.lr"] > 1.0 for setup in document["setups"])


@pytest.mark.parametrize("widen", [True, [TEMPERATURE]])
def test_the_temperatures_range_is_widened_only_where_it_is_named(widen: bool | list[str]) -> None:
    study = simulated_study("shared", 0, levels=(2, 1, 1), n_trials=64)
    study.truths = {key: replace(truth, best=1.2) for key, truth in study.truths.items()}
    document = spec_document(study.spec)
    document["search"]["widen"] = widen
    study.spec = load_spec(document)
    record = SimulatedRecord(study)
    asker = PackAsker(study.spec, record)
    while (room := 64 - len(study.rows)) > 0:
        asker.ask("p", room)
    answers = best(record.spec, study.rows).setups
    if widen is True:
        assert record.widenings() == []
        assert all("may be above 40" in " ".join(answer.warnings) for answer in answers)
    else:
        assert [(w.path, w.was_high) for w in record.widenings()] == [(TEMPERATURE, 40.0)]
        assert all((answer.temperature or 0.0) > 45 for answer in answers)


def test_a_range_that_was_just_widened_decides_nothing() -> None:
    document = spec_document(simulated_study("shared", 0, levels=(1, 1, 1), n_trials=200, n_tuned=1).spec)
    document["tune"][TEMPERATURE] |= {"low": 1.0, "high": 8.0}
    document["search"] |= {"widen": [TEMPERATURE], "stop": {"regret": 0.01}}
    spec = load_spec(document)
    record = SimulatedRecord(SimulatedStudy(spec, {}, np.random.default_rng(0)))
    (setup,) = spec.setups()
    for n, temperature in enumerate(np.geomspace(1.0, 8.0, 64).tolist()):
        rising = 0.88 + 0.01 * float(np.log(temperature)) + 0.001 * (-1) ** n
        record.study.rows.append(
            TrialRow(
                number=n,
                state="complete",
                reason=None,
                setup=setup,
                params={TEMPERATURE: temperature},
                seed=n,
                epochs=spec.training.epochs,
                val_accuracy=rising,
            )
        )
    record.start = lambda setup, params, pack: [  # type: ignore[method-assign]
        Trial(64 + k, k, setup, own, spec.resolve(setup, own)) for k, own in enumerate(params)
    ]
    assert PackAsker(spec, record).ask("p", 8) is not None
    assert record.widenings()
    assert record.stopped == {}


def test_a_small_budget_serves_every_setup(study: SimulatedStudy) -> None:
    document = spec_document(study.spec)
    document["search"] |= {"trials": 12, "pack": 12}
    spec = load_spec(document)
    record = SimulatedRecord(study)
    asker = PackAsker(spec, record)
    while len(study.rows) < 12:
        asker.ask("p", 12 - len(study.rows))
    assert {setup_key(row.setup) for row in study.rows} == keys(spec)
