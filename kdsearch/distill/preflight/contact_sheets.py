"""A picture of what was read, as training sees it."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from kdsearch.distill.data.dataset import ImageData, Split
from kdsearch.distill.data.images import StreamedImages

_SIDE = 64  # pixels, by hand: a picture shows what it is, and ten fit side by side
_GAP = 4  # pixels, by hand
_LABEL_WIDTH = 160  # pixels, by hand: what the letters of a label need
_LABEL_LETTERS = 24  # by hand: more of a name would not make the class any plainer
_MOST_CLASSES, _MOST_IMAGES = 40, 10  # by hand: a sheet that can be looked through


def contact_sheet(pictures: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Return a sheet with a row for each class.

    Args:
        pictures: The classes' names, and the pictures of each.
    """
    height = _GAP + len(pictures) * (_SIDE + _GAP)
    sheet = Image.new("RGB", (_LABEL_WIDTH + _MOST_IMAGES * (_SIDE + _GAP), height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for row, (name, images) in enumerate(pictures):
        top = _GAP + row * (_SIDE + _GAP)
        draw.text((_GAP, top + _SIDE // 2 - _GAP), _drawable(name), fill="black", font=font)
        for column, image in enumerate(images):
            sheet.paste(image, (_LABEL_WIDTH + column * (_SIDE + _GAP), top))
    return sheet


def _drawable(name: str) -> str:
    """Return a name in letters that every font has."""
    return name[:_LABEL_LETTERS].encode("latin-1", errors="replace").decode("latin-1")


def class_pictures(data: ImageData) -> dict[str, list[Image.Image]]:
    """Return up to 10 training images of each class.

    They have the sheet's size. Of more than 40 classes at most 40 are shown.
    """
    split = data.train
    pictures = {}
    for label in range(0, len(data.classes), -(-len(data.classes) // _MOST_CLASSES)):
        index = (split.labels == label).nonzero().flatten()
        step = max(1, len(index) // _MOST_IMAGES)
        images = _images(split, index[::step][:_MOST_IMAGES])
        pictures[data.classes[label]] = [_thumbnail(image) for image in images]
    return pictures


def _images(split: Split, index: Tensor) -> Tensor:
    if not len(index):
        return torch.empty(0)
    return split.images.gather(index) if isinstance(split.images, StreamedImages) else split.images[index]


def _thumbnail(image: Tensor) -> Image.Image:
    """Return an image at the sheet's size; small ones keep their pixels."""
    grey = image.shape[0] == 1
    picture = Image.fromarray((image[0] if grey else image.permute(1, 2, 0)).numpy())
    larger = max(picture.size) > _SIDE
    resample = Image.Resampling.BILINEAR if larger else Image.Resampling.NEAREST
    return picture.resize((_SIDE, _SIDE), resample).convert("RGB")
