"""Reading studies: SQL in, plain rows out. Imports neither Optuna nor torch."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from kdsearch.errors import RequestError, RunError, SpecError
from kdsearch.spec import StudySpec, load_stored_spec
from kdsearch.spec.widening import widened_document
from kdsearch.storage.rows.columns import TrialColumns
from kdsearch.storage.rows.lease import live_drivers
from kdsearch.storage.rows.ledger import read_hours, read_slots
from kdsearch.storage.rows.read import (
    EpochRow,
    Hours,
    Progress,
    StoppedSetup,
    StudySummary,
    TeacherRow,
    TrialRow,
)
from kdsearch.storage.rows.reading import in_parts, read_columns, read_trials
from kdsearch.storage.rows.widenings import read_widenings
from kdsearch.storage.sql.database import Database
from kdsearch.storage.sql.tables import (
    EpochTable,
    SetupTable,
    StudyTable,
    StudyTeacherTable,
    TeacherTable,
    TrialTable,
    table_of,
)
from kdsearch.trial import DIVERGED

_STUDIES = select(
    *(StudyTable.id, StudyTable.name, StudyTable.trials, StudyTable.state, StudyTable.reason),
    *(StudyTable.created, StudyTable.updated),
)
_EPOCH_COLUMNS = (
    EpochTable.number,
    EpochTable.epoch,
    EpochTable.val_accuracy,
    EpochTable.val_loss,
    EpochTable.train_loss,
)


def list_studies(database: Database) -> list[StudySummary]:
    """Return every study by name. One that runs without a live driver was interrupted.

    One whose rows can't be read is `unreadable`, and hides no other.
    """
    try:
        with database.read() as connection:
            return _summaries(connection, _STUDIES.order_by(StudyTable.name))
    except RunError:
        with database.read() as connection:
            names = connection.scalars(select(StudyTable.name).order_by(StudyTable.name)).all()
        return [_summary_or_why(database, name) for name in names]


def _summary_or_why(database: Database, study: str) -> StudySummary:
    try:
        return load_study(database, study)
    except RunError as error:
        return unreadable(study, str(error))


def unreadable(study: str, reason: str) -> StudySummary:
    """Return what is known of a study whose rows can't be read."""
    never = datetime.fromtimestamp(0, UTC)
    return StudySummary(study, "unreadable", 0, Progress(0), never, never, driver=None, reason=reason)


def load_study(database: Database, study: str) -> StudySummary:
    """Return how one study is.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        row = study_id(connection, study)
        return _summaries(connection, _STUDIES.where(StudyTable.id == row), row)[0]


def load_spec_of(database: Database, study: str) -> StudySpec:
    """Return the spec that a study was last launched with. Its ranges are as they were widened since.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        row = study_id(connection, study)
        document = connection.scalar(select(StudyTable.spec).where(StudyTable.id == row))
        widenings = read_widenings(connection, row).get(row, [])
        widened = widened_document(document or {}, widenings)
    try:
        return load_stored_spec(widened)
    except SpecError as error:
        raise SpecError(error.problems, f"the stored spec of {study!r} in {database.name}") from error


def load_hours(database: Database, study: str) -> Hours:
    """Return how long a study ran, and its packs' CPU-hours and GPU-hours.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        row = study_id(connection, study)
        return read_hours(connection, row).get(row, Hours())


def load_slots(database: Database, study: str) -> float:
    """Return how many packs of a study ran at once, on average. 1 where none has run.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        return read_slots(connection, study_id(connection, study))


def load_trials(database: Database, study: str) -> list[TrialRow]:
    """Return a study's trials by number.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        return read_trials(connection, study_id(connection, study))


def load_columns(database: Database, study: str) -> TrialColumns:
    """Return what answers need of a study's trials. For very many, in a third of the time of `load_trials`.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        return read_columns(connection, study_id(connection, study))


def load_mark(database: Database, study: str) -> Hashable:
    """Return what differs once a study's trials or ranges have changed.

    No trial is read for it. None where there is no such study.
    """
    ended = func.max(TrialTable.finished)
    states = select(TrialTable.state, func.count(), func.sum(TrialTable.epochs), ended)
    with database.read() as connection:
        query = select(StudyTable.id, StudyTable.uid, StudyTable.spec_hash).where(StudyTable.name == study)
        found = connection.execute(query).first()
        if found is None:
            return None
        own = states.where(TrialTable.study_id == found.id).group_by(TrialTable.state)
        n_widenings = len(read_widenings(connection, found.id).get(found.id, ()))
        return (*found, n_widenings, *map(tuple, connection.execute(own.order_by(TrialTable.state))))


def load_epochs(database: Database, study: str, numbers: Sequence[int] | None = None) -> list[EpochRow]:
    """Return what trials of a study reported, by number and epoch.

    `numbers` asks for some alone.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        return read_epochs(connection, study_id(connection, study), numbers)


def load_teachers(database: Database, study: str | None = None) -> list[TeacherRow]:
    """Return the trained teachers, the oldest first.

    `study` asks for those of one study.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        users: defaultdict[str, list[str]] = defaultdict(list)
        links = select(StudyTeacherTable.digest, StudyTable.name).join(
            StudyTable, StudyTable.id == StudyTeacherTable.study_id
        )
        for digest, name in connection.execute(links.order_by(StudyTable.name)):
            users[digest].append(name)
        if study is not None:
            study_id(connection, study)
        query = select(table_of(TeacherTable)).order_by(TeacherTable.created, TeacherTable.digest)
        return [
            TeacherRow(**row._mapping, studies=tuple(users[row.digest]))
            for row in connection.execute(query)
            if study is None or study in users[row.digest]
        ]


def study_id(connection: Connection, study: str) -> int:
    """Return the id of a study's rows. An unknown name is answered with the known ones."""
    found = connection.scalar(select(StudyTable.id).where(StudyTable.name == study))
    if found is None:
        names = connection.scalars(select(StudyTable.name).order_by(StudyTable.name)).all()
        known = f"Known: {', '.join(names)}." if names else "There is none yet; launch one first."
        raise RequestError(f"`study` must be a study of this database, got {study!r}. {known}")
    return found


def read_epochs(connection: Connection, study: int, numbers: Sequence[int] | None = None) -> list[EpochRow]:
    """Return what trials of a study's id reported, by number and epoch."""
    query = select(*_EPOCH_COLUMNS).where(EpochTable.study_id == study).order_by(*_EPOCH_COLUMNS[:2])
    if numbers is None:
        return [EpochRow(*values) for values in connection.execute(query)]
    return [
        EpochRow(*values)
        for part in in_parts(sorted(set(numbers)))
        for values in connection.execute(query.where(EpochTable.number.in_(part)))
    ]


def read_progress(connection: Connection, study: int) -> Progress:
    """Return how many trials of a study's id are in each state."""
    target = connection.scalar(select(StudyTable.trials).where(StudyTable.id == study)) or 0
    return Progress(target=target, **_counts(connection, study).get(study, {}))


def _summaries(
    connection: Connection, query: "Select[*tuple[Any, ...]]", only: int | None = None
) -> list[StudySummary]:
    """Return how studies are: those that a query of `_STUDIES` finds, or `only` the one of this id."""
    studies = connection.execute(query).all()
    counts, hours = _counts(connection, only), read_hours(connection, only)
    by_study = _of(select(SetupTable.study_id, func.count()).group_by(SetupTable.study_id), only)
    setups: dict[int, int] = {row: count for row, count in connection.execute(by_study)}  # noqa: C416 - typed
    stopped, drivers = _stopped(connection, only), live_drivers(connection)
    widened = read_widenings(connection, only)
    return [
        StudySummary(
            name=study.name,
            setups=setups.get(study.id, 0),
            progress=Progress(target=study.trials, **counts.get(study.id, {})),
            created=study.created,
            updated=study.updated,
            driver=drivers.get(study.name),
            hours=hours.get(study.id, Hours()),
            stopped=tuple(stopped.get(study.id, ())),
            widened=tuple(widened.get(study.id, ())),
            **_state(study, live=study.name in drivers),
        )
        for study in studies
    ]


def _of(query: "Select[*tuple[Any, ...]]", only: int | None) -> "Select[*tuple[Any, ...]]":
    """Return a query about setups for one study alone, or for all."""
    return query if only is None else query.where(SetupTable.study_id == only)


def _stopped(connection: Connection, only: int | None) -> dict[int, list[StoppedSetup]]:
    query = _of(select(SetupTable.study_id, SetupTable.levels, SetupTable.stopped), only)
    found: defaultdict[int, list[StoppedSetup]] = defaultdict(list)
    rows = connection.execute(query.where(SetupTable.stopped.is_not(None)).order_by(SetupTable.number))
    for study, levels, reason in rows:
        found[study].append(StoppedSetup(levels, reason))
    return found


def _counts(connection: Connection, study: int | None = None) -> dict[int, dict[str, int]]:
    """Return how many trials are in each state, by study id.

    Diverged ones are counted apart from failed ones.
    """
    by_state = select(TrialTable.study_id, TrialTable.state, func.count())
    if study is not None:
        by_state = by_state.where(TrialTable.study_id == study)
    by_state = by_state.group_by(TrialTable.study_id, TrialTable.state)
    # Both are answered by the index of states alone, but for the reasons of those that failed.
    diverged = by_state.where(TrialTable.state == "failed", TrialTable.reason == DIVERGED)
    counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for row, state, count in connection.execute(by_state):
        counts[row][state] = count
    for row, state, count in connection.execute(diverged):
        counts[row] |= {"diverged": count, state: counts[row][state] - count}
    return counts


def _state(stored: Any, *, live: bool) -> dict[str, Any]:
    if stored.state == "running" and not live:
        return {"state": "interrupted", "reason": "its driver ended without a word"}
    return {"state": stored.state, "reason": stored.reason}


def curves_of(epochs: Iterable[EpochRow]) -> dict[int, dict[int, float]]:
    """Return the validation accuracy by epoch of each trial."""
    curves: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for row in epochs:
        if row.val_accuracy is not None:
            curves[row.number][row.epoch] = row.val_accuracy
    return dict(curves)


def finite(value: Any) -> float | None:
    """Return a finite number, or None. Databases differ in what they make of NaN."""
    number = None if value is None else float(value)
    return number if number is not None and abs(number) < float("inf") else None
