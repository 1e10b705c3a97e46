"""A job is followed over a head that does not answer for a while."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import ray

from kdsearch.errors import RunError
from kdsearch.schedule import jobs

VERSION = {"version": "4", "ray_version": ray.__version__, "ray_commit": "", "session_name": ""}
ENDED = {
    "type": "SUBMISSION",
    "status": "SUCCEEDED",
    "entrypoint": "kdsearch launch",
    "submission_id": "job-1",
}


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[int]], str]]:
    """Return what starts a head that refuses requests with such codes, one after the other, before it answers."""
    monkeypatch.setattr(jobs, "POLL_S", 0.0)
    servers: list[ThreadingHTTPServer] = []

    def start(refusals: list[int]) -> str:
        class Head(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_about_jobs = self.path.startswith("/api/jobs/")
                code = refusals.pop(0) if is_about_jobs and refusals else 200
                if code == 0:  # the connection is cut without a word
                    return
                told: Any = VERSION
                if is_about_jobs:
                    told = {"logs": "all is done\n"} if self.path.endswith("/logs") else ENDED
                content = json.dumps(told).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Head))
        Thread(target=servers[0].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[0].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def follow(address: str, echo: Callable[[str], None] = print) -> None:
    jobs.follow_job("job-1", "mine", "sqlite:///nowhere.db", address, echo=echo)


def test_a_request_that_fails_is_asked_again(
    head: Callable[[list[int]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE_S", 600.0)
    shown: list[str] = []
    follow(head([0, 503, 200, 0]), shown.append)
    assert shown == ["all is done"]


def test_a_head_that_stays_silent_is_told_with_the_way_to_look_again(
    head: Callable[[list[int]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE_S", 0.0)
    address = head([503] * 9)
    with pytest.raises(RunError) as told:
        follow(address)
    command = f"ray job logs --follow job-1 --address {address}"
    assert "The job job-1 does not depend on this terminal and goes on" in str(told.value)
    assert command in str(told.value)
    assert "\n" not in str(told.value)
