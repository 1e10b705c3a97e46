"""A study as a folder of JSON files, without loss."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Connection, Table, insert, select

from kdsearch.errors import LiveDriverError, RequestError
from kdsearch.storage.export_files import FORMAT, MANIFEST, PARTS, ExportedStudy, row_of
from kdsearch.storage.mirror.documents import read_optuna, remove_optuna, write_optuna
from kdsearch.storage.mirror.store import open_optuna_storage
from kdsearch.storage.rows.lease import live_drivers
from kdsearch.storage.rows.ledger import time_covered
from kdsearch.storage.rows.queries import study_id
from kdsearch.storage.rows.trials import insert_new
from kdsearch.storage.sql.database import Database
from kdsearch.storage.sql.tables import (
    StudyTable,
    StudyTeacherTable,
    TeacherTable,
    table_of,
)

_ROWS_AT_ONCE = 1000
"""By hand: few enough for memory, many enough for the database."""


def export_study(database: Database, study: str, directory: Path) -> None:
    """Write a study to a new folder.

    Its teachers' records and its Optuna trials are written too.

    Args:
        database: The open database.
        study: The study's name.
        directory: A new folder, or an empty one.

    Raises:
        RequestError: There is no such study, or the folder holds one already.
        LiveDriverError: The study is being run.
    """
    if os.path.lexists(directory) and not directory.is_dir():
        raise RequestError(f"`directory` must be a folder, got {directory}, which is none. Name another.")
    if os.path.exists(directory / MANIFEST):
        raise RequestError(f"`directory` must be new, got {directory}, which holds a study. Name another.")
    with database.read() as connection:
        row = study_id(connection, study)
        if driver := live_drivers(connection, study).get(study):
            raise LiveDriverError(f"The study {study!r} is being run ({driver}). Stop it first.")
        directory.mkdir(parents=True, exist_ok=True)
        stored = connection.execute(select(table_of(StudyTable)).where(StudyTable.id == row)).one()
        counts = {
            name: _write_lines(directory / f"{name}.jsonl", _rows_of(connection, table_of(table), row))
            for name, table in PARTS.items()
        }
        teachers = [_document(found) for found in connection.execute(_teachers_of(row))]
    optuna, trials = read_optuna(open_optuna_storage(database), stored.uid)
    counts["optuna"] = _write_lines(directory / "optuna.jsonl", trials)
    manifest = {
        "format": FORMAT,
        "study": _document(stored),
        "teachers": teachers,
        "optuna": optuna,
        "counts": counts,
    }
    _write(directory / MANIFEST, [json.dumps(manifest, indent=1)])


def import_study(database: Database, directory: Path) -> str:
    """Read a study that `export_study` wrote; return its name. All of it is checked before any is written.

    Raises:
        RequestError: The folder holds no whole study, or the database has one of the name.
    """
    exported = ExportedStudy(directory)
    name, uid = exported.study["name"], exported.study["uid"]
    with database.read() as connection:
        query = select(StudyTable.name).where((StudyTable.name == name) | (StudyTable.uid == uid))
        if found := connection.scalar(query):
            raise RequestError(
                f"`directory` must hold a study that the database does not have, got {name!r}, "
                f"which is there as {found!r}. Import it into another database."
            )
    storage = open_optuna_storage(database)
    try:
        write_optuna(storage, uid, exported.optuna, exported.optuna_trials())
        with database.write() as connection:
            _import_rows(connection, exported)
    except BaseException:
        remove_optuna(storage, uid)
        raise
    return str(name)


def _rows_of(connection: Connection, table: Table, study: int) -> Iterator[dict[str, Any]]:
    query = select(table).where(table.c.study_id == study).order_by(*table.primary_key.columns)
    for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
        document = _document(row)
        del document["study_id"]
        yield document


def _teachers_of(study: int) -> Any:
    return (
        select(table_of(TeacherTable))
        .join(StudyTeacherTable, StudyTeacherTable.digest == TeacherTable.digest)
        .where(StudyTeacherTable.study_id == study)
        .order_by(TeacherTable.digest)
    )


def _document(row: Any) -> dict[str, Any]:
    """Return a row as plain values, moments as text."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row._mapping.items()
    }


def _import_rows(connection: Connection, exported: ExportedStudy) -> None:
    study = {"seconds": _seconds_of_packs(exported), **row_of(table_of(StudyTable), exported.study)}
    connection.execute(insert(StudyTable).values(**study))
    row = study_id(connection, study["name"])
    for part, table in PARTS.items():
        rows = exported.rows(part)
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            connection.execute(insert(table), [{**document, "study_id": row} for document in batch])
    insert_new(connection, TeacherTable, exported.teachers)
    links = [{"study_id": row, "digest": teacher["digest"]} for teacher in exported.teachers]
    insert_new(connection, StudyTeacherTable, links)


def _seconds_of_packs(exported: ExportedStudy) -> float:
    """Return for how long a study was run at least: what exports of the first format do not tell."""
    return time_covered(sorted((pack["started"], pack["seconds"]) for pack in exported.rows("packs")))


def _write_lines(path: Path, documents: Iterable[Mapping[str, Any]]) -> int:
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for document in documents:
            count += 1
            yield json.dumps(document) + "\n"

    _write(path, lines())
    return count


def _write(path: Path, texts: Iterable[str]) -> None:
    """Write a file of a new folder to the disk.

    It is there whole, or not at all.
    """
    partial = path.with_name(path.name + ".partial")
    for place in (path, partial):
        if place.is_symlink() or (place.exists() and not place.is_file()):
            raise RequestError(
                f"`directory` must be new, got {path.parent}, where {place.name} is a link or no file. "
                "Name another."
            )
    with partial.open("w") as file:
        file.writelines(texts)
        _flush(file)
    partial.replace(path)


def _flush(file: TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())
