"""Whether a way of training does what the plain loop does: a few steps in each, from the same state."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from kdsearch.distill.devices import is_out_of_memory
from kdsearch.distill.execution.dropout import StepKey
from kdsearch.distill.execution.executor import Executor
from kdsearch.distill.execution.precision import Precision
from kdsearch.distill.execution.recording import WARM_UP_CALLS, Recorder, Replayed
from kdsearch.distill.factories import first_words_of
from kdsearch.distill.randomness import hash_key, stream

if TYPE_CHECKING:
    from kdsearch.distill.execution.choice import PackPlan, Way

_N_IMAGES = 4  # enough for BatchNorm, few enough to cost little
_N_STEPS = 2  # what the first leaves behind shows in the second
_N_RECORDED_STEPS = (
    WARM_UP_CALLS + 3
)  # a recording is made in the first after the warm-up, and replayed twice
_LR = 0.01
"""By hand: one step of plain SGD that moves every weight visibly."""

# Of a tensor's own norm; rounding stays far below, and a wrong mask, buffer or gradient far above.
_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}

_Training: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]
"""From images, the logits that they should have, and the step's number to losses; leaves gradients."""


@dataclass(frozen=True)
class _Outcome:
    """What steps of a pack of two gave: everything that a training goes on with, by name."""

    losses: dict[str, Tensor]
    states: dict[str, Tensor]
    logits: dict[str, Tensor]


def disagreement(way: "Way", model: nn.Module, images: Tensor, plan: "PackPlan") -> str | None:
    """Return how a way differs from the plain loop, or None.

    Two members take two steps, or as many as show a recording, in float64 where the network can be computed
    in it: rounding then hides nothing.

    Args:
        way: The way in question.
        model: A member's network; it stays untouched.
        images: Some images; the first four are used.
        plan: How executors are built.
    """
    plan = replace(plan, precision=Precision(images.device), seeds=(1, 2), compiled=False)
    n_steps = _N_STEPS if plan.recorder(way) is None else _N_RECORDED_STEPS
    for dtype in (torch.float64, torch.float32):
        try:
            expected = _outcome("looped", model, images, plan, dtype, n_steps)
        except Exception as error:  # a foreign network may insist on float32 in any way
            if dtype == torch.float32 or is_out_of_memory(error):
                raise
            continue
        try:
            found = _outcome(way, model, images, plan, dtype, n_steps)
        except Exception as error:  # and fail in another way of training in any way
            if is_out_of_memory(error):
                raise
            return f"it fails there ({first_words_of(error)})"
        return _difference(expected, found, _TOLERANCE[dtype])
    return None


def _outcome(
    way: "Way", model: nn.Module, images: Tensor, plan: "PackPlan", dtype: torch.dtype, n_steps: int
) -> _Outcome:
    images = images[:_N_IMAGES]
    images = images.to(dtype) if images.is_floating_point() else images  # texts' tokens stay numbers
    pack = plan.build(way, _two_members(model, dtype))
    train = _training(pack, plan.recorder(way))
    shape = pack.logits(images).shape[1:]
    found = [_step(pack, train, images, shape, step) for step in range(n_steps)]
    losses = {f"the loss of step {step}": loss for step, loss in enumerate(found, 1)}
    states = {f"`{name}`": value.clone() for own in pack.state()[1:] for name, value in own.items()}
    return _Outcome(losses, states, {"the logits in evaluation mode": pack.logits(images)})


def _training(pack: Executor, recorder: Recorder | None) -> _Training:
    """Return the function of a step's losses and gradients. It is recorded where there is a recorder."""

    def backward(images: Tensor, aim: Tensor, step: StepKey) -> Tensor:
        def loss(logits: Tensor, members: slice) -> tuple[Tensor, Tensor]:
            del members  # all have the same aim
            return (logits - aim).square().sum((1, 2)) / 2, logits - aim

        return pack.backward(images, loss, step)

    if recorder is None:
        return backward
    replayed = Replayed(backward, recorder)
    return lambda images, aim, step: replayed(images, aim, torch.tensor(hash_key(step), device=images.device))


def _two_members(model: nn.Module, dtype: torch.dtype) -> Sequence[nn.Module]:
    """Return two copies of a network, the second with other weights."""
    first, second = copy.deepcopy(model).to(dtype), copy.deepcopy(model).to(dtype)
    generator = stream(0, "agreement")
    with torch.no_grad():
        for own in second.parameters():
            noise = torch.randn(own.shape, generator=generator).to(own)
            own.add_(0.1 * noise * own.abs().mean())
    return first, second


def _step(pack: Executor, train: _Training, images: Tensor, shape: torch.Size, step: int) -> Tensor:
    """Take a step of gradient descent towards random logits; return the losses."""
    aim = torch.randn(shape, generator=stream(step, "agreement")).to(images.device, _dtype_of(pack))
    losses = train(images, aim, step).detach().clone()
    with torch.no_grad():
        for own in pack.parameters:
            for parameter in own:
                if parameter.grad is not None:
                    parameter.sub_(_LR * parameter.grad)
    return losses


def _dtype_of(pack: Executor) -> torch.dtype:
    return pack.parameters[0][0].dtype


def _difference(expected: _Outcome, found: _Outcome, tolerance: float) -> str | None:
    for part in ("losses", "states", "logits"):
        theirs: dict[str, Tensor] = getattr(found, part)
        for name, own in getattr(expected, part).items():
            value, other = own.double(), theirs[name].double()
            if not float((value - other).norm()) <= tolerance * max(1e-3, float(value.norm())):
                return f"{name} comes out otherwise"
    return None
