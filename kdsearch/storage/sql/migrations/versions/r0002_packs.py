"""Add the ledger of packs. Those of before are counted from their trials' times."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "r0002"
down_revision = "r0001"

MOMENT = sa.DateTime(timezone=True)
NUMBER = sa.Float(53)


def upgrade() -> None:
    """Create the table and fill it."""
    packs = op.create_table(
        "kd_pack",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("kd_study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("cpus", NUMBER, nullable=False),
        sa.Column("gpus", NUMBER, nullable=False),
        sa.Column("started", MOMENT, nullable=False),
        sa.Column("seconds", NUMBER, nullable=False),
        sa.Column("running", sa.Boolean, nullable=False),
    )
    if rows := _packs_of_before(op.get_bind()):
        op.bulk_insert(packs, rows)


def _packs_of_before(connection: sa.Connection) -> list[dict[str, Any]]:
    study = sa.table("kd_study", sa.column("id", sa.Integer), sa.column("spec", sa.JSON))
    trial = sa.table(
        "kd_trial",
        *(sa.column("study_id", sa.Integer), sa.column("pack", sa.String)),
        *(sa.column("started", MOMENT), sa.column("finished", MOMENT)),
    )
    query = (
        sa.select(
            trial.c.study_id,
            trial.c.pack,
            sa.func.min(trial.c.started, type_=MOMENT).label("started"),
            sa.func.max(trial.c.finished, type_=MOMENT).label("finished"),
        )
        .where(trial.c.pack.is_not(None), trial.c.started.is_not(None), trial.c.finished.is_not(None))
        .group_by(trial.c.study_id, trial.c.pack)
    )
    held = {row.id: row.spec.get("resources", {}) for row in connection.execute(sa.select(study))}
    return [
        {
            "study_id": row.study_id,
            "name": row.pack,
            "cpus": held[row.study_id].get("cpus_per_pack", 1),
            "gpus": held[row.study_id].get("gpus_per_pack", 0),
            "started": row.started,
            "seconds": _seconds(row.started, row.finished),
            "running": False,
        }
        for row in connection.execute(query)
    ]


def _seconds(started: datetime, finished: datetime) -> float:
    return max(0.0, (finished - started).total_seconds())
