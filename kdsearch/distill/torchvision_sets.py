"""How each torchvision data set names its parts."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parts:
    """The constructor's arguments for the training part, in pieces, and for the test part.

    A validation part that a data set brings belongs to its training part: the spec's own validation
    split is taken from there. `test` is None where the data set is one piece.
    """

    train: tuple[dict[str, Any], ...]
    test: dict[str, Any] | None
    can_download: bool = True


def _by_flag(**others: Any) -> Parts:
    return Parts(({"train": True, **others},), {"train": False, **others})


def _by_split(*train: str, test: str = "test", can_download: bool = True) -> Parts:
    return Parts(tuple({"split": name} for name in train), {"split": test}, can_download)


_ONE_PIECE = Parts(({},), None)

TORCHVISION_PARTS: dict[str, Parts] = {
    "CIFAR10": _by_flag(),
    "CIFAR100": _by_flag(),
    "Caltech101": _ONE_PIECE,
    "Caltech256": _ONE_PIECE,
    "Country211": _by_split("train", "valid"),
    "DTD": _by_split("train", "val"),
    "EMNIST": _by_flag(split="balanced"),
    "EuroSAT": _ONE_PIECE,
    "FER2013": _by_split("train", can_download=False),
    "FGVCAircraft": _by_split("trainval"),
    "FashionMNIST": _by_flag(),
    "Flowers102": _by_split("train", "val"),
    "Food101": _by_split("train"),
    "GTSRB": _by_split("train"),
    "ImageNet": _by_split("train", test="val", can_download=False),
    "Imagenette": _by_split("train", test="val"),
    "KMNIST": _by_flag(),
    "MNIST": _by_flag(),
    "OxfordIIITPet": _by_split("trainval"),
    "PCAM": _by_split("train", "val"),
    "QMNIST": _by_flag(),
    "RenderedSST2": _by_split("train", "val"),
    "SEMEION": _ONE_PIECE,
    "STL10": _by_split("train"),
    "SUN397": _ONE_PIECE,
    "SVHN": _by_split("train"),
    "StanfordCars": _by_split("train", can_download=False),
    "USPS": _by_flag(),
}
