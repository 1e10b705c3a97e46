"""The executor that trains members side by side, as ordinary networks."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.execution.content import has_convolutions
from kdsearch.distill.execution.cuda import SideBySide
from kdsearch.distill.execution.dropout import StepKey
from kdsearch.distill.execution.executor import Finish, MemberLoss
from kdsearch.distill.execution.looped import LoopedPack
from kdsearch.distill.execution.precision import Precision


class StreamedPack(LoopedPack):
    """K ordinary modules, each on a CUDA stream of its own.

    It stays there from the forward pass to the optimizer's step. A small network's kernels leave most of a
    GPU idle, and those of K networks fill it; the convolutions stay cuDNN's ordinary ones, which vmap would
    turn into grouped ones, 2 to 4 times slower in bf16. Elsewhere than on a GPU the members are trained one
    after the other.

    Args:
        models: The members' networks.
        precision: The forward pass's arithmetic.
        seeds: Each member's seed, where networks draw from the global generators; else None.
        compiled: Compile the forward pass, as in a loop.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        precision: Precision,
        *,
        seeds: Sequence[int] | None = None,
        compiled: bool = False,
    ) -> None:
        layered = has_convolutions(models[0])
        super().__init__(models, precision, channels_last=layered, seeds=seeds, compiled=compiled)
        self._side_by_side = SideBySide(precision.device)

    def backward(
        self,
        images: Float[Tensor, "B ..."],
        loss: MemberLoss,
        step: StepKey,
        finish: Finish | None = None,
    ) -> Float[Tensor, " K"]:
        """Return each member's loss; gradients are left on its stream. `finish` is called there too."""
        images = self._laid_out(images)

        def train(k: int) -> Tensor:
            losses = self._backward_part(images, loss, step, slice(k, k + 1))
            if finish is not None:
                finish(k)
            return losses

        return torch.cat(self._side_by_side.each(len(self._models), train))

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "K B C"]:
        """Return every member's logits in evaluation mode."""
        images = self._laid_out(images)
        return torch.stack(self._side_by_side.each(len(self._models), lambda k: self._evaluated(k, images)))
