"""Images as uint8 tensors of one shape: held in memory, or decoded when they are asked for."""

import hashlib
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from kdsearch.distill.data.pixels import Scale, is_deep, native_pixels, scale_of, scaled
from kdsearch.distill.data.streaming.decoding import Decoder, n_workers
from kdsearch.distill.data.streaming.feeding import Writes, moved
from kdsearch.distill.data.streaming.kept_images import KeptImages, memory_for_images
from kdsearch.errors import RequestError

_DECODE_BATCH = 32  # by hand: one piece of a worker
_N_INSPECTED = 32  # by hand: enough to see mixed sizes, and decoded in a moment
_N_READ_TWICE = 8  # by hand: random changes show in nearly every image
_N_SCALED = 10_000  # by hand: a deep set's lightest image may be rare
_N_NAMED = 5  # by hand: an error stays a line
_SAMPLE_ATTRIBUTES = ("samples", "_samples", "imgs", "_image_files", "_images", "_image_paths")
_MIXED_SIZES_DEFAULT = 224  # pixels, the usual side of ImageNet's networks
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Form:
    """What every image of a data set is brought to."""

    n_channels: int
    size: int


@runtime_checkable
class Labelled(Protocol):
    """A map-style data set of (image, label). The image is a PIL image, an array or a tensor."""

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

    def add_to(self, digest: "hashlib._Hash") -> None:
        """Add all images to a digest."""
        digest.update(repr(tuple(self._images.shape)).encode())
        digest.update(self._images.contiguous().numpy().reshape(-1).data)


@dataclass(frozen=True)
class Failure:
    """A sample that can't be read, and why."""

    name: str
    reason: str


_Piece: TypeAlias = tuple[Tensor | None, list[Failure]]
ImageDecoder: TypeAlias = Decoder[_Piece]


class ImageFiles:
    """Images of map-style data sets, joined and decoded one by one.

    Args:
        parts: The data sets.
        setting: What a user names them by, for errors.
        trusted: Whether they are known to give plain images, the same each time.
        turned: Whether images are turned as their EXIF says.
    """

    def __init__(
        self, parts: Sequence[Labelled], setting: str, *, trusted: bool = False, turned: bool = True
    ) -> None:
        self._parts = parts
        self._setting = setting
        self._trusted = trusted
        self._turned = turned
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self._index = np.arange(int(self._starts[-1]))

    def __len__(self) -> int:
        return len(self._index)

    def without(self, index: Sequence[int]) -> "ImageFiles":
        """Return the same images but those at `index`."""
        rest = ImageFiles(self._parts, self._setting, trusted=self._trusted, turned=self._turned)
        rest._index = np.delete(self._index, np.asarray(index, dtype=np.int64))
        return rest

    def native_form(self) -> Form:
        """Return the form that fits a few of the images best.

        Raises:
            RequestError: None of them can be read, or they are other images each time.
        """
        shapes = {tuple(image.shape[-2:]) for image in self._looked_at}
        n_channels = max(image.shape[0] for image in self._looked_at)
        height, width = next(iter(shapes))
        uniform = len(shapes) == 1 and height == width
        return Form(n_channels, height if uniform else _MIXED_SIZES_DEFAULT)

    @cached_property
    def scale(self) -> Scale:
        """Which values are white: of all deep images, or of 10,000 evenly spaced ones where more."""
        if not any(map(is_deep, self._looked_at)):
            return Scale()
        with ThreadPoolExecutor(n_workers()) as threads:
            found = threads.map(self._native, self._evenly(_N_SCALED))
            try:
                return scale_of(image for image in found if isinstance(image, Tensor))
            except RequestError as error:
                raise RequestError(f"{self._setting} gives no images that can be read. {error}") from error

    @cached_property
    def _looked_at(self) -> list[Tensor]:
        """A few evenly spaced images as they are."""
        index = self._evenly(_N_INSPECTED)
        found = [self._native(i) for i in index]
        images = [image for image in found if isinstance(image, Tensor)]
        if not images:
            raise self.refusal([image for image in found if isinstance(image, Failure)])
        if not self._trusted:
            self._check_that_they_stay(index[:_N_READ_TWICE], found)
        return images

    def _check_that_they_stay(self, index: Sequence[int], found: Sequence[Tensor | Failure]) -> None:
        for i, before in zip(index, found, strict=False):
            again = self._native(i)
            if isinstance(before, Tensor) and not (isinstance(again, Tensor) and torch.equal(before, again)):
                raise RequestError(
                    f"{self._setting} must give the same image each time, got another one of "
                    f"{self.name_of(i)}. Leave out random transforms: `augment` draws the views."
                )

    def read(self, index: int, form: Form) -> UInt8[Tensor, "C S S"]:
        """Return one image in a form.

        Raises:
            RequestError: It can't be read.
        """
        found = self.tried(index, form)
        if isinstance(found, Failure):
            raise self.refusal([found])
        return found

    def tried(self, index: int, form: Form | None = None) -> Tensor | Failure:
        """Return one image as uint8, or why it can't be read. Without a form it keeps its own."""
        native = self._native(index)
        if isinstance(native, Failure):
            return native
        try:
            pixels = scaled(native, self.scale)
        except RequestError as error:
            return Failure(self.name_of(index), str(error))
        return pixels if form is None else fit(pixels[None], form)[0].contiguous()

    def load(self, index: Int64[Tensor, " M"], form: Form) -> UInt8[Tensor, "M C S S"]:
        """Return the images at `index` in a form.

        Raises:
            RequestError: Some can't be read; up to five are named.
        """
        loaded = torch.empty(len(index), form.n_channels, form.size, form.size, dtype=torch.uint8)
        chunks = torch.split(torch.arange(len(index)), _DECODE_BATCH)
        decoded = StreamedImages(self, index, form).decoded(chunks)
        failures: list[Failure] = []
        for chunk, (parts, bad) in zip(chunks, decoded, strict=True):
            failures += bad
            if not bad:
                torch.cat(parts, out=loaded[int(chunk[0]) : int(chunk[-1]) + 1])
        if failures:
            raise self.refusal(failures)
        return loaded

    def failures(self) -> dict[int, Failure]:
        """Return the images that can't be read, by index. Every image is decoded."""
        with ThreadPoolExecutor(n_workers()) as threads:
            found = enumerate(threads.map(self.tried, range(len(self))))
            return {index: image for index, image in found if isinstance(image, Failure)}

    def refusal(self, failures: Sequence[Failure]) -> RequestError:
        """Return the error that names samples that can't be read."""
        named = [f"{failure.name} ({failure.reason})" for failure in failures[:_N_NAMED]]
        more = f" and {len(failures) - _N_NAMED} more" if len(failures) > _N_NAMED else ""
        return RequestError(
            f"{self._setting} must give images that can be read, got {len(failures)} that can't: "
            f"{', '.join(named)}{more}. Mend or remove them, or set `dataset.skip_bad: true`."
        )

    def name_of(self, index: int) -> str:
        """Return what a user knows a sample by: its file, or its number."""
        part, own = self._place(index)
        for attribute in _SAMPLE_ATTRIBUTES:
            samples = getattr(self._parts[part], attribute, None)
            if isinstance(samples, Sequence) and len(samples) == len(self._parts[part]):
                sample = samples[own]
                path = sample[0] if isinstance(sample, tuple) else sample
                if isinstance(path, str | os.PathLike):
                    return str(path)
        return f"sample {own}" + (f" of part {part + 1}" if len(self._parts) > 1 else "")

    def native_sample(self, n: int) -> Iterator[tuple[int, Tensor]]:
        """Yield up to n evenly spaced, readable images in their own form."""
        for index in self._evenly(n):
            if isinstance(image := self._native(index), Tensor):
                yield index, image

    def _evenly(self, n: int) -> Sequence[int]:
        return range(0, len(self), max(1, len(self) // n))

    def _place(self, index: int) -> tuple[int, int]:
        position = int(self._index[index])
        part = int(np.searchsorted(self._starts, position, side="right")) - 1
        return part, position - int(self._starts[part])

    def _native(self, index: int) -> Tensor | Failure:
        part, own = self._place(index)
        try:
            image, _ = self._parts[part][own]
            return native_pixels(image, turned=self._turned)
        except Exception as error:  # whatever a user's data set or a decoder raises
            return Failure(self.name_of(index), _reason(error))


def _reason(error: Exception) -> str:
    """Return in a few words why an image can't be read."""
    if isinstance(error, UnidentifiedImageError):
        return "no image of a kind that is known"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return first if isinstance(error, RequestError | OSError) else f"{type(error).__name__}: {first}"


class _Formed(Dataset["Tensor | Failure"]):
    """Images of one form, by their numbers in the files: what worker processes decode."""

    def __init__(self, files: ImageFiles, form: Form) -> None:
        self._files = files
        self._form = form
        _ = files.scale  # found once here rather than by every worker

    def __getitem__(self, index: int) -> Tensor | Failure:
        return self._files.tried(index, self._form)


def decoder_of(files: ImageFiles, form: Form) -> ImageDecoder:
    """Return what decodes images of a form, in pieces: their pixels, or None and which can't be read."""
    return Decoder(_Formed(files, form), _collated, form.n_channels * form.size**2)


def _collated(samples: Sequence[Tensor | Failure]) -> _Piece:
    failures = [sample for sample in samples if isinstance(sample, Failure)]
    if failures:
        return None, failures
    return torch.stack([sample for sample in samples if isinstance(sample, Tensor)]), []


class StreamedImages:
    """Images of one form, decoded when asked for.

    They may be kept from then on.

    Args:
        files: Where they come from.
        index: Their numbers there.
        form: What each is brought to.
        decoder: Decodes the same files in the same form, shared by the splits of a data set.
    """

    def __init__(
        self,
        files: ImageFiles,
        index: Int64[Tensor, " N"],
        form: Form,
        decoder: ImageDecoder | None = None,
    ) -> None:
        self._files = files
        self._index = index
        self._decoder = decoder or decoder_of(files, form)
        self._kept: dict[torch.device, KeptImages | None] = {}
        self.form = form

    def __len__(self) -> int:
        return len(self._index)

    def gather(self, index: Int64[Tensor, " B"]) -> UInt8[Tensor, "B C S S"]:
        """Return the images at `index`, decoded in this process.

        Raises:
            RequestError: One can't be read.
        """
        return torch.stack([self._files.read(i, self.form) for i in self._index[index.cpu()].tolist()])

    def refusal(self, failures: Sequence[Failure]) -> RequestError:
        """Return the error that names samples that can't be read."""
        return self._files.refusal(failures)

    def batches(
        self, batches: Sequence[Int64[Tensor, " _"]], device: torch.device = _CPU, *, keep: bool = False
    ) -> Iterator[UInt8[Tensor, "_ C S S"]]:
        """Yield each batch's images on a device.

        Worker processes decode them ahead.

        Args:
            batches: Which images, by their indices on the host.
            device: Where they go.
            keep: Whether they are kept for the next time, where memory is free.

        Raises:
            RequestError: One can't be read.
        """
        kept = self._kept_for(device) if keep else None
        if kept is None:
            largest = max(map(len, batches), default=0)
            yield from moved(self._writes(batches), (largest, *self._shape[1:]), device)
            return
        new = kept.missing(batches)
        yield from kept.batches(batches, new, self._writes([own for own in new if len(own)]), device)

    def decoded(
        self, batches: Sequence[Int64[Tensor, " _"]]
    ) -> Generator[tuple[list[Tensor], list[Failure]], None, None]:
        """Yield each batch's images in parts, and those that can't be read."""
        numbers = [self._index[batch].tolist() for batch in batches]
        with closing(self._decoder.decoded(numbers)) as found:
            for pieces in found:
                parts = [pixels for pixels, _ in pieces if pixels is not None]
                yield parts, [failure for _, bad in pieces for failure in bad]

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return len(self), self.form.n_channels, self.form.size, self.form.size

    def _kept_for(self, device: torch.device) -> KeptImages | None:
        if device not in self._kept:
            self._kept[device] = memory_for_images(self._shape, device)
        return self._kept[device]

    def _writes(self, batches: Sequence[Tensor]) -> Writes:
        with closing(self.decoded(batches)) as found:
            for parts, failures in found:
                if failures:
                    raise self._files.refusal(failures)
                yield sum(map(len, parts)), partial(_join, parts)


def _join(parts: list[Tensor], out: Tensor) -> None:
    torch.cat(parts, out=out)


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
