"""Data sets as uint8 images, split into training, validation and test parts by a seed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from kdsearch.distill.splits import split_indices
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset


@dataclass(frozen=True)
class Split:
    """Images and their labels."""

    images: UInt8[Tensor, "N C H W"]
    labels: Int64[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """A data set as training uses it; `mean` and `std` are the training split's, of pixels in [0, 1]."""

    train: Split
    validation: Split
    test: Split
    num_classes: int
    in_channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_dataset(dataset: Dataset) -> ImageData:
    """Return the data set that a spec names, split as it says."""
    if dataset.name != "digits":
        raise RequestError(f"`dataset.name` must be 'digits', got {dataset.name!r}.")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    parts = split_indices(labels, None, dataset)
    train, validation, test = (Split(images[part], labels[part]) for part in parts)
    pixels = train.images.double() / 255
    return ImageData(
        train=train,
        validation=validation,
        test=test,
        num_classes=10,
        in_channels=1,
        image_size=8,
        mean=tuple(pixels.mean((0, 2, 3)).tolist()),
        std=tuple(pixels.std((0, 2, 3)).tolist()),
    )
