"""What a study's packs took of the cluster, in CPU-hours and GPU-hours. A teacher's training counts as one.

A pack counts from the moment its worker begins until it ends. The lease's heartbeat writes how long the
running ones have been at it, and how long the study is being run: after a crash nothing is missing but the
seconds since the last beat.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update

from kdsearch.spec import StudySpec
from kdsearch.storage.rows.read import Hours
from kdsearch.storage.sql.database import database_now
from kdsearch.storage.sql.tables import PackTable, StudyTable, table_of

_HOUR_S = 3600.0  # seconds in an hour

TEACHER = "teacher"
"""How the name of a teacher's training begins."""


def start_pack(connection: Connection, study: int, pack: str, spec: StudySpec) -> None:
    """Count a pack from now on. One that is counted already stays as it is."""
    known = select(PackTable.name).where(PackTable.study_id == study, PackTable.name == pack)
    if connection.scalar(known) is None:
        row = {
            "study_id": study,
            "name": pack,
            "cpus": spec.resources.cpus_per_pack,
            "gpus": spec.resources.gpus,
            "started": database_now(connection),
            "seconds": 0.0,
            "running": True,
        }
        connection.execute(insert(PackTable).values(**row))


def end_pack(connection: Connection, study: int, pack: str) -> None:
    """Count a pack up to now. One that has ended before stays as it was."""
    _count(connection, (PackTable.study_id == study) & (PackTable.name == pack), goes_on=False)


def count_running(connection: Connection, study: str) -> None:
    """Count the running packs of a study's name up to now."""
    named = select(StudyTable.id).where(StudyTable.name == study).scalar_subquery()
    _count(connection, PackTable.study_id == named, goes_on=True)


def shift_running(connection: Connection, study: str, seconds: float) -> None:
    """Let a study's running packs have begun so much later. The clock was set by so much."""
    named = select(StudyTable.id).where(StudyTable.name == study).scalar_subquery()
    running = (PackTable.study_id == named) & PackTable.running
    for row, name, started in connection.execute(
        select(PackTable.study_id, PackTable.name, PackTable.started).where(running)
    ).all():
        own = (PackTable.study_id == row) & (PackTable.name == name)
        connection.execute(update(PackTable).where(own).values(started=started + timedelta(seconds=seconds)))


def count_time(connection: Connection, study: str, seconds: float) -> None:
    """Add seconds to the time that a study was run."""
    named = update(StudyTable).where(StudyTable.name == study)
    connection.execute(named.values(seconds=StudyTable.seconds + seconds))


def close_packs(connection: Connection, study: str) -> None:
    """End the packs that a study's dead driver left running.

    Their seconds stay as they were last counted.
    """
    named = select(StudyTable.id).where(StudyTable.name == study).scalar_subquery()
    running = (PackTable.study_id == named) & PackTable.running
    connection.execute(update(PackTable).where(running).values(running=False))


def read_hours(connection: Connection, study: int | None = None) -> dict[int, Hours]:
    """Return by study id what each study took so far.

    `study` asks for one alone.
    """
    held = (func.sum(held * PackTable.seconds) for held in (PackTable.cpus, PackTable.gpus))
    cpu, gpu = (func.coalesce(seconds, 0.0) for seconds in held)
    query = select(StudyTable.id, cpu, gpu, StudyTable.seconds).outerjoin(PackTable).group_by(StudyTable.id)
    if study is not None:
        query = query.where(StudyTable.id == study)
    return {row: Hours(*(s / _HOUR_S for s in seconds)) for row, *seconds in connection.execute(query)}


def read_slots(connection: Connection, study: int) -> float:
    """Return how many packs of a study ran at once, on average. 1 without packs."""
    of_study = (PackTable.study_id == study) & PackTable.name.not_like(f"{TEACHER} %")
    query = select(PackTable.started, PackTable.seconds).where(of_study).order_by(PackTable.started)
    packs = [(started, seconds) for started, seconds in connection.execute(query)]
    covered = time_covered(packs)
    return sum(seconds for _, seconds in packs) / covered if covered else 1.0


def time_covered(packs: Iterable[tuple[datetime, float]]) -> float:
    """Return for how many seconds at least one pack ran.

    `packs` are the start and the seconds of each, in the order of starts.
    """
    covered, until = timedelta(), None
    for begin, seconds in packs:
        end = begin + timedelta(seconds=seconds)
        new = end - (begin if until is None else max(begin, until))
        covered += max(new, timedelta())
        until = end if until is None else max(until, end)
    return covered.total_seconds()


def _count(connection: Connection, which: ColumnElement[bool], *, goes_on: bool) -> None:
    now = database_now(connection)
    query = select(PackTable.study_id, PackTable.name, PackTable.started).where(which, PackTable.running)
    counted = [
        {"of_study": row, "of_name": name, "so_far": max(0.0, (now - started).total_seconds())}
        for row, name, started in connection.execute(query)
    ]
    if counted:
        change = update(table_of(PackTable)).where(
            PackTable.study_id == bindparam("of_study"), PackTable.name == bindparam("of_name")
        )
        connection.execute(change.values(seconds=bindparam("so_far"), running=goes_on), counted)
