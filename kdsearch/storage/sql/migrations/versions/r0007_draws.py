"""Add which draw of luck each trial shares with its pack."""

import sqlalchemy as sa
from alembic import op

revision = "r0007"
down_revision = "r0006"


def upgrade() -> None:
    """Add the column; trials of before drew nothing."""
    op.add_column("kd_trial", sa.Column("draw", sa.Integer))
