"""Patches of the photographs that scikit-image's package ships: brick, grass, gravel, the moon and a cat."""

from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset

Patches: TypeAlias = tuple[UInt8[np.ndarray, "N P P"], np.ndarray]

PHOTOGRAPHS = ("brick", "grass", "gravel", "moon", "chelsea")
_SIDE = 14  # pixels: small enough to train in seconds, large enough to show a texture
_PER_CLASS = {"train": 300, "test": 250}  # by hand: seconds of training, a test error of about 1 point
_TRAIN_SHARE = 0.65  # of each photograph's width; what lies right of it is the test's
_SPREAD = 40.0  # grey levels: what a patch's deviation becomes, so that light alone tells no class


def patches(dataset: Dataset) -> tuple[Patches, Patches]:
    """Return grey patches of photographs for training and for tests.

    They are cut from separate areas of each photograph.

    Args:
        dataset: `root` is the folder of the photographs; None stands for the installed scikit-image's.
    """
    folder = _folder(dataset)
    draw = np.random.default_rng(0)
    train, test = [], []
    for name in PHOTOGRAPHS:
        pixels = _pixels(folder / f"{name}.png")
        edge = round(_TRAIN_SHARE * pixels.shape[1])
        train.append(_cut(pixels[:, :edge], _PER_CLASS["train"], draw))
        test.append(_cut(pixels[:, edge:], _PER_CLASS["test"], draw))
    return _labelled(train), _labelled(test)


def _folder(dataset: Dataset) -> Path:
    if dataset.root is not None:
        return Path(dataset.root).expanduser()
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise RequestError("`dataset.name` textures need scikit-image's photographs. Install scikit-image.")
    return Path(package.origin).parent / "data"


def _pixels(path: Path) -> Float64[np.ndarray, "H W"]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L").reduce(2), dtype=np.float64)
    except OSError as error:
        raise RequestError(
            f"`dataset.root` must hold scikit-image's photographs, got {path.parent}: {error}."
        ) from error


def _cut(
    area: Float64[np.ndarray, "H W"], count: int, draw: np.random.Generator
) -> UInt8[np.ndarray, "N P P"]:
    tops = draw.integers(0, area.shape[0] - _SIDE, count)
    lefts = draw.integers(0, area.shape[1] - _SIDE, count)
    cut = np.stack([area[t : t + _SIDE, left : left + _SIDE] for t, left in zip(tops, lefts, strict=True)])
    centred = cut - cut.mean((1, 2), keepdims=True)
    scaled = centred / np.maximum(cut.std((1, 2), keepdims=True), 1.0) * _SPREAD
    pixels: UInt8[np.ndarray, "N P P"] = np.clip(np.rint(scaled + 128), 0, 255).astype(np.uint8)
    return pixels


def _labelled(classes: list[np.ndarray]) -> Patches:
    return np.concatenate(classes), np.repeat(np.arange(len(classes)), [len(one) for one in classes])
