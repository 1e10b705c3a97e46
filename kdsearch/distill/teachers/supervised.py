"""Training a network on labels alone: teachers, and students' starting weights."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsearch.distill.devices import is_out_of_memory
from kdsearch.distill.execution import Recorder, Replayed, recorder_of
from kdsearch.distill.models import head_parameters
from kdsearch.distill.optim.fused import FusedOptimizer
from kdsearch.distill.optim.optimizers import LearningRates, PackOptimizer, build_optimizer
from kdsearch.distill.optim.schedules import schedule
from kdsearch.distill.randomness import hash_key, seeded
from kdsearch.distill.views.batches import Batch, Views
from kdsearch.errors import RequestError, RunError
from kdsearch.spec.sections import Finetune, Optimizer, Pretraining

_HEAD, _WHOLE = range(2)  # the parts of a training, as they enter its seeds
_LEAST_STEPS = 4  # of an epoch, by hand: on few samples batches shrink rather than leave a step or two
_LEAST_BATCH = 2  # which BatchNorm needs
_N_TRIED = 4  # images on which recorded steps are compared with plain ones


def finetune_of(
    pretraining: Pretraining, model: nn.Module, epochs: int, *, pretrained: bool = False
) -> Finetune:
    """Return how weights are trained here: as a spec says, and else as suits the network.

    SGD at the usual rate for networks with BatchNorm; AdamW for the others, which such a rate would
    break; a tenth of the rate, given or not, for those already trained.
    """
    has_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    said = pretraining.training
    optimizer = said.get("optimizer", "sgd" if has_norm else "adamw")
    lr = said.get("lr", 0.1 if optimizer == "sgd" else 1e-3) * (0.1 if pretrained else 1.0)
    return Finetune(**{**said, "epochs": epochs, "optimizer": optimizer, "lr": lr})


def batch_size_of(finetune: Finetune, n_train: int) -> int:
    """Return how many images a batch holds: no more than a quarter of them all.

    A whole small set in one batch would make an epoch a single step.
    """
    return min(finetune.batch_size, max(_LEAST_BATCH, n_train // _LEAST_STEPS))


class SupervisedTraining:
    """The training of one network on one split, resumable after any epoch.

    Args:
        model: The network, on the views' device.
        views: The training split's views.
        finetune: How it is trained.
        seed: Decides the views, their order and dropout.
        layout: How weights and images lie in memory.
    """

    def __init__(
        self,
        model: nn.Module,
        views: Views,
        finetune: Finetune,
        *,
        seed: int,
        layout: torch.memory_format,
    ) -> None:
        self.model = model.to(memory_format=layout)
        self._layout = layout
        self.finetune = finetune
        self._views = views
        self._batch_size = batch_size_of(finetune, len(views.labels))
        self._seed = seed
        self._trained = [p for p in model.parameters() if p.requires_grad]  # its author may have frozen some
        self._optimizer = _optimizer(self._trained, finetune)
        self._recorder = self._own_recorder()
        self._epochs_done = 0

    def train_head(self) -> None:
        """Train the head on the frozen body, whose BatchNorm statistics stay too."""
        if not self.finetune.head_epochs:
            return
        names = head_parameters(self.model)
        head = [p for name, p in self.model.named_parameters() if name in names and p.requires_grad]
        self._refuse_frozen(head, "head_epochs")
        step = self._step_with(_optimizer(head, self.finetune))
        self.model.requires_grad_(False).eval()
        for parameter in head:
            parameter.requires_grad_(True)
        for epoch in range(1, self.finetune.head_epochs + 1):
            self._epoch(epoch, self.finetune.head_epochs, step, _HEAD)
        for parameter in self._trained:
            parameter.requires_grad_(True)
        # Anew: a user's may keep the weights that it is made for, which the head's training has changed.
        self._optimizer = _optimizer(self._trained, self.finetune)

    def train(self) -> None:
        """Train the whole network to its schedule's end, from where it is."""
        if self.finetune.epochs:
            self._refuse_frozen(self._trained, "epochs")
        self.model.train()
        step = self._step_with(self._optimizer)
        while self._epochs_done < self.finetune.epochs:
            self._epoch(self._epochs_done + 1, self.finetune.epochs, step, _WHOLE)
            self._epochs_done += 1
        self.model.eval()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later training needs to go on from here."""
        return {
            "epochs": self._epochs_done,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from another training's state. The schedules must agree up to there."""
        self._epochs_done = state["epochs"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _refuse_frozen(self, parameters: Sequence[Tensor], setting: str) -> None:
        if not parameters:
            raise RequestError(
                f"`finetune.{setting}` must be 0 for a network whose parameters are all frozen, got "
                f"{getattr(self.finetune, setting)}. Let its factory leave `requires_grad` as it is."
            )

    def _own_recorder(self) -> Recorder | None:
        if not isinstance(self._optimizer, FusedOptimizer):
            return None  # a user's may do anything
        return recorder_of(self.model, self._views.plain(torch.arange(min(_N_TRIED, len(self._views)))))

    def _step_with(self, optimizer: PackOptimizer) -> "_SupervisedStep":
        return _SupervisedStep(self.model, optimizer, self.finetune, self._layout, self._recorder)

    def _epoch(self, epoch: int, epochs: int, step: "_SupervisedStep", phase: int) -> None:
        n_steps = self._views.n_batches(self._batch_size)
        factor = schedule(self.finetune.schedule, steps=epochs * n_steps)
        first = (epoch - 1) * n_steps
        batches = self._views.batches(self._seed, epoch, self._batch_size)
        try:
            with seeded(hash_key(self._seed, epoch, phase), self._views.device):
                losses = [step(batch, factor(first + place)) for place, batch in enumerate(batches)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"`finetune.batch_size` must be small enough for {self._views.device}, got "
                f"{self._batch_size}: memory ran out in epoch {epoch}. Halve it."
            ) from error
        if not math.isfinite(float(torch.stack(losses).sum())):
            raise RunError(
                f"The training diverged in epoch {epoch} at a learning rate of {self.finetune.lr:g}. "
                "Lower `finetune.lr`."
            )


class _SupervisedStep:
    """Takes one step after the other with one optimizer."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: PackOptimizer,
        finetune: Finetune,
        layout: torch.memory_format,
        recorder: Recorder | None,
    ) -> None:
        device = next(model.parameters()).device
        self._rates = LearningRates(optimizer, [finetune.lr], device, is_recorded=recorder is not None)
        train = partial(_trained, model, optimizer, layout, finetune.label_smoothing)
        self._train = Replayed(train, recorder)

    def __call__(self, batch: Batch, factor: float) -> Tensor:
        """Take a step on a batch and return the loss before it. `factor` multiplies the learning rate."""
        self._rates.set(factor)
        return self._train(batch.images, batch.labels, batch.partner_labels, batch.mix)


def _trained(
    model: nn.Module,
    optimizer: PackOptimizer,
    layout: torch.memory_format,
    label_smoothing: float,
    images: Tensor,
    labels: Tensor,
    partner_labels: Tensor | None,
    mix: Tensor | None,
) -> Tensor:
    optimizer.zero_grad()
    logits = model(images.contiguous(memory_format=layout))
    loss = _cross_entropy(logits, labels, partner_labels, mix, label_smoothing)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach()


def _optimizer(parameters: Sequence[Tensor], finetune: Finetune) -> PackOptimizer:
    section = Optimizer(
        name=finetune.optimizer,
        lr=finetune.lr,
        momentum=finetune.momentum,
        weight_decay=finetune.weight_decay,
    )
    return build_optimizer([parameters], [section])


def _cross_entropy(
    logits: Tensor, labels: Tensor, partner_labels: Tensor | None, mix: Tensor | None, label_smoothing: float
) -> Tensor:
    if partner_labels is None or mix is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    own, partner = (
        F.cross_entropy(logits, given, label_smoothing=label_smoothing, reduction="none")
        for given in (labels, partner_labels)
    )
    return (mix * own + (1 - mix) * partner).mean()
