"""Random views of images: a pure function of (view seed, epoch, sample index)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from kdsearch.distill.data import Split
from kdsearch.distill.randomness import hash_key, hashed, hashed_order, uniform_integers
from kdsearch.spec.sections import Augment

ORDER, TOP, LEFT, FLIP = range(4)


@dataclass(frozen=True)
class Batch:
    """One batch of views; where images are mixed, `mix` is the weight of `labels`."""

    images: Float[Tensor, "B C H W"]
    labels: Int64[Tensor, " B"]
    partner_labels: Int64[Tensor, " B"] | None
    mix: Float[Tensor, " B"] | None
    index: Int64[Tensor, " B"]


class Views:
    """The views of one split, made in batches on a device.

    Minimal for now: crop and flip of images in memory.
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
        self._augment = augment
        self._size = split.images.shape[-1]
        self._pad = augment.crop_padding
        self._padded = F.pad(split.images.to(self.device), (self._pad,) * 4)
        self._windows = self._padded.unfold(2, self._size, 1).unfold(3, self._size, 1)
        deviation = torch.tensor(std, dtype=torch.float64)
        shape = (1, -1, 1, 1)
        self._scale = (1 / (255 * deviation)).to(self.device, dtype).view(shape)
        self._bias = (-torch.tensor(mean, dtype=torch.float64) / deviation).to(self.device, dtype).view(shape)

    def __len__(self) -> int:
        return len(self.labels)

    def order(self, view_seed: int, epoch: int) -> Int64[Tensor, " N"]:
        """Return the order of an epoch, the same whatever the batch size."""
        return hashed_order(hash_key(view_seed, epoch, ORDER), len(self)).to(self.device)

    def n_batches(self, batch_size: int) -> int:
        """Return how many batches an epoch has."""
        return len(self._bounds(batch_size)) - 1

    def batch(self, view_seed: int, epoch: int, index: Int64[Tensor, " B"]) -> Batch:
        """Return the views of the samples at `index`."""
        index = index.to(self.device)
        n_offsets = 2 * self._pad + 1
        top = uniform_integers(hashed(hash_key(view_seed, epoch, TOP), index), n_offsets)
        left = uniform_integers(hashed(hash_key(view_seed, epoch, LEFT), index), n_offsets)
        pixels = self._windows[index, :, top, left]
        if self._augment.flip:
            flipped = hashed(hash_key(view_seed, epoch, FLIP), index) >> 31 == 1
            pixels = torch.where(flipped[:, None, None, None], pixels.flip(-1), pixels)
        return Batch(self._normalised(pixels), self.labels[index], None, None, index)

    def batches(self, view_seed: int, epoch: int, batch_size: int) -> Iterator[Batch]:
        """Yield an epoch's batches in its order; a single sample left over joins the last batch."""
        order = self.order(view_seed, epoch)
        bounds = self._bounds(batch_size)
        for start, stop in pairwise(bounds):
            yield self.batch(view_seed, epoch, order[start:stop])

    def plain(self, index: Int64[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
        """Return the samples at `index` as they are, normalised."""
        index = index.to(self.device)
        pad, size = self._pad, self._size
        return self._normalised(self._padded[index, :, pad : pad + size, pad : pad + size])

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all samples as they are, in their order."""
        for index in torch.arange(len(self), device=self.device).split(batch_size):
            yield Batch(self.plain(index), self.labels[index], None, None, index)

    def _bounds(self, batch_size: int) -> list[int]:
        bounds = [*range(0, len(self), batch_size), len(self)]
        if len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:
            del bounds[-2]
        return bounds

    def _normalised(self, pixels: Tensor) -> Tensor:
        return pixels.to(self._scale.dtype).mul_(self._scale).add_(self._bias)
