"""The version of a database's tables, told and brought up to date."""

from kdsearch.errors import LiveDriverError
from kdsearch.storage.rows.lease import live_drivers
from kdsearch.storage.sql.database import Database
from kdsearch.storage.sql.schema import SchemaStatus, create_schema, read_schema


def schema_status(database: Database) -> SchemaStatus:
    """Return which kdsearch's tables a database has."""
    with database.read() as connection:
        return read_schema(connection)


def upgrade(database: Database) -> SchemaStatus:
    """Bring a database's tables to this kdsearch's revision. All of it holds, or nothing.

    Raises:
        RequestError: The tables are of a newer kdsearch.
        LiveDriverError: A study is being run, by a kdsearch that knows the older tables.
    """
    if (status := schema_status(database)).state == "current":  # one that can't be written may be
        return status
    with database.write() as connection:
        if read_schema(connection).state == "older":
            for study, driver in live_drivers(connection).items():
                raise LiveDriverError(f"The study {study!r} is being run ({driver}). Stop it first.")
        return create_schema(connection)
