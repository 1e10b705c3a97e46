"""Learning-rate schedules: pure functions from a step to a factor on the learning rate."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from kdsearch.distill.factories import load_factory
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Training

Schedule: TypeAlias = Callable[[int], float]
"""The factor on the learning rate at a step, counted from 0."""

# torch's defaults of the one-cycle schedule.
_RISE = 0.3
_START_DIVISOR = 25.0
"""torch's own of OneCycleLR."""

_END_DIVISOR = 1e4
"""torch's own of OneCycleLR."""


def schedule_of(training: Training, steps_per_epoch: int) -> Schedule:
    """Return the schedule of a spec's training section."""
    return schedule(
        training.schedule,
        steps=training.epochs * steps_per_epoch,
        warmup_steps=training.warmup_epochs * steps_per_epoch,
        milestones=training.milestones,
        gamma=training.gamma,
    )


def schedule(
    name: str,
    *,
    steps: int,
    warmup_steps: int = 0,
    milestones: Sequence[float] = (0.5, 0.75),
    gamma: float = 0.1,
) -> Schedule:
    """Return the schedule of a name.

    During the warm-up the factor rises linearly to 1.

    Args:
        name: constant, cosine (to 0 over the steps after the warm-up), step, one_cycle, or a user's
            `package.module:factory`, which gets `steps` and `warmup_steps` and returns the schedule.
        steps: The steps of the whole training.
        warmup_steps: The steps of the warm-up; for one_cycle, of its rise (by default 30%).
        milestones: For step: fractions of the training after which the factor is multiplied. The default,
            with `gamma`, is that of He et al. (2016) on CIFAR.
        gamma: For step: what the factor is multiplied by.

    Raises:
        RequestError: The name is not known.
    """
    if ":" in name:
        of_user: Schedule = load_factory(name, "training.schedule")(steps=steps, warmup_steps=warmup_steps)
        return of_user
    if name == "one_cycle":
        rise = warmup_steps or _RISE * steps
        return lambda step: _one_cycle(step, steps, rise)
    after: dict[str, Schedule] = {
        "constant": lambda _: 1.0,
        "cosine": lambda step: _cosine(step - warmup_steps, steps - warmup_steps),
        "step": lambda step: gamma ** sum(step >= round(at * steps) for at in milestones),
    }
    if name not in after:
        raise RequestError(
            f"`training.schedule` must be a known schedule, got {name!r}. "
            f"Choose one of {', '.join((*after, 'one_cycle'))}."
        )
    follow = after[name]
    return lambda step: (step + 1) / warmup_steps if step < warmup_steps else follow(step)


def _cosine(step: int, steps: int) -> float:
    return (1 + math.cos(math.pi * step / steps)) / 2


def _one_cycle(step: int, steps: int, rise: float) -> float:
    """Follow two half cosines: up to 1 until `rise`, then down to the last step."""
    start, end = 1 / _START_DIVISOR, 1 / (_START_DIVISOR * _END_DIVISOR)
    top = max(rise - 1, 0)
    if step < top:
        return _between(start, 1.0, step / top)
    return _between(1.0, end, (step - top) / max(steps - 1 - top, 1))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
