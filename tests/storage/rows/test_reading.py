"""Trials read as rows, as columns, and again and again: always the same."""

import random
from dataclasses import fields

import pytest
import sqlalchemy as sa

from kdsearch.spec import StudySpec
from kdsearch.storage import (
    Database,
    StudyRecord,
    TrialColumns,
    columns_of,
    load_columns,
    load_trials,
)
from kdsearch.trial import TrialResult


@pytest.fixture
def record(database: Database, spec: StudySpec) -> StudyRecord:
    return StudyRecord.open(database, spec)


def point(spec: StudySpec, setup: dict[str, object], luck: random.Random) -> dict[str, object]:
    return {path: dim.from_unit(luck.random()) for path, dim in spec.dimensions(setup).items()}


def live(record: StudyRecord, spec: StudySpec, luck: random.Random) -> None:
    """Do one of the things that happen to a study."""
    rows = record.trials()
    running = [row.number for row in rows if row.state == "running"]
    setup = luck.choice(spec.setups())
    event = luck.choice(["start", "report", *["finish"] * 4, "lose", "enqueue", "take"])
    if event == "start":
        record.start(setup, [point(spec, setup, luck) for _ in range(luck.randint(1, 4))], "p")
    elif event == "enqueue":
        record.optuna.enqueue_trial({**setup, **point(spec, setup, luck)})
    elif event == "take":
        record.take_waiting(4, "p")
    elif not running:
        return
    elif event == "report":
        record.report(1, {luck.choice(running): {"val_accuracy": 0.5}})
    elif event == "lose":
        record.lose([luck.choice(running)], "its worker was killed")
    else:
        outcome = luck.choice([("complete", None), ("pruned", "hopeless"), ("failed", "diverged")])
        record.finish(TrialResult(luck.choice(running), outcome[0], 3, {"val_accuracy": 0.9}, outcome[1]))


@pytest.mark.parametrize("seed", range(3))
def test_a_driver_sees_what_anyone_else_sees_at_every_moment(
    database: Database, record: StudyRecord, spec: StudySpec, seed: int
) -> None:
    luck = random.Random(seed)
    for _ in range(60):
        live(record, spec, luck)
        assert record.trials() == load_trials(database, spec.name)
    states = {row.state for row in record.trials()}
    assert {"complete", "pruned", "failed"} <= states


def test_a_driver_reads_a_trial_that_has_ended_once(
    database: Database, record: StudyRecord, spec: StudySpec
) -> None:
    setup = spec.setups()[0]
    done = record.start(setup, [point(spec, setup, random.Random(n)) for n in range(6)], "p")
    for trial in done[1:]:
        record.finish(TrialResult(trial.number, "complete", 20, {"val_accuracy": 0.9}))
    record.trials()
    with database.write() as connection:
        connection.execute(sa.text("UPDATE kd_trial SET device = 'another'"))
    assert [row.device == "another" for row in record.trials()] == [True] + [False] * 5


def test_columns_are_the_rows_turned(database: Database, record: StudyRecord, spec: StudySpec) -> None:
    empty = load_columns(database, spec.name)
    assert len(empty) == 0
    luck = random.Random(7)
    for _ in range(40):
        live(record, spec, luck)
    rows, columns = load_trials(database, spec.name), load_columns(database, spec.name)
    assert len(columns) == len(rows) > 10
    turned = columns_of(rows)
    for field in fields(TrialColumns):
        assert list(getattr(columns, field.name)) == list(getattr(turned, field.name)), field.name
    assert columns_of(columns) is columns


def test_equal_parameters_are_held_once(database: Database, record: StudyRecord, spec: StudySpec) -> None:
    setup = spec.setups()[0]
    at = point(spec, setup, random.Random(0))
    record.start(setup, [at, at, point(spec, setup, random.Random(1))], "p")
    first, second, third = load_trials(database, spec.name)
    assert first.params is second.params
    assert first.params == at != third.params
    assert first.setup is third.setup
