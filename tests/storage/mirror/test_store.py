"""Optuna's tables in a database that others open too."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from kdsearch.errors import RequestError
from kdsearch.storage import open_database
from kdsearch.storage.mirror.store import open_optuna_storage

N_LAUNCHES = 4


@pytest.mark.parametrize(
    ("version", "advice"), [("v9.0.0", "pip install -U optuna"), ("v1.3.0.a", "optuna storage upgrade")]
)
def test_tables_of_another_optuna_are_refused_also_after_fitting_ones(
    empty_url: str, version: str, advice: str
) -> None:
    with open_database(empty_url, create=True) as database:
        open_optuna_storage(database)
        open_optuna_storage(database)
        with database.write() as connection:
            connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{version}'"))
        with pytest.raises(RequestError, match=f"Optuna's tables in .* got {version}. .*{advice}"):
            open_optuna_storage(database)


@pytest.mark.postgres
def test_launches_that_begin_at_once_share_an_empty_server(postgres_url: str) -> None:
    together = threading.Barrier(N_LAUNCHES)

    def launch(_: int) -> int:
        with open_database(postgres_url, create=True) as database:
            together.wait()
            return len(open_optuna_storage(database).get_all_studies())

    with ThreadPoolExecutor(N_LAUNCHES) as pool:
        assert list(pool.map(launch, range(N_LAUNCHES))) == [0] * N_LAUNCHES
