"""A study of seconds for faults, launched as a user would."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil  # type: ignore[import-untyped]  # has no stubs of its own

from kdsearch.bench.faults.checks import (
    Curves,
    problems_of_change,
    problems_of_files,
    problems_of_log,
    problems_of_numbers,
    problems_of_study,
)
from kdsearch.bench.faults.reading import Reading, TrialLine, read_study
from kdsearch.bench.faults.trainer import LAUNCH, OPEN, at_gate

NAME, TRIALS, EPOCHS, PACK = "faults", 8, 4, 2
DISTILLED_EPOCHS = 30  # by hand: long enough to be met in the middle of a pack
STANDSTILL_S = 600.0
"""So long nothing may go on, by the database and the log: a slow machine is no fault."""
_LOOK_S = 0.05  # between looks: short beside the moments that are waited for
_READ_S = 0.5  # between reads of the database, which take its lock
_MARK = "KDSEARCH_FAULT_ROUND"
_WAITING = {
    "trainer": "kdsearch.bench.faults.trainer:train",
    "training": {"epochs": EPOCHS},
}
_DISTILLING = {
    "dataset": {"name": "digits", "train_size": 200, "validation_size": 100},
    "augment": {"crop_padding": 1},
    "student": {"arch": "convnet_8_16"},
    "teacher": {"arch": "mlp_64", "finetune": {"epochs": 20}},
    "training": {"epochs": DISTILLED_EPOCHS, "batch_size": 32},
}

Driver = subprocess.Popen[bytes]


class MissedError(Exception):
    """Raised where a fault hit nobody, with the reason."""


class FaultStudy:
    """A study in a folder of its own.

    `driver` is its last launch; None before the first, and where a fault ended it on purpose. `surroundings`
    last until the study ends. `first_pack` is the place of the first pack that no fault has met. `wrong` has
    what was found wrong so far.

    Args:
        folder: An empty folder.
        distills: Whether it trains students on digits, not with the trainer that takes no time.
        settings: Beside those of the study.
        n_faults: How many faults it will meet.
        address: The Ray cluster that it joins; without one each launch starts its own.
        token: What that cluster asks for.
        storage: The URL of its database; without one a file in the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        distills: bool,
        settings: Mapping[str, str],
        n_faults: int = 1,
        address: str | None = None,
        token: str = "",
        storage: str | None = None,
    ) -> None:
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.artifacts.mkdir(parents=True, exist_ok=True)
        self.file = folder / "study.db"
        self.epochs = DISTILLED_EPOCHS if distills else EPOCHS
        self.finished: dict[int, TrialLine] = {}
        self.wrong: list[str] = []
        self.n_faults = n_faults
        self.driver: Driver | None = None
        self.surroundings = ExitStack()
        self.first_pack = 0
        self._log_before = 0
        self._launches = 0
        self._address = address
        self._token = {"RAY_AUTH_TOKEN": token} if token else {}
        self._storage = storage or f"sqlite:///{self.file}"
        self._options = [word for item in settings.items() for word in ("--set", "=".join(item))]
        document = {
            **(_DISTILLING if distills else _WAITING),
            "name": NAME,
            "setup": {"optimizer.name": ["sgd", "adamw"]},
            "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
            "search": {"trials": TRIALS, "pack": PACK, "sampler": "random", "pruner": "none"},
            "artifacts": str(self.artifacts),
        }
        (folder / "study.yaml").write_text(json.dumps(document))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes():  # whatever ended the round
            with suppress(psutil.Error):
                process.kill()
        if self.driver is not None:
            self.driver.kill()
            self.driver.wait()
        self.surroundings.close()

    def start(
        self,
        *more: str,
        shell: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        out: IO[bytes] | int | None = None,
        errors: IO[bytes] | int | None = None,
    ) -> Driver:
        """Launch and return the driver's process, the study's `driver` from now on.

        It is the first of a process group of its own.

        Args:
            more: Options of the command.
            shell: What starts the command, as `env` would.
            environment: Variables beside this process's own.
            out: Where its output goes; without one to the log.
            errors: Where its messages go; without one to the log.
        """
        self._launches += 1
        joins = [] if self._address is None or "--address" in more else ["--address", self._address]
        launch = ["-m", "kdsearch", "launch", "study.yaml", *self._options, *joins, *more]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **self._token, **(environment or {})}
        variables |= {"KDSEARCH_STORAGE": self._storage, _MARK: str(self.folder), LAUNCH: str(self._launches)}
        self._log_before = len(self.log())
        with (self.folder / "log").open("ab") as log:
            self.driver = subprocess.Popen(  # noqa: S603 - ours
                [*shell, sys.executable, *launch],
                cwd=self.folder,
                env=variables,
                stdout=log if out is None else out,
                stderr=log if errors is None else errors,
                start_new_session=True,
            )
        return self.driver

    def running(self) -> Driver:
        """Return the driver, launched unless it was. One that ended by itself is not launched again."""
        return self.start() if self.driver is None else self.driver

    def finish(self) -> int:
        """Let the study run to its end and return the last launch's exit code."""
        self.open_gate()
        code = self.wait(self.running())
        self.surroundings.close()
        return code

    def wait(self, driver: Driver) -> int:
        """Wait for a driver's end and return its exit code. One with which nothing goes on is killed."""
        self.until(driver, lambda: False)
        return driver.wait()

    def until(self, driver: Driver, holds: Callable[[], bool]) -> bool:
        """Wait until something holds. Return False where the driver ended first, or nothing goes on.

        What has finished by then is remembered, and must stay as it is.
        """
        seen, since, read = "", time.monotonic(), 0.0
        while driver.poll() is None:
            if holds():
                return True
            now = time.monotonic()
            if now - read > _READ_S:
                read, progress = now, self._progress()
                since, seen = (since, seen) if progress == seen else (now, progress)
            if now - since > STANDSTILL_S:
                self.wrong.append(f"nothing went on for {STANDSTILL_S:g} s, so the driver was killed")
                driver.kill()
                driver.wait()
            time.sleep(_LOOK_S)
        return False

    def until_at_gate(self, driver: Driver, processes: int = 1) -> None:
        """Wait until so many processes are at the gate at once.

        Raises:
            MissedError: The study ended before.
        """
        if not self.until(driver, lambda: len(self.at_gate()) >= processes):
            raise MissedError(f"{processes} packs never ran at once")

    def at_gate(self) -> set[int]:
        """Return the ids of the last launch's living processes at the gate."""
        return {pid for pid in at_gate(self.folder, self._launches) if psutil.pid_exists(pid)}

    def open_gate(self) -> None:
        """Open the gate to those waiting and to all that come later."""
        (self.folder / OPEN).touch()

    def expect(self, what: str, code: int, *right: int) -> None:
        """Note a driver that ended with a wrong exit code."""
        if code not in right:
            self.wrong.append(f"{what}: exit code {code}: {self._last_words()}")

    def expect_words(self, words: str) -> None:
        """Note it where the drivers have not said this."""
        if words not in self.log():
            self.wrong.append(f"the log lacks {words!r}")

    def log(self) -> str:
        """Return what the drivers printed."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def log_of_launch(self) -> str:
        """Return what was printed since the last launch."""
        return self.log()[self._log_before :]

    def read(self) -> Reading | None:
        """Return what the database holds; None while there is nothing."""
        found = read_study(self._storage, NAME)
        if found is not None:
            for number, trial in found.finished.items():
                self.finished.setdefault(number, trial)
        return found

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the study's drivers and of their Ray.

        Workers of a Ray that the study joined are among them.
        """
        own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        return [
            process for process in psutil.process_iter() if process.pid not in own and self._is_own(process)
        ]

    def worker(self, title: str) -> psutil.Process | None:
        """Return a process of the study whose title begins so."""
        for process in self.processes():
            with suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(title):
                    return process
        return None

    def problems(self, code: int, reason: str, right: Curves | None = None) -> list[str]:
        """Return what does not hold of the ended study.

        Args:
            code: The last launch's exit code.
            reason: See `Kind`.
            right: The right curves by seed; of the trainer that takes no time they are known.
        """
        return [*self.wrong, *self._problems(code, reason, right)]

    def _problems(self, code: int, reason: str, right: Curves | None) -> Iterator[str]:
        if code != 0:
            yield f"exit code {code}: {self._last_words()}"
        before = dict(self.finished)
        found = self.read()
        if found is None:
            yield "there is no study"
        else:
            yield from problems_of_study(found, TRIALS, self.epochs, reason)
            yield from problems_of_change(before, found)
            yield from problems_of_numbers(found, right)
        yield from problems_of_files(self.artifacts)
        yield from problems_of_log(self.log())
        if left := self._left():
            yield f"processes are left: {left}"

    def _left(self) -> list[str]:
        """Return the processes that do not end after their driver. Ray takes a moment to end its own."""
        since = time.monotonic()
        while (left := self.processes()) and time.monotonic() - since < STANDSTILL_S / 5:
            time.sleep(0.2)
        words = []
        for process in left:
            with suppress(psutil.Error):
                words.append(" ".join(process.cmdline())[:80])
        return words

    def _is_own(self, process: psutil.Process) -> bool:
        """Return whether a process has the study's mark or its folder.

        The folder is its working directory then.
        """
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            own = str(self.folder)
            return bool(process.environ().get(_MARK) == own or process.cwd() == own)
        except psutil.Error:
            return False

    def _progress(self) -> str:
        """Return a text that changes with whatever goes on."""
        found = self.read()
        said = {
            line for line in self.log().splitlines() if " trials, " not in line
        }  # which come by the clock
        if found is None:
            return str(len(said))
        epochs = sum(len(trial.curve) for trial in found.trials)
        return f"{len(said)} {found.state} {found.running_packs} {epochs} {[t.state for t in found.trials]}"

    def _last_words(self) -> str:
        lines = self.log().splitlines()
        return lines[-1][:300] if lines else "nothing was printed"
