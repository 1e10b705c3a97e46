"""The training of one pack, epoch by epoch. Its members share everything but their own numbers."""

import json
import logging
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import mul
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.artifacts.store import Place, store_at
from kdsearch.distill.data.fingerprints import code_fingerprint
from kdsearch.distill.execution import (
    Choice,
    ChoiceMemory,
    MemberLoss,
    PackPlan,
    Precision,
    Way,
    content_of,
    device_name,
    draws_globally,
    key_dropout,
    measured_choice,
    remembers,
    way_problem,
)
from kdsearch.distill.models import is_users
from kdsearch.distill.optim.fused import FusedOptimizer
from kdsearch.distill.optim.optimizers import LearningRates, build_optimizer, keeps_more
from kdsearch.distill.optim.schedules import schedule_of
from kdsearch.distill.teachers.initial_students import initial_student
from kdsearch.distill.training.checkpoints import Checkpoint
from kdsearch.distill.training.evaluation import agreement, mean_entropy, score
from kdsearch.distill.training.kept import EVALUATION_BATCH, split_views_of, teacher_logits_of
from kdsearch.distill.training.loss import PackLoss, Targets
from kdsearch.distill.training.step import PackStep, member_parameters
from kdsearch.distill.views.batches import Views
from kdsearch.errors import RequestError
from kdsearch.trial import DIVERGED, Metrics, Outcome, PackReport, Trial, TrialResult

_log = logging.getLogger(__name__)


class PackTraining:
    """The state of one pack in training.

    Args:
        members: The members; they share a pack key.
        artifacts: The folder or the URL of the artifact store.
        device: Where to train.
        cap_bytes: The bound on stored soft targets.
        checkpoint: Where the state is kept between epochs, if anywhere.
        way: How to train; None stands for a saved, remembered or measured choice.
    """

    def __init__(
        self,
        members: Sequence[Trial],
        *,
        artifacts: Place,
        device: torch.device,
        cap_bytes: int,
        checkpoint: Checkpoint | None = None,
        way: Way | None = None,
    ) -> None:
        self.results: dict[int, TrialResult] = {}
        self._spec = members[0].spec
        self._members = list(members)
        self._device = device
        self._split_views = split_views_of(self._spec, device)
        objectives, epochs = [m.spec.objective for m in members], self._spec.training.epochs
        self._loss = PackLoss(objectives, epochs=epochs, device=device)
        self._teacher = None
        if self._loss.needs_teacher:
            self._teacher = teacher_logits_of(
                self._spec, artifacts=artifacts, device=device, cap_bytes=cap_bytes
            )
        self._steps_per_epoch = self._split_views.views.n_batches(self._spec.training.batch_size)
        self._schedule = schedule_of(self._spec.training, self._steps_per_epoch)
        self._seconds = dict.fromkeys((m.number for m in members), 0.0)
        self._latest: dict[int, Metrics] = {}
        self._curves: list[tuple[int, dict[int, Metrics]]] = []
        self._epochs_done = 0
        self._problem: str | None = None
        self._told = False
        models = [self._initial_student(member, artifacts) for member in members]
        if checkpoint and not self._is_resumable(models[0]):
            checkpoint = None
        self._checkpoint = checkpoint
        saved = checkpoint.load(device) if checkpoint else None
        self.choice = Choice(**saved["choice"]) if saved else self._chosen(models, artifacts, way)
        self._size = len(members)
        self._pack = self._plan(self.choice.random).build(self.choice.way, models)
        self._optimizer = build_optimizer(
            member_parameters(self._pack, self._loss), [m.spec.optimizer for m in members]
        )
        self._step = self._built_step()
        if saved:
            self._resume(saved)

    def run(self, report: PackReport) -> None:
        """Train to the last epoch; `results` then has every member's.

        Epochs from before a checkpoint are reported as they were.
        """
        epochs = self._spec.training.epochs
        for epoch, metrics in self._curves:
            report(epoch, metrics)
        while self._members and self._epochs_done < epochs:
            self._latest = self._epoch(self._epochs_done + 1)
            self._epochs_done += 1
            self._end_diverged()
            if self._members:
                self._curves.append((self._epochs_done, dict(self._latest)))
                stopped = report(self._epochs_done, dict(self._latest))
                if self._epochs_done < epochs:
                    self._end_stopped(stopped)
                else:
                    self._end_complete()
            if self._checkpoint is not None and self._checkpoint.due:
                self._checkpoint.save(self._state())

    def train_epoch(self, epoch: int) -> list[float]:
        """Train one epoch and return each member's mean training loss."""
        step = (epoch - 1) * self._steps_per_epoch
        losses, sizes = [], []
        for targets in self._targets(epoch):
            losses.append(self._step(targets, step, self._schedule(step)))
            sizes.append(len(targets.batch.labels))
            step += 1
        self._tell_problem()
        by_member = torch.stack(losses).T.tolist()
        return [sum(map(mul, own, sizes)) / sum(sizes) for own in by_member]

    def _targets(self, epoch: int) -> Iterator[Targets]:
        """Yield an epoch's batches and what is learned from them."""
        training = self._spec.training
        for chunk in self._split_views.chunks(training, epoch):
            teacher = None
            if self._teacher is not None:
                teacher = self._teacher.logits(training, epoch, chunk)
            yield from self._loss.targets(chunk, teacher, epoch)

    def _is_resumable(self, model: nn.Module) -> bool:
        """Return whether a checkpoint has all. What users' code remembers would be lost without a word."""
        if not self._loss.is_resumable or keeps_more(self._spec.optimizer.name):
            return False
        return not remembers(model, self._first_images())

    def _initial_student(self, member: Trial, artifacts: Place) -> nn.Module:
        data = self._split_views.data
        model = initial_student(member.spec, member.seed, data=data, artifacts=artifacts, device=self._device)
        key_dropout(model, member.seed)
        return model.to(self._device)

    def _plan(self, random: bool) -> PackPlan:
        training = self._spec.training
        return PackPlan(
            Precision.of(training.precision, self._device),
            [m.seed for m in self._members],
            compiled=training.compile is True,
            random=random,
            recorded=training.cuda_graphs is not False,
        )

    def _built_step(self) -> PackStep:
        """Return the pack's step. What a user brings may do anything, and is not recorded."""
        plan = self._plan(self.choice.random)
        recorder = plan.recorder(self.choice.way)
        if recorder is not None and not self._loss.is_recordable:
            recorder, self._problem = None, f"{self._spec.objective.name!r} may do anything"
        if recorder is not None and not isinstance(self._optimizer, FusedOptimizer):
            recorder, self._problem = None, f"{self._spec.optimizer.name!r} may do anything"
        rates = LearningRates(
            self._optimizer,
            [m.spec.optimizer.lr for m in self._members],
            self._device,
            is_recorded=recorder is not None,
        )
        norms = [m.spec.training.clip_norm for m in self._members]
        return PackStep(self._pack, self._loss, self._optimizer, rates, norms, recorder)

    def _tell_problem(self) -> None:
        """Log once why steps are not replayed though they should be.

        Raise instead where `training.cuda_graphs` is true.
        """
        problem = self._problem or self._step.problem
        if problem is None or self._told:
            return
        self._told = True
        if self._spec.training.cuda_graphs is True:
            raise RequestError(
                f"`training.cuda_graphs` must be auto or false for {self._spec.student.arch!r}, got true: "
                f"its steps can't be recorded ({problem})."
            )
        _log.warning(
            "Steps of %s can't be recorded as a CUDA graph (%s): they run kernel by kernel.",
            self._spec.student.arch,
            problem,
        )

    def _chosen(self, models: Sequence[nn.Module], artifacts: Place, way: Way | None) -> Choice:
        """Return how this pack is trained: as told, or measured on its first batch unless it was before.

        A user's network is looked at anew each time: what was measured may be of an older one.
        """
        images = self._first_images()
        random = draws_globally(models[0], images)
        chosen = way or self._remembered(models, artifacts).way
        if chosen == "fused" and keeps_more(self._spec.optimizer.name):
            if way is not None:
                raise RequestError(
                    f"`way` must not be fused for {self._spec.optimizer.name!r}, which keeps more than its "
                    "groups and the state of their parameters. Take 'looped'."
                )
            chosen = "looped"
        if is_users(self._spec.student.arch):
            problem = way_problem(chosen, models[0], images, self._plan(random))
            if problem is not None and way is not None:
                raise RequestError(
                    f"`way` must train {self._spec.student.arch!r} as the plain loop does, got {way!r}: "
                    f"{problem}. Take 'looped'."
                )
            chosen = chosen if problem is None else "looped"
        return Choice(chosen, random)

    def _first_images(self) -> Tensor:
        views, training = self._split_views.views, self._spec.training
        return views.batch(training.view_seed, 1, views.order(training.order_seed, 1)[:4]).images

    def _remembered(self, models: Sequence[nn.Module], artifacts: Place) -> Choice:
        """Return what was measured of such networks, or measure it."""
        spec, data, training = self._spec, self._split_views.data, self._spec.training
        key = json.dumps(
            [
                *(content_of(models[0]), code_fingerprint(spec.student.arch)),
                *(data.in_channels, data.image_size),
                *(() if data.vocabulary is None else ("text", data.vocabulary)),
                *(len(models), training.batch_size, spec.objective.name),
                *(training.precision, training.cuda_graphs is not False),
                *(device_name(self._device), torch.__version__),
            ]
        )
        return ChoiceMemory.at(store_at(artifacts).root / "executors.json").get(
            key, partial(self._measured, models)
        )

    def _measured(self, models: Sequence[nn.Module]) -> Choice:
        first = next(self._targets(1))
        batch, teacher = first.batch, first.teacher_logits

        def loss_on(n: int) -> MemberLoss:
            part = None if teacher is None else teacher[:n]
            return partial(self._loss, self._loss.on(batch.part(0, n), part, 1))

        return measured_choice(models, batch.images, loss_on, self._plan(random=False))

    def _epoch(self, epoch: int) -> dict[int, Metrics]:
        start = time.perf_counter()
        train_losses = self.train_epoch(epoch)
        validation = self._split_views.validation
        scores = score(self._logits(validation), validation.labels)
        elapsed = time.perf_counter() - start
        for member in self._members:
            self._seconds[member.number] += elapsed / len(self._members)
        return {
            member.number: {"val_accuracy": accuracy, "val_loss": val_loss, "train_loss": train_loss}
            for member, accuracy, val_loss, train_loss in zip(
                self._members, scores.accuracy, scores.loss, train_losses, strict=True
            )
        }

    def _end_diverged(self) -> None:
        for member in self._members:
            own = self._latest[member.number]
            if not all(map(math.isfinite, own.values())):
                finite = {name: value for name, value in own.items() if math.isfinite(value)}
                self._end(member, "failed", finite, DIVERGED)
        self._drop_ended()

    def _end_stopped(self, stopped: Collection[int]) -> None:
        for member in self._members:
            if member.number in stopped:
                reason = f"stopped after epoch {self._epochs_done}"
                self._end(member, "pruned", self._latest[member.number], reason)
        self._drop_ended()

    def _end_complete(self) -> None:
        final = self._final_metrics()
        for member, own in zip(self._members, final, strict=True):
            self._end(member, "complete", {**self._latest[member.number], **own}, None)
        self._members = []

    def _end(self, member: Trial, state: Outcome, metrics: Metrics, reason: str | None) -> None:
        self.results[member.number] = TrialResult(
            number=member.number,
            state=state,
            epochs=self._epochs_done,
            metrics=metrics,
            reason=reason,
            seconds=self._seconds[member.number],
            device=str(self._device),
            executor=self.choice.way,
            pack_size=self._size,
        )

    def _drop_ended(self) -> None:
        self._keep([m.number for m in self._members if m.number not in self.results])

    def _keep(self, numbers: Sequence[int]) -> None:
        """Go on with the members of these numbers alone."""
        kept = [k for k, member in enumerate(self._members) if member.number in numbers]
        if len(kept) == len(self._members):
            return
        self._members = [self._members[k] for k in kept]
        self._latest = {number: self._latest[number] for number in numbers if number in self._latest}
        if kept:
            self._step.keep(kept)

    def _final_metrics(self) -> list[Metrics]:
        """Return the final measures of each member that reached the last epoch."""
        test, validation = self._split_views.test, self._split_views.validation
        on_test = score(self._logits(test), test.labels)
        logits = self._logits(validation)
        teacher = None if self._teacher is None else self._teacher.validation_logits
        of_student, of_teacher = self._loss.softened(logits, teacher)
        columns = {
            "test_accuracy": on_test.accuracy,
            "test_loss": on_test.loss,
            "student_entropy": mean_entropy(of_student),
        }
        found = [{name: values[k] for name, values in columns.items()} for k in range(len(logits))]
        if teacher is None or of_teacher is None:
            return found
        entropy = mean_entropy(of_teacher)
        for own, member, its_entropy, same in zip(
            found, self._members, entropy, agreement(logits, teacher), strict=True
        ):
            if member.spec.objective.alpha > 0:  # as alone, where it would have no teacher
                own |= {"teacher_entropy": its_entropy, "teacher_agreement": same}
        return found

    def _logits(self, views: Views) -> Tensor:
        images: Iterable[Tensor] = (batch.images for batch in views.plain_batches(EVALUATION_BATCH))
        return torch.cat([self._step.logits(part) for part in images], dim=1)

    def _state(self) -> dict[str, Any]:
        return {
            "choice": self.choice.to_dict(),
            "epochs": self._epochs_done,
            "numbers": [member.number for member in self._members],
            "pack": self._pack.state(),
            "terms": self._loss.term_states(),
            "learned": [[p.detach() for p in own] for own in self._loss.member_parameters()],
            "optimizer": self._optimizer.state_dict(),
            "seconds": self._seconds,
            "curves": self._curves,
            "results": [result.to_dict() for result in self.results.values()],
        }

    def _resume(self, saved: Mapping[str, Any]) -> None:
        """Continue from a saved state. Trials that are run again have other numbers than those in it."""
        number_of = dict(zip(saved["seconds"], self._seconds, strict=True))
        for values in saved["results"]:
            result = TrialResult.from_dict({**values, "number": number_of[values["number"]]})
            self.results[result.number] = result
        self._curves = [
            (epoch, {number_of[old]: own for old, own in metrics.items()})
            for epoch, metrics in saved["curves"]
        ]
        self._seconds = {number_of[old]: seconds for old, seconds in saved["seconds"].items()}
        self._epochs_done = saved["epochs"]
        self._keep([number_of[old] for old in saved["numbers"]])
        if not self._members:
            return
        self._pack.load_state(saved["pack"])
        self._loss.load_learned(saved["learned"])
        self._loss.load_term_states(saved["terms"])
        self._optimizer.load_state_dict(saved["optimizer"])
