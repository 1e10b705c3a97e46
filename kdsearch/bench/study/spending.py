"""What a command takes until it ends: wall time, and the CPU time of all processes that it starts."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # has no stubs of its own

from kdsearch.errors import RunError

SAMPLE_S = 0.2  # short: what a process takes after the last look at it is missed


@dataclass(frozen=True)
class Spending:
    """Seconds of wall time and of CPU time, user and system."""

    wall_s: float
    cpu_s: float


def spending_of(command: Sequence[str]) -> Spending:
    """Run a command quietly and return what it took.

    Processes are looked at five times a second: of each that ends, up to a fifth of a second is missed.

    Raises:
        RunError: It failed.
    """
    seen: dict[psutil.Process, float] = {}
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        root = psutil.Process(process.pid)
        while process.poll() is None:
            _look(root, seen)
            time.sleep(SAMPLE_S)
        wall_s = time.perf_counter() - start
        if process.returncode:
            told = process.stderr.read() if process.stderr else ""
            raise RunError(f"{' '.join(command)} ended with exit code {process.returncode}: {told[-2000:]}")
    return Spending(wall_s, sum(seen.values()))


def _look(root: psutil.Process, seen: dict[psutil.Process, float]) -> None:
    """Note the CPU time of a process and its descendants.

    Those that were below it once are among them.
    """
    try:
        below = root.children(recursive=True)
    except psutil.NoSuchProcess:
        below = []
    for process in {root, *below, *seen}:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seen[process] = times.user + times.system
