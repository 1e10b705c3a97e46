"""Whether a way of training does what the plain loop does: two steps in each, from the same state."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdsearch.distill.devices import is_out_of_memory
from kdsearch.distill.execution.executor import Executor
from kdsearch.distill.execution.precision import Precision
from kdsearch.distill.randomness import stream

if TYPE_CHECKING:
    from kdsearch.distill.execution.choice import PackPlan, Way

_N_IMAGES = 4  # enough for BatchNorm, few enough to cost little
_N_STEPS = 2  # what the first leaves behind shows in the second
_LR = 0.01
"""By hand: one step of plain SGD that moves every weight visibly."""

# Of a tensor's own norm; rounding stays far below, and a wrong mask, buffer or gradient far above.
_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}


@dataclass(frozen=True)
class _Outcome:
    """What steps of a pack of two gave: everything that a training goes on with, by name."""

    losses: dict[str, Tensor]
    states: dict[str, Tensor]
    logits: dict[str, Tensor]


def disagreement(way: "Way", model: nn.Module, images: Tensor, plan: "PackPlan") -> str | None:
    """Return in what a way differs from the plain loop, or None where both agree.

    Two members take two steps, in float64 where the network can be computed in it: rounding then hides
    nothing.

    Args:
        way: The way in question.
        model: A member's network; it stays untouched.
        images: Some images; the first four are used.
        plan: How executors are built.
    """
    plan = replace(plan, precision=Precision(images.device), seeds=(1, 2), compiled=False)
    for dtype in (torch.float64, torch.float32):
        try:
            expected = _outcome("looped", model, images, plan, dtype)
        except Exception as error:  # a foreign network may insist on float32 in any way
            if dtype == torch.float32 or is_out_of_memory(error):
                raise
            continue
        try:
            found = _outcome(way, model, images, plan, dtype)
        except Exception as error:  # and fail in another way of training in any way
            if is_out_of_memory(error):
                raise
            return f"it fails there ({type(error).__name__}: {(str(error) or '?').splitlines()[0]})"
        return _difference(expected, found, _TOLERANCE[dtype])
    return None


def _outcome(way: "Way", model: nn.Module, images: Tensor, plan: "PackPlan", dtype: torch.dtype) -> _Outcome:
    images = images[:_N_IMAGES].to(dtype)
    pack = plan.build(way, _two_members(model, dtype))
    losses = {f"the loss of step {step + 1}": _step(pack, images, step) for step in range(_N_STEPS)}
    states = {f"`{name}`": value.clone() for own in pack.state()[1:] for name, value in own.items()}
    return _Outcome(losses, states, {"the logits in evaluation mode": pack.logits(images)})


def _two_members(model: nn.Module, dtype: torch.dtype) -> Sequence[nn.Module]:
    """Return two copies of a network, the second with other weights."""
    first, second = copy.deepcopy(model).to(dtype), copy.deepcopy(model).to(dtype)
    generator = stream(0, "agreement")
    with torch.no_grad():
        for own in second.parameters():
            noise = torch.randn(own.shape, generator=generator).to(own)
            own.add_(0.1 * noise * own.abs().mean())
    return first, second


def _step(pack: Executor, images: Tensor, step: int) -> Tensor:
    """Take a step of gradient descent towards random logits; return the losses."""

    def loss(logits: Tensor, members: slice) -> tuple[Tensor, Tensor]:
        del members  # all have the same aim
        aim = torch.randn(logits.shape[1:], generator=stream(step, "agreement")).to(logits)
        return (logits - aim).square().sum((1, 2)) / 2, logits - aim

    losses = pack.backward(images, loss, step).detach().clone()
    with torch.no_grad():
        for own in pack.parameters:
            for parameter in own:
                if parameter.grad is not None:
                    parameter.sub_(_LR * parameter.grad)
    return losses


def _difference(expected: _Outcome, found: _Outcome, tolerance: float) -> str | None:
    for part in ("losses", "states", "logits"):
        theirs: dict[str, Tensor] = getattr(found, part)
        for name, own in getattr(expected, part).items():
            value, other = own.double(), theirs[name].double()
            if not float((value - other).norm()) <= tolerance * max(1e-3, float(value.norm())):
                return f"{name} comes out otherwise"
    return None
