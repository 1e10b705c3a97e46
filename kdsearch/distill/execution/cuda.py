"""All that needs CUDA: streams side by side, recordings as CUDA graphs, and a GPU to oneself."""

import fcntl
import gc
import os
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from kdsearch.distill.execution.recording import Recorder

_WAIT = "synchronizing CUDA operation"  # what torch warns of
Value = TypeVar("Value")


class SideBySide:
    """Does tasks on a CUDA stream each, so that their kernels overlap; elsewhere one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams: list[torch.cuda.Stream] = []

    def each(self, n: int, task: Callable[[int], Value]) -> list[Value]:
        """Return what a task gives for 0 to n - 1; what follows waits for all of them."""
        if self._device.type != "cuda":
            return [task(place) for place in range(n)]
        here = torch.cuda.current_stream(self._device)
        while len(self._streams) < n:
            self._streams.append(_new_stream(self._device))
        found = []
        for place, stream in enumerate(self._streams[:n]):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                found.append(task(place))
        for stream in self._streams[:n]:
            here.wait_stream(stream)
        return found


class CudaGraphs:
    """Records calls as CUDA graphs, which share one pool of memory: they are replayed one at a time.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _new_stream(device)
        self._last: weakref.ref[torch.cuda.CUDAGraph] | None = None

    def warm_up(self, call: Callable[[], Tensor]) -> tuple[Tensor, str | None]:
        """Do a call on the stream that records, and tell whether it waits for the GPU.

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
        was_collecting = gc.isenabled()
        gc.disable()  # what it frees on the GPU would spoil the recording
        try:
            # A thread that pins images in memory meanwhile must not spoil it either.
            with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                result = call()
        except Exception:
            torch.cuda.set_stream(here)  # torch leaves the recording's
            _renew_generator(self._device, state)
            raise
        finally:
            if was_collecting:
                gc.enable()
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
    """Wait until no other process of this user measures on a GPU, and keep others from it meanwhile."""
    if device.type != "cuda":
        yield
        return
    name = f"kdsearch-{os.getuid()}-{torch.cuda.get_device_properties(device).uuid}.lock"
    with (Path(tempfile.gettempdir()) / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # freed with the file, however the process ends
        yield


@contextmanager
def _waits_told() -> Iterator[list[warnings.WarningMessage]]:
    """Let torch warn of everything that waits for the GPU, and collect the warnings."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield told
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for other in told:
        if _WAIT not in str(other.message):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


def _renew_generator(device: torch.device, state: Tensor) -> None:
    """Give torch's generator a new state of the same content: in a failed recording the old one stays."""
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = torch.cuda.default_generators[index]
    generator.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
    torch.cuda.set_rng_state(state, device)


def _new_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no annotation
