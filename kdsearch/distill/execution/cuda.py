"""All that needs CUDA: streams side by side, recordings as CUDA graphs, and a GPU to oneself."""

import fcntl
import gc
import os
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from kdsearch.distill.execution.recording import Recorder

_WAIT = "synchronizing CUDA operation"  # what torch warns of
_TRIED = "Synchronization debug mode"  # that it warns is a prototype
_WARNED: dict[Any, Any] = {}  # where a warning of something else was shown: once each
_RECORDING = -1  # the place of the stream that records
Value = TypeVar("Value")


class SideBySide:
    """Does each task on a CUDA stream of its own.

    Kernels of different tasks overlap; without a GPU the tasks follow one another.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def each(self, n: int, task: Callable[[int], Value]) -> list[Value]:
        """Return a task's results for 0 to n - 1. What follows waits for all of them."""
        if self._device.type != "cuda":
            return [task(place) for place in range(n)]
        here = torch.cuda.current_stream(self._device)
        streams = [_stream(self._device, place) for place in range(n)]
        begun, found = list[torch.cuda.Stream](), list[Value]()
        try:
            for place, stream in enumerate(streams):
                stream.wait_stream(here)
                begun.append(stream)
                with torch.cuda.stream(stream):
                    found.append(task(place))
        finally:  # what one of them raises must not leave the others running on memory that is freed
            for stream in begun:
                here.wait_stream(stream)
        return found


class CudaGraphs:
    """Records calls as CUDA graphs, which share one pool of memory: they are replayed one at a time.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _stream(device, _RECORDING)
        self._last: weakref.ref[torch.cuda.CUDAGraph] | None = None

    def warm_up(self, call: Callable[[], Tensor]) -> tuple[Tensor, str | None]:
        """Do a call on the recording stream; report waits for the GPU.

        Autograd remembers on which stream it first saw a parameter. What waits is found here: a recording
        that fails on it would leave torch's generator unusable.
        """
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream), _waits_told() as told:
            result = call()
        here.wait_stream(self._stream)
        waits = any(_WAIT in str(warning.message) for warning in told)
        return result, "it waits for the GPU in the middle of a step" if waits else None

    def record(self, call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a call, which does nothing yet, and replay it once."""
        graph, pool = torch.cuda.CUDAGraph(), self._pool()
        here, state = torch.cuda.current_stream(self._device), torch.cuda.get_rng_state(self._device)
        # A thread that pins images in memory meanwhile must not spoil the recording.
        recording = torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local")
        try:
            with uncollected(), recording:
                result = call()
        except Exception:
            torch.cuda.set_stream(here)  # torch leaves the recording's
            _end_allocation(self._device, pool)
            _renew_generator(self._device, state)
            raise
        self._last = weakref.ref(graph)
        graph.replay()
        return graph.replay, result

    def _pool(self) -> Any:
        """Return the pool of the recordings there are, or a new one: that of forgotten ones can't be used."""
        last = None if self._last is None else self._last()
        return torch.cuda.graph_pool_handle() if last is None else last.pool()


def recorder_on(device: torch.device) -> Recorder | None:
    """Return what records calls on a device; None where nothing can."""
    return CudaGraphs(device) if device.type == "cuda" else None


@contextmanager
def to_oneself(device: torch.device) -> Iterator[None]:
    """Wait for a GPU's other measurements, and hold off new ones inside.

    Only processes of the same user are meant.
    """
    if device.type != "cuda":
        yield
        return
    properties = torch.cuda.get_device_properties(device)
    name = f"kdsearch-{os.getuid()}-{getattr(properties, 'uuid', _index(device))}.lock"
    with (Path(tempfile.gettempdir()) / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # freed with the file, however the process ends
        yield


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no cycles meanwhile: what that frees on a GPU would spoil a recording."""
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            gc.enable()


@contextmanager
def _waits_told() -> Iterator[list[warnings.WarningMessage]]:
    """Collect torch's warnings of everything that waits for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield told
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for other in told:
        if not any(own in str(other.message) for own in (_WAIT, _TRIED)):
            place = (other.filename, other.lineno)
            warnings.warn_explicit(other.message, other.category, *place, registry=_WARNED)


def _renew_generator(device: torch.device, state: Tensor) -> None:
    """Give torch's generator a new state of the same content: in a failed recording the old one stays."""
    generator = torch.cuda.default_generators[_index(device)]
    generator.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
    torch.cuda.set_rng_state(state, device)


def _end_allocation(device: torch.device, pool: Any) -> None:
    """Tell torch's allocator that a failed recording has ended. Before version 2.12 torch forgets to."""
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    with suppress(Exception):  # where torch has not forgotten it
        if end is not None:
            end(_index(device), pool)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


@cache
def _stream(device: torch.device, place: int) -> torch.cuda.Stream:  # noqa: ARG001 - another for each place
    """Return a device's stream of a place, the same for all packs: libraries keep memory for each."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no annotation
