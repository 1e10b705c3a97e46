"""Images in the forms that people have them, as uint8 tensors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from kdsearch.distill.data.sources.plain_arrays import plain_array
from kdsearch.errors import RequestError

_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_CHANNELS = (1, 3, 4)  # grey, colours, colours with opacity
_DEPTHS: tuple[int, ...] = (8, 10, 12, 14, 16, 24, 31)  # bits that cameras and scanners give
_WHITE = 255  # of uint8
_DIMENSIONS = 3  # of one image
_DARK = 0.1  # of a set's images may be as dark as 1 of 255
_TOLERANCE = 1e-4  # by which rounding may pass white
_ADVICE = "Give uint8 from 0 to 255, floats from 0 to 1, or PIL images."


@dataclass(frozen=True)
class Scale:
    """The values that are white, the same for all images.

    Args:
        integers: Of integers wider than uint8; the default is that of 16 bits.
        floats: Of floating-point numbers; most libraries scale images to 1.
    """

    integers: int = 2**16 - 1
    floats: int = 1

    def note(self) -> str | None:
        """Return how unusual depths are scaled, in words, or None."""
        whites = [white for white in (self.integers, self.floats) if white not in (1, _WHITE, 2**16 - 1)]
        return f"Values from 0 to {whites[0]} are scaled to 8 bits." if whites else None


def native_pixels(image: Any, *, turned: bool = True) -> Shaped[Tensor, "C H W"]:
    """Return an image's values as uint8, int32 or float32.

    They are grey or in colours, without opacity.

    Args:
        image: A PIL image, or an array or a tensor of shape [H, W], [C, H, W] or [H, W, C].
        turned: Whether a PIL image is turned as its EXIF says.

    Raises:
        RequestError: It is no image.
    """
    if isinstance(image, Image.Image):
        is_turned = turned and image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return _of_picture(ImageOps.exif_transpose(image) if is_turned else image)
    values = native_values(image)
    if values.ndim not in (2, 3):
        raise RequestError(f"An image must have two or three dimensions, got shape {tuple(values.shape)}.")
    return channels_first(values[None])[0]


def _of_picture(image: Image.Image) -> Shaped[Tensor, "C H W"]:
    if image.mode in _DEEP:
        return native_values(np.array(image))[None]
    if image.mode in _GREY:
        return torch.from_numpy(np.array(image.convert("L")))[None]
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    values = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return torch.from_numpy(values).permute(2, 0, 1)  # left so, since it is resized faster


def native_values(values: Any) -> Tensor:
    """Return an array's values as uint8, int32 or float32.

    Raises:
        RequestError: They are no numbers, or some are not finite, negative or too large.
    """
    array = plain_array(values)
    if array.dtype == np.bool_:
        return torch.from_numpy(array.astype(np.uint8) * np.uint8(_WHITE))
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    if array.dtype.kind not in "iuf":
        raise RequestError(f"Images must be numbers, got {_kind(values, array)}. {_ADVICE}")
    if not array.size:
        raise RequestError(f"Images must have pixels, got shape {array.shape}.")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RequestError("Images must be finite, got NaN or infinite values. Leave them out or fill them.")
    if low < 0 or high > 2 ** _DEPTHS[-1] - 1:
        raise RequestError(
            f"Images must have values from 0, got {low:.3g} to {high:.3g}. {_ADVICE} Leave out Normalize: "
            "kdsearch normalises by the training part's mean and deviation."
        )
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int32))


def _kind(values: Any, array: Any) -> str:
    return type(values).__name__ if array.dtype == object else str(array.dtype)


def channels_first(images: Shaped[Tensor, "N ..."]) -> Shaped[Tensor, "N C H W"]:
    """Return images with channels first and without opacity.

    They come in the shape [N, H, W], [N, C, H, W] or [N, H, W, C].

    Raises:
        RequestError: They have other than 1, 3 or 4 channels, or it can't be known which axis has them.
    """
    if images.ndim == 3:
        return images[:, None]
    first, height, last = images.shape[1], images.shape[2], images.shape[3]
    has_first, has_last = first in _CHANNELS, last in _CHANNELS
    if has_first and has_last:  # one axis is a side; images are square more often than not
        has_first, has_last = height == last, first == height
    if has_first == has_last:
        raise RequestError(
            f"Images must have 1, 3 or 4 channels, got shape {tuple(images.shape[1:])}. "
            "Give them as [C, H, W] or [H, W, C]."
        )
    images = images if has_first else images.permute(0, 3, 1, 2)
    return (images[:, :3] if images.shape[1] == 4 else images).contiguous()


def scale_of(images: Iterable[Tensor]) -> Scale:
    """Return the scale of a data set: floats to 1 or to a depth, wide integers to a depth.

    The depth is the smallest usual one that holds all values, so that 12 bits in a file of 16 are
    not almost black.
    """
    highest: dict[torch.dtype, list[float]] = {torch.int32: [], torch.float32: []}
    for image in images:
        if image.dtype in highest:
            each = image if image.ndim > _DIMENSIONS else image[None]
            highest[image.dtype] += each.flatten(1).amax(1).tolist()
    integers = max(highest[torch.int32], default=0.0)
    floats = max(highest[torch.float32], default=0.0)
    _check_range(highest[torch.float32], floats)
    return Scale(
        integers=_depth(integers) if integers else Scale.integers,
        floats=_depth(floats) if floats > 1 + _TOLERANCE else Scale.floats,
    )


def _check_range(highest: Sequence[float], white: float) -> None:
    """Refuse floats that reach 1 in some images and far more elsewhere."""
    of_one = sum(0 < value <= 1 + _TOLERANCE for value in highest)
    if white > 1 + _TOLERANCE and of_one > _DARK * len(highest):
        raise RequestError(
            f"Images must be in one range, got {of_one} of {len(highest)} with floats up to 1, and others up "
            f"to {white:.6g}. Divide all by the same number."
        )


def _depth(highest: float) -> int:
    return next(white for bits in _DEPTHS if highest <= (white := (1 << bits) - 1))


def scaled(images: Tensor, scale: Scale) -> UInt8[Tensor, "..."]:
    """Return native values as uint8.

    Raises:
        RequestError: Values are above the scale's white.
    """
    if images.dtype == torch.uint8:
        return images
    white = scale.floats if images.dtype == torch.float32 else scale.integers
    highest = float(images.max())
    if highest > white * (1 + _TOLERANCE):
        raise RequestError(f"its values go to {highest:.6g}, those of others to {white} at most")
    return images.double().mul(_WHITE / white).clamp(max=_WHITE).round().to(torch.uint8)


def is_deep(image: Tensor) -> bool:
    """Return whether an image needs a scale."""
    return image.dtype != torch.uint8
