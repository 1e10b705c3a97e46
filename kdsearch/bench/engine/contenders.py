"""The ways of training that the engine's benchmark compares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, get_args

import torch
import torch.nn.functional as F
from torch import nn

from kdsearch.bench.engine.cases import Case
from kdsearch.bench.engine.graphed_runner import GraphedRunner
from kdsearch.bench.engine.plain_loop import PlainLoop
from kdsearch.distill.devices import on_device
from kdsearch.distill.execution import Precision, Way, has_convolutions
from kdsearch.distill.models import build_model
from kdsearch.distill.teachers.soft_targets import DEFAULT_CAP_BYTES
from kdsearch.distill.training.kept import split_views_of
from kdsearch.distill.training.members import groups_of, trials_of
from kdsearch.distill.training.pack import PackTraining

CHOSEN = "chosen"
_LAYOUTS = {"limit": torch.contiguous_format, "limit_channels_last": torch.channels_last}


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
        """Train the pack for the first epoch.

        The teacher's logits are stored after the first time.
        """
        with on_device(self._device):
            self._training.train_epoch(1)


class ViewsAlone:
    """The cost of rendering new views, once for a whole pack.

    Packs find theirs in memory here.
    """

    def __init__(self, case: Case, device: torch.device) -> None:
        self._views = split_views_of(case.spec(), device).views
        self._batch_size = case.batch_size
        self._epoch = 0

    def run_epoch(self) -> None:
        """Render the views of the next epoch."""
        self._epoch += 1
        for _ in self._views.chunks(0, 0, self._epoch, self._batch_size):
            pass


class Limit:
    """What no engine can beat on this machine: the student's forward and backward pass alone.

    In the precision that the engine trains in.
    """

    n_steps: int
    """Steps in an epoch."""

    def __init__(
        self, model: nn.Module, case: Case, channels: int, layout: torch.memory_format, device: torch.device
    ) -> None:
        self._model = model.to(device).train().to(memory_format=layout)
        shape = (case.batch_size, channels, case.image_size, case.image_size)
        self._images = torch.randn(shape, device=device).contiguous(memory_format=layout)
        self._labels = torch.arange(case.batch_size, device=device) % 10
        self.n_steps = case.train_size // case.batch_size
        self._context = Precision.of(case.spec().training.precision, device).context()

    def run_epoch(self) -> None:
        """Compute as many gradients as an epoch has steps."""
        for _ in range(self.n_steps):
            self.step()

    def step(self) -> None:
        """Compute the gradients of a batch."""
        self._model.zero_grad()
        with self._context:
            loss = F.cross_entropy(self._model(self._images), self._labels)
        torch.autograd.backward(loss)


@dataclass(frozen=True)
class Entry:
    """A way of training before it holds anything."""

    name: str
    size: int
    make: Callable[[], Runner]

    def enter(self) -> Contender:
        """Return the contender, its networks and data in memory."""
        return Contender(self.name, self.size, self.make())


def contenders_of(case: Case, sizes: Sequence[int], artifacts: Path, device: torch.device) -> list[Contender]:
    """Return the contenders, ready to run.

    They are the plain loop, the limit in both layouts, views, and our packs: looped, fused and chosen.
    """
    return [entry.enter() for entry in entries_of(case, sizes, artifacts, device)]


def entries_of(case: Case, sizes: Sequence[int], artifacts: Path, device: torch.device) -> list[Entry]:
    """Return the contenders as entries that are not made yet.

    On a GPU there are streams and the limit as a graph, too.
    """
    spec = case.spec()
    data = split_views_of(spec, device).data

    def network(arch: str) -> nn.Module:
        return build_model(arch, data.num_classes, data.in_channels, image_size=case.image_size)

    def plain() -> Runner:
        return PlainLoop(spec, data, network(case.student), network(case.teacher), device)

    def limit(layout: torch.memory_format) -> Limit:
        return Limit(network(case.student), case, data.in_channels, layout, device)

    def graph(layout: torch.memory_format) -> Runner:
        return GraphedRunner(limit(layout))

    layered = has_convolutions(network(case.student))
    found = [Entry("plain", 1, plain)]
    found += [Entry(name, 1, partial(limit, layout)) for name, layout in _LAYOUTS.items()]
    if device.type == "cuda":
        found += [Entry(f"{name}, graph", 1, partial(graph, layout)) for name, layout in _LAYOUTS.items()]
    found.append(Entry("views", 1, partial(ViewsAlone, case, device)))
    found += [
        Entry(way or CHOSEN, size, partial(PackRunner, case, size, artifacts, device, way))
        for size in sizes
        for way in (*_ways(size, layered, device), None)
    ]
    return found


def _ways(size: int, layered: bool, device: torch.device) -> list[Way]:
    """Return the ways in which a pack is measured: all that may train it on the device."""
    left_out = {*(() if layered else ("looped_channels_last",)), *(("fused",) if size == 1 else ())}
    left_out |= {"streams"} if device.type == "cpu" else set()
    known: tuple[Way, ...] = get_args(Way)
    return [way for way in known if way not in left_out]
