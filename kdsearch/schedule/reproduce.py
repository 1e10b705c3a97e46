"""One trial trained again from its row, and how near it comes. Needs no Ray, and writes no database."""

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from kdsearch.analysis.response.noise import seed_noise
from kdsearch.artifacts.store import Place, store_at
from kdsearch.distill.factories import undisturbed
from kdsearch.distill.teachers.recipes import recipe_of
from kdsearch.distill.teachers.records import find_record
from kdsearch.errors import RequestError, RunError
from kdsearch.schedule.preflight import (
    artifacts_of,
    code_fingerprints,
    data_fingerprints,
    import_from_working_directory,
)
from kdsearch.schedule.workers.trainers import load_trainer
from kdsearch.spec import StudySpec, TrainingSpec
from kdsearch.storage import (
    Database,
    EpochRow,
    TrialRow,
    load_epochs,
    load_origin,
    load_spec_of,
    load_trials,
)
from kdsearch.trial import Metrics, Trial, TrialResult, has_result

Verdict: TypeAlias = Literal["same", "within the seeds' spread", "of unknown distance", "different"]

# What summing in another order makes of a value in single precision over a training, and of one in bf16.
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}
_SPREAD = 2 * math.sqrt(2)  # of 100 pairs of equally noisy trials 95 lie within so many standard deviations

_CURVES = ("val_accuracy", "val_loss", "train_loss")
_METRICS = (*_CURVES, "test_accuracy", "teacher_entropy", "student_entropy", "teacher_agreement")


@dataclass(frozen=True)
class Reproduction:
    """A trial's record beside its repetition.

    Attributes:
        study: The study's name.
        number: The trial's.
        verdict: What the repetition is.
        recorded: The metrics on record; accuracies are fractions.
        again: The same of the repetition.
        deviation: The largest difference of any metric at any epoch, relative where it is above 1.
        tolerance: Up to it, results are the same.
        agrees_to: The last epoch up to which the curves are the same. Rounding, such as of a pack that was
            fused, drives them apart later; another cause does so from the first epoch on.
        seed_sd: The setup's standard deviation of accuracy over seeds; None where it is not known.
        differences: What is otherwise than it was, in words.
        seconds: How long the repetition took.
    """

    study: str
    number: int
    verdict: Verdict
    recorded: Metrics
    again: Metrics
    deviation: float
    tolerance: float
    agrees_to: int
    seed_sd: float | None
    differences: list[str]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the result counts as reproduced."""
        return self.verdict in ("same", "within the seeds' spread")

    @property
    def statement(self) -> str:
        """The verdict in a sentence."""
        if self.verdict == "same":
            how = "exactly" if self.deviation == 0 else f"within {self.tolerance:g}"
            return f"The result is the same, {how}."
        return f"The curves are the same up to epoch {self.agrees_to}; {self._against_the_spread()}."

    def _against_the_spread(self) -> str:
        if self.seed_sd is None:
            why = "the setup has too few trials to know its seeds' spread"
            return f"the result is another, and {why}" if self.verdict == "different" else why
        within = "within" if self.holds else "not within"
        return f"the result is {within} the seeds' spread, of sd {100 * self.seed_sd:.2g} points"

    def to_dict(self) -> dict[str, Any]:
        """Return the reproduction as a JSON document."""
        document = {**asdict(self), "statement": self.statement}
        return {**document, "deviation": self.deviation if math.isfinite(self.deviation) else None}


@undisturbed()
def reproduce_trial(database: Database, study: str, number: int) -> Reproduction:
    """Train one trial again, alone, as its row says, and compare.

    Args:
        database: The open database.
        study: The study's name.
        number: The trial's.

    Raises:
        RequestError: There is no such trial, it has no result, or its trainer or data can't be had here.
        RunError: It fails now.
    """
    spec = load_spec_of(database, study)
    origin = load_origin(database, study, number)
    rows = load_trials(database, study)
    row = _with_result(next(row for row in rows if row.number == number), study)
    artifacts = artifacts_of(spec)
    import_from_working_directory()
    data = data_fingerprints(spec, [row.setup])
    differences = [
        *origin.differences(Path.cwd(), data, code_fingerprints(spec)),
        *_new_teacher(spec, row, artifacts),
    ]
    start = time.perf_counter()
    neighbours = [other for other in rows if other.pack == row.pack and other.number != row.number]
    curve, result = _train_again(spec, row, neighbours, artifacts)
    seconds = time.perf_counter() - start
    if row.device and result.device != row.device:
        differences.append(f"the device was {row.device}, is {result.device}")
    recorded = {name: value for name in _METRICS if (value := getattr(row, name)) is not None}
    tolerance = TOLERANCE[_precision(spec, row)]
    apart = _apart(load_epochs(database, study, [number]), curve)
    deviation = math.inf
    if (row.state, row.epochs) == (result.state, result.epochs):
        deviation = max(_deviation(recorded, result.metrics), *apart.values(), 0.0)
    seed_sd = seed_noise(spec, rows, row.setup)
    return Reproduction(
        study=study,
        number=number,
        verdict=_verdict(row, result, deviation <= tolerance, seed_sd),
        recorded=recorded,
        again={name: result.metrics[name] for name in _METRICS if _is_finite(result.metrics.get(name))},
        deviation=deviation,
        tolerance=tolerance,
        agrees_to=min((epoch for epoch in apart if apart[epoch] > tolerance), default=len(apart) + 1) - 1,
        seed_sd=seed_sd,
        differences=differences,
        seconds=seconds,
    )


def _with_result(row: TrialRow, study: str) -> TrialRow:
    if row.has_result:
        return row
    why = f"{row.state}: {row.reason}" if row.reason else row.state
    raise RequestError(
        f"`number` must be a trial with a result, got {row.number}, which is {why}. "
        f"See: kdsearch trials {study}"
    )


def _train_again(
    spec: StudySpec, row: TrialRow, neighbours: Sequence[TrialRow], artifacts: Place
) -> tuple[dict[int, Mapping[str, float]], TrialResult]:
    """Return the trial's curve by epoch, and its end. One that was pruned is stopped where it was."""
    trial = Trial.of(spec, row.setup, row.params, number=row.number, seed=row.seed, draw=row.draw)
    copies = {-1 - place: end for place, end in enumerate(_ends_beside(row, neighbours))}
    ends = {**copies, row.number: row.epochs if row.state == "pruned" else math.inf}
    curve: dict[int, Mapping[str, float]] = {}

    def report(epoch: int, metrics: Mapping[int, Metrics]) -> Collection[int]:
        if row.number in metrics:
            curve[epoch] = metrics[row.number]
        return {number for number in metrics if epoch >= ends[number]}

    way: Any = row.executor  # a `Way`, as a driver wrote it
    train = load_trainer(
        spec.trainer, artifacts, checkpoint_interval_s=None, way=way, device=spec.resources.device
    )
    with _threads_of_a_worker(spec):
        result = train([trial, *(replace(trial, number=copy) for copy in copies)], report)[0]
    if not has_result(result.state, result.reason):
        raise RunError(f"The trial {row.number} fails now: {result.reason}")
    return curve, result


def _training_of(spec: StudySpec, row: TrialRow) -> TrainingSpec:
    """Return how the trial was trained, with the values its pack drew."""
    return spec.resolve(row.setup, row.params, row.draw)


def _ends_beside(row: TrialRow, neighbours: Sequence[TrialRow]) -> list[float]:
    """Return the epochs after which the students fused with this one ended.

    Copies take their places. The order of sums depends on how many students a computation holds, not on
    which. Of a pack that was divided nobody knows who was where: its copies stay to the end.
    """
    if row.executor != "fused" or row.pack_size is None:
        return []
    beside: list[float] = [other.epochs for other in neighbours if other.executor == "fused"]
    return beside if len(beside) == row.pack_size - 1 else [math.inf] * (row.pack_size - 1)


@contextmanager
def _threads_of_a_worker(spec: StudySpec) -> Iterator[None]:
    """Compute with as many threads as Ray gives a pack: they too decide the order of sums."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(spec.resources.cpus_per_pack)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _new_teacher(spec: StudySpec, row: TrialRow, artifacts: Place) -> list[str]:
    training = _training_of(spec, row)
    if training.trainer != "distill" or training.objective.alpha == 0:
        return []
    known = find_record(store_at(artifacts), recipe_of(training).digest)
    return [] if known else [f"its teacher was not in {artifacts} and was trained anew"]


def _precision(spec: StudySpec, row: TrialRow) -> str:
    asked = _training_of(spec, row).training.precision
    if asked != "auto":
        return asked
    return "fp32" if (row.device or "cpu").startswith("cpu") else "bf16"


def _verdict(row: TrialRow, result: TrialResult, is_same: bool, seed_sd: float | None) -> Verdict:
    if is_same:
        return "same"
    before, after = row.val_accuracy, result.metrics.get("val_accuracy")
    if row.state != result.state or row.state == "failed" or before is None or after is None:
        return "different"
    if seed_sd is None:
        return "of unknown distance"
    return "within the seeds' spread" if abs(before - after) <= _SPREAD * seed_sd else "different"


def _apart(before: Collection[EpochRow], after: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return how far two curves are apart by epoch. Infinitely where only one of them is."""
    recorded = {row.epoch: {name: getattr(row, name) for name in _CURVES} for row in before}
    return {
        epoch: _deviation(recorded[epoch], after[epoch]) if epoch in recorded and epoch in after else math.inf
        for epoch in sorted(recorded.keys() | after.keys())
    }


def _deviation(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Return the largest difference, relative above 1. Infinite where a value is no longer there."""
    finite = {name: value for name, value in before.items() if _is_finite(value)}
    if not all(_is_finite(after.get(name)) for name in finite):
        return math.inf
    return max((abs(a - after[name]) / max(1.0, abs(a)) for name, a in finite.items()), default=0.0)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
