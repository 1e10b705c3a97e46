"""Optimizers over a pack: one instance, one parameter group for each member."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from kdsearch.distill.factories import load_factory
from kdsearch.distill.optim.fused import (
    FusedAdam,
    FusedAdamW,
    FusedOptimizer,
    FusedRMSprop,
    FusedSGD,
    Group,
    Lion,
)
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
    "rmsprop": FusedRMSprop,
    "lion": Lion,
}


def build_optimizer(parameters: Parameters, sections: Sequence[OptimizerSection]) -> PackOptimizer:
    """Return one optimizer with a group of hyper-parameters for each member.

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


class LearningRates:
    """Sets every member's learning rate in an optimizer: its own peak times the schedule's factor.

    Args:
        optimizer: Has a group for each member.
        peaks: The members' largest rates.
        device: Where the members are trained.
        is_recorded: Whether a recorded step is to read the rates anew. Then they are tensors, as on a GPU.
    """

    def __init__(
        self,
        optimizer: PackOptimizer,
        peaks: Sequence[float],
        device: torch.device,
        *,
        is_recorded: bool = False,
    ) -> None:
        self._optimizer = optimizer
        self._peaks = list(peaks)
        self._device = device
        self._held = isinstance(optimizer, FusedOptimizer) and (is_recorded or device.type == "cuda")
        self._hold()

    def set(self, factor: float) -> None:
        """Set the rates of a step."""
        if self._held:
            self._rates.copy_(self._peaks_held * factor)
            return
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def keep(self, kept: Sequence[int]) -> None:
        """Keep only the members at these places, as the optimizer does."""
        self._peaks = [self._peaks[k] for k in kept]
        self._hold()

    def _hold(self) -> None:
        if not self._held:
            return
        self._peaks_held = torch.tensor(self._peaks, dtype=torch.float64, device=self._device)
        # CUDA's fused kernels read float32; a CPU's take the number as precisely as it is given.
        dtype = torch.float32 if self._device.type == "cuda" else torch.float64
        self._rates = torch.zeros_like(self._peaks_held, dtype=dtype)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate


def clip_gradients(parameters: Sequence[Tensor], norm: float | None) -> None:
    """Scale down a member's gradients whose joint norm exceeds `norm`."""
    if norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters, norm)


def keep_members(optimizer: PackOptimizer, kept: Sequence[int], parameters: Parameters) -> None:
    """Let an optimizer continue with the kept members alone.

    Their state stays as it is.

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
    """Return a group's hyper-parameters by torch.optim's names. A user's factory gets the shared ones."""
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
