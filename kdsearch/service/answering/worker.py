"""The process that computes the service's answers, within bounds."""

import logging
import resource
import signal
from collections.abc import Hashable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from kdsearch.errors import RequestError
from kdsearch.service.answering.computing import Task, compute
from kdsearch.storage import Database, open_database
from kdsearch.storage.sql.failures import explained

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a task ended. It has an answer and its evidence, or why not, and what it took."""

    kind: Literal["answered", "wrong request", "failed", "too large"]
    answer: Any = None
    evidence: Hashable = None
    reason: str = ""
    cpu_s: float = 0.0


class Worker:
    """Computes one task after another, over a database that it keeps open."""

    def __init__(self, cpu_limit_s: int) -> None:
        self._cpu_limit_s = cpu_limit_s
        self._opened: tuple[Hashable, Database] | None = None

    def outcome(self, task: Task) -> Outcome:
        """Return how a task ended. What takes too much CPU time ends the process."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + 1 + self._cpu_limit_s
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            evidence, answer = compute(self._database(task), task)
        except RequestError as error:
            return Outcome("wrong request", reason=str(error))
        except MemoryError:
            return Outcome("too large", reason="it takes more memory than the service allows")
        except Exception as error:
            told = explained(error)
            if told is None:
                _log.exception("%s of %r failed", task.kind, task.study)
            return Outcome("failed", reason=str(told or f"{type(error).__name__}: {error}"))
        took = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = took.ru_utime + took.ru_stime - used.ru_utime - used.ru_stime
        return Outcome("answered", answer, evidence, cpu_s=cpu_s)

    def _database(self, task: Task) -> Database:
        place = task.url, task.file
        if self._opened is not None and self._opened[0] != place:
            self._opened[1].close()
            self._opened = None
        if self._opened is None:
            self._opened = place, open_database(task.url)
        return self._opened[1]


def main(descriptor: int, cpu_limit_s: int, limit_bytes: int) -> None:
    """Answer what comes over a connection until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends this process
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the limit of CPU time would leave a core file
    _limit_memory(limit_bytes)
    worker = Worker(cpu_limit_s)
    with Connection(descriptor) as connection:
        connection.send("ready")
        while True:
            try:
                task = connection.recv()
                outcome = worker.outcome(task)
            except EOFError:
                return
            try:
                connection.send(outcome)
            except BrokenPipeError:  # the service has ended
                return


def _limit_memory(limit_bytes: int) -> None:
    """Limit what is allocated from now on."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux: its limit would count what is only reserved
        return
    held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = held + limit_bytes
    resource.setrlimit(
        resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )
