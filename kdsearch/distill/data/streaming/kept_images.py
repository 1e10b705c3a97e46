"""Decoded images that are kept where there is room: in a GPU's memory, or else in the machine's."""

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from kdsearch.artifacts.files import exclusive
from kdsearch.distill.data.streaming.feeding import Writes, moved
from kdsearch.distill.data.streaming.memory import room_on
from kdsearch.distill.devices import is_out_of_memory

_HOST = torch.device("cpu")
_PAGE_BYTES = 4096  # the smallest page of common systems: a write in each of them reaches all pages
_log = logging.getLogger(__name__)


class KeptImages:
    """The images of a split, each kept once it is read.

    Args:
        pixels: Their memory.
        is_on_host: Whether batches of them are brought to a device, or are there.
    """

    def __init__(self, pixels: UInt8[Tensor, "N C S S"], *, is_on_host: bool) -> None:
        self._pixels = pixels
        self._is_on_host = is_on_host
        self._is_here = np.zeros(len(pixels), bool)

    def missing(self, batches: Iterable[Int64[Tensor, " _"]]) -> list[Int64[Tensor, " _"]]:
        """Return each batch's images that are neither kept nor planned earlier. They are given by index."""
        is_planned, found = self._is_here.copy(), []
        if is_planned.all():
            return [batch[:0] for batch in batches]
        for batch in batches:
            index = np.unique(batch.numpy())
            new = index[~is_planned[index]]
            is_planned[new] = True
            found.append(torch.from_numpy(new))
        return found

    def batches(
        self,
        batches: Sequence[Int64[Tensor, " _"]],
        new: Sequence[Tensor],
        fresh: Writes,
        device: torch.device,
    ) -> Iterator[UInt8[Tensor, "_ C S S"]]:
        """Yield the images of each batch on a device.

        Args:
            batches: Which, by their indices on the host.
            new: What `missing` returned for them.
            fresh: Writes each batch's missing images, where it has some.
            device: Where they go.
        """
        if self._is_on_host:
            shape = (max(map(len, batches), default=0), *self._pixels.shape[1:])
            yield from moved(self._from_host(batches, new, fresh), shape, device)
            return
        shape = (max(map(len, new), default=0), *self._pixels.shape[1:])
        of_batches, of_new = (_sent(parts, self._pixels.device) for parts in (batches, new))
        with closing(moved(fresh, shape, device)) as arrived:
            for index, own, there in zip(of_batches, new, of_new, strict=True):
                if len(own):
                    self._put(own, there, next(arrived))
                yield self._pixels.index_select(0, index)

    def _from_host(self, batches: Sequence[Tensor], new: Sequence[Tensor], fresh: Writes) -> Writes:
        with closing(fresh):
            for index, own in zip(batches, new, strict=True):
                if len(own):
                    size, write = next(fresh)
                    images = torch.empty(size, *self._pixels.shape[1:], dtype=torch.uint8)
                    write(images)
                    self._put(own, own, images)
                yield len(index), partial(_select, self._pixels, index)

    def _put(self, own: Tensor, there: Tensor, images: Tensor) -> None:
        self._pixels.index_copy_(0, there, images)
        self._is_here[own.numpy()] = True


class HostImages:
    """Images in the machine's memory, brought to a GPU in batches."""

    def __init__(self, pixels: UInt8[Tensor, "N C S S"]) -> None:
        self._pixels = pixels

    def gather(self, index: Int64[Tensor, " B"]) -> UInt8[Tensor, "B C S S"]:
        """Return the images at `index`, on the host."""
        return self._pixels[index.cpu()]

    def batches(
        self, batches: Sequence[Int64[Tensor, " _"]], device: torch.device, *, keep: bool = False
    ) -> Iterator[UInt8[Tensor, "_ C S S"]]:
        """Yield each batch's images on a device. The indices are on the host."""
        del keep  # they are kept already
        writes = ((len(index), partial(_select, self._pixels, index)) for index in batches)
        yield from moved(writes, (max(map(len, batches), default=0), *self._pixels.shape[1:]), device)


def _select(pixels: Tensor, index: Tensor, out: Tensor) -> None:
    torch.index_select(pixels, 0, index, out=out)


def _sent(parts: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Return host tensors on a device, copied at once."""
    return torch.split(torch.cat([*parts]).to(device), [len(part) for part in parts])


def memory_for_images(shape: tuple[int, int, int, int], device: torch.device) -> KeptImages | None:
    """Return memory for the images of a split: the device's, or else the machine's; None without room.

    It is committed at once, one process after the other, so that packs on one machine share what is free.

    Args:
        shape: Images, channels, height and width.
        device: Where the images are used.
    """
    size = int(np.prod(shape))
    for place in dict.fromkeys((device, _HOST)):
        try:
            with exclusive(_LOCK):
                if size <= room_on(place):
                    kept = KeptImages(_committed(shape, place), is_on_host=place == _HOST)
                    _log.info("%d images, %.1f GB, are kept decoded on %s.", shape[0], size / 1e9, place)
                    return kept
        except (OSError, RuntimeError, MemoryError) as error:
            if not isinstance(error, OSError) and not is_out_of_memory(error):
                raise
    _log.info("%d images, %.1f GB, are decoded in each epoch: no memory is free.", shape[0], size / 1e9)
    return None


def _committed(shape: tuple[int, int, int, int], place: torch.device) -> UInt8[Tensor, "N C S S"]:
    """Return memory that is really there: a system gives a host's pages when they are written."""
    pixels = torch.empty(shape, dtype=torch.uint8, device=place)
    if place.type == "cpu":
        pixels.view(-1)[::_PAGE_BYTES] = 0
    return pixels


_LOCK = Path(tempfile.gettempdir()) / f"kdsearch-images-{os.getuid() if hasattr(os, 'getuid') else ''}"
