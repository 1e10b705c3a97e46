"""What Optuna has done though its answer was lost is not done twice, and what was cut halfway goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage

from kdsearch.spec import StudySpec
from kdsearch.storage import (
    Database,
    StudyRecord,
    list_studies,
    load_optuna_study,
    load_trials,
    rename_study,
)
from kdsearch.storage.sql import retries
from kdsearch.trial import TrialResult

AWAY = sa.exc.OperationalError("COMMIT", {}, ConnectionError("the server is away"))
POINTS = [{"objective.temperature": 2.0 + number, "optimizer.lr": 0.1} for number in range(3)]


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what lets the first answer of some of Optuna's calls be lost, once each is done."""
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.0)

    def lose_first(*names: str) -> None:
        for name in names:
            monkeypatch.setattr(RDBStorage, name, answered_from_the_second_on(getattr(RDBStorage, name)))

    return lose_first


def answered_from_the_second_on(call: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[None] = []

    def done(*args: Any, **options: Any) -> Any:
        answer = call(*args, **options)
        calls.append(None)
        if len(calls) == 1:
            raise AWAY
        return answer

    return done


@pytest.fixture
def record(database: Database, spec: StudySpec) -> StudyRecord:
    made = StudyRecord.open(database, spec)
    made.start(spec.setups()[0], POINTS, "p1")
    made.finish(TrialResult(0, "complete", 20, {"val_accuracy": 0.9}))
    return made


def test_a_trial_is_restored_once(
    database: Database, record: StudyRecord, spec: StudySpec, lose: Callable[..., None]
) -> None:
    optuna.delete_study(study_name=spec.name, storage=record.optuna._storage)
    again = StudyRecord.open(database, spec)
    lose("create_new_trial", "get_trial_number_from_id")
    again.recover()
    assert [t.state.name for t in again.optuna.get_trials()] == ["COMPLETE", "WAITING", "WAITING"]


def test_a_study_that_was_renamed_is_found_again_by_a_database_that_was_away(
    record: StudyRecord, lose: Callable[..., None]
) -> None:
    storage, study = record.optuna._storage, record.optuna
    copy = optuna.create_study(study_name="renamed", storage=storage, direction="maximize")
    copy.add_trials(study.get_trials(deepcopy=False))
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    optuna.delete_study(study_name=study.study_name, storage=storage)
    lose("get_study_id_from_name")
    record.finish(TrialResult(1, "complete", 20, {"val_accuracy": 0.8}))
    assert record.optuna.trials[1].value == 0.8


def test_new_levels_keep_the_notes_of_the_dashboard_though_their_writing_was_cut(
    database: Database,
    record: StudyRecord,
    make_spec: Callable[..., StudySpec],
    lose: Callable[..., None],
) -> None:
    storage, study = record.optuna._storage, record.optuna
    storage.set_study_system_attr(study._study_id, f"dashboard:{study.trials[1]._trial_id}:note_str:0", "odd")
    grown = make_spec(setup={**record.spec.setup, "teacher.finetune.epochs": [2, 20, 40]})
    lose("create_new_study", "create_new_trial", "set_study_user_attr", "set_study_system_attr")
    again = StudyRecord.open(database, grown).optuna
    notes = again._storage.get_study_system_attrs(again._study_id)
    assert notes == {f"dashboard:{again.trials[1]._trial_id}:note_str:0": "odd"}
    assert len(again.trials) == 3


def test_a_rename_that_was_cut_between_its_halves_is_done_by_the_same_command(
    database: Database, record: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def away(_database: Database) -> Iterator[sa.Connection]:
        raise AWAY
        yield

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", away)
        with pytest.raises(sa.exc.OperationalError):
            rename_study(database, record.spec.name, "second")
    rename_study(database, record.spec.name, "second")
    assert [study.name for study in list_studies(database)] == ["second"]
    assert len(load_optuna_study(database, "second").trials) == len(load_trials(database, "second")) == 3
