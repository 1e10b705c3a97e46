"""How documents come: described, packed, tagged, in parts; and the streams that say what is new."""

import http.client
import json
import threading

import pytest
import uvicorn

from kdsearch.service import build_app, events
from kdsearch.service.openapi import ADDRESSES

API = "/kdsearch/v1"


def test_every_address_is_described_and_takes_what_is_described(client):
    document = client.get(f"{API}/openapi.json").json()
    assert (document["openapi"], document["servers"]) == ("3.1.0", [{"url": API}])
    assert set(document["paths"]) == set(ADDRESSES)
    given_values = {
        "by": "optimizer.name",
        "factor": "optimizer.name",
        "set": "optimizer.name=sgd",
        "study": "demo",
    }
    given_values |= {"where": "optimizer.name=sgd", "limit": "5", "state": "complete", "kind": "response"}
    for path, operations in document["paths"].items():
        asked = {}
        for parameter in operations["get"]["parameters"]:
            low = parameter["schema"].get("minimum", 0)
            if parameter["in"] == "query":
                asked[parameter["name"]] = given_values.get(parameter["name"], str(low))
        answer = client.get(API + path.replace("{name}", "demo"), params=asked)
        assert answer.status_code == 200, (path, answer.text)
        for name in asked:
            if operations["get"]["parameters"][-1]["name"] == name and name in ADDRESSES[path].required:
                assert client.get(API + path.replace("{name}", "demo")).status_code == 422


@pytest.mark.parametrize(
    "address", [f"{API}/studies/demo/trials", "/studies/demo/trials", f"{API}/studies/demo/best"]
)
def test_what_a_client_has_is_not_sent_again(client, address):
    first = client.get(address)
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-encoding"] == "gzip"
    again = client.get(address, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(address, headers={"if-none-match": 'W/"other"'}).content == first.content


def test_trials_come_in_parts_that_lead_to_the_next(client):
    whole = client.get(f"{API}/studies/demo/trials").json()
    address, parts = f"{API}/studies/demo/trials?limit=7", []
    while address:
        answer = client.get(address)
        parts += answer.json()
        assert answer.headers["x-total-count"] == "16"
        address = answer.links.get("next", {}).get("url")
    assert parts == whole
    failed = client.get(f"{API}/studies/demo/trials?limit=7&state=failed").json()
    assert failed == [trial for trial in whole if trial["state"] == "failed"]


def test_a_list_that_is_too_long_for_one_answer_is_refused_rather_than_cut(client, monkeypatch):
    monkeypatch.setattr("kdsearch.service.documents.MOST_TRIALS", 10)
    answer = client.get(f"{API}/studies/demo/trials")
    assert answer.status_code == 422
    assert "`limit` must be given for more than 10 trials; 'demo' has 16." in answer.json()["error"]


def test_streams_say_what_is_new_and_no_more_are_open_than_are_allowed(storage_url, answers, monkeypatch):
    monkeypatch.setattr(events, "MOST_STREAMS", 1)
    app = build_app(storage_url, answers=answers)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = threading.Thread(target=server.run)
    serving.start()
    while not server.started:
        serving.join(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    first, second = (http.client.HTTPConnection("127.0.0.1", port, timeout=120) for _ in range(2))
    try:
        first.request("GET", "/studies/demo/events")
        stream = first.getresponse()
        assert stream.getheader("content-type", "").startswith("text/event-stream")
        lines = [stream.readline().decode() for _ in range(4)]
        news = json.loads(lines[3].removeprefix("data: "))
        assert (lines[0], lines[2]) == ("retry: 1000\n", "event: change\n")
        assert "16 of 16 trials" in news["standing"]
        second.request("GET", "/events")
        assert second.getresponse().status == 503
    finally:
        app.state.is_closing = True
        server.should_exit = True
        serving.join(30)
    assert not serving.is_alive(), "an open stream must not keep the service from ending"
    first.close()
    second.close()
