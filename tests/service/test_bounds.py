"""One request, or two hundred at once, stop nobody: each has bounds, and words where it meets them."""

import http.client
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
import uvicorn

from kdsearch.service import build_app
from kdsearch.service.answering.answers import Answers
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import StudyRecord, open_database
from kdsearch.trial import TrialResult

API = "/kdsearch/v1"
BOMB = "[&a [1,1,1,1,1,1,1,1,1,1]" + "".join(
    f", &{new} [{','.join(10 * [f'*{old}'])}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "address", ["studies/demo/best?where=optimizer.name=", "recommend?set=optimizer.name="]
)
def test_a_small_text_that_stands_for_gigabytes_is_refused_at_once(client, answers, address):
    client.get(f"{API}/studies/demo/best")  # the worker has started
    before = time.process_time()
    answer = client.get(f"{API}/{address}{quote(BOMB)}]")
    assert answer.status_code == 422
    assert "[&a [1,1," in answer.json()["error"]
    assert len(answer.json()["error"]) < 1000
    assert time.process_time() - before < 5  # at 352 characters it took minutes and gigabytes


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"{API}/studies/demo/best?where=optimizer.name={1000 * 'x'}", 422),
        (f"{API}/studies/demo/best?by={9000 * 'x'}", 414),
        (f"{API}/studies/demo/best?where=optimizer.name=%00", 422),
        (f"/studies/{9000 * 'x'}", 414),
    ],
)
def test_long_and_odd_texts_are_refused(client, address, status):
    answer = client.get(address)
    assert answer.status_code == status
    assert len(answer.text) < 3000


def test_an_answer_that_takes_too_much_is_given_up_and_others_are_answered(connect, storage_url):
    answers = Answers(cpu_limit_s=0)
    client = connect(storage_url, answers=answers)
    try:
        answer = client.get(f"{API}/studies/demo/importance")
        assert (answer.status_code, "CPU seconds" in answer.text) == (503, True)
        assert client.get(f"{API}/health").status_code == 200
        assert client.get(f"{API}/studies/demo/importance").status_code == 503
    finally:
        answers.close()


def test_a_study_that_can_not_be_read_hides_no_other(connect, tmp_path, store, monkeypatch):
    monkeypatch.setattr("kdsearch.service.pages.FIRST_ANSWER_S", 60.0)  # on a busy machine, too
    url = f"sqlite:///{tmp_path}/two.db"
    store(url, "good")
    store(url, "bad")
    with open_database(url) as database, database.write() as connection:
        connection.exec_driver_sql("UPDATE kd_study SET spec = '{\"name\": \"bad\"}' WHERE name = 'bad'")
    client = connect(url)
    page = client.get("/")
    assert page.status_code == 200
    assert "the stored spec of" in page.text
    assert "sgd: " in page.text
    assert client.get(f"{API}/studies/good/best").status_code == 200
    assert client.get(f"{API}/studies/bad/best").status_code == 422
    with open_database(url) as database, database.write() as connection:
        connection.exec_driver_sql("UPDATE kd_study SET created = 'yesterday' WHERE name = 'bad'")
    assert client.get("/").status_code == 200
    states = {study["study"]: study["state"] for study in client.get(f"{API}/studies").json()}
    assert states == {"bad": "unreadable", "good": "finished"}


@pytest.mark.slow
def test_two_hundred_clients_beside_a_study_that_writes_are_all_answered(tmp_path, store, answers):
    url = f"sqlite:///{tmp_path}/busy.db"
    store(url)
    server = uvicorn.Server(uvicorn.Config(build_app(url, answers=answers), port=0, log_level="error"))
    serving, stop = threading.Thread(target=server.run), threading.Event()
    writing = threading.Thread(target=write_trials, args=(url, stop))
    serving.start()
    writing.start()
    try:
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        with ThreadPoolExecutor(200) as clients:
            found = Counter(
                status for each in clients.map(lambda n: ask(port, n), range(200)) for status in each
            )
    finally:
        stop.set()
        writing.join()
        server.should_exit = True
        serving.join()
    assert found == {200: 600}


def ask(port: int, number: int) -> list[int]:
    """Return the status of three requests, other ones for each client."""
    addresses = [
        "/",
        "/studies/demo",
        *(f"{API}/studies/demo/{what}" for what in ("best", "trials", "forecast")),
    ]
    addresses += [
        f"{API}/health",
        f"{API}/studies",
        "/api/studies",
        f"{API}/recommend?set=optimizer.name=sgd",
    ]
    return [status_of(port, addresses[(number + step) % len(addresses)]) for step in range(3)]


def status_of(port: int, address: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", address)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def write_trials(url: str, stop: threading.Event) -> None:
    spec = load_spec({"name": "writes", "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}}})
    with open_database(url) as database:
        record = StudyRecord.open(database, spec)
        while not stop.wait(0.2):
            (trial,) = record.start({}, [{TEMPERATURE: 4.0}], "pack")
            record.finish(TrialResult(trial.number, "complete", 1, {"val_accuracy": 0.9}))
