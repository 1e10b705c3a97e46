"""Training a pack of students, epoch by epoch."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.distill.evaluation import Scores, agreement, mean_entropy, score, split_logits
from kdsearch.distill.members import Member, ResolvedMember, groups_of, members_of
from kdsearch.distill.models import build_model
from kdsearch.distill.optimizers import build_optimizer, clip_gradients, keep_members, set_learning_rates
from kdsearch.distill.pack_loss import PackLoss, Targets
from kdsearch.distill.packs import LoopedPack
from kdsearch.distill.randomness import stream
from kdsearch.distill.residents import Surroundings, surroundings_of, teacher_side_of
from kdsearch.distill.schedules import schedule_of
from kdsearch.spec import TrainingSpec
from kdsearch.trial import Metrics, PackReport, TrialResult

_EVALUATION_BATCH = 512


def train_pack(
    spec: TrainingSpec,
    members: Sequence[Member | Mapping[str, Any]],
    *,
    artifacts: Path,
    device: torch.device | str | None = None,
    report: PackReport | None = None,
    view_seed: int = 0,
) -> list[TrialResult]:
    """Train a pack of students and return how each of them ended, in the members' order.

    Args:
        spec: How they are trained.
        members: `Member`s, or mappings of dotted paths with `seed` and maybe `number`. Those that
            differ in what shapes the computation (batch size, epochs, …) are trained group after group.
        artifacts: The folder of teachers and soft targets.
        device: Where to train; None stands for CUDA where there is one.
        report: Gets every epoch's metrics and returns the numbers of the members to stop.
        view_seed: Decides the views and the order of batches, the same for all members.

    Raises:
        RequestError: The members or the spec don't hold.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    found = members_of(members)
    results: dict[int, TrialResult] = {}
    for group in groups_of(spec, found):
        training = PackTraining(group, artifacts=Path(artifacts), device=where, view_seed=view_seed)
        results |= training.run(report or _stop_none)
    return [results[member.number] for member in found]


class PackTraining:
    """The state of one pack of members that share everything but their own numbers."""

    def __init__(
        self, members: Sequence[ResolvedMember], *, artifacts: Path, device: torch.device, view_seed: int
    ) -> None:
        self._spec = members[0].spec
        self._members = list(members)
        self._device = device
        self._view_seed = view_seed
        self._surroundings = surroundings_of(self._spec, device)
        self._loss = PackLoss([m.spec.objective for m in members], device=device)
        self._teacher = teacher_side_of(self._spec, artifacts, device) if self._loss.needs_teacher else None
        self._pack = LoopedPack([_student(m, self._surroundings).to(device) for m in members])
        self._optimizer = build_optimizer(self._parameters(), [m.spec.optimizer for m in members])
        views, training = self._surroundings.views, self._spec.training
        self._steps_per_epoch = views.n_batches(training.batch_size)
        self._schedule = schedule_of(training, self._steps_per_epoch)
        self._seconds = dict.fromkeys((m.number for m in members), 0.0)
        self._results: dict[int, TrialResult] = {}

    def run(self, report: PackReport) -> dict[int, TrialResult]:
        """Train to the last epoch and return every member's result by its number."""
        epochs = self._spec.training.epochs
        for epoch in range(1, epochs + 1):
            metrics = self._epoch(epoch)
            self._end_diverged(epoch, metrics)
            alive = {m.number: metrics[m.number] for m in self._members}
            stopped = set(report(epoch, alive)) if alive else set()
            if epoch < epochs:
                self._end_stopped(epoch, alive, stopped)
            if not self._members:
                return self._results
        self._end_complete(epochs, alive)
        return self._results

    def _epoch(self, epoch: int) -> dict[int, Metrics]:
        start = time.perf_counter()
        train_losses = self._train(epoch)
        validation = self._surroundings.validation
        logits = split_logits(self._pack, (b.images for b in validation.plain_batches(_EVALUATION_BATCH)))
        scores = score(logits, validation.labels)
        elapsed = time.perf_counter() - start
        for member in self._members:
            self._seconds[member.number] += elapsed / len(self._members)
        return {
            member.number: {"val_accuracy": accuracy, "val_loss": val_loss, "train_loss": train_loss}
            for member, accuracy, val_loss, train_loss in zip(
                self._members, scores.accuracy, scores.loss, train_losses, strict=True
            )
        }

    def _train(self, epoch: int) -> list[float]:
        """Train one epoch and return each member's mean training loss."""
        peaks = [m.spec.optimizer.lr for m in self._members]
        norms = [m.spec.training.clip_norm for m in self._members]
        total = torch.zeros(len(self._members), dtype=torch.float64, device=self._device)
        step = (epoch - 1) * self._steps_per_epoch
        views, batch_size = self._surroundings.views, self._spec.training.batch_size
        parameters = self._parameters()
        for batch in views.batches(self._view_seed, epoch, batch_size):
            teacher = None if self._teacher is None else self._teacher.logits(self._view_seed, epoch, batch)
            self._optimizer.zero_grad()
            losses = self._pack.backward(batch.images, partial(self._loss, Targets(batch, teacher, epoch)))
            clip_gradients(parameters, norms)
            set_learning_rates(self._optimizer, peaks, self._schedule(step))
            self._optimizer.step()
            total += losses * len(batch.labels)
            step += 1
        mean: list[float] = (total / len(views)).tolist()
        return mean

    def _parameters(self) -> list[list[Tensor]]:
        learned = self._loss.member_parameters()
        return [own + more for own, more in zip(self._pack.parameters, learned, strict=True)]

    def _end_diverged(self, epoch: int, metrics: Mapping[int, Metrics]) -> None:
        for member in self._members:
            own = metrics[member.number]
            if not all(map(math.isfinite, own.values())):
                finite = {name: value for name, value in own.items() if math.isfinite(value)}
                self._end(member, "failed", epoch, finite, "diverged")
        self._drop_ended()

    def _end_stopped(self, epoch: int, metrics: Mapping[int, Metrics], stopped: Collection[int]) -> None:
        for member in self._members:
            if member.number in stopped:
                self._end(member, "pruned", epoch, metrics[member.number], f"stopped after epoch {epoch}")
        self._drop_ended()

    def _end_complete(self, epoch: int, metrics: Mapping[int, Metrics]) -> None:
        final = self._final_metrics()
        for member in self._members:
            self._end(member, "complete", epoch, {**metrics[member.number], **final[member.number]}, None)

    def _end(
        self, member: ResolvedMember, state: Any, epoch: int, metrics: Metrics, reason: str | None
    ) -> None:
        seconds = self._seconds[member.number]
        self._results[member.number] = TrialResult(
            member.number, state, epoch, metrics, reason, seconds, str(self._device)
        )

    def _drop_ended(self) -> None:
        kept = [k for k, m in enumerate(self._members) if m.number not in self._results]
        if len(kept) == len(self._members):
            return
        self._members = [self._members[k] for k in kept]
        if kept:
            self._pack.keep(kept)
            self._loss.keep(kept)
            keep_members(self._optimizer, kept, self._parameters())

    def _final_metrics(self) -> dict[int, Metrics]:
        test, validation = self._surroundings.test, self._surroundings.validation
        on_test: Scores = score(
            split_logits(self._pack, (b.images for b in test.plain_batches(_EVALUATION_BATCH))), test.labels
        )
        logits = split_logits(self._pack, (b.images for b in validation.plain_batches(_EVALUATION_BATCH)))
        temperatures = self._loss.temperatures()
        columns = {
            "test_accuracy": on_test.accuracy,
            "test_loss": on_test.loss,
            "student_entropy": mean_entropy(logits, temperatures),
        }
        if self._teacher is not None:
            teacher = self._teacher.validation_logits
            columns["teacher_entropy"] = mean_entropy(teacher.expand(len(logits), -1, -1), temperatures)
            columns["teacher_agreement"] = agreement(logits, teacher)
        return {
            member.number: {name: values[k] for name, values in columns.items()}
            for k, member in enumerate(self._members)
        }


def _student(member: ResolvedMember, surroundings: Surroundings) -> nn.Module:
    data, student = surroundings.data, member.spec.student
    return build_model(
        student.arch,
        data.num_classes,
        data.in_channels,
        image_size=data.image_size,
        stem=student.stem,
        generator=stream(member.seed, "student"),
    )


def _stop_none(epoch: int, metrics: Mapping[int, Metrics]) -> Collection[int]:  # noqa: ARG001
    return ()
