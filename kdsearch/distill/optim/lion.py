"""The Lion optimizer, which torch.optim does not have."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """Steps of one size in the direction of the sign of an interpolated momentum.

    With gradient g, momentum m (0 at first), rate η and decay λ, a step is
    θ ← θ − η (sign(β₁ m + (1 − β₁) g) + λ θ), then m ← β₂ m + (1 − β₂) g.

    Args:
        params: Parameters, or parameter groups.
        lr: The rate η.
        betas: β₁ and β₂.
        weight_decay: The decay λ, decoupled from the gradient.

    References:
        Chen et al., 2023, arXiv:2302.06675, algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # nobody gives a closure
        """Take a step; parameters without a gradient stay."""
        for group in self.param_groups:
            own = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not own:
                continue
            gradients = [parameter.grad for parameter in own]
            momenta = [self._momentum(parameter) for parameter in own]
            beta1, beta2 = group["betas"]
            direction = torch._foreach_mul(momenta, beta1)
            torch._foreach_add_(direction, gradients, alpha=1 - beta1)
            torch._foreach_sign_(direction)
            torch._foreach_mul_(own, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(own, direction, alpha=-group["lr"])
            torch._foreach_mul_(momenta, beta2)
            torch._foreach_add_(momenta, gradients, alpha=1 - beta2)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        return momentum
