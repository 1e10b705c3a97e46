"""The hours that packs take, by the database's clock.

What a crash leaves of them is tested too.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from kdsearch.spec import StudySpec
from kdsearch.storage import Database, Hours, StudyRecord, hold_lease, list_studies, load_hours, load_slots
from kdsearch.storage.sql.database import database_now
from kdsearch.storage.sql.tables import LeaseTable, PackTable


@pytest.fixture
def record(database: Database, make_spec: Callable[..., StudySpec]) -> StudyRecord:
    return StudyRecord.open(database, make_spec(resources={"cpus_per_pack": 3, "gpus_per_pack": 0.5}))


def began_earlier(database: Database, pack: str, seconds: float) -> None:
    """Let a pack have begun so long ago."""
    with database.write() as connection:
        started = connection.scalar(sa.select(PackTable.started).where(PackTable.name == pack))
        assert started is not None
        earlier = time.time() - seconds - started.timestamp()
        change = sa.update(PackTable).where(PackTable.name == pack)
        connection.execute(change.values(started=started + timedelta(seconds=earlier)))


def test_a_study_without_packs_took_nothing(database: Database, record: StudyRecord) -> None:
    assert record.hours() == load_hours(database, "tiny") == list_studies(database)[0].hours == Hours()


def test_packs_count_what_they_hold_from_begin_to_end(database: Database, record: StudyRecord) -> None:
    for pack, seconds in (("p1", 3600), ("p2", 7200)):
        record.start_pack(pack)
        began_earlier(database, pack, seconds)
        record.end_pack(pack)
    assert record.hours().cpu == pytest.approx(3 * 3, rel=1e-3)
    assert record.hours().gpu == pytest.approx(0.5 * 3, rel=1e-3)
    document = list_studies(database)[0].to_dict()
    assert (document["cpu_hours"], document["gpu_hours"]) == (record.hours().cpu, record.hours().gpu)


def test_a_dead_drivers_packs_are_not_counted_by_the_next_ones_lease(
    database: Database, record: StudyRecord
) -> None:
    record.start_pack("p1")
    began_earlier(database, "p1", 3600)
    with hold_lease(database, "tiny") as lease:
        lease._renew()
    assert record.hours().cpu == 0.0


def test_telling_a_beginning_or_an_end_twice_changes_nothing(database: Database, record: StudyRecord) -> None:
    record.start_pack("p1")
    began_earlier(database, "p1", 3600)
    record.start_pack("p1")
    record.end_pack("p1")
    before = record.hours()
    time.sleep(0.02)
    record.end_pack("p1")
    assert record.hours() == before
    assert before.cpu == pytest.approx(3, rel=1e-3)


def test_the_heartbeat_counts_running_packs_and_a_crash_keeps_what_it_counted(
    database: Database, record: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsearch.storage.rows.lease.HEARTBEAT_S", 0.05)
    record.start_pack("p1")
    began_earlier(database, "p1", 3600)
    with hold_lease(database, "other"):  # another study's heart does not beat for this one
        time.sleep(0.3)
    assert record.hours() == Hours()
    with hold_lease(database, "tiny"):
        record.start_pack("p2")
        began_earlier(database, "p2", 3600)
        deadline = time.monotonic() + 10
        while not record.hours().cpu and time.monotonic() < deadline:
            time.sleep(0.02)
    counted = record.hours()  # the driver is gone and did not end the pack
    assert counted.cpu == pytest.approx(3, rel=1e-3)
    time.sleep(0.1)
    record.recover()
    record.end_pack("p2")
    with hold_lease(database, "tiny"):
        time.sleep(0.2)
    assert (record.hours().cpu, record.hours().gpu) == (counted.cpu, counted.gpu)


def test_the_time_of_all_drivers_counts_and_only_that(
    database: Database, record: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsearch.storage.rows.lease.HEARTBEAT_S", 0.05)
    held = []
    for _ in range(2):
        before, began = record.hours().wall, time.monotonic()
        with hold_lease(database, "tiny"):
            time.sleep(0.3)
        held.append(time.monotonic() - began)
        assert 0.3 <= 3600 * (record.hours().wall - before) <= held[-1]
        time.sleep(0.3)
    assert 3600 * record.hours().wall <= sum(held)
    with hold_lease(database, "other"):
        time.sleep(0.2)
    assert 3600 * record.hours().wall <= sum(held)
    assert list_studies(database)[0].to_dict()["hours"] == load_hours(database, "tiny").wall > 0


def test_a_crash_loses_no_more_time_than_since_the_last_beat(database: Database, record: StudyRecord) -> None:
    with hold_lease(database, "tiny") as lease:
        with database.write() as connection:  # as if the driver had begun to beat an hour ago
            change = sa.update(LeaseTable).where(LeaseTable.study == "tiny")
            connection.execute(change.values(heartbeat=database_now(connection) - timedelta(hours=1)))
        lease._beaten -= 3600
        lease._renew()
        assert record.hours().wall == pytest.approx(1, rel=1e-3)
        with database.write() as connection:  # another has taken it over
            connection.execute(change.values(owner="another", heartbeat=database_now(connection)))
        counted = record.hours().wall
    assert record.hours().wall == counted


def test_packs_that_overlap_count_as_slots_and_teachers_and_pauses_do_not(
    database: Database, record: StudyRecord
) -> None:
    assert load_slots(database, "tiny") == 1.0
    start = time.time() - 100_000
    # Two at a time for 100 s, then one for 50 s, and after a pause one for 50 s: 300 s in 200 s.
    for pack, begin, seconds in (
        *(("p1", 0, 150), ("p2", 0, 100), ("p3", 1000, 50)),
        ("teacher abc 1", 2000, 500),
    ):
        record.start_pack(pack)
        record.end_pack(pack)
        with database.write() as connection:
            moment = datetime.fromtimestamp(start + begin, UTC)
            change = sa.update(PackTable).where(PackTable.name == pack)
            connection.execute(change.values(started=moment, seconds=seconds))
    assert load_slots(database, "tiny") == pytest.approx(300 / 200)


@pytest.mark.parametrize(
    ("hours", "search", "told"),
    [
        (Hours(9, 9), {}, None),
        (Hours(9, 1.99), {"gpu_hours": 2}, None),
        (Hours(9, 2.0), {"gpu_hours": 2}, "2 of 2 GPU-hours are spent"),
        (Hours(4.5, 0), {"gpu_hours": 2, "cpu_hours": 4}, "4.5 of 4 CPU-hours are spent"),
        (Hours(9, 9, 1.9), {"hours": 2}, None),
        (Hours(9, 9, 2.25), {"hours": 2, "gpu_hours": 1}, "2.25 of 2 hours are spent"),
    ],
)
def test_a_spent_budget_is_named(
    make_spec: Callable[..., StudySpec], hours: Hours, search: dict[str, float], told: str | None
) -> None:
    assert hours.spent(make_spec(search=search)) == told


def test_a_budget_of_hours_may_change_while_the_study_goes_on(
    database: Database, make_spec: Callable[..., StudySpec]
) -> None:
    StudyRecord.open(database, make_spec(search={"gpu_hours": 1}))
    StudyRecord.open(database, make_spec(search={"gpu_hours": 2, "cpu_hours": 8, "hours": 1}))


@pytest.mark.parametrize("jump_s", [7200.0, -7200.0])
def test_a_clock_that_jumps_takes_no_hours(
    database: Database, record: StudyRecord, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    def now(connection: sa.Connection) -> datetime:
        return database_now(connection) + timedelta(seconds=jump_s)

    with hold_lease(database, "tiny") as lease:
        record.start_pack("p1")
        began_earlier(database, "p1", 3600)
        for module in ("lease", "ledger"):
            monkeypatch.setattr(f"kdsearch.storage.rows.{module}.database_now", now)
        for _ in range(2):
            lease._renew()
        assert record.hours().cpu == pytest.approx(3, rel=0.05)
    assert record.hours().wall < 0.5
