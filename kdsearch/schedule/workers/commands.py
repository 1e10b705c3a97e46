"""A program as a trainer: a call trains one student and prints JSON."""

import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

from kdsearch.errors import RunError
from kdsearch.spec.sections import CommandTrainer
from kdsearch.spec.space import level_label
from kdsearch.trial import Metrics, Trial

Report: TypeAlias = Callable[[int, Metrics], bool]

RESULTS = "KDSEARCH_RESULTS"
"""The environment variable that names the file for results, where standard output is taken."""

_POLL_S = 0.2  # how late a line of the results' file may be seen
_LAST_WORDS_S = 5.0  # a child of the program may keep its output open
_GRACE_S = 10.0  # for a program that is asked to stop and saves something
_MOST_BYTES = 65536  # of a line; a longer one is no result
_LAST_LINES = 20
"""A traceback's end, and what the program said before it."""

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def train_by_command(trainer: CommandTrainer) -> Callable[[Trial, Report], Metrics]:
    """Return a trainer that calls a program for each trial.

    A result is a line with a JSON object that has `val_accuracy`, on standard output or in the file that
    `KDSEARCH_RESULTS` names; with `epoch` it is one epoch's, and the last line is the trial's. An exit code
    other than 0 is a failure; a trial that is stopped gets SIGTERM, and SIGKILL ten seconds later.
    """

    def train(trial: Trial, report: Report) -> Metrics:
        with tempfile.TemporaryDirectory(prefix="kdsearch-") as folder:
            results = Path(folder) / "results.jsonl"
            results.touch()
            with _started(command_of(trainer, trial), trial, results) as program:
                return _follow(program, results, report)

    return train


def command_of(trainer: CommandTrainer, trial: Trial) -> list[str]:
    """Return the words of a trial's command, its values filled in."""
    own = {"seed": trial.seed, "number": trial.number, "epochs": trial.epochs}
    chosen = {**own, "trial": json.dumps(_trial_document(trial)), **trial.setup, **trial.params}
    return trainer.fill(
        lambda path: level_label(chosen[path] if path in chosen else trial.spec.value_at(path))
    )


def _trial_document(trial: Trial) -> dict[str, Any]:
    own = {"number": trial.number, "seed": trial.seed, "epochs": trial.epochs}
    return {**own, "setup": trial.setup, "params": trial.params}


@contextmanager
def _started(words: list[str], trial: Trial, results: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program. It ends at the latest with the block, or with this process."""
    own = str(Path(sys.executable).parent)  # `python` is the one that has kdsearch
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((own, os.environ.get("PATH", os.defpath))),
        "PYTHONUNBUFFERED": "1",
        "KDSEARCH_TRIAL": json.dumps(_trial_document(trial)),
        RESULTS: str(results),
    }
    try:
        program = subprocess.Popen(  # noqa: S603 - the user's own, and no shell reads it
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - it calls C alone
        )
    except OSError as error:
        raise RunError(f"`trainer.command` can't be run: {error}. Check {words[0]!r}.") from error
    try:
        yield program
    finally:
        _end(program)


def _die_with_parent() -> Callable[[], None] | None:
    """Return what lets Linux end the program where its worker is killed."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)  # looked up before the fork, after which little may be done
    return lambda: library.prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _end(program: "subprocess.Popen[bytes]") -> None:
    """End a program and what it has started: asked first, if it still runs, then at once."""
    with suppress(ProcessLookupError):
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                program.wait(_GRACE_S)
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def _follow(program: "subprocess.Popen[bytes]", results: Path, report: Report) -> Metrics:
    """Pass on what a program reports until it ends. Return the last result."""
    lines = _Lines(program, results)
    last: Metrics | None = None
    for result in lines:
        epoch = result.pop("epoch", None)
        last = result
        if epoch is not None and report(epoch, result):
            return result
    code = program.wait()
    if code:
        raise RunError(f"its command ended with {_exit_words(code)}: {lines.last_words()}")
    if last is None:
        raise RunError(
            "its command ended without a result. Print a line such as "
            '{"val_accuracy": 0.91}, or write it to the file that KDSEARCH_RESULTS names.'
        )
    return last


def _exit_words(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}" if -code in {*signal.Signals} else f"signal {-code}"


class _Lines:
    """The results of a program, as they come: from its standard output and from the results' file."""

    def __init__(self, program: "subprocess.Popen[bytes]", results: Path) -> None:
        self._program = program
        self._path = results
        self._printed: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._said: deque[bytes] = deque(maxlen=_LAST_LINES)
        self._threads = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        ended_at: float | None = None
        is_open = True
        with self._path.open("rb") as file:
            while True:
                if ended_at is None and self._program.poll() is not None:
                    ended_at = time.monotonic()
                for result in self._waiting():
                    is_open = result is not None  # once closed it stays so, and a program may live on
                    if result is not None:
                        yield result
                yield from self._written(file, ended=ended_at is not None)
                if ended_at is not None and (not is_open or time.monotonic() - ended_at > _LAST_WORDS_S):
                    return

    def last_words(self) -> str:
        """Return the last line of standard error."""
        self._threads[1].join(_LAST_WORDS_S)
        said = [line.decode(errors="replace").strip() for line in self._said]
        return next((line for line in reversed(said) if line), "it said nothing on standard error")

    def _waiting(self) -> Iterator[dict[str, Any] | None]:
        """Yield what was printed, None after the last."""
        with suppress(queue.Empty):
            yield self._printed.get(timeout=_POLL_S)
            while True:
                yield self._printed.get_nowait()

    def _written(self, file: IO[bytes], *, ended: bool) -> Iterator[dict[str, Any]]:
        while line := file.readline():
            if not line.endswith(b"\n") and not ended:  # the rest of it comes
                file.seek(-len(line), os.SEEK_CUR)
                return
            result = _result(line)
            if result is None and line.strip():
                raise RunError(
                    "a line of the file in KDSEARCH_RESULTS must be a JSON object with `val_accuracy`, got "
                    f"{line[:200].decode(errors='replace').strip()!r}."
                )
            if result is not None:
                yield result

    def _read_output(self) -> None:
        for line in _lines_of(self._program.stdout):
            if result := _result(line):
                self._printed.put(result)
        self._printed.put(None)

    def _read_errors(self) -> None:
        self._said.extend(_lines_of(self._program.stderr))


def _lines_of(pipe: IO[bytes] | None) -> Iterator[bytes]:
    if pipe is not None:
        with pipe:
            while line := pipe.readline(_MOST_BYTES):
                yield line


def _result(line: bytes) -> dict[str, Any] | None:
    """Return the result in a line; None where it is something else."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return dict(found) if isinstance(found, Mapping) and "val_accuracy" in found else None
