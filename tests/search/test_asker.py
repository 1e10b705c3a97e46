"""Asking for packs: which setups are stopped, and what is told of it."""

import pytest

from kdsearch.bench.simulated_record import SimulatedRecord
from kdsearch.bench.simulation import SimulatedStudy, simulated_study
from kdsearch.search import PackAsker, build_proposer
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec, setup_key, spec_document


def asker_of(record: SimulatedRecord, regret: float | None) -> PackAsker:
    document = spec_document(record.study.spec)
    document["search"]["stop"]["regret"] = regret
    spec = load_spec(document)
    return PackAsker(spec, record, build_proposer(spec))


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
    record = SimulatedRecord(SimulatedStudy(by_level, {}, study.rng))
    for setup in by_level.setups():
        for lr in (0.03, 0.1, 0.3, 0.7):
            params = {TEMPERATURE: setup[TEMPERATURE], "optimizer.lr": lr}
            bare = {path: level for path, level in setup.items() if path != TEMPERATURE}
            row = study.run(bare, params)
            record.study.rows.append(
                row.__class__(**{**row.__dict__, "setup": setup, "params": {"optimizer.lr": lr}})
            )
    asker = asker_of(record, 0.5)
    assert asker.ask("p", 1) is None
    assert set(record.stopped) == keys(by_level)
