"""Answers kept until trials change, and the workers that compute them."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any

from starlette.exceptions import HTTPException

import kdsearch
from kdsearch.errors import RequestError
from kdsearch.service.answering.computing import Task
from kdsearch.service.answering.worker import Outcome

WORKERS = 2
"""Processes; each has the model's libraries in memory, about 200 MB."""

CPU_LIMIT_S = 120
"""A hundred times what `best` takes of 2,000 trials."""

MEMORY_LIMIT_BYTES = 4 * 2**30
"""Ten times what a page of 100,000 trials takes."""

_START_LIMIT_S = 300.0
"""To import the libraries, on a machine that is busy with training."""

_WALL_FACTOR = 5
"""An answer may take so many times its CPU time by the clock: the machine may be busy."""

_MOST_WAITING = 100
"""Different questions; equal ones wait together."""

_KEPT = 64
"""By hand: a few questions of each of some ten studies; a page's answer takes up to 10 MB."""

_REST = 4
"""An answer of older trials rests for so many times the CPU seconds that it took beyond the first."""

_LEAST_REST_S = 1.0
"""What takes a CPU second or less is renewed so soon that a page follows its study within 3 seconds."""
_PROGRAM = "import sys; from kdsearch.service.answering.worker import main; main(*map(int, sys.argv[1:]))"


@dataclass(frozen=True)
class Kept:
    """The last answer to a question, or why there is none.

    Attributes:
        evidence: What there was when it was asked for.
        answer: The answer; None where there is an error.
        error: Why it can't be answered.
        at: When it was answered, in seconds of `time.monotonic`.
        cpu_s: The CPU seconds that it took.
    """

    evidence: Hashable
    answer: Any
    error: Exception | None
    at: float
    cpu_s: float

    def has_rested(self) -> bool:
        """Return whether it may be renewed: what is asked all the time must not take the cores that train."""
        return time.monotonic() - self.at >= max(_LEAST_REST_S, _REST * (self.cpu_s - 1))


class Answers:
    """Computes answers, a bounded number at a time, each within its bounds.

    Args:
        cpu_limit_s: CPU seconds for one answer.
        memory_limit_bytes: Memory for one answer, beyond what the libraries take.
    """

    def __init__(
        self, *, cpu_limit_s: int = CPU_LIMIT_S, memory_limit_bytes: int = MEMORY_LIMIT_BYTES
    ) -> None:
        self._limits = cpu_limit_s, memory_limit_bytes
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="answers")
        self._idle: LifoQueue[_Process] = LifoQueue()
        self._all: set[_Process] = set()
        self._lock = Lock()
        self._waiting: dict[Task, Future[Any]] = {}
        self._computing: set[Task] = set()
        self._kept: OrderedDict[Task, Kept] = OrderedDict()
        self.n_computed = 0

    async def ask(self, task: Task, evidence: Hashable = None) -> Any:
        """Return the kept answer of this evidence, or compute a new one.

        Args:
            task: The question.
            evidence: What there is now; without any, the answer is not kept.

        Raises:
            RequestError: What is asked is wrong.
            HTTPException: It can't be answered now, or not within the bounds (503).
        """
        with self._lock:
            kept = self._kept.get(task)
            if kept is not None and not kept.error and evidence is not None and kept.evidence == evidence:
                self._kept.move_to_end(task)
                return kept.answer
            future = self._waiting.get(task) or self._submit(task, evidence)
        # It is shared: one client that goes away must not take it from the others.
        return await asyncio.shield(asyncio.wrap_future(future))

    async def latest(self, task: Task, evidence: Hashable, *, patience_s: float = 0.0) -> Kept | None:
        """Return the last answer, and renew it where it is outdated.

        It may be of older evidence: nobody waits for the new one.

        Args:
            task: The question.
            evidence: What there is now.
            patience_s: How long to wait where there is none at all.
        """
        with self._lock:
            kept = self._kept.get(task)
            future = self._waiting.get(task)
            is_due = kept is None or (kept.evidence != evidence and kept.has_rested())
            if future is None and is_due and task not in self._computing:
                future = self._submit(task, evidence)
            if kept is not None:
                self._kept.move_to_end(task)
        if kept is None and future is not None and patience_s:
            waited = asyncio.wrap_future(future)
            waited.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is kept
            await asyncio.wait([waited], timeout=patience_s)
            kept = self._kept.get(task)
        return kept

    def start(self) -> None:
        """Start the processes before the first question comes."""
        for _ in range(WORKERS):
            self._idle.put(self._new_process())

    def close(self) -> None:
        """End the processes; what is asked still fails."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._all):
            self._end(process)

    def _submit(self, task: Task, evidence: Hashable) -> "Future[Any]":
        if len(self._waiting) >= _MOST_WAITING:
            raise HTTPException(503, "Too many questions wait for an answer. Ask again in a moment.")
        future: Future[Any] = self._threads.submit(self._answer, task, evidence)
        self._waiting[task] = future
        return future

    def _answer(self, task: Task, evidence: Hashable) -> Any:
        with self._lock:  # who asks from now on wants what is read from now on
            self._waiting.pop(task, None)
            self._computing.add(task)
            self.n_computed += 1
        try:
            outcome = self._computed(task)
        finally:
            with self._lock:
                self._computing.discard(task)
        error = _error(outcome)
        if evidence is not None and not isinstance(outcome.answer, bytes):
            known = evidence if outcome.evidence is None else outcome.evidence
            self._keep(task, Kept(known, outcome.answer, error, time.monotonic(), outcome.cpu_s))
        if error is not None:
            raise error
        return outcome.answer

    def _keep(self, task: Task, kept: Kept) -> None:
        with self._lock:
            self._kept[task] = kept
            self._kept.move_to_end(task)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def _computed(self, task: Task) -> Outcome:
        process = self._process()
        try:
            outcome = process.outcome(task)
        except (EOFError, OSError, TimeoutError):  # it ended by its limit, or was killed
            self._end(process)
            reason = f"it takes more than the {self._limits[0]} CPU seconds of one answer, or was ended."
            return Outcome("too large", reason=reason, cpu_s=float(self._limits[0]))
        self._idle.put(process)
        return outcome

    def _process(self) -> "_Process":
        try:
            process = self._idle.get_nowait()
        except Empty:
            return self._new_process()
        if process.is_alive():
            return process
        self._end(process)
        return self._new_process()

    def _new_process(self) -> "_Process":
        process = _Process(*self._limits)
        self._all.add(process)
        return process

    def _end(self, process: "_Process") -> None:
        self._all.discard(process)
        process.end()


class _Process:
    """One process that computes answers, and the connection to it."""

    def __init__(self, cpu_limit_s: int, memory_limit_bytes: int) -> None:
        self._limit_s = float(_WALL_FACTOR * cpu_limit_s)
        ours, theirs = socket.socketpair()
        arguments = (theirs.fileno(), cpu_limit_s, memory_limit_bytes)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-c", _PROGRAM, *map(str, arguments)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": _search_path()},
            )
        self._connection = Connection(ours.detach())
        self._is_ready = False

    def outcome(self, task: Task) -> Outcome:
        """Return how a task ended.

        Raises:
            TimeoutError: It took too long.
            EOFError, OSError: The process has ended.
        """
        if not self._is_ready:
            self._receive(_START_LIMIT_S)
            self._is_ready = True
        self._connection.send(task)
        outcome: Outcome = self._receive(self._limit_s)
        return outcome

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process at once."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, limit_s: float) -> Any:
        if not self._connection.poll(limit_s):
            raise TimeoutError
        return self._connection.recv()

    def __del__(self) -> None:
        if self._process.poll() is None:
            self.end()


def _error(outcome: Outcome) -> Exception | None:
    if outcome.kind == "answered":
        return None
    if outcome.kind == "wrong request":
        return RequestError(outcome.reason)
    return HTTPException(503, f"It can't be answered: {outcome.reason}")


def _search_path() -> str:
    """Return where a process of ours finds this kdsearch, installed or not."""
    here = str(Path(kdsearch.__file__).parent.parent)
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
