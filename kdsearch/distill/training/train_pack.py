"""Training packs of students: the engine's front door."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from kdsearch.artifacts.store import Place, store_at
from kdsearch.distill.devices import chosen_device, is_out_of_memory, on_device, release_memory
from kdsearch.distill.execution import Way
from kdsearch.distill.teachers.recipes import contents_of
from kdsearch.distill.teachers.soft_targets import DEFAULT_CAP_BYTES
from kdsearch.distill.training.checkpoints import Checkpoint
from kdsearch.distill.training.members import groups_of, trials_of
from kdsearch.distill.training.pack import PackTraining
from kdsearch.errors import RunError
from kdsearch.spec import TrainingSpec
from kdsearch.trial import Metrics, PackReport, Trial, TrialResult

_CHECKPOINT_VERSION = 3  # raise it when a checkpoint's state changes its form


def train_pack(
    spec: TrainingSpec,
    members: Sequence[Mapping[str, Any]],
    *,
    artifacts: Place,
    device: torch.device | str | None = None,
    report: PackReport | None = None,
    checkpoint: Place | None = None,
    checkpoint_interval_s: float = 0.0,
    soft_target_cap_bytes: int = DEFAULT_CAP_BYTES,
    way: Way | None = None,
) -> list[TrialResult]:
    """Train a pack of students and return each one's result.

    Results come in the members' order.

    Args:
        spec: How they are trained; `training.view_seed` and `training.order_seed` fix the views and the
            order of batches, the same for all members.
        members: Mappings of dotted paths with `seed` and maybe `number`. Those that
            differ in what shapes the computation (batch size, epochs, …) are trained group after group.
        artifacts: The folder or the URL of the artifact store: teachers, and beside them, or in a folder of
            this node, soft targets and measured choices.
        device: Where to train; None stands for CUDA where there is one.
        report: Gets every epoch's metrics and returns the numbers of the members to stop.
        checkpoint: A folder or a URL that keeps the state between epochs; a call with the same members,
            whatever their numbers, then goes on from there, on the same curve, and reports it from its
            first epoch. Emptied at the end.
        checkpoint_interval_s: The least time from one saving to the next; 0 saves after each epoch.
        soft_target_cap_bytes: Above it, soft targets are computed as they are needed.
        way: How the students are trained side by side; None stands for the fastest, which is measured.

    Raises:
        RequestError: The members or the spec don't hold, or there is no such device.
        RunError: A single student does not fit the device's memory, or its teacher can't be trained.

    Example:
        >>> from kdsearch import load_spec
        >>> study = load_spec("studies/quickstart.yaml", overrides=["training.epochs=1"])
        >>> spec = study.resolve(study.setups()[0], {"objective.temperature": 4.0, "optimizer.lr": 0.1})
        >>> members = [{"seed": 1}, {"seed": 1, "objective.temperature": 2.0}]
        >>> results = train_pack(spec, members, artifacts="artifacts")
        >>> [result.state for result in results]
        ['complete', 'complete']
    """
    return train_trials(
        trials_of(spec, members),
        artifacts=artifacts,
        device=device,
        report=report,
        checkpoint=checkpoint,
        checkpoint_interval_s=checkpoint_interval_s,
        soft_target_cap_bytes=soft_target_cap_bytes,
        way=way,
    )


def train_trials(
    trials: Sequence[Trial],
    *,
    artifacts: Place,
    device: torch.device | str | None = None,
    report: PackReport | None = None,
    checkpoint: Place | None = None,
    checkpoint_interval_s: float = 0.0,
    soft_target_cap_bytes: int = DEFAULT_CAP_BYTES,
    way: Way | None = None,
) -> list[TrialResult]:
    """Train trials as they are and return their results in order. It is the inner part of `train_pack`."""
    where = chosen_device(device)
    groups = groups_of(trials)
    conditions = _Conditions(
        artifacts,
        where,
        soft_target_cap_bytes,
        checkpoint,
        checkpoint_interval_s,
        way,
    )
    listener = _Listener(report)
    results: dict[int, TrialResult] = {}
    try:
        with on_device(where):
            for group in groups:
                results |= conditions.train(group, listener)
    except Exception:
        conditions.clear()  # the same would happen again
        raise
    conditions.clear()
    return [results[trial.number] for trial in trials]


@dataclass
class _Conditions:
    """What all groups of a call share, and the checkpoints they leave."""

    artifacts: Place
    device: torch.device
    cap_bytes: int
    checkpoint_place: Place | None
    interval_s: float
    way: Way | None
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def train(self, group: Sequence[Trial], listener: "_Listener") -> dict[int, TrialResult]:
        """Train a group, or its halves where memory runs out. The halves start anew, one after the other."""
        ended, fits = self._attempt(group, listener)
        if fits:
            return ended
        left = [member for member in group if member.number not in ended]
        if len(group) == 1:
            raise RunError(
                f"`training.batch_size` must be small enough for {self.device}, got "
                f"{group[0].spec.training.batch_size}: one student alone ran out of memory. Halve it."
            )
        middle = max(len(group) // 2, 1)
        for half in (left[:middle], left[middle:]):
            ended |= self.train(half, listener) if half else {}
        return ended

    def clear(self) -> None:
        """Remove the checkpoints of groups that have ended."""
        for checkpoint in self.checkpoints:
            checkpoint.remove()

    def _attempt(self, group: Sequence[Trial], listener: "_Listener") -> tuple[dict[int, TrialResult], bool]:
        """Return ended members' results, and whether the group fitted into memory."""
        training = None
        try:
            training = PackTraining(
                group,
                artifacts=self.artifacts,
                device=self.device,
                cap_bytes=self.cap_bytes,
                checkpoint=self._checkpoint_of(group),
                way=self.way,
            )
            training.run(listener)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            ended = {} if training is None else training.results
            fits = False
        else:
            ended, fits = training.results, True
        if not fits:
            del training
            release_memory(self.device)
        return ended, fits

    def _checkpoint_of(self, group: Sequence[Trial]) -> Checkpoint | None:
        if self.checkpoint_place is None:
            return None
        parts = [[m.seed, m.spec.model_dump(mode="json")] for m in group]
        contents = contents_of(max((m.spec for m in group), key=lambda spec: spec.objective.alpha))
        document = json.dumps([_CHECKPOINT_VERSION, str(self.device), parts, contents], sort_keys=True)
        identity = hashlib.sha256(document.encode()).hexdigest()
        checkpoint = Checkpoint(
            store_at(self.checkpoint_place), f"{identity[:32]}.pt", identity, self.interval_s
        )
        self.checkpoints.append(checkpoint)
        return checkpoint


class _Listener:
    """The caller's report, called once for each member's epoch.

    That holds even where a group starts again.
    """

    def __init__(self, report: PackReport | None) -> None:
        self._report = report
        self._told: dict[int, int] = {}

    def __call__(self, epoch: int, metrics: Mapping[int, Metrics]) -> Collection[int]:
        news = {number: own for number, own in metrics.items() if self._told.get(number, 0) < epoch}
        self._told |= dict.fromkeys(news, epoch)
        return self._report(epoch, news) if self._report is not None and news else ()
