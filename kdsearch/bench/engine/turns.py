"""The time of an epoch in each way: in turns on a CPU, one way after the other on a GPU."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import torch

from kdsearch.bench.engine.contenders import Contender, Entry, PackRunner
from kdsearch.distill.devices import release_memory
from kdsearch.distill.execution import WARM_UP_CALLS, Way
from kdsearch.errors import KDSearchError

_LEAST_ROUNDS = 3  # the fewest whose median drops one that was disturbed
_TURN_S = 0.1  # the least length of a turn
_HOPELESS = 2.5  # a way this much slower than its pack's fastest is measured once
_MOST_CHARACTERS = 300  # of an error


@dataclass(frozen=True)
class Measured:
    """The seconds of one way in each round.

    They are for an epoch of one student.

    Args:
        name: What was measured.
        size: How many students trained together.
        way: How, where it is a pack of our engine.
        cpu_s: CPU time.
        wall_s: Wall time.
    """

    name: str
    size: int
    way: Way | None = None
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, contender: Contender, times: Sequence[tuple[float, float]] = ()) -> "Measured":
        """Return what was measured of a contender: CPU and wall seconds, in each round."""
        runner = contender.runner
        way = runner.way if isinstance(runner, PackRunner) else None
        return cls(
            contender.name, contender.size, way, [cpu for cpu, _ in times], [wall for _, wall in times]
        )

    def cost(self, on_gpu: bool) -> float:
        """Return the median that counts: wall time on a GPU, CPU time elsewhere."""
        return median(self.wall_s if on_gpu else self.cpu_s)


@dataclass(frozen=True)
class Failure:
    """A way that could not be measured, and why in one line."""

    way: str
    size: int
    reason: str


def interleaved(
    contenders: Sequence[Contender], rounds: int, device: torch.device, seconds: float = math.inf
) -> list[Measured]:
    """Run every contender in turn, round by round.

    The first epoch counts only for packs that are hopelessly slow. Where so many rounds would take longer
    than `seconds`, there are fewer, but three.
    """
    once = [Measured.of(contender, [_timed(contender, device)]) for contender in contenders]
    repeated = [
        (contender, Measured.of(contender), first)
        for contender, first in zip(contenders, once, strict=True)
        if not _is_hopeless(first, once)
    ]
    a_round_s = sum(max(first.wall_s[0] * first.size, _TURN_S) for _, _, first in repeated)
    affordable = max(seconds // a_round_s, _LEAST_ROUNDS)
    for _ in range(int(min(rounds, affordable))):
        for contender, own, _first in repeated:
            cpu, wall = _timed(contender, device)
            own.cpu_s.append(cpu)
            own.wall_s.append(wall)
    measured = {id(first): own for _, own, first in repeated}
    return [measured.get(id(first), first) for first in once]


def _is_hopeless(own: Measured, others: Sequence[Measured]) -> bool:
    """Return whether a pack took far longer than its fastest rival.

    Rivals are the packs of the same size.
    """
    if own.way is None:
        return False
    rivals = [other.wall_s[0] for other in others if other.way and other.size == own.size]
    return own.wall_s[0] > _HOPELESS * min(rivals)


def one_by_one(
    entries: Sequence[Entry], rounds: int, device: torch.device, seconds: float = math.inf
) -> tuple[list[Measured], list[Failure]]:
    """Measure every way alone and free its memory.

    A way that fails leaves the others. The first epoch does not count, nor those in which a pack's steps are
    recorded. A way has fewer rounds, at least one, where they would take longer than its share of `seconds`.
    """
    found: list[Measured] = []
    failures: list[Failure] = []
    for entry in entries:
        try:
            found.append(_alone(entry, rounds, device, seconds / len(entries)))
        except Exception as error:  # out of memory, or what a network does that can't be recorded
            failures.append(Failure(entry.name, entry.size, one_line(error)))
        release_memory(device)
    return found, failures


def one_line(error: BaseException) -> str:
    """Return an error in one line."""
    words = " ".join(str(error).split())[:_MOST_CHARACTERS] or "?"
    return words if isinstance(error, KDSearchError) else f"{type(error).__name__}: {words}"


def _alone(entry: Entry, rounds: int, device: torch.device, seconds: float) -> Measured:
    contender = entry.enter()
    if isinstance(contender.runner, PackRunner):  # the last batches of so many epochs are not replayed yet
        for _ in range(WARM_UP_CALLS):
            contender.runner.run_epoch()
    _, first = _timed(contender, device)
    affordable = max(1, int(min(rounds, seconds // (first * contender.size))))
    return Measured.of(contender, [_timed(contender, device) for _ in range(affordable)])


def _timed(contender: Contender, device: torch.device) -> tuple[float, float]:
    """Return the CPU and wall seconds of an epoch per student.

    A turn has as many epochs as it takes for the caches to be the contender's own.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    n_students = 0
    while n_students == 0 or time.perf_counter() - wall < _TURN_S:
        contender.runner.run_epoch()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        n_students += contender.size
    return (time.process_time() - cpu) / n_students, (time.perf_counter() - wall) / n_students
