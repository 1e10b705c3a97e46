"""A database under one URL: SQLite or PostgreSQL."""

import os
import re
import shutil
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, StatementError

from kdsearch.errors import KDSearchError, RequestError, RunError
from kdsearch.storage.sql.failures import WRITE, first_line, is_read_only
from kdsearch.storage.sql.filesystems import network_filesystem
from kdsearch.storage.sql.schema import check_schema, create_schema, read_schema

BUSY_TIMEOUT_S = 60
"""By hand: a writer of SQLite holds its lock for milliseconds; on a busy disk, for seconds."""

CONNECT_TIMEOUT_S = 10
"""By hand: a server that is there answers in well under a second."""

KEPT_CONNECTIONS = 5
"""SQLAlchemy's own number."""

MOST_CONNECTIONS = 60
"""Of one process: more than the threads that may ask at once, the service's 40 and the dashboard's 10."""

_WRITES = "kdsearch_writes"


@dataclass(frozen=True)
class Database:
    """An open database. `read` and `write` give a connection inside one transaction.

    Its connections are closed by `close`, or once nobody holds it any more.
    """

    url: URL
    engine: Engine
    _others: list[Engine] = field(default_factory=list)
    _copy: "tempfile.TemporaryDirectory[str] | None" = None

    def __post_init__(self) -> None:
        weakref.finalize(self, _dispose, self.engine, self._others)

    @property
    def is_read_only(self) -> bool:
        """Whether it is a SQLite file that opens for reading alone."""
        return self.engine.url != self.url

    @property
    def name(self) -> str:
        """The URL without its password, for people."""
        return shown_url(self.url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database.

        Raises:
            RunError: What the block read is nothing that kdsearch writes.
        """
        try:
            with self._reader.begin() as connection:
                yield connection
        except KDSearchError:
            raise
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            raise RunError(
                f"The database {self.name} holds what can't be read: {type(error).__name__}: "
                f"{first_line(error)}. Something else wrote to it, or it is damaged: restore a copy."
            ) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose writes all hold at the end.

        None holds where the block raises.

        Raises:
            RequestError: It is a SQLite file that can't be written, or its folder can't.
            RunError: The SQLite file was deleted or replaced since the first writing.
        """
        if self.is_read_only:  # and maybe a copy, which would take what is written with it
            raise RequestError(
                f"The database {self.name} can't be written: it or its folder is read-only. {WRITE}"
            )
        self.check_file()
        with self._writer.begin() as connection:
            yield connection

    def check_file(self) -> None:
        """Refuse a SQLite file that nobody can read any more. SQLite itself does not notice.

        Raises:
            RunError: The file was deleted or replaced since the first such check.
        """
        first, now = self._first_file, _identity(self.url)
        if now != first:
            what = "deleted" if now is None else "replaced by another file"
            raise RunError(
                f"The database {self.url.database} was {what} while it was in use. What was written to it is "
                "lost with it. Put it back, or launch again."
            )

    @cached_property
    def _first_file(self) -> tuple[int, int] | None:
        return _identity(self.url)

    @cached_property
    def _reader(self) -> Engine:
        # SQLite: a transaction sees one state in any case. PostgreSQL: else each query would see its own.
        if self.engine.dialect.name != "postgresql":
            return self.engine
        reads: Engine = self.engine.execution_options(isolation_level="REPEATABLE READ")
        return reads

    @cached_property
    def _writer(self) -> Engine:
        # SQLite: the write lock is taken at once; a later upgrade of a read lock could only fail.
        # PostgreSQL: nothing more than its own transaction.
        writes: Engine = self.engine.execution_options(**{_WRITES: True})
        return writes

    def keep(self, engine: Engine) -> None:
        """Close another engine's connections too, in the end."""
        self._others.append(engine)

    def close(self) -> None:
        """Close every connection."""
        _dispose(self.engine, self._others)
        if self._copy is not None:
            self._copy.cleanup()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _dispose(engine: Engine, others: list[Engine]) -> None:
    for each in (engine, *others):
        each.dispose()


def open_database(url: str, *, create: bool = False) -> Database:
    """Open the database of a URL, and check its tables.

    Args:
        url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.
        create: Make the SQLite file and the tables where they are missing.

    Raises:
        RequestError: The URL is wrong, its driver is missing, there is no such database, it can't be
            reached, it lies on a network file system, or its tables are of an older or newer kdsearch.
    """
    database = connect_database(url, create=create)
    try:
        with database.read() as connection:
            status = read_schema(connection)
        if create and status.state == "empty":
            _prepare_file(database)
            with database.write() as connection:
                status = create_schema(connection)
        check_schema(status, database.name)
    except BaseException:
        database.close()
        raise
    return database


def connect_database(url: str, *, create: bool = False) -> Database:
    """Connect to the database of a URL, whatever its tables.

    `schema_status` says what they are.

    Raises:
        RequestError: As for `open_database`, but for the tables.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed, create=create)
    database = Database(parsed, _engine(parsed))
    try:
        _probe(database)
    except DBAPIError as error:
        database.close()
        if is_read_only(error) and (readable := _only_readable(parsed)):
            return readable
        cause = first_line(error.orig)
        raise RequestError(f"The database {database.name} can't be opened: {cause}") from error
    database.check_file()
    return database


def _probe(database: Database) -> None:
    with database.read() as connection:
        connection.execute(select(1))
        if database.url.get_backend_name() == "sqlite":
            connection.exec_driver_sql("PRAGMA schema_version")


def _only_readable(url: URL) -> Database | None:
    """Return a SQLite file that can only be read. None where it and its folder can be written.

    Readers of a file in WAL mode write beside it, into its shared memory. Where that is there already it can
    be read; where nothing waits in the log, nobody writes and the file alone is the database; else a copy is
    opened.
    """
    path = Path(url.database or "")
    log = path.with_name(path.name + "-wal")
    address = f"file:{quote(str(path))}"
    choices = [{"mode": "ro"}]
    try:
        if not (log.exists() and log.stat().st_size):
            choices.append({"mode": "ro", "immutable": "1"})
        for query in choices:
            database = Database(url, _engine(url.set(database=address, query={**query, "uri": "true"})))
            try:
                _probe(database)
            except DBAPIError:
                database.close()
            else:
                return database
        return _private_copy(url, path, log)
    except (OSError, DBAPIError):
        return None


def _private_copy(url: URL, path: Path, log: Path) -> Database | None:
    if not log.exists():
        return None
    folder = tempfile.TemporaryDirectory(prefix="kdsearch-read-")
    for file in (path, log):
        shutil.copyfile(file, Path(folder.name) / file.name)
    database = Database(url, _engine(url.set(database=str(Path(folder.name) / path.name))), _copy=folder)
    _probe(database)
    return database


def engine_options(url: URL) -> dict[str, Any]:
    """Return the options of every engine here, ours and Optuna's."""
    pool = {"pool_size": KEPT_CONNECTIONS, "max_overflow": MOST_CONNECTIONS - KEPT_CONNECTIONS}
    if url.get_backend_name() == "sqlite":
        return {
            "connect_args": {"timeout": BUSY_TIMEOUT_S},
            "pool_events": [(_set_pragmas, "connect")],
            **pool,
        }
    # Without an encoding of ours, psycopg gives bytes where the server's is SQL_ASCII.
    encoded = {"connect_timeout": CONNECT_TIMEOUT_S, "client_encoding": "utf8"}
    return {"connect_args": encoded, "pool_pre_ping": True, **pool}


def database_now(connection: Connection) -> datetime:
    """Return the database's time. Every host of a cluster compares with the same clock."""
    if connection.dialect.name == "sqlite":  # its file and its users share one machine
        return datetime.now(UTC)
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now.astimezone(UTC)


_SHOWN_OPTIONS = re.compile(r"([?&](?!(?:host|port)=)[^=&]*=)[^&]*")
"""Of a rendered URL, each option and its value but for where the server is: `password=` is one of them."""


def shown_url(url: URL) -> str:
    """Return a database URL for people: no password, and a file as it is named."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return _SHOWN_OPTIONS.sub(r"\1***", url.render_as_string(hide_password=True))


def read_url(url: str, setting: str = "`storage`") -> URL:
    """Return a database URL that can be read in one way alone.

    An `@` in a password would end it early, and the rest of it would be shown as the host. The name of a
    SQLite file ends before a `?`.

    Args:
        url: The URL as given.
        setting: What gave it, for messages.

    Raises:
        RequestError: It can't be read, or may mean another. The message has nothing of a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise RequestError(
            f"{setting} must be a database URL, and this one can't be read. "
            "Examples: sqlite:///kdsearch.db, postgresql://user:password@host/name."
        ) from error
    if parsed.get_backend_name() == "sqlite":
        _refuse_marks(url, setting)
        return parsed
    after_user = url.partition("://")[2].partition(":")[2]
    n_ends = 0 if parsed.password is None else 1
    if after_user.count("@") > n_ends:
        raise RequestError(
            f"{setting} must have one `@`, between the password and the host. Write each other one as %40."
        )
    return parsed


def parse_url(url: str) -> URL:
    """Return a checked database URL, with its driver and an absolute path.

    Raises:
        RequestError: It is none, or its driver is missing.
    """
    parsed = read_url(url)
    backend, _, driver = parsed.drivername.partition("+")
    if backend == "sqlite":
        return _sqlite_url(parsed)
    if backend in ("postgresql", "postgres"):
        return _postgres_url(parsed, driver or "psycopg")
    raise RequestError(
        f"`storage` must be a URL of SQLite or PostgreSQL, got {backend!r}. "
        "Use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME."
    )


def _sqlite_url(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise RequestError("`storage` must name a file for SQLite, for example sqlite:///kdsearch.db.")
    path = str(Path(url.database).expanduser().resolve())
    if "?" in path:  # older releases of SQLAlchemy would give Optuna the part before it
        raise RequestError(f"`storage` must lie in folders without `?` for SQLite, got {path}. Move it.")
    return url.set(drivername="sqlite", database=path)


def _refuse_marks(url: str, setting: str) -> None:
    """Refuse what is no plain name in a URL: behind `?` are options, and `%` escapes a character."""
    path = url.partition("://")[2]
    if found := [mark for mark in "?#%" if mark in path]:
        raise RequestError(
            f"{setting} must name a SQLite file without `?`, `#` and `%`, which mean something else in a "
            f"URL, got {found[0]!r} in {url!r}. Rename the file, or name it from within its folder."
        )


def _postgres_url(url: URL, driver: str) -> URL:
    url = url.set(drivername=f"postgresql+{driver}")
    try:
        url.get_dialect().import_dbapi()
    except NoSuchModuleError as error:
        raise RequestError(
            f"`storage` names an unknown driver, got {driver!r}. Use postgresql://."
        ) from error
    except ImportError as error:
        raise RequestError(
            f"`storage` needs the driver {driver} for {shown_url(url)}, which can't be imported ({error}). "
            "Install it: pip install 'kdsearch-hpo[postgres]'."
        ) from error
    return url


def _check_file(url: URL, *, create: bool) -> None:
    path = Path(url.database or "")
    if not path.parent.is_dir():
        raise RequestError(f"`storage` must lie in an existing folder, got {path}. Create {path.parent}.")
    if not (create or path.exists()):
        raise RequestError(
            f"There is no database {path}. Launch a study first, or name another with --storage."
        )
    if kind := network_filesystem(path):
        raise RequestError(
            f"`storage` must be on a local disk for SQLite, got {path} on a network file system ({kind}), "
            "whose locks and shared memory SQLite can't trust. Use PostgreSQL: postgresql://…."
        )


def _identity(url: URL) -> tuple[int, int] | None:
    """Return what tells a SQLite file from a later one. None where there is no file."""
    if url.get_backend_name() != "sqlite":
        return None
    try:
        status = os.stat(url.database or "")
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _engine(url: URL) -> Engine:
    engine = create_engine(url, **engine_options(url))
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", _name_database)
    return engine


def _name_database(context: ExceptionContext) -> None:
    """Let an error say which database it is of: `explained` tells it."""
    error = context.sqlalchemy_exception
    if isinstance(error, StatementError) and context.engine is not None:
        error.add_detail(shown_url(context.engine.url))


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _leave_transactions_to_us(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late, and never before DDL


def _begin(connection: Connection) -> None:
    options: Mapping[str, Any] = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES) else "BEGIN")


def _prepare_file(database: Database) -> None:
    """Let readers of a SQLite file work beside its writer.

    The file remembers it.
    """
    if database.url.get_backend_name() != "sqlite":
        return
    with database.engine.connect() as connection:
        dbapi = connection.connection.dbapi_connection
        assert isinstance(dbapi, sqlite3.Connection)  # noqa: S101 - our own mistake
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                dbapi.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:  # here SQLite itself waits for nobody
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return
