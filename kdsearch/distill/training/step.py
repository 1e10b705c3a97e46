"""One step of a pack: losses and gradients of a batch, replayed as a CUDA graph where asked."""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor

from kdsearch.distill.execution import Executor, FusedPack, GraphedStep
from kdsearch.distill.training.loss import PackLoss, Targets
from kdsearch.distill.views.batches import Batch


class PackStep:
    """Computes a pack's losses and leaves fresh gradients in everything that its members learn.

    Args:
        pack: The executor.
        loss: The members' losses.
        cuda_graphs: Replay the step as a CUDA graph, where nothing in it is new from step to step.
    """

    def __init__(self, pack: Executor, loss: PackLoss, *, cuda_graphs: bool = False) -> None:
        self._pack = pack
        self._loss = loss
        self._graphed: GraphedStep | None = None
        on_gpu = any(parameter.is_cuda for parameter in pack.parameters[0])
        if cuda_graphs and on_gpu and isinstance(pack, FusedPack) and pack.is_replayable and not loss.varies:
            self._graphed = GraphedStep(pack, self._from_tensors)

    def __call__(self, targets: Targets, step: int) -> Float[Tensor, " K"]:
        """Return each member's loss on a batch."""
        batch = targets.batch
        if self._graphed is not None:
            tensors = (batch.images, batch.labels, batch.partner_labels, batch.mix, targets.teacher_logits)
            return self._graphed(tensors).clone()  # the next replay writes to the same place
        self._loss.clear_gradients()
        return self._pack.backward(batch.images, partial(self._loss, targets), step)

    def reset(self) -> None:
        """Take note that members have left."""
        if self._graphed is not None:
            self._graphed.reset()

    def _from_tensors(self, tensors: Sequence[Tensor | None]) -> Tensor:
        images, labels, partner_labels, mix, teacher_logits = tensors
        if images is None or labels is None:
            raise TypeError("A batch has images and labels.")
        batch = Batch(images, labels, partner_labels, mix, labels)
        return self._pack.backward(images, partial(self._loss, self._loss.on(batch, teacher_logits, 1)), 0)
