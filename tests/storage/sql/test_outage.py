"""A database that is locked or away for a while: the driver waits, and nothing is lost or doubled."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kdsearch.errors import RunError
from kdsearch.spec import StudySpec
from kdsearch.spec.widening import widen_range
from kdsearch.storage import Database, StudyRecord, hold_lease, open_database, parse_url
from kdsearch.storage.rows import lease as leases
from kdsearch.storage.sql import retries
from kdsearch.storage.sql.retries import with_retries
from kdsearch.storage.sql.tables import Table, UtcDateTime
from kdsearch.trial import TrialResult


def run_packs(record: StudyRecord, spec: StudySpec, count: int) -> None:
    for pack in range(count):
        points = [{"objective.temperature": 2.0 + pack, "optimizer.lr": 0.1}] * 2
        trials = record.start(spec.setups()[0], points, f"p{pack}")
        for epoch in (1, 2):
            record.report(epoch, {trial.number: {"val_accuracy": 0.5} for trial in trials})
        for trial in trials:
            record.finish(TrialResult(trial.number, "complete", 2, {"val_accuracy": 0.5}))


@contextmanager
def restarting(server: Any, times: int) -> Iterator[threading.Thread]:
    """Restart the server some times while the block runs.

    The thread that does it is given.
    """

    def restart() -> None:
        for _ in range(times):
            time.sleep(0.3)
            pid = server.get_pid()
            os.kill(pid, signal.SIGINT)  # "fast": connections are cut, running statements too
            while Path(f"/proc/{pid}").exists():
                time.sleep(0.02)
            server.ensure_postgres_running()

    thread = threading.Thread(target=restart)
    thread.start()
    yield thread
    thread.join()


@pytest.mark.postgres
def test_postgres_may_be_restarted_under_a_running_study(
    postgres: Any, postgres_prepared: str, spec: StudySpec
) -> None:
    with open_database(postgres_prepared) as database, hold_lease(database, "restarted") as lease:
        restarted = spec.model_copy(update={"name": "restarted"})
        record = StudyRecord.open(database, restarted, lease=lease)
        n_packs, first = 0, postgres.get_pid()
        with restarting(postgres, 2) as thread:
            while thread.is_alive():
                run_packs(record, restarted, 1)
                n_packs += 1
        run_packs(record, restarted, 1)
        n_packs += 1
        assert postgres.get_pid() != first
        rows = record.trials()
        assert [row.number for row in rows] == list(range(2 * n_packs))
        assert {(row.state, row.epochs) for row in rows} == {("complete", 2)}
        assert [t.state.name for t in record.optuna.get_trials()] == ["COMPLETE"] * 2 * n_packs
        assert not lease.lost


def test_a_locked_sqlite_file_is_waited_for(tmp_path: Path, spec: StudySpec) -> None:
    with open_database(f"sqlite:///{tmp_path}/studies.db", create=True) as database:
        record = StudyRecord.open(database, spec)
        other = sqlite3.connect(tmp_path / "studies.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
        run_packs(record, spec, 2)
        assert record.finished_count() == 4
        other.close()


ELSEWHERE = ("uid", "versions", "seconds")
"""Columns that differ from database to database."""


def write_everything(record: StudyRecord, spec: StudySpec) -> None:
    """Do each kind of writing once."""
    point = {"objective.temperature": 2.0, "optimizer.lr": 0.1}
    record.start(spec.setups()[0], [point] * 4, "p1")
    record.start_pack("p1")
    record.report(1, {number: {"val_accuracy": 0.5} for number in range(4)})
    record.finish(TrialResult(0, "complete", 2, {"val_accuracy": 0.5}))
    record.lose([1, 2], "its worker was killed")
    record.end_pack("p1")
    taken = record.take_waiting(1, "p2")
    widening = widen_range(spec, "optimizer.lr", "sgd", is_high=True, reason="it lies at the end")
    assert widening is not None
    record.widen(widening)
    record.stop_setups({})
    record.save_teacher({"digest": "d", "recipe": {}, "path": "p"})
    record.set_state("stopped", "enough")
    assert len(taken) == 1


def everything_that_is_written(database: Database) -> list[list[Any]]:
    """Return our tables' rows. Their moments are left out."""
    with database.read() as connection:
        tables = [table for name, table in sorted(Table.metadata.tables.items()) if name != "kd_lease"]
        told = [
            [c for c in table.c if c.name not in ELSEWHERE and not isinstance(c.type, UtcDateTime)]
            for table in tables
        ]
        return [
            connection.execute(sa.select(*columns).order_by(*table.primary_key)).all()
            for table, columns in zip(tables, told, strict=True)
        ]


def drivers_of(database: Database) -> list[str]:
    """Return the studies that have a lease."""
    with database.read() as connection:
        return list(connection.scalars(sa.text("SELECT study FROM kd_lease")))


@pytest.fixture
def calmly_written(tmp_path: Path, spec: StudySpec) -> list[list[Any]]:
    """Return the rows of a database that was never away."""
    with open_database(f"sqlite:///{tmp_path}/calm.db", create=True) as database:
        write_everything(StudyRecord.open(database, spec), spec)
        return everything_that_is_written(database)


@contextmanager
def each_new_statement_cut(postgres_url: str) -> Iterator[set[str]]:
    """Cut the connection that sends a statement that was not sent before. All that were cut are given."""
    others = sa.create_engine(parse_url(postgres_url))
    cut: set[str] = set()

    def cut_once(connection: sa.Connection, cursor: Any, statement: str, *_: object) -> None:
        if connection.engine is others or statement in cut:
            return
        cut.add(statement)
        pid = cursor.connection.info.backend_pid
        with others.begin() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.001)

    sa.event.listen(sa.Engine, "before_cursor_execute", cut_once)
    try:
        yield cut
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", cut_once)
        others.dispose()


@pytest.mark.postgres
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Optuna's, where its opening fails
def test_a_connection_may_be_cut_at_any_statement(
    postgres_url: str,
    spec: StudySpec,
    monkeypatch: pytest.MonkeyPatch,
    calmly_written: list[list[Any]],
) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.0)
    with open_database(postgres_url, create=True) as database:
        StudyRecord.open(database, spec)
        with each_new_statement_cut(postgres_url) as cut, hold_lease(database, spec.name) as lease:
            write_everything(StudyRecord.open(database, spec, lease=lease), spec)
        assert everything_that_is_written(database) == calmly_written
        assert not lease.lost
        assert drivers_of(database) == []
    assert len(cut) > 90  # of our tables and of Optuna's


def test_what_was_committed_though_the_answer_was_lost_is_not_done_twice(
    empty_url: str, spec: StudySpec, monkeypatch: pytest.MonkeyPatch, calmly_written: list[list[Any]]
) -> None:
    write, is_lost = Database.write, True

    @contextmanager
    def write_and_lose_every_other_answer(self: Database) -> Iterator[sa.Connection]:
        nonlocal is_lost
        with write(self) as connection:
            yield connection
        is_lost = not is_lost
        if not is_lost:
            raise sa.exc.OperationalError("COMMIT", {}, ConnectionError("the server is away"))

    with open_database(empty_url, create=True) as database:
        monkeypatch.setattr(Database, "write", write_and_lose_every_other_answer)
        write_everything(StudyRecord.open(database, spec), spec)
        assert everything_that_is_written(database) == calmly_written


@pytest.mark.postgres
def test_what_postgres_committed_though_its_answer_was_lost_is_not_done_twice(
    postgres_url: str,
    spec: StudySpec,
    monkeypatch: pytest.MonkeyPatch,
    calmly_written: list[list[Any]],
) -> None:
    import psycopg

    commit, is_lost = psycopg.Connection.commit, True

    def commit_and_lose_every_other_answer(connection: Any) -> None:
        nonlocal is_lost
        commit(connection)
        is_lost = not is_lost
        if not is_lost:
            connection.close()
            raise psycopg.OperationalError("the server is away")

    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(leases, "HEARTBEAT_S", 600.0)
    with open_database(postgres_url, create=True) as database:
        record = StudyRecord.open(database, spec)
        monkeypatch.setattr(psycopg.Connection, "commit", commit_and_lose_every_other_answer)
        with hold_lease(database, spec.name):
            write_everything(record, spec)
        monkeypatch.undo()
        assert drivers_of(database) == []
        assert everything_that_is_written(database) == calmly_written
        assert len(record.optuna.get_trials()) == len(record.trials())


def test_patience_ends_in_words() -> None:
    def fail() -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, ConnectionError("the server is away"))

    with pytest.raises(RunError, match="could not be used for 0 seconds: the server is away"):
        with_retries(fail, limit_s=0)


def test_other_errors_are_not_waited_for() -> None:
    def fail() -> None:
        raise sa.exc.IntegrityError("INSERT", {}, ValueError("twice"))

    with pytest.raises(sa.exc.IntegrityError):
        with_retries(fail)
