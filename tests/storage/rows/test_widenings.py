"""Widened ranges: kept with the study, and what every later reading and trial goes by."""

from collections.abc import Callable

import pytest
from optuna.distributions import FloatDistribution

from kdsearch.api import Study
from kdsearch.spec import StudySpec, spec_document
from kdsearch.spec.widening import Widening, widen_range
from kdsearch.storage import Database, StudyRecord, list_studies, load_mark, load_spec_of, load_study
from kdsearch.trial import TrialResult

LR = "optimizer.lr"
POINT = {"objective.temperature": 3.0, LR: 0.5}


@pytest.fixture
def record(database: Database, spec: StudySpec) -> StudyRecord:
    return StudyRecord.open(database, spec)


def wider(spec: StudySpec, level: str = "sgd", *, is_high: bool = True) -> Widening:
    found = widen_range(spec, LR, level, is_high=is_high, reason="it lies at the end")
    assert found is not None
    return found


def test_a_widening_holds_for_every_later_reader_and_trial(
    database: Database, record: StudyRecord, spec: StudySpec
) -> None:
    setup = spec.setups()[0]
    assert setup["optimizer.name"] == "sgd"
    (before,) = record.start(setup, [POINT], "p1")
    record.finish(TrialResult(before.number, "complete", 20, {"val_accuracy": 0.9}))
    with pytest.raises(ValueError, match="must be in"):
        record.start(setup, [{**POINT, LR: 5.0}], "p2")
    now = record.widen(wider(spec))
    assert now == record.spec == load_spec_of(database, "tiny")
    assert now.dimensions(setup)[LR].high == pytest.approx(10)  # type: ignore[union-attr]
    (trial,) = record.start(setup, [{**POINT, LR: 5.0}], "p2")
    assert [row.params[LR] for row in record.trials()] == [0.5, 5.0]
    old, new = record.optuna.get_trials()
    assert old.distributions[LR] == FloatDistribution(0.01, 1.0, log=True)
    assert new.distributions[LR].high == pytest.approx(10)  # type: ignore[attr-defined]
    assert new.params[LR] == 5.0
    (told,) = load_study(database, "tiny").widened
    assert (told.path, told.level, told.was_high, told.trials) == (LR, "sgd", 1.0, 1)
    assert trial.number == 1


def test_a_study_that_was_opened_before_goes_by_the_wider_range(
    database: Database, record: StudyRecord, spec: StudySpec
) -> None:
    opened, mark = Study(database, "tiny"), load_mark(database, "tiny")
    record.widen(wider(spec))
    assert opened.spec == record.spec != spec
    assert load_mark(database, "tiny") != mark


def test_it_survives_a_restart_with_the_same_file_and_no_other_range_passes(
    database: Database, record: StudyRecord, spec: StudySpec, make_spec: Callable[..., StudySpec]
) -> None:
    record.widen(wider(record.spec))
    record.widen(wider(record.spec, "adamw", is_high=False))
    again = StudyRecord.open(database, spec)
    assert again.spec == record.spec
    assert [w.level for w in load_study(database, "tiny").widened] == ["sgd", "adamw"]
    again.recover()
    (trial,) = again.start(spec.setups()[0], [{**POINT, LR: 9.0}], "p1")
    assert trial.params[LR] == 9.0
    again.recover()
    (waiting,) = again.take_waiting(1, "p2")
    assert waiting.params[LR] == 9.0


def test_a_study_without_widenings_reads_as_it_was_launched(
    database: Database, record: StudyRecord, spec: StudySpec, make_spec: Callable[..., StudySpec]
) -> None:
    other = StudyRecord.open(database, make_spec(name="other"))
    other.widen(wider(other.spec))
    assert record.spec == load_spec_of(database, "tiny") == spec
    assert [len(study.widened) for study in list_studies(database)] == [1, 0]
    assert spec_document(load_spec_of(database, "other")) != spec_document(spec)


def test_a_deleted_optuna_study_is_restored_under_the_wider_range(
    database: Database, record: StudyRecord, spec: StudySpec
) -> None:
    import optuna

    record.widen(wider(spec))
    (trial,) = record.start(spec.setups()[0], [{**POINT, LR: 7.0}], "p1")
    record.finish(TrialResult(trial.number, "complete", 20, {"val_accuracy": 0.9}))
    optuna.delete_study(study_name=record.optuna.study_name, storage=record.optuna._storage)
    again = StudyRecord.open(database, spec)
    again.recover()
    assert again.optuna.get_trials()[0].params[LR] == 7.0
