"""Runs our revisions over the connection that kdsearch gives. Optuna's tables are none of ours."""

from alembic import context
from sqlalchemy import Connection

from kdsearch.storage.sql.schema import VERSION_TABLE
from kdsearch.storage.sql.tables import Table


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Return whether autogenerate looks at a table."""
    return kind != "table" or (name or "").startswith("kd_")


connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Table.metadata,
    version_table=VERSION_TABLE,
    include_name=is_ours,
    compare_type=True,
    render_as_batch=True,
)
context.run_migrations()
