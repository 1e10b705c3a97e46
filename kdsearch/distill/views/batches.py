"""Random views of images: a pure function of (view seed, epoch, sample index).

Batch order, batch size, device and number of workers decide nothing, so that a teacher's logits for a
view can be stored once and used by every student.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from kdsearch.distill.data.dataset import Split
from kdsearch.distill.data.images import StreamedImages
from kdsearch.distill.data.streaming.kept_images import HostImages
from kdsearch.distill.data.streaming.memory import memory_of, room_on
from kdsearch.distill.data.tokens import TokenRows
from kdsearch.distill.randomness import hash_key, hashed_order
from kdsearch.distill.views.draws import Drawer, Draws, Stream
from kdsearch.distill.views.rendering import BorderedImages, Normalisation, mixed, rendered
from kdsearch.spec.sections import Augment

_RENDERED_AT_ONCE = 2**21  # values; of small images many batches are rendered at a time
_ON_A_GPU = 2**25  # where each operation costs a launch, however few the values
_BYTES_PER_VALUE = 32  # what rendering needs on its way: pixels, places, floats and those of partners
_SHARE_OF_A_GPU = 1 / 64  # by hand: rendering leaves a small GPU's memory to the networks
_TIMES_BORDERED = 3  # the images, with their border, and on their way there
_Elsewhere: TypeAlias = StreamedImages | HostImages


@dataclass(frozen=True)
class Batch:
    """One batch of normalised images, or of texts: then `images` are tokens [B, R, L].

    Where images are mixed, `mix` is the weight of `labels` and `1 - mix` that of `partner_labels`;
    elsewhere both are None. `index` says which samples they are.
    """

    images: Float[Tensor, "B C S S"] | Int64[Tensor, "B R L"]
    labels: Int64[Tensor, " B"]
    partner_labels: Int64[Tensor, " B"] | None
    mix: Float[Tensor, " B"] | None
    index: Int64[Tensor, " B"]

    def part(self, start: int, stop: int) -> "Batch":
        """Return the samples from `start` to before `stop`, without copying them."""
        return Batch(
            images=self.images[start:stop],
            labels=self.labels[start:stop],
            partner_labels=None if self.partner_labels is None else self.partner_labels[start:stop],
            mix=None if self.mix is None else self.mix[start:stop],
            index=self.index[start:stop],
        )


@dataclass(frozen=True)
class Chunk:
    """Consecutive batches of an epoch, rendered at once.

    They are held whole and one by one. `start` is the place of the first sample in the epoch's order.
    """

    start: int
    whole: Batch
    batches: list[Batch]


def rendered_at_once(device: torch.device) -> int:
    """Return how many values are rendered at once on a device.

    On a GPU its whole memory decides, not what is free: else the last bits of a loss, whose sums are
    prepared chunk by chunk, could depend on what else runs there.
    """
    if device.type != "cuda":
        return _RENDERED_AT_ONCE
    share = int(_SHARE_OF_A_GPU * memory_of(device).total) // _BYTES_PER_VALUE
    return min(_ON_A_GPU, max(_RENDERED_AT_ONCE, share))


class Views:
    """The views of one split, made in batches on a device.

    Args:
        split: The images or texts, and labels; they are held on the device, or streamed to it.
        augment: What is random about a view.
        mean: Each channel's mean, of pixels in [0, 1].
        std: Each channel's standard deviation.
        device: Where views are made.
        dtype: Their floating-point type.
    """

    def __init__(
        self,
        split: Split,
        augment: Augment,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = torch.device(device)
        self.labels = split.labels.to(self.device)
        self._border = augment.crop_padding
        self._images: BorderedImages | TokenRows | _Elsewhere
        self._normalise: Callable[[Tensor], Tensor] = _as_they_are
        if isinstance(split.images, StreamedImages):
            self._images, size = split.images, split.images.form.size
            self._n_values = split.images.form.n_channels * size**2
        else:
            self._images = self._held(split.images, is_text=split.is_text)
            size = split.images.shape[-1]
            self._n_values = split.images[0].numel()
        if not isinstance(self._images, TokenRows):
            self._normalise = Normalisation.of(mean, std, self.device, dtype)
        self._drawer = Drawer(augment, len(split), size, self.device, dtype)
        self._drawn: tuple[tuple[int, int], Draws] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def order(self, order_seed: int, epoch: int) -> Int64[Tensor, " N"]:
        """Return the order of an epoch, the same whatever the batch size."""
        return self._order(order_seed, epoch).to(self.device)

    def n_batches(self, batch_size: int) -> int:
        """Return how many batches an epoch has."""
        return len(self._bounds(batch_size)) - 1

    def batch(self, view_seed: int, epoch: int, index: Int64[Tensor, " B"]) -> Batch:
        """Return the views of the samples at `index`."""
        index = index.to(self.device)
        draws = self._draws(view_seed, epoch)
        if isinstance(self._images, _Elsewhere):
            return self._render(draws, index, self._images.gather(_needed(draws, index)))
        return self._render(draws, index, self._images)

    def batches(self, seed: int, epoch: int, batch_size: int) -> Iterator[Batch]:
        """Yield an epoch's batches in its order.

        A single sample left over joins the batch before it. The same as `batch` on slices of `order`, but
        faster; one seed fixes both.
        """
        for chunk in self.chunks(seed, seed, epoch, batch_size):
            yield from chunk.batches

    def chunks(self, view_seed: int, order_seed: int, epoch: int, batch_size: int) -> Iterator[Chunk]:
        """Yield an epoch's `batches`, grouped as they are rendered at once."""
        order, bounds = self._order(order_seed, epoch), self._bounds(batch_size)
        return self._chunks(self._draws(view_seed, epoch), order, bounds, batch_size)

    def in_order(self, view_seed: int, epoch: int, batch_size: int) -> Iterator[Batch]:
        """Yield an epoch's views in batches, in the order of the data."""
        order, bounds = torch.arange(len(self)), [*range(0, len(self), batch_size), len(self)]
        for chunk in self._chunks(self._draws(view_seed, epoch), order, bounds, batch_size):
            yield from chunk.batches

    def plain(self, index: Int64[Tensor, " B"]) -> Float[Tensor, "B C S S"] | Int64[Tensor, "B R L"]:
        """Return the samples at `index` as they are, normalised."""
        if isinstance(self._images, _Elsewhere):
            return self._normalise(self._images.gather(index).to(self.device))
        return self._normalise(self._images.plain(index.to(self.device)))

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all samples as they are, normalised, in their order."""
        indices = torch.split(torch.arange(len(self), device=self.device), batch_size)
        if isinstance(self._images, _Elsewhere):
            on_host = torch.split(torch.arange(len(self)), batch_size)
            loaded: Iterable[Tensor] = self._images.batches(on_host, self.device, keep=True)
        else:
            loaded = map(self._images.plain, indices)
        for index, pixels in zip(indices, loaded, strict=True):
            yield Batch(self._normalise(pixels), self.labels[index], None, None, index)

    def _held(self, samples: Tensor, *, is_text: bool) -> BorderedImages | TokenRows | HostImages:
        """Return samples in memory, on the device if it has room."""
        if is_text:
            return TokenRows(samples.to(self.device))
        if self.device.type == "cuda" and _TIMES_BORDERED * samples.nbytes > room_on(self.device):
            return HostImages(samples)
        return BorderedImages(samples.to(self.device), self._border)

    def _order(self, order_seed: int, epoch: int) -> Int64[Tensor, " N"]:
        return hashed_order(hash_key(order_seed, epoch, Stream.ORDER), len(self))

    def _chunks(self, draws: Draws, order: Tensor, bounds: list[int], batch_size: int) -> Iterator[Chunk]:
        """Yield an order's batches, rendered some at a time.

        The order is on the host; the bits are the same.
        """
        at_once = max(1, rendered_at_once(self.device) // (self._n_values * batch_size))
        groups = [bounds[first : first + at_once + 1] for first in range(0, len(bounds) - 1, at_once)]
        index = order.to(self.device)
        for own, pixels in zip(groups, self._pixels(draws, order, groups), strict=True):
            views = self._render(draws, index[own[0] : own[-1]], pixels)
            parts = [views.part(start - own[0], stop - own[0]) for start, stop in pairwise(own)]
            yield Chunk(own[0], views, parts)

    def _pixels(
        self, draws: Draws, order: Tensor, groups: Sequence[list[int]]
    ) -> Iterable[BorderedImages | TokenRows | Tensor]:
        """Return what each group of batches is rendered from: all images, or its own, brought here."""
        if not isinstance(self._images, _Elsewhere):
            return repeat(self._images, len(groups))
        partner = None if draws.partner is None else draws.partner.cpu()  # once an epoch
        parts = [order[own[0] : own[-1]] for own in groups]
        if partner is not None:
            parts = [torch.cat([index, partner[index]]) for index in parts]
        return self._images.batches(parts, self.device, keep=True)

    def _draws(self, view_seed: int, epoch: int) -> Draws:
        """Return an epoch's draws. The last epoch's are kept, since its batches come one by one."""
        if self._drawn is None or self._drawn[0] != (view_seed, epoch):
            self._drawn = ((view_seed, epoch), self._drawer.epoch(view_seed, epoch))
        return self._drawn[1]

    def _render(self, draws: Draws, index: Tensor, pixels: BorderedImages | TokenRows | Tensor) -> Batch:
        """Return a batch of views. Its images are on the device, or were loaded for this batch."""
        needed = _needed(draws, index)
        rows = needed
        if isinstance(pixels, Tensor):
            pixels = BorderedImages(pixels.to(self.device), self._border)
            rows = torch.arange(len(needed), device=self.device)
        views = rendered(pixels, rows, draws.at(needed), self._normalise)
        own = draws.at(index)
        if own.partner is None or own.share is None:
            return Batch(views, self.labels[index], None, None, index)
        views = mixed(views[: len(index)], views[len(index) :], own.share, own.patch)
        return Batch(views, self.labels[index], self.labels[own.partner], own.share, index)

    def _bounds(self, batch_size: int) -> list[int]:
        bounds = [*range(0, len(self), batch_size), len(self)]
        if bounds[-1] - bounds[-2] == 1 < batch_size and len(bounds) > 2:
            del bounds[-2]
        return bounds


def _as_they_are(tokens: Tensor) -> Tensor:
    return tokens


def _needed(draws: Draws, index: Tensor) -> Tensor:
    """Return the samples whose images a batch takes: its own, then their partners."""
    return index if draws.partner is None else torch.cat([index, draws.partner[index]])
