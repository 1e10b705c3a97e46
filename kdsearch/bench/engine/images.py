"""Made-up images that a network can learn, of any size and number: nothing has to be downloaded."""

from typing import TypeAlias

import numpy as np

from kdsearch.spec.sections import Dataset

Part: TypeAlias = tuple[np.ndarray, np.ndarray]

PATTERNED = f"{__name__}:patterned"
_CLASSES = 100  # as CIFAR-100 has
_FEW_CLASSES = 10  # where images are too few for a hundred
_LEAST_EACH = 10  # images of a class, so that each split has some
_TEST_SHARE = 8  # an eighth as many images as training and validation have, for the test
_CELLS = 4  # a class is a pattern of so many coloured cells a side


def patterned(dataset: Dataset) -> tuple[Part, Part]:
    """Return as many images as a section asks for: each a class's coloured cells under noise.

    Args:
        dataset: Its `train_size`, `validation_size` and `image_size` are numbers.
    """
    n_known = int(dataset.train_size or 0) + int(dataset.validation_size)
    n_classes = _CLASSES if n_known >= _LEAST_EACH * _CLASSES else _FEW_CLASSES
    generator = np.random.default_rng(0)
    size = dataset.image_size or 32
    cells = generator.integers(0, 128, (n_classes, _CELLS, _CELLS, 3), dtype=np.uint8)
    cell = -(-size // _CELLS)
    patterns = cells.repeat(cell, 1).repeat(cell, 2)[:, :size, :size]

    def part(n: int) -> Part:
        labels = np.arange(n) % n_classes
        noise = generator.integers(0, 128, (n, size, size, 3), dtype=np.uint8)
        return patterns[labels] + noise, labels

    return part(n_known), part(max(n_known // _TEST_SHARE, n_classes))
