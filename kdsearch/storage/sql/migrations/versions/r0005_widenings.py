"""Add the ranges that searches widened."""

import sqlalchemy as sa
from alembic import op

revision = "r0005"
down_revision = "r0004"

NUMBER = sa.Float(53)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "kd_widening",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("kd_study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("level", sa.Text),
        sa.Column("was_low", NUMBER, nullable=False),
        sa.Column("was_high", NUMBER, nullable=False),
        sa.Column("low", NUMBER, nullable=False),
        sa.Column("high", NUMBER, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
