"""Which executor trains a pack: measured briefly on its first batch, and remembered."""

import copy
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from kdsearch.artifacts.files import write_whole
from kdsearch.distill.devices import is_out_of_memory
from kdsearch.distill.execution.agreement import disagreement
from kdsearch.distill.execution.content import has_convolutions, is_foreign
from kdsearch.distill.execution.cuda import recorder_on, to_oneself
from kdsearch.distill.execution.dropout import draws_globally
from kdsearch.distill.execution.executor import Executor, MemberLoss
from kdsearch.distill.execution.fused import FusedPack
from kdsearch.distill.execution.looped import LoopedPack
from kdsearch.distill.execution.precision import Precision
from kdsearch.distill.execution.recording import WARM_UP_CALLS, Recorder, Replayed
from kdsearch.distill.execution.streamed import StreamedPack
from kdsearch.distill.factories import first_words_of

Way: TypeAlias = Literal["looped", "looped_channels_last", "fused", "streams"]

_ROUNDS = (3, 20)  # at least and at most; as many as fit into _BUDGET_S
_BUDGET_S = 0.5  # by hand: little beside a training, and many rounds where steps are short
_MARGIN = 0.97  # another way must be this much faster than the first, so that noise rarely decides
_HOPELESS = 1.5  # fusing that is this much slower on a part of the batch is not measured on the whole


@dataclass(frozen=True)
class PackPlan:
    """How a pack's executor is to be built.

    Args:
        precision: The forward pass's arithmetic.
        seeds: Each member's seed.
        compiled: Compile the forward pass.
        random: The networks draw from the global generators, so that only a loop keeps members apart.
        recorded: Steps are replayed as a recording, where there is a recorder.
    """

    precision: Precision
    seeds: Sequence[int]
    compiled: bool = False
    random: bool = False
    recorded: bool = True

    def recorder(self, way: Way) -> Recorder | None:
        """Return what records a way's steps, or None.

        Loops are not recorded, nor is anything that a replay would not repeat.
        """
        if not self.recorded or self.random or way not in ("streams", "fused"):
            return None
        return recorder_on(self.precision.device)

    def build(self, way: Way, models: Sequence[nn.Module]) -> Executor:
        """Return the executor of a way, made of these networks."""
        if way == "fused":
            return FusedPack(models, self.precision, compiled=self.compiled)
        seeds = self.seeds if self.random else None
        if way == "streams":
            return StreamedPack(models, self.precision, seeds=seeds, compiled=self.compiled)
        return LoopedPack(
            models,
            self.precision,
            channels_last=way == "looped_channels_last",
            seeds=seeds,
            compiled=self.compiled,
        )


@dataclass(frozen=True)
class Choice:
    """How a pack trains, and whether its networks use global generators."""

    way: Way
    random: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as plain values."""
        return dict(self.__dict__)


def measured_choice(
    models: Sequence[nn.Module], images: Tensor, loss_on: Callable[[int], MemberLoss], plan: PackPlan
) -> Choice:
    """Return the fastest way of training these networks.

    It is measured on copies of them, unless a rule knows it. On a GPU convolutions are fastest on streams:
    fused they would be grouped ones. Networks without them are measured, by one process at a time.

    Args:
        models: The members' networks; they stay untouched.
        images: A batch.
        loss_on: Gives the loss on the batch's first n images.
        plan: How executors are built; they are measured uncompiled.
    """
    random = draws_globally(models[0], images[:2])
    plan = replace(plan, random=random, compiled=False)
    ways = possible_ways(models, images, plan)
    if len(ways) == 1 or (ways[0] == "streams" and has_convolutions(models[0])):
        return Choice(ways[0], random)
    with to_oneself(images.device):
        return Choice(preferred(measured_seconds(ways, models, images, loss_on, plan)), random)


def possible_ways(models: Sequence[nn.Module], images: Tensor, plan: PackPlan) -> list[Way]:
    """Return the ways that train like the plain loop, the default first.

    A plain loop is always one of them.
    """
    more: list[Way] = ["fused"] if len(models) > 1 else []
    if images.device.type == "cuda":
        ways: list[Way] = ["streams", *more, "looped"]
    else:
        layered: list[Way] = ["looped_channels_last"] if has_convolutions(models[0]) else []
        ways = ["looped", *layered, *more]
    return [way for way in ways if way_problem(way, models[0], images, plan) is None]


def way_problem(way: Way, model: nn.Module, images: Tensor, plan: PackPlan) -> str | None:
    """Return why such networks can't be trained in a way, or None."""
    if way == "looped":
        return None
    if not images.is_floating_point() and way != "streams":
        return "texts are trained one student after the other"
    if way == "fused":
        return fusing_problem(model, images, plan.precision)
    return disagreement(way, model, images, plan)


def fusing_problem(model: nn.Module, images: Tensor, precision: Precision) -> str | None:
    """Return why networks of this kind can't be fused, or None."""
    if not images.is_floating_point():
        return "it takes texts, whose packs are looped"
    if draws_globally(model, images):
        return "it draws random numbers of another kind than nn.Dropout's"
    try:
        pack = FusedPack([copy.deepcopy(model), copy.deepcopy(model)], precision)
        pack.backward(images[:2], lambda logits, _: (logits.mean((1, 2)), logits), 0)
        pack.logits(images[:2])
    except Exception as error:  # a foreign network may fail under vmap in any way
        if is_out_of_memory(error):
            raise
        return f"torch.func can't vectorise it ({first_words_of(error)})"
    problem = disagreement("fused", model, images, PackPlan(precision, seeds=()))
    return None if problem is None else f"fused it would train otherwise than alone: {problem}"


def measured_seconds(
    ways: Sequence[Way],
    models: Sequence[nn.Module],
    images: Tensor,
    loss_on: Callable[[int], MemberLoss],
    plan: PackPlan,
) -> dict[Way, float]:
    """Return each way's best time of one step, in seconds.

    They are seconds of the CPU or the GPU; the ways take turns, on copies. Fusing is left out where it is far
    behind on an eighth of the batch, and any way that runs out of memory. Loops are always measured on the
    whole: they look slow on a part, and gain with its size.

    Args:
        ways: The ways to measure, the default first.
        models: The members' networks; they stay untouched.
        images: A batch.
        loss_on: Gives the loss on the batch's first n images.
        plan: How executors are built.
    """
    part = max(len(images) // 8, 2)
    shorter = _measured(ways, models, images[:part], loss_on(part), plan)
    loop = min((seconds for way, seconds in shorter.items() if way != "fused"), default=float("inf"))
    promising = [way for way, seconds in shorter.items() if way != "fused" or seconds <= _HOPELESS * loop]
    if len(promising) <= 1:
        return {way: shorter[way] for way in promising}
    return _measured(promising, models, images, loss_on(len(images)), plan)


def _measured(
    ways: Sequence[Way], models: Sequence[nn.Module], images: Tensor, loss: MemberLoss, plan: PackPlan
) -> dict[Way, float]:
    warmed = {way: _warmed(way, models, images, loss, plan) for way in ways}
    steps = {way: step for way, step in warmed.items() if step is not None}
    best = {way: _seconds(step, images.device) for way, step in steps.items()}
    rounds = int(_BUDGET_S / sum(best.values(), start=1e-9))
    for _ in range(min(max(rounds, _ROUNDS[0]), _ROUNDS[1]) - 1):
        for way, step in steps.items():
            best[way] = min(best[way], _seconds(step, images.device))
    return best


def _warmed(
    way: Way, models: Sequence[nn.Module], images: Tensor, loss: MemberLoss, plan: PackPlan
) -> Callable[[], Tensor] | None:
    """Return a way's training step, warmed up, or None without enough memory.

    It is recorded where it can be.
    """
    try:
        pack = plan.build(way, [copy.deepcopy(model) for model in models])
        recorder = plan.recorder(way)
        step = partial(Replayed(lambda own: pack.backward(own, loss, 0), recorder), images)
        for _ in range(1 if recorder is None else WARM_UP_CALLS + 1):
            step()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return step


def preferred(seconds: Mapping[Way, float]) -> Way:
    """Return the fastest way, or the first if none is clearly faster.

    Raises:
        torch.OutOfMemoryError: No way was measured, for want of memory.
    """
    if not seconds:
        raise torch.OutOfMemoryError("No way of training this pack fits the device's memory.")
    first = next(iter(seconds))
    fastest = min(seconds, key=lambda way: seconds[way])
    return fastest if seconds[fastest] < _MARGIN * seconds[first] else first


def recorder_of(model: nn.Module, images: Tensor) -> Recorder | None:
    """Return what records a single network's training, or None.

    It is None where recorded steps would come out otherwise.

    Args:
        model: The network; of foreign ones copies are tried.
        images: A few inputs of it.
    """
    recorder = recorder_on(images.device)
    if recorder is None or not is_foreign(model):
        return recorder
    plan = PackPlan(Precision(images.device), seeds=())
    return None if draws_globally(model, images) or disagreement("streams", model, images, plan) else recorder


class ChoiceMemory:
    """The measured choices, kept in a JSON file for all processes.

    Args:
        path: The file; it is made with the first choice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}

    @staticmethod
    @cache
    def at(path: Path) -> "ChoiceMemory":
        """Return this process's memory of a file."""
        return ChoiceMemory(path)

    def get(self, key: str, measure: Callable[[], Choice]) -> Choice:
        """Return a key's choice, measured if it is unknown.

        It is measured again where the file is not as it was written.
        """
        if key not in self._known:
            self._known |= self._read()
        if key not in self._known:
            self._known[key] = measure().to_dict()
            self._write()
        return Choice(**self._known[key])

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text())
            choices, digest = dict(found["choices"]), found["sha256"]
        except (OSError, ValueError, TypeError, KeyError):
            return {}
        return choices if digest == _digest(choices) else {}

    def _write(self) -> None:
        """Add this process's choices to the file.

        When two processes write at once, one choice may have to be measured again.
        """
        choices = {**self._read(), **self._known}
        document = json.dumps({"choices": choices, "sha256": _digest(choices)}, indent=1, sort_keys=True)
        with suppress(OSError):  # where the disk is full, it is measured again
            write_whole(self._path, document.encode())


def _digest(choices: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()


def device_name(device: torch.device) -> str:
    """Return what decides a device's speed: a GPU's name, or the number of threads on the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} with {torch.get_num_threads()} threads"


def _seconds(step: Callable[[], Tensor], device: torch.device) -> float:
    """Return the time of one step: on a GPU from start to end, on a CPU what the process spent."""
    if device.type != "cuda":
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize(device)  # or it would wait for what came before
    start = time.perf_counter()
    step()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start
