import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from kdsearch.errors import RequestError
from kdsearch.service import run

SERVE = "import sys; from kdsearch.service import run; run(sys.argv[1], port=0, announce=lambda u: print(u, flush=True))"


def test_a_taken_port_is_named(storage_url):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=rf"`--port` must be free, got {port}"):
            run(storage_url, port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_beyond_loopback_a_token_is_needed(storage_url, monkeypatch, host):
    monkeypatch.delenv("KDSEARCH_TOKEN", raising=False)
    with pytest.raises(RequestError, match="KDSEARCH_TOKEN"):
        run(storage_url, host=host)


def test_an_address_of_another_machine_is_named(storage_url, monkeypatch):
    monkeypatch.setenv("KDSEARCH_TOKEN", "secret")
    with pytest.raises(RequestError, match=r"`--host 192\.0\.2\.1`"):
        run(storage_url, host="192.0.2.1", port=0)


def test_it_serves_until_it_is_interrupted(storage_url):
    environment = {name: value for name, value in os.environ.items() if name != "KDSEARCH_TOKEN"}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, storage_url], stdout=subprocess.PIPE, env=environment, text=True
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with urllib.request.urlopen(f"{address}kdsearch/v1/health") as answer:
            assert answer.status == 200
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) == 0
