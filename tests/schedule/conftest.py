"""A study whose trainer only waits, launched as a user would: by the command, in its own process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdsearch.storage import TrialRow, load_trials, open_database

TRAINER = """
import logging, math, time

def train(trial, report):
    logging.getLogger("kdsearch.own").warning("a worker's disk is slow")
    T = trial.params["objective.temperature"]
    for epoch in range(1, trial.epochs + 1):
        time.sleep(trial.spec.options["seconds"] / trial.epochs)
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
options: {seconds: 0.2, fault: none}
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

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = f"sqlite:///{folder / 'study.db'}"
        (folder / "waiting_trainer.py").write_text(TRAINER)
        (folder / "study.yaml").write_text(SPEC)
        self._processes: list[subprocess.Popen[str]] = []

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
        process = self.start(*options)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def rows(self) -> list[TrialRow]:
        with open_database(self.storage) as database:
            return load_trials(database, "waiting")

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
        try:
            return sum(row.state == state for row in self.rows())
        except ValueError:  # the tables, or the study, are being made
            return 0

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.communicate()


@pytest.fixture
def launches(tmp_path: Path) -> Iterator[Launches]:
    launched = Launches(tmp_path)
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
