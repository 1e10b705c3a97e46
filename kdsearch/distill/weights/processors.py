"""How transformers' image processors prepare images, in our words."""

from collections.abc import Mapping
from typing import Any

from kdsearch.distill.data.preprocessing import Preparation
from kdsearch.errors import RequestError

_WHITE = 255  # of uint8
_INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers of its filters
_CONVNEXT_CROPS_BELOW = 384  # its processor resizes larger images whole


def processed_as(processing: Mapping[str, Any], name: str) -> Preparation:
    """Return the preparation of an image processor: what it normalises by, its size, filter and crop.

    Args:
        processing: An image processor's values by name.
        name: The model's, for errors.

    Raises:
        RequestError: It prepares images in a way that has no words here.
    """
    mean, std = _normalised(processing)
    size, crop = _sized(processing, name)
    filter_number = int(_said(processing, "resample", 0))
    return Preparation(mean, std, size, _INTERPOLATIONS.get(filter_number, "bilinear"), crop)


def _normalised(processing: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of pixels in [0, 1].

    They hold whatever the processor scales pixels to before.
    """
    scale = _said(processing, "rescale_factor", 1 / _WHITE) if _said(processing, "do_rescale", True) else 1.0
    offset = 1.0 if _said(processing, "rescale_offset", False) else 0.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    if _said(processing, "do_normalize", True):
        mean, std = (_values(_said(processing, key, None), key) for key in ("image_mean", "image_std"))
    white = _WHITE * scale
    return tuple((value + offset) / white for value in mean), tuple(value / white for value in std)


def _sized(processing: Mapping[str, Any], name: str) -> tuple[int, float]:
    """Return a prepared image's side and how much of it is seen.

    What is seen is the middle part, as a share of the side.
    """
    resized = _side(_said(processing, "size", None), name)
    if _said(processing, "do_center_crop", False):
        side = _side(_said(processing, "crop_size", None), name)
        return side, min(1.0, side / resized)
    share = _said(processing, "crop_pct", None)
    is_cropped = share is not None and resized < _CONVNEXT_CROPS_BELOW
    return resized, float(share) if is_cropped else 1.0


def _side(size: Any, name: str) -> int:
    found = size
    if isinstance(size, Mapping):
        sides = {key: value for key, value in size.items() if value is not None}
        found = sides.get("shortest_edge", sides.get("height"))
        found = None if sides.get("width", found) != found else found
    if not isinstance(found, int):
        raise RequestError(
            f"`preprocessing` must be given for 'hf:{name}', whose images are prepared to {size}: "
            "only squares are known. Set it to {mean: […], std: […], size: N}, or to data."
        )
    return found


def _said(processing: Mapping[str, Any], key: str, otherwise: Any) -> Any:
    value = processing.get(key)
    return otherwise if value is None else value


def _values(found: Any, key: str) -> tuple[float, ...]:
    values = (found,) if isinstance(found, int | float) else tuple(found or ())
    if not values:
        raise RequestError(f"`preprocessing` must be given where a processor has no `{key}`, got none.")
    return tuple(map(float, values))
