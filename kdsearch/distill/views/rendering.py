"""From uint8 images and their draws to normalised views.

Each image is rendered on its own. Only additions and multiplications, each rounded by itself, so that an
image's view has the same bits in any batch and on any device.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from kdsearch.distill.data.tokens import TokenRows
from kdsearch.distill.views.draws import Draws

# How much red, green and blue weigh in grey, in thousandths (ITU-R 601).
_LUMINANCE = (299, 587, 114)


class BorderedImages:
    """Images with a black border, from which crops are cut.

    A crop is gathered row by row, out of all runs of `S` bytes, wherever they start: four times faster than
    indexing with a corner for each image.
    """

    def __init__(self, images: UInt8[Tensor, "N C S S"], border: int) -> None:
        self._border = border
        bordered = F.pad(images, (border,) * 4) if border else images
        _, n_channels, self._width, _ = bordered.shape
        size = images.shape[-1]
        values = bordered.contiguous().flatten()
        self._runs = values.as_strided((max(len(values) - size + 1, 0), size), (1, 1))
        channels = torch.arange(n_channels, device=images.device)  # made there: a copy would wait
        rows = channels[:, None] * self._width + torch.arange(size, device=images.device)
        self._rows = rows * self._width
        self._image_length = n_channels * self._width**2

    def plain(self, index: Int64[Tensor, " B"]) -> UInt8[Tensor, "B C S S"]:
        """Return images as they are."""
        return self._cut(index * self._image_length + self._border * (self._width + 1))

    def crops(
        self, index: Int64[Tensor, " B"], corner: Int64[Tensor, "2 B"] | None
    ) -> UInt8[Tensor, "B C S S"]:
        """Return images cut at their own corner."""
        if corner is None:
            return self.plain(index)
        top, left = corner
        return self._cut(index * self._image_length + top * self._width + left)

    def _cut(self, start: Int64[Tensor, " B"]) -> UInt8[Tensor, "B C S S"]:
        """Return the crops whose first byte lies at `start`."""
        rows = start[:, None, None] + self._rows
        return self._runs.index_select(0, rows.flatten()).view(*rows.shape, self._runs.shape[1])


@dataclass(frozen=True)
class Normalisation:
    """Takes pixels of 0 to 255 to mean 0 and deviation 1: `scale * pixel + bias`."""

    scale: Float[Tensor, "1 C 1 1"]
    bias: Float[Tensor, "1 C 1 1"]

    @classmethod
    def of(
        cls, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, dtype: torch.dtype
    ) -> "Normalisation":
        """Return the normalisation for a mean and a deviation. Both are of pixels in [0, 1]."""
        centre = torch.tensor(mean, dtype=torch.float64).view(1, -1, 1, 1)
        deviation = torch.tensor(std, dtype=torch.float64).view(1, -1, 1, 1)
        return cls((1 / (255 * deviation)).to(device, dtype), (-centre / deviation).to(device, dtype))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return normalised images."""
        return pixels.to(self.scale.dtype).mul(self.scale).add_(self.bias)


def rendered(
    images: BorderedImages | TokenRows,
    index: Int64[Tensor, " B"],
    draws: Draws,
    normalise: Callable[[Tensor], Tensor],
) -> Float[Tensor, "B C S S"] | Int64[Tensor, "B R L"]:
    """Return the images at `index`, augmented and normalised.

    They are cropped, flipped, jittered, normalised and holed; texts stay as they are.
    """
    pixels = images.crops(index, draws.corner)
    if draws.flip is not None:
        pixels = _mirrored(pixels, draws.flip)
    views = normalise(pixels if draws.color is None else _jittered(pixels, draws.color))
    if draws.hole is not None:
        views = torch.where(_inside(draws.hole, views.shape[-1]), 0, views)
    return views


def mixed(
    views: Float[Tensor, "B C S S"],
    partners: Float[Tensor, "B C S S"],
    share: Float[Tensor, " B"],
    patch: Int64[Tensor, "4 B"] | None,
) -> Float[Tensor, "B C S S"]:
    """Return views mixed with their partners'.

    They are blended by `share`, or have a patch of the partner pasted in.
    """
    if patch is not None:
        share = torch.where(patch[1] > patch[0], 1, share)
        views = torch.where(_inside(patch, views.shape[-1]), partners, views)
    weight = _per_image(share)
    return views * weight + partners * (1 - weight)


def _mirrored(pixels: UInt8[Tensor, "B C S S"], flip: Bool[Tensor, " B"]) -> UInt8[Tensor, "B C S S"]:
    """Return images, mirrored where `flip` says so.

    On bytes, operations on bits are four times faster than `where`.
    """
    chosen = _per_image(flip).to(torch.uint8) * 255
    difference = pixels.flip(-1).bitwise_xor_(pixels)
    return difference.bitwise_and_(chosen).bitwise_xor_(pixels)


def _jittered(pixels: UInt8[Tensor, "B C S S"], color: Float[Tensor, "3 B"]) -> Float[Tensor, "B C S S"]:
    """Return pixels of other brightness, then contrast, then saturation, within [0, 255].

    Contrast is about the mean of the grey image, whose sum over the pixels is an exact integer.
    """
    brightness, contrast, saturation = (_per_image(factor) for factor in color)
    mean = _per_image(_mean_grey(pixels).to(color.dtype)) * brightness
    values = pixels.to(color.dtype) * (brightness * contrast) + mean * (1 - contrast)
    if pixels.shape[1] == 3:
        grey = _grey(values)
        values = values * saturation + grey * (1 - saturation)
    return values.clamp(0, 255)


def _mean_grey(pixels: UInt8[Tensor, "B C S S"]) -> Float[Tensor, " B"]:
    weights = _LUMINANCE if pixels.shape[1] == 3 else (1,) * pixels.shape[1]
    sums = pixels.flatten(2).sum(2, dtype=torch.int64)
    n_pixels = pixels.shape[2] * pixels.shape[3]
    total = torch.stack([own * weight for own, weight in zip(sums.unbind(1), weights, strict=True)]).sum(0)
    mean: Tensor = total.double() * (1 / (sum(weights) * n_pixels))
    return mean


def _grey(values: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
    red, green, blue = (values[:, channel : channel + 1] for channel in range(3))
    return red * (_LUMINANCE[0] / 1000) + green * (_LUMINANCE[1] / 1000) + blue * (_LUMINANCE[2] / 1000)


def _inside(box: Int64[Tensor, "4 B"], size: int) -> Bool[Tensor, "B 1 S S"]:
    """Return which pixels lie in each image's box (top, bottom, left, right)."""
    top, bottom, left, right = (edge[:, None] for edge in box)
    place = torch.arange(size, device=box.device)
    rows = (place >= top) & (place < bottom)
    columns = (place >= left) & (place < right)
    inside: Tensor = (rows[:, :, None] & columns[:, None, :])[:, None]
    return inside


def _per_image(values: Tensor) -> Tensor:
    spread: Tensor = values[:, None, None, None]
    return spread
