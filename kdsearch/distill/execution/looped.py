"""The executor that trains members one after another on each batch."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.execution.dropout import KeyedDropout, StepKey, member_randomness
from kdsearch.distill.execution.executor import Finish, MemberLoss
from kdsearch.distill.execution.forward import MemberForward, tensors_of
from kdsearch.distill.execution.precision import Precision

_SMALL_BATCH = 2**16  # pixels; on more, the loss costs little and the members' graphs much memory


class LoopedPack:
    """K ordinary modules that share each batch.

    Args:
        models: The members' networks.
        precision: The forward pass's arithmetic.
        channels_last: Lay out images and weights with the channels innermost.
        seeds: Each member's seed, where networks draw from the global generators; else None.
        compiled: Compile the forward pass, once for all members; not where dropout has a new number in each
            step, for which it would be compiled anew.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        precision: Precision,
        *,
        channels_last: bool = False,
        seeds: Sequence[int] | None = None,
        compiled: bool = False,
    ) -> None:
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._models = [model.train().to(memory_format=self._format) for model in models]
        self._parameters = [[p for p in model.parameters() if p.requires_grad] for model in models]
        self._dropouts = [[m for m in model.modules() if isinstance(m, KeyedDropout)] for model in models]
        self._precision = precision
        self._seeds = None if seeds is None else list(seeds)
        fixed = not any(self._dropouts)
        self._compiled = torch.compile(MemberForward(models[0])) if compiled and fixed else None

    @property
    def parameters(self) -> list[list[Tensor]]:
        """Each member's parameters, but for those that its author froze."""
        return [list(own) for own in self._parameters]

    def backward(
        self,
        images: Float[Tensor, "B ..."],
        loss: MemberLoss,
        step: StepKey,
        finish: Finish | None = None,
    ) -> Float[Tensor, " K"]:
        """Return every member's loss and leave its gradients in its parameters.

        On small batches the loss is computed once for all members, since there it costs as much as a
        network; on larger ones, and on texts, whose tokens are few and whose graphs are large, each member's
        graph is freed before the next one's is made.
        """
        images = self._laid_out(images)
        size = len(self._models)
        is_small = images.is_floating_point() and images.numel() <= _SMALL_BATCH
        at_once = size if is_small else 1
        parts = [slice(k, min(k + at_once, size)) for k in range(0, size, at_once)]
        losses = [self._backward_part(images, loss, step, part) for part in parts]
        if finish is not None:
            for k in range(size):
                finish(k)
        return losses[0] if len(losses) == 1 else torch.cat(losses)

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "K B C"]:
        """Return every member's logits in evaluation mode."""
        images = self._laid_out(images)
        return torch.stack([self._evaluated(k, images) for k in range(len(self._models))])

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with the members at these places alone."""
        self._models = [self._models[k] for k in kept]
        self._parameters = [self._parameters[k] for k in kept]
        self._dropouts = [self._dropouts[k] for k in kept]
        self._seeds = None if self._seeds is None else [self._seeds[k] for k in kept]

    def state(self) -> list[dict[str, Tensor]]:
        """Return each member's parameters and buffers by name."""
        return [tensors_of(model) for model in self._models]

    def load_state(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Take over what `state` returned."""
        with torch.no_grad():
            for model, state in zip(self._models, states, strict=True):
                for name, tensor in tensors_of(model).items():
                    tensor.copy_(state[name])

    def _randomness(self, k: int, step: StepKey, device: torch.device) -> AbstractContextManager[None]:
        if self._seeds is None:
            return nullcontext()
        if isinstance(step, Tensor):
            raise TypeError("The global generators can't be seeded from a tensor.")
        return member_randomness(self._seeds[k], step, device)

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self._format)

    def _evaluated(self, k: int, images: Tensor) -> Tensor:
        model = self._models[k].eval()
        with self._precision.context():
            logits: Tensor = model(images)
        model.train()
        return logits

    def _backward_part(self, images: Tensor, loss: MemberLoss, step: StepKey, part: slice) -> Tensor:
        outputs = [self._train_logits(k, images, step) for k in range(part.start, part.stop)]
        detached = [output.detach() for output in outputs]
        joined = torch.stack(detached) if len(detached) > 1 else detached[0][None]
        losses, gradients = loss(joined, part)
        torch.autograd.backward(outputs, gradients.unbind())
        return losses

    def _train_logits(self, k: int, images: Tensor, step: StepKey) -> Tensor:
        for parameter in self._parameters[k]:
            parameter.grad = None
        for module in self._dropouts[k]:
            module.begin(step)
        own = self._randomness(k, step, images.device)
        model = self._models[k]
        with self._precision.context(), own:
            if self._compiled is None:
                logits: Tensor = model(images)
            else:
                buffers = dict(model.named_buffers())
                logits, assigned = self._compiled(dict(model.named_parameters()), buffers, images)
                for name, value in assigned.items():
                    buffers[name].copy_(value.detach())
        return logits
