"""The ranges that a study's search widened."""

from collections import defaultdict
from dataclasses import asdict, fields

from sqlalchemy import Connection, func, insert, select

from kdsearch.spec.widening import Widening
from kdsearch.storage.rows.read import StoredWidening
from kdsearch.storage.sql.database import database_now
from kdsearch.storage.sql.tables import TrialTable, WideningTable


def insert_widening(connection: Connection, study: int, widening: Widening) -> None:
    """Add a widening, with the time and the number of complete trials. One that is there already stays."""
    values, known = asdict(widening), read_widenings(connection, study).get(study, [])
    if any(values.items() <= asdict(own).items() for own in known):
        return
    complete = (TrialTable.study_id == study) & (TrialTable.state == "complete")
    connection.execute(
        insert(WideningTable).values(
            study_id=study,
            number=len(known),
            **values,
            trials=connection.scalar(select(func.count()).where(complete)) or 0,
            created=database_now(connection),
        )
    )


def read_widenings(connection: Connection, study: int | None = None) -> dict[int, list[StoredWidening]]:
    """Return the widenings of every study, or of one, by its id."""
    columns = [getattr(WideningTable, field.name) for field in fields(StoredWidening)]
    query = select(WideningTable.study_id, *columns)
    if study is not None:
        query = query.where(WideningTable.study_id == study)
    found: defaultdict[int, list[StoredWidening]] = defaultdict(list)
    for row, *values in connection.execute(query.order_by(WideningTable.study_id, WideningTable.number)):
        found[row].append(StoredWidening(*values))
    return dict(found)
