"""A study's name is not burnt: deleted, renamed, begun anew, gone on with under more levels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdsearch.errors import LiveDriverError, RequestError
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import (
    Database,
    StudyRecord,
    delete_study,
    hold_lease,
    list_studies,
    load_optuna_study,
    load_spec_of,
    load_trials,
    open_database,
    rename_study,
)
from kdsearch.trial import TrialResult


def spec_of(name: str = "first", **more: Any) -> StudySpec:
    return load_spec(
        {"name": name, "setup": {"optimizer.name": ["sgd"]}, "tune": {TEMPERATURE: {"low": 1, "high": 40}}}
        | more
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/k.db", create=True) as opened:
        yield opened


def run_trial(database: Database, spec: StudySpec, state: Any = "complete", level: str = "sgd") -> None:
    record = StudyRecord.open(database, spec)
    (trial,) = record.start({"optimizer.name": level}, [{TEMPERATURE: 3.0}], "p1")
    record.finish(TrialResult(trial.number, state, 1, {"val_accuracy": 0.5}, reason="broken"))


def test_a_deleted_study_leaves_its_name_free(database: Database) -> None:
    run_trial(database, spec_of())
    run_trial(database, spec_of("other"))
    delete_study(database, "first")
    assert [study.name for study in list_studies(database)] == ["other"]
    run_trial(database, spec_of(objective={"alpha": 0.5}))
    assert len(load_trials(database, "first")) == len(load_optuna_study(database, "first").trials) == 1


def test_a_study_that_runs_or_that_another_starts_from_is_not_deleted(database: Database) -> None:
    run_trial(database, spec_of())
    with hold_lease(database, "first"), pytest.raises(LiveDriverError, match="is being run"):
        delete_study(database, "first")
    run_trial(database, spec_of("later", search={"warm_start": ["first"]}))
    with pytest.raises(RequestError, match=r"'later' names in `search.warm_start`"):
        delete_study(database, "first")


def test_a_renamed_study_has_its_trials_and_those_that_start_from_it_know(database: Database) -> None:
    run_trial(database, spec_of())
    run_trial(database, spec_of("later", search={"warm_start": ["first"]}))
    rename_study(database, "first", "second")
    assert load_spec_of(database, "second").name == "second"
    assert load_optuna_study(database, "second").study_name == "second"
    assert load_spec_of(database, "later").search.warm_start == ("second",)
    run_trial(database, spec_of("second"))
    run_trial(database, spec_of("first"))
    assert [trial.value for trial in load_optuna_study(database, "second").trials] == [0.5, 0.5]
    for name, told in (("second", "must be free"), ("a b", "letters, digits")):
        with pytest.raises(RequestError, match=told):
            rename_study(database, "first", name)


def test_a_study_without_a_finished_trial_takes_a_corrected_spec(database: Database) -> None:
    run_trial(database, spec_of(), "failed")
    corrected = spec_of(objective={"alpha": 0.5})
    run_trial(database, corrected)
    assert load_spec_of(database, "first") == corrected
    assert [trial.state for trial in load_trials(database, "first")] == ["complete"]
    with pytest.raises(RequestError, match=r"`objective.alpha` was 0.5, is 0.9"):
        StudyRecord.open(database, spec_of())


def test_a_factor_gets_more_levels_while_its_study_goes_on(database: Database) -> None:
    temperature: dict[str, Any] = {TEMPERATURE: {"by": "optimizer.name", "sgd": {"low": 1, "high": 40}}}
    run_trial(database, spec_of(tune=temperature))
    temperature[TEMPERATURE]["adamw"] = {"low": 1, "high": 9}
    more = spec_of(tune=temperature, setup={"optimizer.name": ["adamw", "sgd"]})
    run_trial(database, more, level="adamw")
    assert [trial.setup["optimizer.name"] for trial in load_trials(database, "first")] == ["sgd", "adamw"]
    optuna = load_optuna_study(database, "first").trials
    assert [trial.params["optimizer.name"] for trial in optuna] == ["sgd", "adamw"]
    assert [trial.value for trial in optuna] == [0.5, 0.5]
    with pytest.raises(RequestError, match=r"`setup.optimizer.name` was"):
        StudyRecord.open(database, spec_of(setup={"optimizer.name": ["adamw", "lion"]}))


def test_new_levels_of_recipes_leave_the_same_study_with_its_finished_trials(database: Database) -> None:
    recipe = {"dataset": "digits", "epochs": 3}
    first = spec_of(setup={"teacher.pretraining": ["none"]})
    record = StudyRecord.open(database, first)
    (trial,) = record.start({"teacher.pretraining": "none"}, [{TEMPERATURE: 3.0}], "p1")
    record.report(1, {trial.number: {"val_accuracy": 0.4}})
    record.finish(TrialResult(trial.number, "complete", 1, {"val_accuracy": 0.5}))
    before = (load_trials(database, "first"), list_studies(database)[0].created, record.curves([0]))
    again = StudyRecord.open(database, spec_of(setup={"teacher.pretraining": ["none", recipe]}))
    after = (load_trials(database, "first"), list_studies(database)[0].created, again.curves([0]))
    assert after == before
    (trial,) = again.start({"teacher.pretraining": recipe}, [{TEMPERATURE: 3.0}], "p2")
    assert trial.number == 1
    assert trial.spec.teacher.pretraining.epochs == 3
