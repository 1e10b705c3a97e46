"""Add how each trial's pack was trained."""

import sqlalchemy as sa
from alembic import op

revision = "r0006"
down_revision = "r0005"


def upgrade() -> None:
    """Add the columns; of trials of before, it is not known."""
    op.add_column("kd_trial", sa.Column("executor", sa.String(32)))
    op.add_column("kd_trial", sa.Column("pack_size", sa.Integer))
