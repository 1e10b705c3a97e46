"""Optimizers of a pack by torch's fused kernels, and little else.

Their state is the one that torch.optim keeps. torch.optim's classes do the same arithmetic. Around it they
spend as much on a small network as its loss costs, and the first of them in a process imports torch's
compiler, for a second.

A learning rate may be a tensor of no dimension, which a recorded step reads anew in each replay.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

Group: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Tensor]

# torch.optim's defaults.
_EPS = 1e-8
_SMOOTHING = 0.99  # of RMSprop's squares


class FusedOptimizer:
    """What the optimizers share: parameter groups, a state for each parameter, and steps.

    Args:
        groups: Each member's, with `params`, `lr`, `weight_decay` and the optimizer's own numbers; the
            parameters of a group share device and dtype, and gradients are laid out in memory like them.
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        self.param_groups = list(groups)
        self.state: dict[Tensor, State] = {}

    def step(self) -> None:
        """Take a step; parameters without a gradient stay."""
        for place in range(len(self.param_groups)):
            self.step_of(place)

    @torch.no_grad()
    def step_of(self, place: int) -> None:
        """Take the step of one group alone."""
        group = self.param_groups[place]
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
        """Return the state and the groups in torch.optim's form. Places stand for parameters."""
        place = {parameter: index for index, parameter in enumerate(self._parameters())}
        return {
            "state": {place[parameter]: dict(state) for parameter, state in self.state.items()},
            "param_groups": [{**g, "params": [place[p] for p in g["params"]]} for g in self.param_groups],
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, for the same groups.

        Learning rates are not restored: each step sets its own.
        """
        parameters = self._parameters()
        self.state = {
            parameters[place]: {name: value.clone() for name, value in state.items()}
            for place, state in saved["state"].items()
        }
        for group, own in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({name: value for name, value in own.items() if name not in ("params", "lr")})

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
            eps=_EPS,
            amsgrad=False,
            maximize=False,
        )


class FusedAdamW(FusedAdam):
    """torch.optim.AdamW: groups have `betas`."""

    _kernel: Callable[..., None] = staticmethod(torch._fused_adamw_)


class FusedRMSprop(FusedOptimizer):
    """torch.optim.RMSprop, not centred: groups have `momentum`."""

    def _first_state(self, group: Group, parameter: Tensor) -> State:
        names = ("square_avg", "momentum_buffer") if group["momentum"] else ("square_avg",)
        return {name: torch.zeros_like(parameter) for name in names}

    def _update(self, group: Group, own: list[Tensor], gradients: list[Tensor], states: list[State]) -> None:
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, own, alpha=group["weight_decay"]))
        squares = [state["square_avg"] for state in states]
        torch._foreach_mul_(squares, _SMOOTHING)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - _SMOOTHING)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_add_(scale, _EPS)
        steps = list(torch._foreach_div(gradients, scale))
        if group["momentum"]:
            momenta = [state["momentum_buffer"] for state in states]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, steps)
            steps = momenta
        torch._foreach_sub_(own, torch._foreach_mul(steps, group["lr"]))


class Lion(FusedOptimizer):
    """Steps of one size along the sign of an interpolated momentum.

    Groups have `betas`. With gradient g, momentum m (0 at first), rate η and decay λ, a step is
    θ ← θ − η (sign(β₁ m + (1 − β₁) g) + λ θ), then m ← β₂ m + (1 − β₂) g.

    References:
        Chen et al., 2023, arXiv:2302.06675, algorithm 2.
    """

    def _first_state(self, group: Group, parameter: Tensor) -> State:  # noqa: ARG002 - every group's is alike
        return {"momentum": torch.zeros_like(parameter)}

    def _update(self, group: Group, own: list[Tensor], gradients: list[Tensor], states: list[State]) -> None:
        momenta = [state["momentum"] for state in states]
        beta1, beta2 = group["betas"]
        direction = torch._foreach_mul(momenta, beta1)
        torch._foreach_add_(direction, gradients, alpha=1 - beta1)
        torch._foreach_sign_(direction)
        torch._foreach_mul_(own, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(own, torch._foreach_mul(direction, group["lr"]))
        torch._foreach_mul_(momenta, beta2)
        torch._foreach_add_(momenta, gradients, alpha=1 - beta2)
