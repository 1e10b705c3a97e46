"""Reading studies: what is there, and how light it is."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from kdsearch.errors import RequestError, SpecError
from kdsearch.spec import StudySpec, load_spec, load_stored_spec, setup_key, spec_document
from kdsearch.storage import (
    Database,
    StudyRecord,
    hold_lease,
    list_studies,
    load_epochs,
    load_optuna_study,
    load_spec_of,
    load_study,
    load_teachers,
    load_trials,
)
from kdsearch.storage.sql.tables import StudyTable, table_of
from kdsearch.trial import TrialResult

CONTRACT = (
    *("number", "state", "reason", "setup", "params", "seed", "epochs", "val_accuracy", "test_accuracy"),
    *("val_loss", "train_loss", "teacher_entropy", "student_entropy", "teacher_agreement", "seconds"),
    *("device", "pack", "executor", "pack_size", "draw"),
)
TEACHER = {
    "digest": "d" * 64,
    "recipe": {"arch": "convnet_8_16", "seed": 0},
    "path": "/artifacts/teachers/d",
    "train_accuracy": 1.0,
    "val_accuracy": 0.9,
    "test_accuracy": 0.89,
    "calibration_error": 0.02,
    "entropy": {"1.0": 0.1, "4.0": 1.7},
    "seconds": 3.5,
    "parameters": 1234,
}


@pytest.fixture
def record(database: Database, spec: StudySpec) -> StudyRecord:
    return StudyRecord.open(database, spec)


def finish(record: StudyRecord, setup: dict[str, object], results: dict[float, float | None]) -> None:
    rate = 0.1 if setup["optimizer.name"] == "sgd" else 0.001
    points = [{"objective.temperature": t, "optimizer.lr": rate} for t in results]
    for trial, accuracy in zip(record.start(setup, points, "p1"), results.values(), strict=True):
        if accuracy is None:
            record.finish(TrialResult(trial.number, "failed", 1, reason="diverged"))
        else:
            record.finish(TrialResult(trial.number, "complete", 20, {"val_accuracy": accuracy}))


class TestTrials:
    def test_a_trial_has_the_fields_of_the_contract(
        self, database: Database, record: StudyRecord, spec: StudySpec
    ) -> None:
        finish(record, spec.setups()[1], {3.0: 0.9})
        (row,) = load_trials(database, spec.name)
        assert tuple(row.to_dict()) == CONTRACT
        assert json.loads(json.dumps(row.to_dict()))["setup"] == spec.setups()[1]
        assert row.device == "cpu"

    def test_temperature_is_a_column(self, database: Database, record: StudyRecord, spec: StudySpec) -> None:
        finish(record, spec.setups()[0], {2.5: 0.9, 30.0: 0.8})
        with database.read() as connection:
            found = connection.execute(sa.text("SELECT temperature FROM kd_trial ORDER BY number")).scalars()
            assert list(found) == [2.5, 30.0]

    def test_epochs_of_some_trials(self, database: Database, record: StudyRecord, spec: StudySpec) -> None:
        record.start(spec.setups()[0], [{"objective.temperature": 2.0, "optimizer.lr": 0.1}] * 3, "p1")
        for epoch in (1, 2):
            record.report(epoch, {n: {"val_accuracy": n / 10, "train_loss": 1.0} for n in range(3)})
        some = load_epochs(database, spec.name, [2, 0])
        assert [(e.number, e.epoch, e.val_accuracy) for e in some] == [
            (0, 1, 0.0),
            (0, 2, 0.0),
            (2, 1, 0.2),
            (2, 2, 0.2),
        ]
        assert len(load_epochs(database, spec.name)) == 6
        assert load_epochs(database, spec.name, []) == []


class TestStudies:
    def test_an_unknown_study_is_answered_with_the_known_ones(
        self, database: Database, make_spec: Callable[..., StudySpec]
    ) -> None:
        reads = (load_trials, load_epochs, load_spec_of, load_study, load_teachers, load_optuna_study)
        for read in reads:
            with pytest.raises(RequestError, match="There is none yet"):
                read(database, "nosuch")
        for name in ("beta", "alpha"):
            StudyRecord.open(database, make_spec(name=name))
        for read in reads:
            with pytest.raises(RequestError, match=r"got 'nosuch'\. Known: alpha, beta"):
                read(database, "nosuch")

    def test_a_summary_tells_state_progress_and_driver(
        self, database: Database, record: StudyRecord, spec: StudySpec
    ) -> None:
        finish(record, spec.setups()[0], {2.0: 0.9, 3.0: None})
        with hold_lease(database, spec.name):
            record.set_state("running")
            (study,) = list_studies(database)
            assert study.state == "running"
            assert study.driver is not None
        (study,) = list_studies(database)
        assert (study.name, study.state, study.setups, study.driver) == ("tiny", "interrupted", 4, None)
        assert study.reason == "its driver ended without a word"
        assert study.progress.to_dict() == {
            "trials": 12,
            "finished": 2,
            "complete": 1,
            "pruned": 0,
            "diverged": 1,
            "failed": 0,
            "running": 0,
            "waiting": 0,
        }
        assert json.loads(json.dumps(study.to_dict()))["finished"] == 2

    def test_a_summary_tells_why_a_study_ended_and_which_setups_were_stopped(
        self, database: Database, record: StudyRecord, make_spec: Callable[..., StudySpec]
    ) -> None:
        other = StudyRecord.open(database, make_spec(name="other"))
        assert (load_study(database, "tiny").reason, load_study(database, "tiny").why) == (None, None)
        first, second, *_ = record.spec.setups()
        record.stop_setups({setup_key(first): "sure", setup_key(second): "surer"})
        record.stop_setups({setup_key(second): "surest"})
        record.set_state("finished", "all 12 trials are done")
        study = load_study(database, "tiny")
        assert [(s.setup, s.reason) for s in study.stopped] == [(second, "surest")]
        assert study.why == "all 12 trials are done; 1 of 4 setups were stopped early"
        assert list_studies(database)[1] == study
        document = json.loads(json.dumps(study.to_dict()))
        assert document["reason"] == "all 12 trials are done"
        assert document["stopped"] == [{"setup": second, "reason": "surest"}]
        record.set_state("running")
        assert load_study(database, "tiny").reason == "its driver ended without a word"
        record.stop_setups({})
        assert load_study(database, "tiny").stopped == ()
        assert load_study(database, "other").stopped == ()
        other.set_state("stopped", "asked")
        assert load_study(database, "other").why == "asked"

    def test_the_spec_comes_back_with_its_order(
        self, database: Database, make_spec: Callable[..., StudySpec]
    ) -> None:
        setup = {"teacher.finetune.epochs": [20, 2], "optimizer.name": ["sgd", "adamw"]}
        spec = make_spec(setup=setup)
        StudyRecord.open(database, spec)
        assert load_spec_of(database, "tiny") == spec
        assert load_spec_of(database, "tiny").setups() == spec.setups()

    @pytest.mark.parametrize(
        "taken",
        [
            {"setup": {"optimizer.name": ["sgd"], "teacher.finetune.epochs": ["2", "20"]}},
            {"setup": {"optimizer.name": ["sgd"], "teacher.finetune.epochs": [True, 1, 1.0]}},
            {"setup": {"optimizer.name": ["sgd"], "trainer": ["distill", "own:train"]}},
            {
                "tune": {
                    "objective.temperature": {"low": 1, "high": 4},
                    "training.epochs": {"low": 2, "high": 9},
                }
            },
            {"tune": {"objective.temperature": {"choices": ["1", "4"]}}},
            {"search": {"stop": {"regret": 2.0}}, "resources": {"gpus_per_pack": 1.5}},
        ],
    )
    def test_what_an_earlier_version_took_is_read_though_it_would_be_refused(
        self, database: Database, spec: StudySpec, taken: dict[str, Any]
    ) -> None:
        StudyRecord.open(database, spec)
        document = {**spec_document(spec), **taken}
        with pytest.raises(SpecError):
            load_spec(document)
        with database.write() as connection:
            connection.execute(sa.update(table_of(StudyTable)).values(spec=document))
        stored = load_spec_of(database, "tiny")
        assert spec_document(stored) == spec_document(load_stored_spec(document))
        for setup in stored.setups():
            stored.resolve(setup, {"objective.temperature": "4" if "tune" in taken else 4.0})


class TestTeachers:
    def test_a_recipe_is_kept_once_for_every_study_that_uses_it(
        self, database: Database, make_spec: Callable[..., StudySpec]
    ) -> None:
        for name in ("one", "two"):
            record = StudyRecord.open(database, make_spec(name=name))
            record.save_teacher(TEACHER)
            record.save_teacher(TEACHER)
        (row,) = load_teachers(database)
        assert row.studies == ("one", "two")
        assert row.entropy == TEACHER["entropy"]
        assert row.details == {"parameters": 1234}
        assert (row.val_accuracy, row.seconds) == (0.9, 3.5)
        assert json.loads(json.dumps(row.to_dict()))["recipe"] == TEACHER["recipe"]
        assert load_teachers(database, "one") == [row]
        StudyRecord.open(database, make_spec(name="three"))
        assert load_teachers(database, "three") == []

    def test_one_that_moved_is_found_where_it_is(self, database: Database, record: StudyRecord) -> None:
        record.save_teacher(TEACHER)
        created = load_teachers(database)[0].created
        record.save_teacher({**TEACHER, "path": "/elsewhere", "entropy": {1.0: math.nan}, "x": math.inf})
        (row,) = load_teachers(database)
        assert (row.path, row.entropy, row.created) == ("/elsewhere", {"1.0": None}, created)
        assert row.details == {"parameters": 1234, "x": None}


class TestBestTemperatureView:
    def test_it_shows_the_best_complete_trial_of_each_setup(
        self, database: Database, record: StudyRecord, spec: StudySpec
    ) -> None:
        first, second, third, _ = spec.setups()
        finish(record, first, {2.0: 0.90, 4.0: 0.95, 8.0: 0.95, 16.0: None})
        finish(record, second, {5.0: 0.5})
        finish(record, third, {5.0: None})
        record.start(third, [{"objective.temperature": 2.0, "optimizer.lr": 0.001}], "p2")
        with database.read() as connection:
            query = "SELECT study, setup, temperature, val_accuracy, trials FROM kd_best_temperature ORDER BY setup"
            found = connection.execute(sa.text(query)).all()
        assert [tuple(row) for row in found] == [
            ("tiny", setup_key(second), 5.0, 0.5, 1),
            ("tiny", setup_key(first), 4.0, 0.95, 3),
        ]


def test_reading_imports_neither_optuna_nor_torch_nor_ray(database: Database, url: str) -> None:
    code = f"""
import sys
from kdsearch.storage import list_studies, load_teachers, open_database
with open_database({url!r}) as database:
    list_studies(database), load_teachers(database)
print(sorted({{"optuna", "torch", "ray", "pandas", "alembic"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
