"""A network's forward pass as a function of its parameters and buffers."""

import copy

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call


class MemberForward:
    """The forward pass of one architecture; the weights come from outside."""

    def __init__(self, model: nn.Module) -> None:
        self.skeleton = copy.deepcopy(model).to("meta").train()

    def __call__(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Float[Tensor, "B ..."]
    ) -> tuple[Float[Tensor, "B C"], dict[str, Tensor]]:
        """Return logits, and the buffers that the network has assigned.

        Those that change in place, as BatchNorm's running statistics, do so in `buffers`.
        """
        held = {**parameters, **buffers}  # an assigned buffer is put into it
        logits: Tensor = functional_call(self.skeleton, held, (images,))
        return logits, {name: held[name] for name, own in buffers.items() if held[name] is not own}


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a network's parameters and buffers by name. They share its memory, without gradients."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}
