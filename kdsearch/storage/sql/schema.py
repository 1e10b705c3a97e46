"""Which version of kdsearch's tables a database has."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from sqlalchemy import Connection, inspect, text

from kdsearch.errors import RequestError

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "kd_alembic_version"
MIGRATIONS = Path(__file__).parent / "migrations"

_OUR_TABLES, OPTUNAS_TABLES, LEASES = 5253746, 5253747, 5253748
"""PostgreSQL's locks of who makes them: any numbers that no other program of the database takes."""

SchemaState: TypeAlias = Literal["empty", "current", "older", "newer"]


@dataclass(frozen=True)
class SchemaStatus:
    """The schema's revision of a database, and this kdsearch's own.

    `revision` is None without our tables.
    """

    state: SchemaState
    revision: str | None
    head: str


def known_revisions() -> list[str]:
    """Return this kdsearch's revisions, the oldest first."""
    return sorted(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("r[0-9]*.py"))


def read_schema(connection: Connection) -> SchemaStatus:
    """Return the state of our tables in a database."""
    known = known_revisions()
    revision = None
    if inspect(connection).has_table(VERSION_TABLE):
        revision = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - constant
    state: SchemaState = "newer"
    if revision is None:
        state = "empty"
    elif revision == known[-1]:
        state = "current"
    elif revision in known:
        state = "older"
    return SchemaStatus(state, revision, known[-1])


def check_schema(status: SchemaStatus, name: str) -> None:
    """Refuse a database whose tables this kdsearch can't use.

    `name` is the database's.
    """
    if status.state == "empty":
        raise RequestError(f"The database {name} holds no kdsearch studies. Launch one first.")
    if status.state == "older":
        raise RequestError(
            f"The database {name} is of an older kdsearch: its schema is {status.revision}, "
            f"this one needs {status.head}. Run `kdsearch db upgrade` while no study runs."
        )
    if status.state == "newer":
        raise RequestError(
            f"The database {name} is of a newer kdsearch: its schema is {status.revision}, "
            f"this one knows up to {status.head}. Install the newer kdsearch; nothing was written."
        )


def create_schema(connection: Connection) -> SchemaStatus:
    """Bring our tables to the present revision, inside the connection's transaction.

    Raises:
        RequestError: The tables are of a newer kdsearch.
    """
    if connection.dialect.name == "postgresql":  # of two that create at once, one waits
        await_turn(connection, _OUR_TABLES)
    status = read_schema(connection)
    if status.state == "newer":
        check_schema(status, str(connection.engine.url))
    if status.state != "current":
        from alembic import command

        command.upgrade(alembic_config(connection), "head")
    return read_schema(connection)


def await_turn(connection: Connection, lock: int) -> None:
    """Wait until no other transaction has a lock of PostgreSQL's, and hold it until this one's end."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def alembic_config(connection: Connection) -> "Config":
    """Return alembic's settings for our migrations over a connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
