"""A study of seconds that faults are done to, launched as a user would, and what must hold of it then."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdsearch.storage import TrialRow, load_epochs, load_trials, open_database

NAME, TRIALS, EPOCHS, PACK = "faults", 8, 6, 2
LIMIT_S = 180.0
_WAITING = {
    "trainer": "kdsearch.bench.faults.trainer:train",
    "training": {"epochs": EPOCHS},
}
_DISTILLING = {
    "dataset": {"name": "digits", "train_size": 200, "validation_size": 100},
    "augment": {"crop_padding": 1},
    "student": {"arch": "convnet_8_16"},
    "teacher": {"arch": "mlp_64", "finetune": {"epochs": 20}},
    "training": {"epochs": EPOCHS * 5, "batch_size": 32},
}


class FaultStudy:
    """The study in a folder of its own."""

    def __init__(self, folder: Path, *, distills: bool, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.artifacts.mkdir(parents=True, exist_ok=True)
        self.epochs = EPOCHS * 5 if distills else EPOCHS
        self.finished: set[int] = set()
        self._storage = f"sqlite:///{folder / 'study.db'}"
        self._options = [word for item in settings.items() for word in ("--set", "=".join(item))]
        document = {
            **(_DISTILLING if distills else _WAITING),
            "name": NAME,
            "setup": {"optimizer.name": ["sgd", "adamw"]},
            "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
            "search": {"trials": TRIALS, "pack": PACK, "sampler": "qmc", "pruner": "none"},
            "artifacts": str(self.artifacts),
        }
        (folder / "study.yaml").write_text(json.dumps(document))

    def launch(self, *, shell: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> int:
        """Launch to the end and return the exit code."""
        return self.wait(self.start(shell=shell, environment=environment))

    def start(
        self, *more: str, shell: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Launch and return the driver's process.

        Args:
            more: Options of the command.
            shell: What starts the command, as `env` would.
            environment: Variables beside this process's own.
        """
        command = [*shell, sys.executable, "-m", "kdsearch", "launch", "study.yaml", *self._options, *more]
        variables = {**os.environ, **(environment or {}), "KDSEARCH_STORAGE": self._storage}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=variables, stdout=log, stderr=log)  # noqa: S603 - ours

    def wait(self, process: "subprocess.Popen[bytes]") -> int:
        """Wait for a driver and return its exit code; one that takes far too long is killed."""
        try:
            return process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def await_running(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until two packs train at once, or the driver has ended."""
        while process.poll() is None:
            if len({row.pack for row in self.rows() if row.state == "running" and row.epochs}) > 1:
                return
            time.sleep(0.1)

    def log(self) -> str:
        """Return what the drivers printed."""
        return (self.folder / "log").read_text(errors="replace")

    def rows(self) -> list[TrialRow]:
        """Return the trials so far."""
        try:
            with open_database(self._storage) as database:
                return load_trials(database, NAME)
        except ValueError:  # the database, or the study in it, is being made
            return []

    def note_finished(self) -> None:
        """Remember what is finished by now, and must stay so."""
        self.finished |= {row.number for row in self.rows() if row.state == "complete"}

    def problems(self, code: int, reason: str, hits: bool) -> list[str]:
        """Return what does not hold of the ended study; see `Kind` for the arguments."""
        rows = self.rows()
        diverged = [row for row in rows if row.reason == "diverged"]
        complete = [row for row in rows if row.state == "complete"]
        failed = [row for row in rows if row.state == "failed"]
        states = Counter(row.state for row in rows)
        strange = {row.reason for row in failed if not re.match(reason, row.reason or "")}
        left = self._left_files()
        found = {
            f"exit code {code}: {self._last_words()}": code != 0,
            f"{states['running']} running, {states['waiting']} waiting": states["running"]
            + states["waiting"],
            f"{len(complete) + len(diverged)} of {TRIALS} finished": len(complete) + len(diverged) != TRIALS,
            "a seed counted twice": len({row.seed for row in complete + diverged})
            != len(complete + diverged),
            "a finished trial was lost": not self.finished <= {row.number for row in complete},
            f"the reasons {strange}": strange,
            f"no trial failed with {reason!r}": hits and not failed,
            "a curve has gaps": not self._curves_are_whole([row.number for row in complete]),
            "a curve changed when its pack was run again": not self._curves_agree(rows),
            f"left behind: {left}": left,
        }
        return [text for text, holds in found.items() if holds]

    def _last_words(self) -> str:
        lines = self.log().splitlines() if (self.folder / "log").exists() else []
        return lines[-1] if lines else "nothing was printed"

    def _left_files(self) -> list[str]:
        unfinished = (*self.artifacts.rglob("*.part"), *self.artifacts.glob("teachers/.*"))
        return [path.name for path in (*unfinished, *self.artifacts.glob("checkpoints/*"))]

    def _curves(self, numbers: list[int]) -> dict[int, dict[int, float | None]]:
        if not numbers:
            return {}
        with open_database(self._storage) as database:
            epochs = load_epochs(database, NAME, numbers)
        curves: dict[int, dict[int, float | None]] = {number: {} for number in numbers}
        for row in epochs:
            curves[row.number][row.epoch] = row.val_accuracy
        return curves

    def _curves_are_whole(self, numbers: list[int]) -> bool:
        whole = list(range(1, self.epochs + 1))
        return all(sorted(curve) == whole for curve in self._curves(numbers).values())

    def _curves_agree(self, rows: Sequence[TrialRow]) -> bool:
        """Return whether trials of one seed, the lost and those run again, share their curve."""
        curves = self._curves([row.number for row in rows])
        by_seed: dict[int, dict[int, float | None]] = {}
        for row in rows:
            seen = by_seed.setdefault(row.seed, {})
            if any(seen.setdefault(epoch, value) != value for epoch, value in curves[row.number].items()):
                return False
        return True
