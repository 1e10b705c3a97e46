"""Optuna's tables in a database that others open too."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kdsearch.storage import open_database
from kdsearch.storage.mirror.store import open_optuna_storage

N_LAUNCHES = 4


@pytest.mark.postgres
def test_launches_that_begin_at_once_share_an_empty_server(postgres_url: str) -> None:
    together = threading.Barrier(N_LAUNCHES)

    def launch(_: int) -> int:
        with open_database(postgres_url, create=True) as database:
            together.wait()
            return len(open_optuna_storage(database).get_all_studies())

    with ThreadPoolExecutor(N_LAUNCHES) as pool:
        assert list(pool.map(launch, range(N_LAUNCHES))) == [0] * N_LAUNCHES
