"""The executor that trains the members one after the other on each batch."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.packs.executor import MemberLoss


class LoopedPack:
    """K ordinary modules; the batch is loaded once for all of them."""

    def __init__(self, models: Sequence[nn.Module], *, channels_last: bool = False) -> None:
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._models = [model.train().to(memory_format=self._format) for model in models]
        self._parameters = [list(model.parameters()) for model in models]

    @property
    def parameters(self) -> list[list[Tensor]]:
        """Each member's parameters."""
        return [list(own) for own in self._parameters]

    def backward(self, images: Float[Tensor, "B ..."], loss: MemberLoss) -> Float[Tensor, " K"]:
        """Return every member's loss and leave its gradients in its parameters."""
        images = images.contiguous(memory_format=self._format)
        losses = []
        for k, model in enumerate(self._models):
            for parameter in self._parameters[k]:
                parameter.grad = None
            own = loss(model(images)[None], slice(k, k + 1))
            torch.autograd.backward(own.sum())
            losses.append(own.detach())
        return torch.cat(losses)

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "K B C"]:
        """Return every member's logits in evaluation mode."""
        images = images.contiguous(memory_format=self._format)
        found = torch.stack([model.eval()(images) for model in self._models])
        for model in self._models:
            model.train()
        return found

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with the members at these places alone."""
        self._models = [self._models[k] for k in kept]
        self._parameters = [self._parameters[k] for k in kept]

    def state_dicts(self) -> list[dict[str, Any]]:
        """Return each member's parameters and buffers by name."""
        return [model.state_dict() for model in self._models]
