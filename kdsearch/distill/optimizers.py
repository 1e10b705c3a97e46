"""Torch optimizers over a pack: one instance, one parameter group for each member."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from kdsearch.distill.factories import load_factory
from kdsearch.distill.lion import Lion
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Optimizer as OptimizerSection

Parameters: TypeAlias = Sequence[Sequence[Tensor]]
"""The parameters of each member of a pack, in one order."""

Group: TypeAlias = dict[str, Any]
_HOW: Mapping[str, dict[str, bool]] = {
    "sgd": {"fused": True},
    "adam": {"fused": True},
    "adamw": {"fused": True},
    "rmsprop": {"foreach": True},
}
_CLASSES: Mapping[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "lion": Lion,
}


def build_optimizer(parameters: Parameters, sections: Sequence[OptimizerSection]) -> torch.optim.Optimizer:
    """Return one optimizer in which each member has a group with its own hyper-parameters.

    A user's `package.module:factory` gets the parameter groups, with `lr` and `weight_decay` in each,
    and returns a torch optimizer.

    Args:
        parameters: Each member's parameters.
        sections: Each member's section of the spec; they share `name` and `nesterov`.

    Raises:
        RequestError: There is no such optimizer, or the factory can't be imported.
    """
    name = sections[0].name
    groups = [
        {"params": list(own), **_hyperparameters(section)}
        for own, section in zip(parameters, sections, strict=True)
    ]
    optimizer: torch.optim.Optimizer
    if ":" in name:
        optimizer = load_factory(name, "optimizer.name")(groups)
    else:
        optimizer = _optimizer_class(name)(groups, **_HOW.get(name, {}))
    return optimizer


def set_learning_rates(optimizer: torch.optim.Optimizer, peaks: Sequence[float], factor: float) -> None:
    """Set every member's learning rate to its own peak times the schedule's factor."""
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak * factor


@torch.no_grad()
def take_step(optimizer: torch.optim.Optimizer) -> None:
    """Take an optimizer's step.

    Of torch's fused kernels only the kernels are called: the bookkeeping around them costs a small
    network as much as its loss. It is needed where state is still to be made or a gradient is missing.
    """
    state, groups = optimizer.state, optimizer.param_groups
    kernel = _KERNELS.get(type(optimizer)) if optimizer.defaults.get("fused") else None
    ready = all(p in state and p.grad is not None for group in groups for p in group["params"])
    if kernel is None or not ready:
        optimizer.step()
        return
    for group in groups:
        own = group["params"]
        kernel(group, own, [p.grad for p in own], [state[p] for p in own])


def _sgd(group: Group, own: list[Tensor], gradients: list[Tensor], states: list[Group]) -> None:
    torch._fused_sgd_(
        own,
        gradients,
        [of_parameter["momentum_buffer"] for of_parameter in states],
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=group["lr"],
        dampening=group["dampening"],
        nesterov=group["nesterov"],
        maximize=False,
        is_first_step=False,
    )


def _adam(group: Group, own: list[Tensor], gradients: list[Tensor], states: list[Group]) -> None:
    steps = [of_parameter["step"] for of_parameter in states]
    torch._foreach_add_(steps, 1)
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    kernel(
        own,
        gradients,
        [of_parameter["exp_avg"] for of_parameter in states],
        [of_parameter["exp_avg_sq"] for of_parameter in states],
        [],
        steps,
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


_KERNELS: dict[type[torch.optim.Optimizer], Callable[..., None]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
}


def clip_gradients(parameters: Parameters, norms: Sequence[float | None]) -> None:
    """Scale each member's gradients so that their joint norm is at most the member's own bound."""
    for own, norm in zip(parameters, norms, strict=True):
        if norm is not None:
            torch.nn.utils.clip_grad_norm_(own, norm)


def keep_members(optimizer: torch.optim.Optimizer, kept: Sequence[int], parameters: Parameters) -> None:
    """Let an optimizer go on with the kept members alone, exactly where they stand.

    Args:
        optimizer: The optimizer of the whole pack.
        kept: The places of the members that stay, ascending.
        parameters: The parameters of the members that stay; they may be new tensors.
    """
    groups = [optimizer.param_groups[k] for k in kept]
    states = [[optimizer.state.get(p, {}) for p in group["params"]] for group in groups]
    optimizer.state.clear()
    optimizer.param_groups[:] = groups
    for group, own, of_member in zip(groups, parameters, states, strict=True):
        group["params"] = list(own)
        optimizer.state.update({p: state for p, state in zip(own, of_member, strict=True) if state})


def _hyperparameters(section: OptimizerSection) -> dict[str, Any]:
    shared = {"lr": section.lr, "weight_decay": section.weight_decay}
    betas = {"betas": (section.beta1, section.beta2)}
    own: Mapping[str, dict[str, Any]] = {
        "sgd": {"momentum": section.momentum, "nesterov": section.nesterov},
        "rmsprop": {"momentum": section.momentum},
        "adam": betas,
        "adamw": betas,
        "lion": betas,
    }
    return shared | own.get(section.name, {})


def _optimizer_class(name: str) -> Any:
    if name not in _CLASSES:
        raise RequestError(
            f"`optimizer.name` must be a known optimizer, got {name!r}. Choose one of {', '.join(_CLASSES)}."
        )
    return _CLASSES[name]
