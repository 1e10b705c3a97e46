"""The record beside Optuna: trials enqueued by hand, studies renamed and deleted."""

from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState

from kdsearch.errors import RequestError
from kdsearch.spec import StudySpec
from kdsearch.storage import Database, StudyRecord, load_trials
from kdsearch.trial import TrialResult

POINT = {"objective.temperature": 3.0, "optimizer.lr": 0.1}


@pytest.fixture
def record(database: Database, spec: StudySpec) -> StudyRecord:
    return StudyRecord.open(database, spec)


def points(count: int) -> list[dict[str, float]]:
    return [{**POINT, "objective.temperature": 2.0 + number} for number in range(count)]


def complete(number: int) -> TrialResult:
    return TrialResult(number, "complete", 20, {"val_accuracy": 0.9})


class TestBesideOptuna:
    def test_a_trial_enqueued_by_hand_is_run(self, record: StudyRecord, spec: StudySpec) -> None:
        params = {
            **POINT,
            "objective.temperature": 60,
            "optimizer.name": "sgd",
            "teacher.finetune.epochs": 20,
        }
        record.optuna.enqueue_trial(params)
        (trial,) = record.take_waiting(4, "p1")
        assert (trial.setup, trial.params) == (spec.setups()[1], {**POINT, "objective.temperature": 60})
        assert record.optuna.trials[0].params == params
        record.finish(complete(trial.number))
        assert record.optuna.trials[0].state == TrialState.COMPLETE

    def test_one_outside_its_range_survives_a_dead_driver(self, record: StudyRecord) -> None:
        outside = {**POINT, "objective.temperature": 60.0}
        record.optuna.enqueue_trial({**outside, "optimizer.name": "sgd", "teacher.finetune.epochs": 2})
        record.take_waiting(1, "p1")
        record.recover()
        (trial,) = record.take_waiting(1, "p2")
        assert (trial.number, trial.params) == (0, outside)
        record.finish(complete(0))
        assert record.optuna.trials[0].params["objective.temperature"] == 60.0

    def test_a_choice_that_is_none_fails_with_its_reason(
        self, database: Database, make_spec: Callable[..., StudySpec]
    ) -> None:
        tune = {"objective.temperature": {"low": 1, "high": 40}, "optimizer.lr": {"choices": [0.1, 0.2]}}
        record = StudyRecord.open(database, make_spec(tune=tune))
        point = {**POINT, "optimizer.lr": 0.3, "optimizer.name": "sgd", "teacher.finetune.epochs": 2}
        record.optuna.enqueue_trial(point)
        assert record.take_waiting(1, "p1") == []
        assert "none of its choices" in record.optuna.trials[0].user_attrs["reason"]

    @pytest.mark.parametrize(
        ("enqueued", "reason"),
        [
            ({"objective.temperature": 3}, "without a value of optimizer.name, teacher.finetune.epochs"),
            ({"optimizer.name": "lion", "teacher.finetune.epochs": 2}, "setup that the study does not have"),
            ({"optimizer.name": "sgd", "teacher.finetune.epochs": 2}, "without a value of objective.temp"),
        ],
    )
    def test_an_incomplete_one_fails_with_its_reason(
        self, record: StudyRecord, enqueued: dict[str, Any], reason: str
    ) -> None:
        record.optuna.enqueue_trial(enqueued)
        assert record.take_waiting(4, "p1") == []
        (trial,) = record.optuna.get_trials()
        assert trial.state == TrialState.FAIL
        assert reason in trial.user_attrs["reason"]

    def test_a_value_that_the_spec_refuses_fails_with_its_reason(self, record: StudyRecord) -> None:
        record.optuna.enqueue_trial(
            {
                **POINT,
                "objective.temperature": -1,
                "optimizer.name": "sgd",
                "teacher.finetune.epochs": 2,
            }
        )
        assert record.take_waiting(4, "p1") == []
        assert "objective.temperature" in record.optuna.trials[0].user_attrs["reason"]

    def test_a_rename_in_the_dashboard_breaks_nothing(
        self, database: Database, record: StudyRecord, spec: StudySpec
    ) -> None:
        record.start(spec.setups()[0], points(3), "p1")
        record.finish(complete(0))
        rename(record, "renamed")
        record.report(2, {1: {"val_accuracy": 0.5}})
        record.finish(complete(1))
        record.recover()
        assert record.optuna.study_name == "renamed"
        again = StudyRecord.open(database, spec)
        assert again.optuna.study_name == "renamed"
        assert [t.state.name for t in again.optuna.get_trials()] == ["COMPLETE", "COMPLETE", "WAITING"]
        again.start(spec.setups()[1], points(1), "p2")
        assert [r.number for r in again.trials()] == [0, 1, 2, 3]

    def test_another_optuna_study_of_the_name_is_left_alone(
        self, database: Database, make_spec: Callable[..., StudySpec]
    ) -> None:
        import optuna

        first = StudyRecord.open(database, make_spec())
        foreign = optuna.create_study(study_name="foreign", storage=first.optuna._storage)
        foreign.add_trial(optuna.trial.create_trial(value=1.0))
        with pytest.raises(RequestError, match="must not be that of another Optuna study"):
            StudyRecord.open(database, make_spec(name="foreign"))

    def test_deleting_the_optuna_study_loses_nothing_of_ours(
        self, database: Database, record: StudyRecord, spec: StudySpec
    ) -> None:
        import optuna

        record.start(spec.setups()[0], points(3), "p1")
        record.finish(complete(0))
        rows = load_trials(database, spec.name)
        optuna.delete_study(study_name=spec.name, storage=record.optuna._storage)
        assert load_trials(database, spec.name) == rows
        again = StudyRecord.open(database, spec)
        again.recover()
        assert [t.state.name for t in again.optuna.get_trials()] == [
            "COMPLETE",
            "WAITING",
            "WAITING",
        ]
        assert again.optuna.trials[0].value == 0.9
        assert again.optuna.trials[0].params == {**spec.setups()[0], **points(1)[0]}


def rename(record: StudyRecord, name: str) -> None:
    """Rename as the Optuna dashboard does: copy the study, delete the old one."""
    import optuna

    study = record.optuna
    storage = study._storage
    copy = optuna.create_study(study_name=name, storage=storage, directions=study.directions)
    copy.add_trials(study.get_trials(deepcopy=False))
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    optuna.delete_study(study_name=study.study_name, storage=storage)
