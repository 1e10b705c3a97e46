"""Optimizers over a pack: one instance, one parameter group for each member."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from kdsearch.distill.factories import load_factory
from kdsearch.distill.optim.fused import FusedAdam, FusedAdamW, FusedSGD, Group
from kdsearch.distill.optim.lion import Lion
from kdsearch.errors import RequestError
from kdsearch.spec.catalogue import OPTIMIZERS
from kdsearch.spec.sections import Optimizer as OptimizerSection

Parameters: TypeAlias = Sequence[Sequence[Tensor]]
"""The parameters of each member of a pack, in one order."""


class PackOptimizer(Protocol):
    """What training asks of an optimizer: torch.optim's interface, as far as it is used."""

    param_groups: list[Group]
    state: Any

    def step(self) -> Any:
        """Take a step."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""


_BUILDERS: Mapping[str, Callable[[list[Group]], PackOptimizer]] = {
    "sgd": FusedSGD,
    "adam": FusedAdam,
    "adamw": FusedAdamW,
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, foreach=True),
    "lion": Lion,
}


def build_optimizer(parameters: Parameters, sections: Sequence[OptimizerSection]) -> PackOptimizer:
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
    builder = load_factory(name, "optimizer.name") if ":" in name else _builder(name)
    optimizer: PackOptimizer = builder(groups)
    return optimizer


def set_learning_rates(optimizer: PackOptimizer, peaks: Sequence[float], factor: float) -> None:
    """Set every member's learning rate to its own peak times the schedule's factor."""
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak * factor


def clip_gradients(parameters: Parameters, norms: Sequence[float | None]) -> None:
    """Scale each member's gradients so that their joint norm is at most the member's own bound."""
    for own, norm in zip(parameters, norms, strict=True):
        if norm is not None:
            torch.nn.utils.clip_grad_norm_(own, norm)


def keep_members(optimizer: PackOptimizer, kept: Sequence[int], parameters: Parameters) -> None:
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
    """Return a group's hyper-parameters by torch.optim's names; a user's factory gets the shared ones."""
    facts = OPTIMIZERS.get(section.name)
    own = {name: getattr(section, name) for name in facts.takes} if facts else {}
    if "beta1" in own:
        own = {"betas": (section.beta1, section.beta2)}
    return {"lr": section.lr, "weight_decay": section.weight_decay, **own}


def _builder(name: str) -> Callable[[list[Group]], PackOptimizer]:
    if name not in _BUILDERS:
        raise RequestError(
            f"`optimizer.name` must be a known optimizer, got {name!r}. Choose one of {', '.join(_BUILDERS)}."
        )
    return _BUILDERS[name]
