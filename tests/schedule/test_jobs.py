"""A study as a Ray job, on a head of its own.

The head has a token, and the study a real PostgreSQL server.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from kdsearch.cli.main import run
from kdsearch.storage import list_studies, load_trials, open_database

BIN = Path(sys.executable).parent
START_S = 300  # far longer than a head takes on a busy machine
TRAINER = """
import time
from pathlib import Path

def train(trial, report):
    while not Path(str(trial.spec.options["gate"])).exists():
        time.sleep(0.1)
    return {"val_accuracy": 0.5 + 0.01 * min(trial.params["objective.temperature"], 8)}
"""
SPEC = """
name: as_job
trainer: job_trainer:train
setup: {optimizer.name: [sgd]}
tune: {objective.temperature: {low: 1, high: 40, log: true}}
search: {trials: 8, pack: 4, sampler: random}
resources: {cpus_per_pack: 2}
"""


@pytest.mark.ray
@pytest.mark.postgres
@pytest.mark.slow
def test_a_detached_study_is_one_job_however_often_it_is_submitted(
    tmp_path: Path, postgres_url: str, ray_head: tuple[str, dict[str, str]]
) -> None:
    (tmp_path / "job_trainer.py").write_text(TRAINER)
    gate = tmp_path / "gate"  # no trial ends before it is there
    (tmp_path / "study.yaml").write_text(f"{SPEC}options: {{gate: {gate}}}\n")
    address, environment = ray_head
    command = [str(BIN / "kdsearch"), "launch", "study.yaml", "--address", address]
    variables = {**environment, "KDSEARCH_STORAGE": postgres_url}

    def launch(*options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env=variables,
            text=True,
            capture_output=True,
            check=False,
            timeout=600,
        )

    def submitted(*options: str) -> Any:
        done = launch("--detach", "--format", "json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = submitted()
    second = submitted()
    assert first["is_new"]
    assert second == {**first, "is_new": False}
    with open_database(postgres_url) as database:
        assert [study.name for study in list_studies(database)] == ["as_job"]  # before its driver is there
    refused = launch("--detach", "--trials", "9")
    assert refused.returncode == 2
    assert f"run by the job {first['job']}" in refused.stderr
    with subprocess.Popen(
        command, cwd=tmp_path, env=variables, text=True, stdout=subprocess.PIPE
    ) as following:
        assert following.stdout is not None
        assert f"It runs already, as {first['job']}." in following.stdout.readline()
        gate.touch()
        told, _ = following.communicate(timeout=600)
    assert following.returncode == 0, told
    assert "The study is finished" in told
    with open_database(postgres_url) as database:
        assert [row.state for row in load_trials(database, "as_job")] == ["complete"] * 8
    (tmp_path / "job_trainer.py").unlink()  # the next one dies at its start
    lost = launch("--set", "name=lost")
    assert lost.returncode != 0
    with open_database(postgres_url) as database:
        (study,) = (study for study in list_studies(database) if study.name == "lost")
    assert (study.state, "job_trainer" in (study.reason or "")) == ("failed", True)
    (tmp_path / "job_trainer.py").write_text(TRAINER)
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
        (
            ["--address", "http://127.0.0.1:1", "--storage", "postgresql://u:secret@h/n"],
            "must hold no password for a Ray job",
        ),
        (
            ["--address", "http://127.0.0.1:1", "--storage", "postgresql://u@h/n?password=secret"],
            "must hold no password for a Ray job",
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
    err = capsys.readouterr().err
    assert told in err
    assert "secret" not in err


@pytest.fixture
def ray_head(short_folder: str, free_ports: Any, running: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the address of a head, and the environment for it.

    The address is that of its dashboard; the head is beside whatever else runs here.
    """
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
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    command = [*head, "--node-ip-address=127.0.0.1", f"--temp-dir={short_folder}", *options]
    with running(command, environment) as process:
        await_jobs(address, environment["RAY_AUTH_TOKEN"], process)
        yield address, environment


def await_jobs(address: str, token: str, head: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while not tells_jobs(address, token):
        assert head.poll() is None, "the head ended"
        assert time.monotonic() < deadline, "the head did not answer"
        time.sleep(0.5)


def tells_jobs(address: str, token: str) -> bool:
    """Return whether a head tells its jobs. `ray job list` would load Ray for each question."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=START_S)
    try:
        connection.request("GET", "/api/jobs/", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status == 200
    except OSError:  # nobody listens yet
        return False
    finally:
        connection.close()
