"""Images as uint8 tensors of one shape: held in memory, or decoded when they are asked for."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

_N_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
N_WORKERS = min(4, _N_CPUS)
_DECODE_BATCH = 32
_N_WORTH_WORKERS = 500
_N_INSPECTED = 32
_MIXED_SIZES_DEFAULT = 224
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Form:
    """What every image of a data set is brought to."""

    n_channels: int
    size: int


@runtime_checkable
class Labelled(Protocol):
    """A map-style data set of (image, label), the image a PIL image or a uint8 array."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """Return one sample."""


class ImageArray:
    """Images that lie in memory as they were loaded."""

    def __init__(self, images: UInt8[Tensor, "N C H W"]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def native_form(self) -> Form:
        """Return the form that fits the images best."""
        return Form(self._images.shape[1], max(self._images.shape[-2:]))

    def load(self, index: Int64[Tensor, " M"], form: Form) -> UInt8[Tensor, "M C S S"]:
        """Return the images at `index` in a form."""
        return fit(self._images[index], form)


class ImageFiles:
    """Images that are decoded one by one from map-style data sets, laid end to end."""

    def __init__(self, parts: Sequence[Labelled]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def native_form(self) -> Form:
        """Return the form that fits the images best, judged by a few of them."""
        step = max(1, len(self) // _N_INSPECTED)
        images = [self._pixels(index) for index in range(0, len(self), step)]
        shapes = {tuple(image.shape[-2:]) for image in images}
        n_channels = max(image.shape[0] for image in images)
        height, width = next(iter(shapes))
        uniform = len(shapes) == 1 and height == width
        return Form(n_channels, height if uniform else _MIXED_SIZES_DEFAULT)

    def read(self, index: int, form: Form) -> UInt8[Tensor, "C S S"]:
        """Return one image in a form."""
        return fit(self._pixels(index)[None], form)[0]

    def load(self, index: Int64[Tensor, " M"], form: Form) -> UInt8[Tensor, "M C S S"]:
        """Return the images at `index` in a form."""
        loaded = torch.empty(len(index), form.n_channels, form.size, form.size, dtype=torch.uint8)
        chunks = torch.split(torch.arange(len(index)), _DECODE_BATCH)
        decoded = StreamedImages(self, index, form).batches(chunks)
        for chunk, pixels in zip(chunks, decoded, strict=True):
            loaded[chunk] = pixels
        return loaded

    def _pixels(self, index: int) -> UInt8[Tensor, "C H W"]:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        image, _ = self._parts[part][index - int(self._starts[part])]
        return _to_pixels(image)


class StreamedImages(Dataset[Tensor]):
    """Images of one form that are decoded each time they are asked for, by worker processes."""

    def __init__(self, files: ImageFiles, index: Int64[Tensor, " N"], form: Form) -> None:
        self._files = files
        self._index = index.tolist()
        self.form = form

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, position: int) -> UInt8[Tensor, "C S S"]:
        return self._files.read(self._index[position], self.form)

    def gather(self, index: Int64[Tensor, " B"]) -> UInt8[Tensor, "B C S S"]:
        """Return the images at `index`, decoded in this process."""
        return torch.stack([self[position] for position in index.tolist()])

    def batches(
        self, batches: Sequence[Int64[Tensor, " _"]], device: torch.device = _CPU
    ) -> Iterator[UInt8[Tensor, "_ C S S"]]:
        """Yield the images of each batch of indices on a device, decoded ahead by worker processes."""
        n_images = sum(len(batch) for batch in batches)
        loader = DataLoader(
            self,
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=N_WORKERS if n_images > _N_WORTH_WORKERS else 0,
            generator=torch.Generator(),  # or the loader would draw from the global one
            pin_memory=device.type == "cuda",  # so that a copy waits for nothing
        )
        for pixels in loader:
            yield pixels.to(device, non_blocking=True)


def fit(images: UInt8[Tensor, "N c H W"], form: Form) -> UInt8[Tensor, "N C S S"]:
    """Return images in a form: the shorter side resized, the middle cut out, channels converted."""
    if images.shape[-2:] == (form.size, form.size) and form.n_channels == images.shape[1]:
        return images
    from torchvision.transforms.v2 import functional as transforms  # slow to import

    if images.shape[-2:] != (form.size, form.size):
        images = transforms.resize(images, [form.size], antialias=True)
        images = transforms.center_crop(images, [form.size, form.size])
    if form.n_channels == 1 < images.shape[1]:
        images = transforms.rgb_to_grayscale(images)
    elif form.n_channels > images.shape[1]:
        images = images.expand(-1, form.n_channels, -1, -1).contiguous()
    return images


def _to_pixels(image: Any) -> UInt8[Tensor, "C H W"]:
    if isinstance(image, Image.Image):
        grey = image.mode in ("1", "L")
        pixels = torch.from_numpy(np.array(image.convert("L" if grey else "RGB")))
        return pixels[None] if grey else pixels.permute(2, 0, 1).contiguous()
    pixels = torch.as_tensor(image)
    return pixels[None] if pixels.ndim == 2 else pixels
