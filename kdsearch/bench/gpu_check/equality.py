"""Whether a pack's students come out as each of them alone: the first thing that a GPU must do."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import torch

from kdsearch.bench.engine.turns import one_line
from kdsearch.bench.gpu_check.trainings import EPOCHS, Case
from kdsearch.distill import train_pack
from kdsearch.distill.devices import release_memory
from kdsearch.distill.execution import Way
from kdsearch.errors import RunError
from kdsearch.spec import TrainingSpec
from kdsearch.trial import Metrics, TrialResult

_LEAST = 1e-12  # of a value that differences are relative to
PACK_WAY: Way = "streams"
"""The way that must give the same bits as each student alone."""
PLAIN_WAY: Way = "looped_channels_last"
"""The way that is compared with, within rounding: it shares the least code with the others."""


@dataclass(frozen=True)
class Comparison:
    """What came of a case in one way beside another.

    Args:
        case: What is special in the training.
        way: The way of the pack.
        beside: What it is compared with.
        difference: The largest relative difference of what was measured; None where it failed.
        allowed: The largest that may be.
        reason: Why it failed, in one line, or where the difference is.
        told: What was logged meanwhile.
        seconds: What the pack's training took.
    """

    case: str
    way: str
    beside: str
    difference: float | None
    allowed: float
    reason: str | None = None
    told: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether they are equal, as far as they must be."""
        return self.difference is not None and self.difference <= self.allowed


@dataclass(frozen=True)
class Student:
    """How one student came out: how it ended, and everything that was measured of it by name."""

    ending: tuple[str, int, str | None]
    values: dict[str, float]


Students: TypeAlias = dict[int, Student]


class EqualityCheck:
    """Trains each case in each way on one device.

    Args:
        device: Where.
        small: Tiny networks and few images, for a CPU.
        artifacts: Where teachers are kept, which the cases share.
    """

    def __init__(self, device: torch.device, *, small: bool, artifacts: Path) -> None:
        self._device = device
        self._small = small
        self._artifacts = artifacts

    def compare(self, case: Case) -> Iterator[Comparison]:
        """Yield the case's comparisons; one that fails leaves the others."""
        way, plain = PACK_WAY, PLAIN_WAY
        alone = cache(partial(self._alone, case, way))
        yield self._compared(
            case, f"{way}, a pack", f"{way}, alone", 0.0, partial(self._pack, case, way), alone
        )
        loop = partial(self._alone, case, plain)
        yield self._compared(case, f"{way}, alone", f"{plain}, alone", case.rounding, alone, loop)
        if case.is_fused:
            fused = partial(self._pack, case, "fused")
            yield self._compared(case, "fused, a pack", f"{way}, alone", case.rounding, fused, alone)

    def _compared(
        self,
        case: Case,
        way: str,
        beside: str,
        allowed: float,
        train: Callable[[], Students],
        train_beside: Callable[[], Students],
    ) -> Comparison:
        """Return how far one training differs from another.

        Where one of them fails, it says why.
        """
        start = time.perf_counter()
        found, told = None, list[str]()
        failed: Comparison | None = None
        try:
            with exact_arithmetic(), heard(told):
                found = train()
            seconds = time.perf_counter() - start
            with exact_arithmetic():
                difference, where = largest_difference(found, train_beside(), losses_alone=allowed > 0)
        except Exception as error:  # whatever a GPU may answer
            beginning = "" if found is None else f"{beside}: "
            failed = Comparison(case.name, way, beside, None, allowed, f"{beginning}{one_line(error)}")
        if failed is not None:  # only here the error holds no tensors any more
            release_memory(self._device)
            return failed
        reason = where if difference > allowed else None
        return Comparison(
            case.name, way, beside, difference, allowed, reason, tuple(dict.fromkeys(told)), seconds
        )

    def _alone(self, case: Case, way: Way) -> Students:
        """Train each member alone and without CUDA graphs."""
        spec = case.spec(small=self._small, eager=True)
        found: Students = {}
        for point in case.points():
            report = Report(case)
            results = self._trained(spec, [point], way, report)
            found |= students_of(results, report)
        return found

    def _pack(self, case: Case, way: Way) -> Students:
        """Train all members together, resumed where the case asks for it.

        It resumes from a checkpoint.
        """
        spec = case.spec(small=self._small, eager=False)
        report = Report(case)
        if not case.resumes:
            return students_of(self._trained(spec, case.points(), way, report), report)
        with TemporaryDirectory(prefix="kdsearch-check-") as folder:
            broken_off = Report(case, fail_at=EPOCHS)
            with suppress(KeyboardInterrupt):
                self._trained(spec, case.points(), way, broken_off, Path(folder))
            if not any(Path(folder).rglob("*.pt")):
                raise RunError("No checkpoint was left by the pack that was interrupted.")
            return students_of(self._trained(spec, case.points(), way, report, Path(folder)), report)

    def _trained(
        self,
        spec: TrainingSpec,
        points: Sequence[Mapping[str, Any]],
        way: Way,
        report: "Report",
        checkpoint: Path | None = None,
    ) -> list[TrialResult]:
        return train_pack(
            spec,
            points,
            artifacts=self._artifacts,
            device=self._device,
            report=report,
            checkpoint=checkpoint,
            way=way,
        )


class Report:
    """Keeps every epoch, stops members, and may interrupt a pack.

    The case says which members stop when.
    """

    def __init__(self, case: Case, fail_at: int | None = None) -> None:
        self.curves: dict[tuple[int, int], Metrics] = {}
        self._stops = case.stops
        self._fail_at = fail_at

    def __call__(self, epoch: int, metrics: Mapping[int, Metrics]) -> Collection[int]:
        """Take an epoch's metrics and return the members to stop."""
        if epoch == self._fail_at:
            raise KeyboardInterrupt  # as a user would; an error of another kind removes the checkpoint
        self.curves |= {(number, epoch): own for number, own in metrics.items()}
        return self._stops.get(epoch, ())


def students_of(results: Sequence[TrialResult], report: Report) -> Students:
    """Return how the students of a training came out."""
    found: Students = {}
    for result in results:
        values = {f"the final {name}": value for name, value in result.metrics.items()}
        for (number, epoch), metrics in report.curves.items():
            if number == result.number:
                values |= {f"epoch {epoch}'s {name}": value for name, value in metrics.items()}
        found[result.number] = Student((result.state, result.epochs, result.reason), values)
    return found


def largest_difference(found: Students, expected: Students, *, losses_alone: bool) -> tuple[float, str]:
    """Return the largest relative difference, and where it is.

    It is infinite where students ended otherwise.

    Args:
        found: The students that are judged.
        expected: What they should be.
        losses_alone: Leave out accuracies and the like: of few examples rounding turns one over.
    """
    worst, where = 0.0, ""
    for number, other in expected.items():
        own = found[number]
        if own.ending != other.ending or own.values.keys() != other.values.keys():
            return math.inf, f"member {number} ended as {own.ending}, not as {other.ending}"
        for name, value in other.values.items():
            if losses_alone and not name.endswith("_loss"):
                continue
            difference = _relative(own.values[name], value)
            if difference > worst:
                worst, where = difference, f"member {number}, {name}: {own.values[name]!r}, not {value!r}"
    return worst, where


def _relative(found: float, expected: float) -> float:
    if found == expected:
        return 0.0
    difference = abs(found - expected) / max(abs(expected), _LEAST)
    return difference if math.isfinite(difference) else math.inf


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Compute in float32 proper: without TF32, which a GPU may take for it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def heard(lines: list[str]) -> Iterator[None]:
    """Add to a list what the package logs.

    A reason why a step could not be recorded is among it.
    """
    logger = logging.getLogger("kdsearch")
    handler, level = _Lines(lines), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(" ".join(record.getMessage().split()))
