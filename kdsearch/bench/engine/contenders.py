"""The ways of training that the engine's benchmark compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from kdsearch.bench.engine.cases import BATCH_SIZE, Case
from kdsearch.bench.engine.plain_loop import PlainLoop
from kdsearch.distill.devices import on_device
from kdsearch.distill.execution import Precision, Way
from kdsearch.distill.models import build_model
from kdsearch.distill.teachers.soft_targets import DEFAULT_CAP_BYTES
from kdsearch.distill.training.kept import SplitViews, split_views_of
from kdsearch.distill.training.members import groups_of, trials_of
from kdsearch.distill.training.pack import PackTraining


class Runner(Protocol):
    """Something that trains for an epoch."""

    def run_epoch(self) -> None:
        """Train for an epoch."""
        ...


@dataclass(frozen=True)
class Contender:
    """A named way of training `size` students."""

    name: str
    size: int
    runner: Runner


class PackRunner:
    """Our engine: a pack on stored logits, in a given way or in the measured one, as `train_pack` does it."""

    def __init__(self, case: Case, size: int, artifacts: Path, device: torch.device, way: Way | None) -> None:
        spec = case.spec()
        members = [{"objective.temperature": 1.0 + k, "optimizer.lr": 0.01, "seed": k} for k in range(size)]
        (group,) = groups_of(trials_of(spec, members))
        self._device = device
        with on_device(device):
            self._training = PackTraining(
                group,
                artifacts=artifacts,
                device=device,
                cap_bytes=DEFAULT_CAP_BYTES,
                way=way,
            )

    @property
    def way(self) -> Way:
        """How the pack is trained."""
        return self._training.choice.way

    def run_epoch(self) -> None:
        """Train the pack for the first epoch, whose logits are stored after the first time."""
        with on_device(self._device):
            self._training.train_epoch(1)


class ViewsAlone:
    """What rendering new views costs, once for a whole pack; packs find theirs in memory here."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self._views = split_views_of(case.spec(), device).views
        self._epoch = 0

    def run_epoch(self) -> None:
        """Render the views of the next epoch."""
        self._epoch += 1
        for _ in self._views.chunks(0, 0, self._epoch, BATCH_SIZE):
            pass


class Limit:
    """What no engine can beat on this machine: the student's forward and backward pass alone.

    In the precision that the engine trains in.
    """

    def __init__(
        self, model: nn.Module, case: Case, channels: int, layout: torch.memory_format, device: torch.device
    ) -> None:
        self._model = model.to(device).train().to(memory_format=layout)
        shape = (BATCH_SIZE, channels, case.image_size, case.image_size)
        self._images = torch.randn(shape, device=device).contiguous(memory_format=layout)
        self._labels = torch.arange(BATCH_SIZE, device=device) % 10
        self._n_steps = case.train_size // BATCH_SIZE
        self._context = Precision.of(case.spec().training.precision, device).context()

    def run_epoch(self) -> None:
        """Compute as many gradients as an epoch has steps."""
        for _ in range(self._n_steps):
            self._model.zero_grad()
            with self._context:
                loss = F.cross_entropy(self._model(self._images), self._labels)
            torch.autograd.backward(loss)


def contenders_of(case: Case, sizes: Sequence[int], artifacts: Path, device: torch.device) -> list[Contender]:
    """Return the plain loop, the limit in both layouts, views, and our packs: looped, fused and chosen."""
    spec = case.spec()
    surroundings = split_views_of(spec, device)

    def network(arch: str) -> nn.Module:
        data = surroundings.data
        return build_model(arch, data.num_classes, data.in_channels, image_size=case.image_size)

    plain = PlainLoop(spec, surroundings.data, network(case.student), network(case.teacher), device)
    found = [Contender("plain", 1, plain), *_limits(case, network(case.student), surroundings, device)]
    found.append(Contender("views", 1, ViewsAlone(case, device)))
    for size in sizes:
        ways: list[Way] = ["looped", "looped_channels_last", *(("fused",) if size > 1 else ())]
        if not any(isinstance(module, nn.Conv2d) for module in network(case.student).modules()):
            ways.remove("looped_channels_last")
        found += [Contender(way, size, PackRunner(case, size, artifacts, device, way)) for way in ways]
        found.append(Contender("chosen", size, PackRunner(case, size, artifacts, device, None)))
    return found


def _limits(case: Case, model: nn.Module, surroundings: SplitViews, device: torch.device) -> list[Contender]:
    layouts = {"limit": torch.contiguous_format, "limit_channels_last": torch.channels_last}
    channels = surroundings.data.in_channels
    return [
        Contender(name, 1, Limit(model, case, channels, layout, device)) for name, layout in layouts.items()
    ]
