"""What a trainer is given and what it gives back."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from kdsearch.spec import Params, Setup, StudySpec, TrainingSpec

Metrics: TypeAlias = dict[str, float]
"""Measured values by name; accuracies are fractions, losses and entropies are in nats."""

Outcome: TypeAlias = Literal["complete", "pruned", "failed"]

DIVERGED = "diverged"
"""The reason of a trial whose loss or accuracy was not finite: a failure that says something."""

AUDITED, CAME_BACK = "audited", "came back"
"""How the reason of a complete trial begins that a pruner would have stopped: it was right, or wrong."""

NODE_LOST = "its node was lost"
"""The reason of a loss that says nothing about the trial: a preempted machine never makes one fail."""

PackReport: TypeAlias = Callable[[int, Mapping[int, Metrics]], Collection[int]]
"""`report(epoch, {trial number: metrics})` returns the numbers of the trials to stop now.

Epochs count from 1. The metrics of an epoch hold at least `val_accuracy`.
"""


class PackEndedError(BaseException):
    """Raised through a trainer to end its pack at once.

    It is no error of the trainer's.
    """


@dataclass(frozen=True)
class Trial:
    """One student to train: the setup, its tuned parameters and a seed.

    It is the same one from the asker to the engine. `spec` is all that decides its training but for `seed`:
    the setup's levels and the parameters are filled in, and the seeds of the `draw` of luck that the trials
    of its pack share; None where `training.vary` is empty.
    """

    number: int
    seed: int
    setup: Setup
    params: Params
    spec: TrainingSpec
    draw: int | None = None

    @classmethod
    def of(
        cls,
        study: StudySpec,
        setup: Setup,
        params: Params,
        *,
        number: int,
        seed: int,
        draw: int | None = None,
    ) -> "Trial":
        """Return a trial of a study. Here its point is checked, and nowhere after it.

        Raises:
            pydantic.ValidationError: The point is no training.
        """
        return cls(number, seed, setup, params, study.resolve(setup, params, draw), draw)

    @property
    def epochs(self) -> int:
        """The training length that was asked for, in epochs."""
        return self.spec.training.epochs

    def to_dict(self) -> dict[str, Any]:
        """Return what the study's spec does not say, as plain values."""
        own = {"number": self.number, "seed": self.seed, "draw": self.draw}
        return {**own, "setup": self.setup, "params": self.params}

    @classmethod
    def from_dict(cls, study: StudySpec, values: Mapping[str, Any]) -> "Trial":
        """Return the trial that `to_dict` described, of the same study."""
        return cls.of(study, **values)


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended.

    `metrics` has the last epoch's `val_accuracy`, `val_loss` and `train_loss`, and, where the trainer
    knows them, `test_accuracy`, `test_loss`, `teacher_entropy`, `student_entropy` and
    `teacher_agreement`. `reason` tells why a trial was pruned or failed, or that a pruner would have
    stopped it; a student whose loss or accuracy is not finite has failed for the reason `DIVERGED`.
    `seconds` is wall time divided by the pack's size. `executor` is the way in which our engine trained
    the pack, and `pack_size` how many students that pack held.
    """

    number: int
    state: Outcome
    epochs: int
    metrics: Metrics = field(default_factory=dict)
    reason: str | None = None
    seconds: float = 0.0
    device: str = "cpu"
    executor: str | None = None
    pack_size: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for its way to the driver."""
        return {**self.__dict__, "metrics": dict(self.metrics)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialResult":
        """Return the result that `to_dict` described."""
        return cls(**values)


def has_result(state: str, reason: str | None) -> bool:
    """Return whether a trial ended with something to say: complete, pruned or diverged."""
    return state in ("complete", "pruned") or (state == "failed" and reason == DIVERGED)


def audit_text(audited: int, came_back: int) -> str | None:
    """Return how often a pruner was wrong, by its audits. None without any."""
    if not audited:
        return None
    plural = "trial was" if audited == 1 else "trials were"
    return f"audit: {audited} hopeless {plural} trained to the end, of which {came_back} ended above the line"
