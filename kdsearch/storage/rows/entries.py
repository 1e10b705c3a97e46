"""A trial on its way into the record and out of it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kdsearch.spec import Params, Setup, StudySpec, TrainingSpec
from kdsearch.storage.rows.distributions import Point
from kdsearch.storage.rows.read import TrialState

_ATTRIBUTE = ("seed", "pack", "attempt", "retry_of", "draw")


@dataclass(frozen=True)
class NewTrial:
    """A trial that is to be made. Without a seed it takes the one of its number. Made by `of`.

    `spec` is how it is trained. `attempt` counts from 1 those in a row that came no further. One that has no
    `draw` yet gets its pack's.
    """

    setup: Setup
    params: Params
    spec: TrainingSpec
    seed: int | None = None
    pack: str | None = None
    attempt: int = 1
    retry_of: int | None = None
    draw: int | None = None

    @classmethod
    def of(
        cls, study: StudySpec, setup: Setup, params: Params, *, draw: int | None = None, **own: Any
    ) -> "NewTrial":
        """Return a trial of a study; its point is checked here.

        Raises:
            pydantic.ValidationError: The point is no training.
        """
        return cls(setup, params, study.resolve(setup, params, draw), draw=draw, **own)

    @classmethod
    def from_attribute(cls, study: StudySpec, point: Point, attribute: Mapping[str, Any]) -> "NewTrial":
        """Return the trial that `attribute_of` and Optuna's parameters describe."""
        own: dict[str, Any] = {name: attribute.get(name) for name in _ATTRIBUTE}  # once there was no draw
        return cls.of(study, *point, **own)


@dataclass(frozen=True)
class Ending:
    """How a trial ended; `accuracy` is the curve's last point, at `epoch`."""

    state: TrialState
    reason: str | None = None
    accuracy: float | None = None
    epoch: int = 0


@dataclass(frozen=True)
class StoredTrial:
    """What is needed to run a trial or record it in Optuna."""

    number: int
    setup: Setup
    params: Params
    seed: int
    pack: str | None
    attempt: int
    retry_of: int | None
    draw: int | None
    state: TrialState
    reason: str | None
    epochs: int
    val_accuracy: float | None
    started: datetime | None
    finished: datetime | None

    @property
    def ending(self) -> Ending | None:
        """How the trial ended; None for one that runs or waits."""
        if self.state in ("running", "waiting"):
            return None
        return Ending(self.state, self.reason, accuracy=self.val_accuracy, epoch=self.epochs)

    def once_more(self, study: StudySpec, *, counts: bool, came_further: bool) -> NewTrial:
        """Return the trial that runs this one again. It names the pack that was lost.

        Args:
            study: The study's spec.
            counts: Whether the loss may be the trial's own doing, so that this was an attempt.
            came_further: Whether this one came further than those that it ran again; attempts count anew.
        """
        attempt = 1 if came_further else self.attempt + counts
        own = {"seed": self.seed, "pack": self.pack, "attempt": attempt, "retry_of": self.number}
        return NewTrial.of(study, self.setup, self.params, draw=self.draw, **own)


def attribute_of(trial: NewTrial | StoredTrial) -> dict[str, Any]:
    """Return what Optuna's parameters lack of a trial, and a new token."""
    return {**{name: getattr(trial, name) for name in _ATTRIBUTE}, "token": uuid.uuid4().hex}
