"""Add why a study is in its state.

It also adds why a setup gets no more trials.
"""

import sqlalchemy as sa
from alembic import op

revision = "r0003"
down_revision = "r0002"


def upgrade() -> None:
    """Add the columns; of what was before, no reason is known."""
    op.add_column("kd_study", sa.Column("reason", sa.Text))
    op.add_column("kd_setup", sa.Column("stopped", sa.Text))
