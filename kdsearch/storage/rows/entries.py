"""A trial on its way into the record, and as the record needs it again."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kdsearch.spec import Params, Setup
from kdsearch.storage.rows.distributions import Point
from kdsearch.storage.rows.read import TrialState

_TOLD = ("seed", "pack", "attempt", "retry_of", "draw")


@dataclass(frozen=True)
class NewTrial:
    """A trial that is to be made; without a seed it takes the one of its number.

    `attempt` counts from 1 those in a row that came no further. One that has no `draw` yet gets its pack's.
    """

    setup: Setup
    params: Params
    seed: int | None = None
    pack: str | None = None
    attempt: int = 1
    retry_of: int | None = None
    draw: int | None = None

    def to_attribute(self) -> dict[str, Any]:
        """Return what Optuna's parameters don't tell of the trial, and a token of its own."""
        return {**{name: getattr(self, name) for name in _TOLD}, "token": uuid.uuid4().hex}

    @classmethod
    def from_attribute(cls, point: Point, attribute: Mapping[str, Any]) -> "NewTrial":
        """Return the trial that `to_attribute` and Optuna's parameters tell of."""
        told: dict[str, Any] = {name: attribute.get(name) for name in _TOLD}  # once there was no draw
        return cls(setup=point[0], params=point[1], **told)


@dataclass(frozen=True)
class Ending:
    """How a trial ended: `accuracy` is its value and, at `epoch`, the last point of its curve."""

    state: TrialState
    reason: str | None = None
    accuracy: float | None = None
    epoch: int = 0


@dataclass(frozen=True)
class StoredTrial:
    """What of a trial is needed to run it, to run it again, or to tell Optuna of it."""

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

    def as_new(self) -> NewTrial:
        """Return the trial as it was made."""
        return NewTrial(self.setup, self.params, self.seed, self.pack, self.attempt, self.retry_of, self.draw)

    def once_more(self, *, counts: bool, came_further: bool) -> NewTrial:
        """Return the trial that runs this one again; it names the pack that was lost.

        Args:
            counts: Whether the loss may be the trial's own doing, so that this was an attempt.
            came_further: Whether this one came further than those that it ran again; attempts count anew.
        """
        attempt = 1 if came_further else self.attempt + counts
        return replace(self.as_new(), attempt=attempt, retry_of=self.number)
