import base64

import pytest

PATHS = ["/", "/kdsearch/v1/studies", "/api/studies", "/api/studies/1", "/static/bundle.js"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_writes(client, method, path):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert "only reads" in answer.json()["error"]


@pytest.mark.parametrize("path", PATHS)
def test_head_has_no_body(client, path):
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"])
def test_loopback_names_are_answered(client, host):
    assert client.get("/kdsearch/v1/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::2]"])
@pytest.mark.parametrize("path", PATHS)
def test_a_name_that_another_site_points_here_is_refused(client, host, path):
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 400
    assert "host must be one of" in answer.json()["error"]


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize("credentials", ["Bearer secret", "bearer secret", basic("secret")])
@pytest.mark.parametrize("path", PATHS)
def test_with_a_token_every_name_is_answered(connect, storage_url, credentials, path):
    with connect(storage_url, hosts=None, token="secret") as client:
        headers = {"authorization": credentials, "host": "node7.example:8080"}
        assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "credentials",
    [None, "", "Bearer", "Bearer wrong", "Bearer sécret".encode("latin1"), basic("wrong"), "Basic %"],
)
@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_told(connect, storage_url, credentials, path):
    with connect(storage_url, hosts=None, token="secret") as client:
        headers = {} if credentials is None else {"authorization": credentials}
        answer = client.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("path", [*PATHS, "/studies/demo", "/nothing"])
def test_browsers_are_told_to_be_careful(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
