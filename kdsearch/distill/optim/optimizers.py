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
    if ":" not in name:
        return _builder(name)(groups)
    factory = load_factory(name, "optimizer.name")
    if keeps_more(name):
        return SeparateOptimizers([factory([group]) for group in groups])
    optimizer: PackOptimizer = factory(groups)
    return optimizer


def keeps_more(name: str) -> bool:
    """Return whether a user's optimizer may keep more than its groups and the state of their parameters.

    What it keeps is then no part of a checkpoint, and no other parameters can take the place of its own.
    """
    if ":" not in name:
        return False
    tried = torch.zeros(2, 2, requires_grad=True)
    groups = [{"params": [tried], "lr": 0.1, "weight_decay": 0.0}]
    optimizer = load_factory(name, "optimizer.name")(groups)
    if type(optimizer).__module__.startswith("torch."):
        return False
    usual = vars(torch.optim.SGD([tried])).keys()
    own = [value for key, value in getattr(optimizer, "__dict__", {}).items() if key not in usual]
    is_usual = isinstance(optimizer, torch.optim.Optimizer)
    return not is_usual or not all(isinstance(value, bool | str | None) for value in own)


class SeparateOptimizers:
    """An optimizer for each member, where one for all could not be told which of them stay.

    Args:
        optimizers: The members', each with one group.
    """

    def __init__(self, optimizers: Sequence[PackOptimizer]) -> None:
        self._optimizers = list(optimizers)
        self.param_groups = [group for own in optimizers for group in own.param_groups]

    def step(self) -> None:
        """Take every member's step."""
        for own in self._optimizers:
            own.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for own in self._optimizers:
            own.zero_grad()

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with the members at these places alone, whose parameters are the same tensors."""
        self._optimizers = [self._optimizers[k] for k in kept]
        self.param_groups = [self.param_groups[k] for k in kept]

    def state_dict(self) -> dict[str, Any]:
        """Return what the optimizers say of their states."""
        return {"members": [own.state_dict() for own in self._optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for own, saved in zip(self._optimizers, state_dict["members"], strict=True):
            own.load_state_dict(saved)


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
    if isinstance(optimizer, SeparateOptimizers):
        optimizer.keep(kept)
        return
    groups = [optimizer.param_groups[k] for k in kept]
    state: Any = optimizer.state  # type: ignore[attr-defined]  # torch.optim's and ours have one
    states = [[state.get(p, {}) for p in group["params"]] for group in groups]
    state.clear()
    optimizer.param_groups[:] = groups
    for group, own, of_member in zip(groups, parameters, states, strict=True):
        group["params"] = list(own)
        state.update({p: its for p, its in zip(own, of_member, strict=True) if its})


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
