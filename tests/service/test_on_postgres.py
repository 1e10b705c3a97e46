import pytest
from starlette.testclient import TestClient

from kdsearch.service import build_app


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
