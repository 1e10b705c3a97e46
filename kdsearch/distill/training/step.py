"""One step of a pack, from a batch to new weights.

It is replayed as a recording where there is a recorder.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from kdsearch.distill.execution import Executor, Recorder, Replayed
from kdsearch.distill.execution.dropout import StepKey
from kdsearch.distill.objectives import at_least_float32
from kdsearch.distill.optim.fused import FusedOptimizer
from kdsearch.distill.optim.optimizers import LearningRates, PackOptimizer, clip_gradients, keep_members
from kdsearch.distill.randomness import hash_key
from kdsearch.distill.training.loss import PackLoss, Targets


class PackStep:
    """Trains a pack on one batch after the other, and evaluates it.

    Args:
        pack: The executor.
        loss: The members' losses.
        optimizer: Has a group for each member, of `member_parameters`.
        rates: Sets the groups' learning rates.
        norms: The bound on the norm of each member's gradient; None where there is none.
        recorder: Records steps and evaluations; None where they run as they are.
    """

    def __init__(
        self,
        pack: Executor,
        loss: PackLoss,
        optimizer: PackOptimizer,
        rates: LearningRates,
        norms: Sequence[float | None],
        recorder: Recorder | None = None,
    ) -> None:
        self._learners = _Learners(pack, loss, optimizer, norms)
        self._rates = rates
        self._step_key = torch.zeros((), dtype=torch.int64, device=pack.parameters[0][0].device)
        # What is replayed must not know this step: memory would stay until the next collection of cycles.
        self._training = Replayed(partial(_trained_from, self._learners, self._step_key), recorder)
        self._evaluation = Replayed(lambda images: at_least_float32(pack.logits(images)), recorder)

    @property
    def problem(self) -> str | None:
        """Why steps are not replayed despite a recorder, or None."""
        return self._training.problem or self._evaluation.problem

    def __call__(self, targets: Targets, step: int, factor: float) -> Float[Tensor, " K"]:
        """Take a step of training and return each member's loss before it.

        Args:
            targets: A batch and what is learned from it.
            step: The step of the whole training, from 0.
            factor: The schedule's factor on the learning rates.
        """
        self._rates.set(factor)
        if not self._training.is_recording:
            return self._learners.trained(targets, step)
        self._step_key.fill_(hash_key(step))
        return self._training(*targets.tensors())

    def logits(self, images: Float[Tensor, "N ..."]) -> Float[Tensor, "K N C"]:
        """Return every member's logits in evaluation mode."""
        return self._evaluation(images)

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with the members at these places alone: of pack, loss and optimizer."""
        self._learners.keep(kept)
        self._rates.keep(kept)
        self._training.forget()
        self._evaluation.forget()


class _Learners:
    """The members with what each learns by."""

    def __init__(
        self, pack: Executor, loss: PackLoss, optimizer: PackOptimizer, norms: Sequence[float | None]
    ) -> None:
        self._pack = pack
        self._loss = loss
        self._optimizer = optimizer
        self._norms = list(norms)
        self._parameters = member_parameters(pack, loss)

    def trained(self, targets: Targets, step: StepKey) -> Tensor:
        """Take a step and return the losses before it."""
        self._loss.clear_gradients()
        losses = self._pack.backward(targets.batch.images, partial(self._loss, targets), step, self._finish)
        if not isinstance(self._optimizer, FusedOptimizer):
            self._optimizer.step()
        return losses

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with the members at these places alone."""
        self._pack.keep(kept)
        self._loss.keep(kept)
        self._parameters = member_parameters(self._pack, self._loss)
        keep_members(self._optimizer, kept, self._parameters)
        self._norms = [self._norms[k] for k in kept]

    def _finish(self, place: int) -> None:
        """Clip a member's gradients and take its step.

        A user's optimizer takes all members' steps at once, later.
        """
        clip_gradients(self._parameters[place], self._norms[place])
        if isinstance(self._optimizer, FusedOptimizer):
            self._optimizer.step_of(place)


def _trained_from(learners: _Learners, step_key: Tensor, *tensors: Tensor | None) -> Tensor:
    return learners.trained(Targets.of(tensors), step_key)


def member_parameters(pack: Executor, loss: PackLoss) -> list[list[Tensor]]:
    """Return what each member learns: its network's parameters, and its loss's."""
    return [own + more for own, more in zip(pack.parameters, loss.member_parameters(), strict=True)]
