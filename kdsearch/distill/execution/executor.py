"""What an executor of a pack does, whichever way it does it."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from kdsearch.distill.execution.dropout import StepKey

MemberLoss: TypeAlias = Callable[
    [Float[Tensor, "k B C"], slice], tuple[Float[Tensor, " k"], Float[Tensor, "k B C"]]
]
"""The losses of the members at a slice of the pack, and their gradients by these logits."""

Finish: TypeAlias = Callable[[int], None]
"""What is done with the gradients of the member at a place, once they are there."""


@runtime_checkable
class Executor(Protocol):
    """K students of one architecture that see the same batches.

    Every member goes its own way exactly as it would alone; executors differ in how the work is done.
    """

    @property
    def parameters(self) -> list[list[Tensor]]:
        """Each member's parameters that are trained; after `backward` they hold gradients."""
        ...

    def backward(
        self,
        images: Float[Tensor, "B ..."],
        loss: MemberLoss,
        step: StepKey,
        finish: Finish | None = None,
    ) -> Float[Tensor, " K"]:
        """Return each member's training loss; leave new gradients in its parameters.

        Networks are in training mode.

        Args:
            images: The batch, or texts' tokens.
            loss: Gives losses and gradients for the members' logits.
            step: Decides what is random in a network.
            finish: Called with each member's place once its gradients are there.
        """
        ...

    def logits(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "K B C"]:
        """Return every member's logits in evaluation mode, without gradients."""
        ...

    def keep(self, kept: Sequence[int]) -> None:
        """Keep only the members at these places. `parameters` may be new tensors."""
        ...

    def state(self) -> list[dict[str, Tensor]]:
        """Return each member's parameters and buffers by name."""
        ...

    def load_state(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Take over what `state` returned."""
        ...
