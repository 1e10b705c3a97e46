"""SGD, Adam and AdamW by torch's fused kernels, with the state that torch.optim keeps, and little else.

torch.optim's classes do the same arithmetic. Around it they spend as much on a small network as its loss
costs, and the first of them in a process imports torch's compiler, for a second.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

Group: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Tensor]


class FusedOptimizer:
    """What SGD, Adam and AdamW share: parameter groups, a state for each parameter, and steps.

    Args:
        groups: Each with `params`, `lr`, `weight_decay` and the optimizer's own numbers; the parameters of
            a group share device and dtype, and gradients are laid out in memory like their parameters.
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        self.param_groups = list(groups)
        self.state: dict[Tensor, State] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Take a step; parameters without a gradient stay."""
        for group in self.param_groups:
            own = [parameter for parameter in group["params"] if parameter.grad is not None]
            if own:
                states = [self.state.get(p) or self._begin(group, p) for p in own]
                self._update(group, own, [p.grad for p in own], states)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state and the groups in torch.optim's form, with places for parameters."""
        place = {parameter: index for index, parameter in enumerate(self._parameters())}
        return {
            "state": {place[parameter]: dict(state) for parameter, state in self.state.items()},
            "param_groups": [{**g, "params": [place[p] for p in g["params"]]} for g in self.param_groups],
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, of the same groups."""
        parameters = self._parameters()
        self.state = {
            parameters[place]: {name: value.clone() for name, value in state.items()}
            for place, state in saved["state"].items()
        }
        for group, own in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({name: value for name, value in own.items() if name != "params"})

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _begin(self, group: Group, parameter: Tensor) -> State:
        self.state[parameter] = self._first_state(group, parameter)
        return self.state[parameter]

    def _first_state(self, group: Group, parameter: Tensor) -> State:
        raise NotImplementedError

    def _update(self, group: Group, own: list[Tensor], gradients: list[Tensor], states: list[State]) -> None:
        raise NotImplementedError


class FusedSGD(FusedOptimizer):
    """torch.optim.SGD without dampening: groups have `momentum` and `nesterov`."""

    def _first_state(self, group: Group, parameter: Tensor) -> State:
        return {"momentum_buffer": torch.zeros_like(parameter)} if group["momentum"] else {}

    def _update(self, group: Group, own: list[Tensor], gradients: list[Tensor], states: list[State]) -> None:
        torch._fused_sgd_(
            own,
            gradients,
            [state["momentum_buffer"] for state in states] if group["momentum"] else [],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=False,
        )


class FusedAdam(FusedOptimizer):
    """torch.optim.Adam: groups have `betas`."""

    _kernel: Callable[..., None] = staticmethod(torch._fused_adam_)

    def _first_state(self, group: Group, parameter: Tensor) -> State:  # noqa: ARG002 - every group's is alike
        return {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def _update(self, group: Group, own: list[Tensor], gradients: list[Tensor], states: list[State]) -> None:
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        self._kernel(
            own,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


class FusedAdamW(FusedAdam):
    """torch.optim.AdamW: groups have `betas`."""

    _kernel: Callable[..., None] = staticmethod(torch._fused_adamw_)
