"""What a student costs on a GPU, beside its target: the rows of `bench engine` that have one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from kdsearch.bench.engine.cases import GPU_CASES, Case
from kdsearch.bench.engine.command import Row, rows_of
from kdsearch.bench.engine.contenders import CHOSEN, Entry, entries_of
from kdsearch.bench.engine.images import PATTERNED
from kdsearch.bench.engine.turns import Failure, one_by_one, one_line
from kdsearch.bench.gpu_check.equality import PACK_WAY

OF_GRAPH = 1.15
"""The most that a student alone may take, where its forward and backward pass as one CUDA graph takes 1."""
OF_PLAIN = 10.0
"""How many times as fast as the plain loop the largest pack is to be."""
TARGETS_US = {
    "resnet8x4": 10.0,
    "resnet20": 10.0,
    "vit_32_2": 4.0,
    "resnet18-224": 85.0,
    "vit_tiny-224": 100.0,
}
"""The most µs for each student and image in the largest pack, on an H100 or H200."""

_ROUNDS, _SECONDS = 3, 25.0  # seven cases in some six minutes
_TINY = Case("tiny", "convnet_4", "convnet_4", PATTERNED, 8, 40, 20, sizes=(1, 2))


@dataclass(frozen=True)
class Goal:
    """A target beside what was measured; `found` is None where that failed."""

    case: str
    size: int
    what: str
    target: float
    found: float | None
    at_most: bool = True

    @property
    def is_met(self) -> bool:
        """Whether the target is reached."""
        if self.found is None:
            return False
        return self.found <= self.target if self.at_most else self.found >= self.target


@dataclass(frozen=True)
class CaseResult:
    """What was measured of a case, what failed, and its goals."""

    case: Case
    rows: list[Row]
    failures: list[Failure]
    goals: list[Goal]


def measured_cases(device: torch.device, *, small: bool) -> Iterator[CaseResult]:
    """Measure each case; one that fails leaves the others."""
    for case in [_TINY] if small else GPU_CASES.values():
        try:
            rows, failures = _measured(case, device, rounds=1 if small else _ROUNDS)
        except Exception as error:  # whatever a GPU may answer
            rows, failures = [], [Failure("all", case.sizes[-1], one_line(error))]
        yield CaseResult(case, rows, failures, goals_of(case, rows))


def _measured(case: Case, device: torch.device, rounds: int) -> tuple[list[Row], list[Failure]]:
    with TemporaryDirectory(prefix="kdsearch-check-") as folder:
        entries = [
            own for own in entries_of(case, case.sizes, Path(folder), device) if _counts(own, case, device)
        ]
        measured, failures = one_by_one(entries, rounds, device, _SECONDS)
    return rows_of(case, measured, {}, on_gpu=True), failures


def _counts(entry: Entry, case: Case, device: torch.device) -> bool:
    """Return whether a way is needed for the goals.

    Those are the limit, plain, the chosen way, and the one that should be chosen.
    """
    is_limit = entry.name.startswith("limit") and (device.type == "cpu" or entry.name.endswith("graph"))
    return (
        is_limit
        or entry.name in ("plain", CHOSEN)
        or (entry.name == PACK_WAY and entry.size == case.sizes[-1])
    )


def goals_of(case: Case, rows: Sequence[Row]) -> list[Goal]:
    """Return a case's targets beside what the chosen way took."""
    chosen = {row.size: row for row in rows if row.way.startswith(CHOSEN)}
    size = case.sizes[-1]
    largest, alone = chosen.get(size), chosen.get(1)
    goals = []
    if case.name in TARGETS_US:
        found = None if largest is None else largest.wall_us
        goals.append(Goal(case.name, size, "µs", TARGETS_US[case.name], found))
    if 1 in case.sizes:
        of_limit = None if alone is None else alone.of_limit
        goals.append(Goal(case.name, 1, "of its graph alone", OF_GRAPH, of_limit))
    speedup = None if largest is None else largest.speedup
    goals.append(Goal(case.name, size, "times the plain loop", OF_PLAIN, speedup, at_most=False))
    return goals
