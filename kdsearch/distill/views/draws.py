"""What is random about a view, drawn by hashing. The hash is of (view seed, epoch, sample index, stream)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from kdsearch.distill.randomness import hash_key, hashed_each, uniform_integers
from kdsearch.spec.sections import Augment

N_QUANTILES = 2**16
"""By hand: finer than any draw of augmentation can be told apart."""


class Stream(IntEnum):
    """The sources of randomness. Their numbers are part of what a view is."""

    ORDER = 0
    TOP = 1
    LEFT = 2
    FLIP = 3
    CUT_ROW = 4
    CUT_COLUMN = 5
    BRIGHTNESS = 6
    CONTRAST = 7
    SATURATION = 8
    PARTNER = 9
    MIX_KIND = 10
    MIX = 11
    BOX_ROW = 12
    BOX_COLUMN = 13


_Mixing: TypeAlias = tuple[Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Draws:
    """The draws of some samples in one epoch.

    Each is None where the spec switches its part off. `corner` is a crop's top and left in the padded image,
    `hole` the top, bottom, left and right of what cutout blanks, `color` the factors of brightness, contrast
    and saturation. `partner` is the sample that each is mixed with, `share` the weight of its own label, and
    `patch` the top, bottom, left and right of what cutmix takes from the partner, empty where mixup blends
    the two instead.
    """

    corner: Int64[Tensor, "2 N"] | None
    flip: Bool[Tensor, " N"] | None
    hole: Int64[Tensor, "4 N"] | None
    color: Float[Tensor, "3 N"] | None
    partner: Int64[Tensor, " N"] | None
    share: Float[Tensor, " N"] | None
    patch: Int64[Tensor, "4 N"] | None

    def at(self, index: Int64[Tensor, " B"]) -> "Draws":
        """Return the draws of the samples at `index`."""
        values = [getattr(self, field.name) for field in fields(self)]
        return Draws(*(None if value is None else value[..., index] for value in values))


class Drawer:
    """Draws the views of `n_samples` images of `size` × `size` pixels.

    Every draw is an integer, or read from a table that was made on the CPU: the same on every device.
    """

    def __init__(
        self, augment: Augment, n_samples: int, size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._augment = augment
        self._size = size
        self._index = torch.arange(n_samples, device=device)
        self._streams = _streams_of(augment)
        self._factors = _factors(augment.color_jitter).to(device, dtype)
        self._mixup_shares = _beta_quantiles(augment.mixup).to(device, dtype)
        self._patch_sizes = (size * (1 - _beta_quantiles(augment.cutmix)).sqrt()).floor().long().to(device)

    def epoch(self, view_seed: int, epoch: int) -> Draws:
        """Return the draws of all samples in an epoch."""
        dice = _Dice(view_seed, epoch, self._index, self._streams)
        augment = self._augment
        partner, share, patch = self._mixing(dice)
        return Draws(
            corner=self._corner(dice) if augment.crop_padding else None,
            flip=dice.coin(Stream.FLIP) if augment.flip else None,
            hole=self._hole(dice) if augment.cutout else None,
            color=self._color(dice) if augment.color_jitter else None,
            partner=partner,
            share=share,
            patch=patch,
        )

    def _corner(self, dice: "_Dice") -> Tensor:
        n_offsets = 2 * self._augment.crop_padding + 1
        return torch.stack([dice.roll(stream, n_offsets) for stream in (Stream.TOP, Stream.LEFT)])

    def _hole(self, dice: "_Dice") -> Tensor:
        centre = [dice.roll(stream, self._size) for stream in (Stream.CUT_ROW, Stream.CUT_COLUMN)]
        return _square(centre, torch.full_like(self._index, self._augment.cutout), self._size)

    def _color(self, dice: "_Dice") -> Tensor:
        streams = (Stream.BRIGHTNESS, Stream.CONTRAST, Stream.SATURATION)
        return self._factors[torch.stack([dice.roll(stream, N_QUANTILES) for stream in streams])]

    def _mixing(self, dice: "_Dice") -> _Mixing:
        if not (self._augment.mixup or self._augment.cutmix):
            return None, None, None
        partner = dice.roll(Stream.PARTNER, len(self._index))
        quantile = dice.roll(Stream.MIX, N_QUANTILES)
        if not self._augment.cutmix:
            return partner, self._mixup_shares[quantile], None
        centre = [dice.roll(stream, self._size) for stream in (Stream.BOX_ROW, Stream.BOX_COLUMN)]
        patch = _square(centre, self._patch_sizes[quantile], self._size)
        area = (patch[1] - patch[0]) * (patch[3] - patch[2])
        share = 1 - area.to(self._factors.dtype) * (1 / self._size**2)
        if self._augment.mixup:
            pastes = dice.coin(Stream.MIX_KIND)
            patch = torch.where(pastes, patch, 0)
            share = torch.where(pastes, share, self._mixup_shares[quantile])
        return partner, share, patch


class _Dice:
    """The hashes of one epoch's samples, in every stream that is used."""

    def __init__(self, view_seed: int, epoch: int, index: Tensor, streams: Sequence[Stream]) -> None:
        keys = [hash_key(view_seed, epoch, own) for own in streams]
        self._hashes = dict(zip(streams, hashed_each(keys, index), strict=True)) if keys else {}

    def roll(self, stream: Stream, n_sides: int) -> Tensor:
        return uniform_integers(self._hashes[stream], n_sides)

    def coin(self, stream: Stream) -> Tensor:
        return self.roll(stream, 2) == 1


def _streams_of(augment: Augment) -> list[Stream]:
    """Return what is drawn for a sample."""
    mixes = bool(augment.mixup or augment.cutmix)
    used: list[tuple[bool, Sequence[Stream]]] = [
        (bool(augment.crop_padding), (Stream.TOP, Stream.LEFT)),
        (augment.flip, (Stream.FLIP,)),
        (bool(augment.cutout), (Stream.CUT_ROW, Stream.CUT_COLUMN)),
        (bool(augment.color_jitter), (Stream.BRIGHTNESS, Stream.CONTRAST, Stream.SATURATION)),
        (mixes, (Stream.PARTNER, Stream.MIX)),
        (bool(augment.cutmix), (Stream.BOX_ROW, Stream.BOX_COLUMN)),
        (bool(augment.mixup and augment.cutmix), (Stream.MIX_KIND,)),
    ]
    return [stream for is_used, streams in used if is_used for stream in streams]


def _square(centre: list[Tensor], width: Tensor, size: int) -> Tensor:
    """Return the edges of squares, cut at the image's edges. They are the top, bottom, left and right."""
    starts = [middle - width // 2 for middle in centre]
    edges = [edge for start in starts for edge in (start, start + width)]
    return torch.stack(edges).clamp(0, size)


def _factors(strength: float) -> Tensor:
    """Return factors spread evenly over [1 - strength, 1 + strength]."""
    steps = (2 * torch.arange(N_QUANTILES, dtype=torch.float64) + 1) / N_QUANTILES - 1
    return 1 + strength * steps


@cache
def _beta_quantiles(concentration: float) -> Tensor:
    """Return evenly spaced quantiles of a symmetric Beta distribution. Mixing draws from them."""
    if not concentration:
        return torch.ones(N_QUANTILES, dtype=torch.float64)
    from scipy.special import betaincinv

    levels = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    return torch.from_numpy(betaincinv(concentration, concentration, levels)).clamp(0, 1)
