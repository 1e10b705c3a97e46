"""A study whose trainer only waits, launched by the command: in a process of its own, or in this one."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, closing
from pathlib import Path

import pytest

from kdsearch.cli.main import INTERRUPTED, run
from kdsearch.storage import TrialRow, load_trials, open_database
from tests.one_ray import one_ray

TRAINER = """
import logging, math, time
from pathlib import Path

def train(trial, report):
    logging.getLogger("kdsearch.own").warning("a worker's disk is slow")
    T = trial.params["objective.temperature"]
    for epoch in range(1, trial.epochs + 1):
        time.sleep(float(Path("seconds").read_text()) / trial.epochs)
        accuracy = 0.9 - 0.05 * math.log(T / 6) ** 2 - 0.3 / epoch
        if report(epoch, {"val_accuracy": accuracy, "val_loss": 1.0, "train_loss": 1.0}):
            break
    if trial.spec.options["fault"] == "diverge" and T > 20:
        return {"val_accuracy": math.nan}
    if trial.spec.options["fault"] == "raise":
        raise ValueError("the trainer is broken")
    return {"val_accuracy": accuracy, "test_accuracy": accuracy - 0.01}
"""
SPEC = """
name: waiting
trainer: waiting_trainer:train
options: {fault: none}
training: {epochs: 4}
setup: {optimizer.name: [sgd, adamw]}
tune: {objective.temperature: {low: 1, high: 40, log: true}}
search: {trials: 16, pack: 4, sampler: random}
"""
PATIENCE_S = 600.0
"""How long a launch may take on a machine that others keep busy: then it hangs."""


class Launches:
    """Launches the study in a folder of its own.

    It also looks into its database.
    """

    patience_s = PATIENCE_S

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.storage = f"sqlite:///{folder / 'study.db'}"
        (folder / "waiting_trainer.py").write_text(TRAINER)
        (folder / "study.yaml").write_text(SPEC)
        self.pace(0)
        self._processes: list[subprocess.Popen[str]] = []

    def pace(self, seconds: float) -> None:
        """Let a trial take so long, from its next epoch on."""
        (self.folder / "new").write_text(str(seconds))
        (self.folder / "new").replace(self.folder / "seconds")

    def start(self, *options: str, stderr: int = subprocess.PIPE, **more: str) -> "subprocess.Popen[str]":
        """Launch in a process group of its own.

        `more` are variables of the environment.
        """
        command = [sys.executable, "-m", "kdsearch", "launch", "study.yaml", *options]
        environment = {**os.environ, "KDSEARCH_STORAGE": self.storage, **more}
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def run(self, *options: str) -> tuple[int, str, str]:
        """Launch in this process, on the Ray that a file's launches share."""
        self._capsys.readouterr()
        with chdir(self.folder):
            code = run(["launch", "study.yaml", "--storage", self.storage, *options])
        if code == INTERRUPTED:  # a person ends the tests
            raise KeyboardInterrupt
        return code, *self._capsys.readouterr()

    def rows(self) -> list[TrialRow]:
        with open_database(self.storage) as database:
            return load_trials(database, "waiting")

    def await_database(self, process: "subprocess.Popen[str]") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not (self.folder / "study.db").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)

    def await_running(self, process: "subprocess.Popen[str]") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._count("running") == 0:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)

    def await_finished(self, count: int, process: "subprocess.Popen[str]") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            if self._count("complete") >= count:
                return
            time.sleep(0.1)
        raise AssertionError(f"{count} trials did not finish in {PATIENCE_S:g} s")

    def _count(self, state: str) -> int:
        """Count trials by a query alone: it is asked ten times a second."""
        try:
            with closing(sqlite3.connect(f"file:{self.folder}/study.db?mode=ro", uri=True)) as connection:
                asked = connection.execute("SELECT count(*) FROM kd_trial WHERE state = ?", [state])
                return int(asked.fetchone()[0])
        except sqlite3.OperationalError:  # the tables are being made
            return 0

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.communicate()


@pytest.fixture(scope="module")
def shared_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray for the launches of a file; its workers find the trainer in the folder where Ray began."""
    folder = tmp_path_factory.mktemp("trainer")
    (folder / "waiting_trainer.py").write_text(TRAINER)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.syspath_prepend(folder)
        with chdir(folder):
            stack.enter_context(one_ray())
        yield


@pytest.fixture
def launches(shared_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Launches]:
    launched = Launches(tmp_path, capsys)
    yield launched
    launched.end()


@pytest.fixture
def ray_processes() -> Callable[[int], list[str]]:
    """Return what finds the processes of a driver's embedded Ray.

    The name of Ray's session ends with the driver's pid.
    """
    import psutil

    def find(pid: int) -> list[str]:
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or [])
            if "/kds-" in command and f"_{pid}/" in command:
                found.append(command)
        return found

    return find
