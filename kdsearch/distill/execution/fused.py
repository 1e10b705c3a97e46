"""The executor that trains the members as one computation on stacked weights."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import stack_module_state, vmap

from kdsearch.distill.execution.dropout import KeyedDropout, StepKey
from kdsearch.distill.execution.executor import Finish, MemberLoss
from kdsearch.distill.execution.forward import MemberForward
from kdsearch.distill.execution.precision import Precision


class FusedPack:
    """K networks in one: parameters and buffers stacked at dimension 0, one vmapped forward pass.

    The buffers must be contiguous tensors stacked at dimension 0: of others, BatchNorm's running
    statistics come out wrong without a word. Parameters that their author froze stay as they are.

    Args:
        models: The members' networks.
        precision: The forward pass's arithmetic.
        compiled: Compile the forward pass; not where dropout has a new number in each step, for which it
            would be compiled anew.
    """

    def __init__(self, models: Sequence[nn.Module], precision: Precision, *, compiled: bool = False) -> None:
        parameters, buffers = stack_module_state(list(models))
        self._trained = {name for name, own in models[0].named_parameters() if own.requires_grad}
        self._forward = MemberForward(models[0])
        self._dropouts = [m for m in self._forward.skeleton.modules() if isinstance(m, KeyedDropout)]
        self._precision = precision
        together = vmap(self._forward, in_dims=(0, 0, None), randomness="error")
        self._together = torch.compile(together) if compiled and not self._dropouts else together
        self._take(parameters, buffers)

    @property
    def parameters(self) -> list[list[Tensor]]:
        """Each member's parameters that are trained: views of the stacked ones, as their gradients are."""
        return [list(own) for own in self._members]

    def backward(
        self,
        images: Float[Tensor, "B ..."],
        loss: MemberLoss,
        step: StepKey,
        finish: Finish | None = None,
    ) -> Float[Tensor, " K"]:
        """Return every member's loss and leave its gradients in its parameters."""
        torch._foreach_zero_(self._gradients)
        for module in self._dropouts:
            module.begin(step)
        logits = self._logits(images)
        losses, gradients = loss(logits.detach(), slice(None))
        torch.autograd.backward(logits, gradients)
        if finish is not None:
            for k in range(len(self._members)):
                finish(k)
        return losses

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "K B C"]:
        """Return every member's logits in evaluation mode."""
        self._forward.skeleton.eval()
        found = self._logits(images)
        self._forward.skeleton.train()
        return found

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with the members at these places alone."""
        index = torch.tensor(kept, device=self._precision.device)
        self._take(
            {name: stacked.detach()[index] for name, stacked in self._parameters.items()},
            {name: stacked[index] for name, stacked in self._buffers.items()},
        )

    def state(self) -> list[dict[str, Tensor]]:
        """Return each member's parameters and buffers by name."""
        stacked = {**self._parameters, **self._buffers}
        return [{name: s.detach()[k] for name, s in stacked.items()} for k in range(len(self._members))]

    def load_state(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Take over what `state` returned."""
        with torch.no_grad():
            for own, state in zip(self.state(), states, strict=True):
                for name, tensor in own.items():
                    tensor.copy_(state[name])

    def _logits(self, images: Tensor) -> Tensor:
        with self._precision.vmapped_context():
            found: Tensor
            found, assigned = self._together(self._parameters, self._buffers, images)
        for name, value in assigned.items():
            self._buffers[name].copy_(value.detach())
        return found

    def _take(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        """Hold these stacked tensors, and gradients that stay in place between steps."""
        self._parameters = {
            name: stacked.detach().clone(memory_format=torch.contiguous_format)
            for name, stacked in parameters.items()
        }
        self._buffers = {
            name: stacked.clone(memory_format=torch.contiguous_format) for name, stacked in buffers.items()
        }
        trained = [own.requires_grad_() for name, own in self._parameters.items() if name in self._trained]
        self._gradients = [torch.zeros_like(stacked) for stacked in trained]
        for stacked, gradient in zip(trained, self._gradients, strict=True):
            stacked.grad = gradient
        size = len(self._gradients[0])
        self._members = [[_member_view(stacked, k) for stacked in trained] for k in range(size)]


def _member_view(stacked: Tensor, k: int) -> Tensor:
    view = stacked.detach()[k]
    view.grad = None if stacked.grad is None else stacked.grad[k]
    return view
