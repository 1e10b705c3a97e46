"""One live driver a study."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kdsearch.errors import LiveDriverError, RequestError, RunError
from kdsearch.spec import StudySpec
from kdsearch.storage import (
    Database,
    StudyRecord,
    hold_lease,
    list_studies,
    open_database,
    request_stop,
)
from kdsearch.storage.rows.lease import live_drivers
from kdsearch.storage.rows.processes import is_dead, process_mark

DRIVER = """
import sys, time
from kdsearch.storage import hold_lease, open_database
with open_database(sys.argv[1]) as database, hold_lease(database, "tiny"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_driver(url: str, database: Database) -> Iterator[subprocess.Popen[str]]:
    """Another process that drives the study."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdsearch.storage.rows.lease.HEARTBEAT_S", 0.05)


@pytest.fixture
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdsearch.storage.rows.lease.HEARTBEAT_S", 600.0)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def age(database: Database, seconds: float) -> None:
    """Make the heartbeat `seconds` old.

    Its process becomes one of another machine.
    """
    past = datetime.now(UTC) - timedelta(seconds=seconds)
    with database.write() as connection:
        values = {"past": past if connection.dialect.name == "postgresql" else past.replace(tzinfo=None)}
        query = "UPDATE kd_lease SET heartbeat = :past, host = 'elsewhere', process = 'elsewhere:1:1'"
        typed = sa.text(query).bindparams(sa.bindparam("past", type_=sa.DateTime(timezone=True)))
        connection.execute(typed, values)


class TestHolding:
    def test_a_second_driver_is_told_who_has_it(
        self, database: Database, other_driver: subprocess.Popen[str]
    ) -> None:
        with pytest.raises(LiveDriverError) as caught, hold_lease(database, "tiny"):
            pass
        message = str(caught.value)
        assert f"process {other_driver.pid} on {socket.gethostname()}" in message
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", message)
        assert "--takeover" in message

    def test_another_study_is_free(self, database: Database) -> None:
        with hold_lease(database, "one"), hold_lease(database, "two"):
            pass

    def test_it_is_given_back(self, database: Database) -> None:
        for _ in range(2):
            with hold_lease(database, "tiny"):
                pass
        with pytest.raises(ZeroDivisionError), hold_lease(database, "tiny"):
            raise ZeroDivisionError
        with hold_lease(database, "tiny"):
            pass

    def test_a_killed_driver_is_followed_at_once(
        self, database: Database, other_driver: subprocess.Popen[str]
    ) -> None:
        other_driver.kill()
        wait_for(lambda: is_dead(process_mark_of(database)))
        with hold_lease(database, "tiny") as lease:
            assert not lease.lost

    @pytest.mark.long
    def test_of_many_that_come_at_once_one_drives(self, url: str, database: Database) -> None:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", DRIVER, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        wait_for(lambda: [process.poll() for process in processes].count(None) == 1)
        (holder,) = (process for process in processes if process.poll() is None)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"  # it may have the lease and not have told it yet
        holder.kill()
        answers = [process.communicate() for process in processes]
        assert [out for out, _ in answers] == ["", "", ""]
        assert sum("LiveDriverError" in err for _, err in answers) == 2


class TestExpiry:
    @pytest.mark.usefixtures("no_heartbeat")
    def test_a_silent_driver_elsewhere_is_waited_for(self, database: Database) -> None:
        with hold_lease(database, "tiny"):
            age(database, 25)
            with pytest.raises(LiveDriverError, match="on elsewhere"), hold_lease(database, "tiny"):
                pass

    @pytest.mark.usefixtures("no_heartbeat")
    def test_and_followed_after_half_a_minute(self, database: Database) -> None:
        with hold_lease(database, "tiny") as first:
            age(database, 31)
            with hold_lease(database, "tiny") as second:
                assert second.owner != first.owner

    @pytest.mark.usefixtures("quick_heartbeat")
    def test_the_heartbeat_keeps_it(self, database: Database) -> None:
        with hold_lease(database, "tiny"):
            age(database, 31)
            wait_for(lambda: driver_is_live(database))

    def test_a_stopped_process_that_wakes_takes_nothing_back(
        self, database: Database, other_driver: subprocess.Popen[str]
    ) -> None:
        os.kill(other_driver.pid, signal.SIGSTOP)
        with pytest.raises(LiveDriverError), hold_lease(database, "tiny"):
            pass  # stopped, not dead: only time or a person can tell
        with hold_lease(database, "tiny", takeover=True) as lease:
            os.kill(other_driver.pid, signal.SIGCONT)
            time.sleep(0.5)
            with database.write() as connection:
                lease.check(connection)


class TestTakeover:
    @pytest.mark.usefixtures("quick_heartbeat")
    def test_the_loser_notices(self, database: Database) -> None:
        with hold_lease(database, "tiny") as first, hold_lease(database, "tiny", takeover=True) as second:
            wait_for(lambda: first.lost)
            assert not second.lost
        with hold_lease(database, "tiny"):
            pass

    def test_the_loser_writes_nothing_more(self, database: Database, spec: StudySpec) -> None:
        with hold_lease(database, spec.name) as lease:
            record = StudyRecord.open(database, spec, lease=lease)
            record.start(spec.setups()[0], [{"objective.temperature": 2.0, "optimizer.lr": 0.1}], "p1")
            with hold_lease(database, spec.name, takeover=True):
                for write in (
                    lambda: record.report(1, {0: {"val_accuracy": 0.5}}),
                    lambda: record.set_state("failed"),
                    lambda: StudyRecord.open(database, spec, lease=lease),
                ):
                    with pytest.raises(LiveDriverError, match="taken over"):
                        write()
            assert lease.lost
        assert list_studies(database)[0].state == "new"
        assert record.trials()[0].epochs == 0


@pytest.mark.postgres
class TestLocks:
    def test_a_study_is_taken_over_in_the_middle_of_a_heartbeat(self, postgres_prepared: str) -> None:
        with open_database(postgres_prepared) as database, hold_lease(database, "beating"):
            taken = threading.Event()

            def take() -> None:
                with hold_lease(database, "beating", takeover=True):
                    taken.set()

            taker = threading.Thread(target=take)
            with database.write() as beat:
                mine = "FROM kd_lease WHERE study = 'beating' FOR UPDATE"
                pid = beat.scalar(sa.text(f"SELECT pg_backend_pid() {mine}"))
                taker.start()
                with database.read() as connection:
                    blocked = sa.text(
                        "SELECT 1 FROM pg_locks WHERE NOT granted AND :pid = ANY (pg_blocking_pids(pid))"
                    )
                    wait_for(lambda: connection.scalar(blocked, {"pid": pid}) == 1)
                beat.execute(sa.text("UPDATE kd_lease SET stop_requested = false WHERE study = 'beating'"))
            taker.join()
            assert taken.is_set()


class TestFileGone:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "study.db"

    @pytest.mark.usefixtures("quick_heartbeat")
    @pytest.mark.parametrize("happened", ["deleted", "replaced by another file"])
    def test_a_driver_notices_within_a_heartbeat(self, file: Path, happened: str) -> None:
        with open_database(f"sqlite:///{file}", create=True) as database, hold_lease(database, "a") as lease:
            lease.check_held()
            if happened == "deleted":
                file.unlink()
            else:
                shutil.copy(file, file.with_name("other"))
                file.with_name("other").replace(file)
            wait_for(lambda: lease.lost)
            for write in (lease.check_held, lambda: request_stop(database, "a")):
                with pytest.raises(
                    RunError, match=rf"The database {file} was {happened} while it was in use"
                ):
                    write()


class TestStop:
    @pytest.mark.usefixtures("quick_heartbeat")
    def test_the_driver_hears_of_it(self, database: Database) -> None:
        with hold_lease(database, "tiny") as lease:
            assert not lease.stop_requested
            assert request_stop(database, "tiny").pid == os.getpid()
            wait_for(lambda: lease.stop_requested)

    def test_the_next_driver_does_not(self, database: Database) -> None:
        with hold_lease(database, "tiny"):
            request_stop(database, "tiny")
        with hold_lease(database, "tiny") as lease:
            assert not lease.stop_requested

    def test_without_a_driver_there_is_nothing_to_stop(self, database: Database) -> None:
        with pytest.raises(RequestError, match="must have a live driver, got 'tiny'"):
            request_stop(database, "tiny")


class TestProcesses:
    def test_this_process_lives_and_an_ended_one_does_not(self) -> None:
        assert not is_dead(process_mark())
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        mark = process_mark(process.pid)
        assert not is_dead(mark)
        process.kill()
        wait_for(lambda: is_dead(mark))  # even while it waits to be reaped
        process.communicate()
        assert is_dead(mark)

    def test_a_pid_used_again_is_another_process(self) -> None:
        own = process_mark()
        assert is_dead(own[: own.rindex(":")] + ":1")

    def test_nothing_is_known_of_another_machine(self) -> None:
        assert not is_dead("other-boot/pid:[1]:1:1")
        assert not is_dead("nonsense")


def process_mark_of(database: Database) -> str:
    with database.read() as connection:
        return str(connection.execute(sa.text("SELECT process FROM kd_lease")).scalar_one())


def driver_is_live(database: Database) -> bool:
    with database.read() as connection:
        return "tiny" in live_drivers(connection)
