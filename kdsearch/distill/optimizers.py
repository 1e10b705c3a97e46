"""Stock torch optimizers over a pack: one instance, one parameter group for each member."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from kdsearch.distill.factories import load_factory
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Optimizer as OptimizerSection

Parameters: TypeAlias = Sequence[Sequence[Tensor]]
"""The parameters of each member of a pack, in one order."""

_FUSED = frozenset({"sgd", "adam", "adamw"})


def build_optimizer(parameters: Parameters, sections: Sequence[OptimizerSection]) -> torch.optim.Optimizer:
    """Return one optimizer in which each member has a group with its own hyper-parameters.

    A user's `package.module:factory` gets the parameter groups, with `lr` and `weight_decay` in each,
    and returns a torch optimizer.

    Args:
        parameters: Each member's parameters.
        sections: Each member's section of the spec; they share `name` and `nesterov`.

    Raises:
        RequestError: This torch has no such optimizer, or the factory can't be imported.
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
        how = {"fused": True} if name in _FUSED else {"foreach": True}
        optimizer = _optimizer_class(name)(groups, **how)
    return optimizer


def set_learning_rates(optimizer: torch.optim.Optimizer, peaks: Sequence[float], factor: float) -> None:
    """Set every member's learning rate to its own peak times the schedule's factor."""
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak * factor


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
    spelled = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "lion": "Lion"}
    found = getattr(torch.optim, spelled.get(name, ""), None)
    if found is None:
        known = ", ".join(key for key, value in spelled.items() if hasattr(torch.optim, value))
        raise RequestError(
            f"`optimizer.name` must be an optimizer of this torch ({torch.__version__}), got {name!r}. "
            f"Choose one of {known}."
        )
    return found
