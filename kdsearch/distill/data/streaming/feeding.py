"""Batches brought to a device ahead of their use: written by a thread, copied beside the computing."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from queue import SimpleQueue
from threading import Event, Thread
from typing import Protocol, TypeAlias, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

Write: TypeAlias = Callable[[Tensor], object]
"""Writes a batch into memory of its size."""
Writes: TypeAlias = Generator[tuple[int, Write], None, None]
"""How many images each batch has, and what writes them."""

Moment = TypeVar("Moment")

_ON_HOST = 4  # buffers: one is written, one is ready, two are copied
_ON_DEVICE = 3  # buffers: one is copied to while the GPU still has two to compute with
_AHEAD = 1  # batches that are copied before they are asked for


class Copies(Protocol[Moment]):
    """Host memory, device memory and copies between them, beside the computing."""

    def host_buffer(self, shape: Sequence[int]) -> Tensor:
        """Return memory of the host."""

    def device_buffer(self, shape: Sequence[int]) -> Tensor:
        """Return memory of the device."""

    def copy(self, source: Tensor, target: Tensor, after: Moment) -> Moment:
        """Copy after a moment and return the moment of its end."""

    def computed(self) -> Moment:
        """Return the moment when all computing of now is done."""

    def wait_for(self, event: Moment) -> None:
        """Let the host wait for a moment."""


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return a few host values on a device. The host does not wait for what the device computes."""
    if device.type != "cuda":
        return values.to(device)
    from kdsearch.distill.data.streaming.cuda import pinned

    return pinned(values, device)


def moved(
    writes: Writes, shape: tuple[int, int, int, int], device: torch.device
) -> Generator[UInt8[Tensor, "_ C S S"], None, None]:
    """Yield batches on a device.

    On a GPU each is valid until the next one is asked for.

    Args:
        writes: Gives the batches, one after the other.
        shape: Images of the largest batch, channels, height and width.
        device: Where they go.
    """
    if device.type == "cuda":
        from kdsearch.distill.data.streaming.cuda import CudaCopies

        yield from fed(writes, shape, CudaCopies(device))
        return
    with closing(writes):
        for size, write in writes:
            batch = torch.empty(size, *shape[1:], dtype=torch.uint8)
            write(batch)
            yield batch


def fed(writes: Writes, shape: Sequence[int], copies: Copies[Moment]) -> Iterator[UInt8[Tensor, "_ C S S"]]:
    """Yield batches on a device, each valid until the next.

    A thread writes them on the host. The host runs ahead of the device by a few batches at most, so that
    a fixed number of buffers is enough.
    """
    free: SimpleQueue[Tensor] = SimpleQueue()
    for _ in range(_ON_HOST):
        free.put(copies.host_buffer(shape))
    targets = [copies.device_buffer(shape) for _ in range(_ON_DEVICE)]
    used = [copies.computed()] * _ON_DEVICE  # what had the buffers' memory before
    copied: deque[tuple[int, int, Tensor, Moment]] = deque()

    def delivered() -> Iterator[Tensor]:
        slot, size, buffer, there = copied[0]
        copies.wait_for(there)
        free.put(buffer)
        copied.popleft()
        yield targets[slot][:size]
        used[slot] = copies.computed()

    with closing(_written(writes, free)) as written:
        try:
            for number, (size, buffer) in enumerate(written):
                slot = number % _ON_DEVICE
                there = copies.copy(buffer[:size], targets[slot][:size], used[slot])
                copied.append((slot, size, buffer, there))
                if len(copied) > _AHEAD:
                    yield from delivered()
            while copied:
                yield from delivered()
        finally:
            for *_, there in copied:  # nobody may get the buffers' memory before
                copies.wait_for(there)


def _written(writes: Writes, free: "SimpleQueue[Tensor]") -> Generator[tuple[int, Tensor], None, None]:
    """Yield each batch's size and the buffer that a thread filled."""
    ready: SimpleQueue[tuple[int, Tensor] | BaseException | None] = SimpleQueue()
    stopped = Event()

    def write_all() -> None:
        try:
            with closing(writes):
                for size, write in writes:
                    buffer = free.get()
                    if stopped.is_set():
                        return
                    write(buffer[:size])
                    ready.put((size, buffer))
        except BaseException as error:  # raised where the batches are asked for
            ready.put(error)
        ready.put(None)

    thread = Thread(target=write_all, name="kdsearch-images", daemon=True)
    thread.start()
    try:
        while (found := ready.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stopped.set()
        free.put(torch.empty(0))  # wakes it where it waits
        thread.join()
