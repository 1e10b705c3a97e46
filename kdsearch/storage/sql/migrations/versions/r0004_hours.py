"""Add how long drivers have run a study.

For the time before, the packs say how long at least.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "r0004"
down_revision = "r0003"

MOMENT = sa.DateTime(timezone=True)
NUMBER = sa.Float(53)


def upgrade() -> None:
    """Add the column and fill it."""
    op.add_column("kd_study", sa.Column("seconds", NUMBER, nullable=False, server_default="0"))
    connection = op.get_bind()
    study = sa.table("kd_study", sa.column("id", sa.Integer), sa.column("seconds", NUMBER))
    for row, seconds in _seconds_of_before(connection).items():
        connection.execute(study.update().where(study.c.id == row).values(seconds=seconds))


def _seconds_of_before(connection: sa.Connection) -> dict[int, float]:
    pack = sa.table(
        "kd_pack",
        *(sa.column("study_id", sa.Integer), sa.column("started", MOMENT), sa.column("seconds", NUMBER)),
    )
    packs: dict[int, list[tuple[datetime, float]]] = {}
    for row in connection.execute(sa.select(pack).order_by(pack.c.started)):
        packs.setdefault(row.study_id, []).append((row.started, row.seconds))
    return {study: _time_covered(found) for study, found in packs.items()}


def _time_covered(packs: Iterable[tuple[datetime, float]]) -> float:
    """Return for how many seconds at least one pack ran. They come by their beginning."""
    covered, until = 0.0, None
    for started, seconds in packs:
        end = started + timedelta(seconds=seconds)
        begin = started if until is None else max(started, until)
        covered += max(0.0, (end - begin).total_seconds())
        until = end if until is None else max(until, end)
    return covered
