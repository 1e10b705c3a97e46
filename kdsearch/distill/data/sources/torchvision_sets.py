"""How each torchvision data set names its parts."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parts:
    """The constructor's arguments for the training part and the test part.

    The training part may come in pieces. A validation part that a data set brings belongs to its training
    part: the spec's own validation split is taken from there. `test` is None where the data set is one piece.
    `files` are its files and folders below the root; none where the class itself checks them by their md5
    whenever it opens them.
    """

    train: tuple[dict[str, Any], ...]
    test: dict[str, Any] | None
    can_download: bool = True
    files: tuple[str, ...] = ()


def _by_flag(*files: str, **others: Any) -> Parts:
    return Parts(({"train": True, **others},), {"train": False, **others}, files=files)


def _by_split(*train: str, files: tuple[str, ...], test: str = "test", can_download: bool = True) -> Parts:
    return Parts(tuple({"split": name} for name in train), {"split": test}, can_download, files)


def _one_piece(*files: str) -> Parts:
    return Parts(({},), None, files=files)


TORCHVISION_PARTS: dict[str, Parts] = {
    "CIFAR10": _by_flag(),
    "CIFAR100": _by_flag(),
    "Caltech101": _one_piece("caltech101"),
    "Caltech256": _one_piece("caltech256"),
    "Country211": _by_split("train", "valid", files=("country211",)),
    "DTD": _by_split("train", "val", files=("dtd",)),
    "EMNIST": _by_flag("EMNIST/raw", split="balanced"),
    "EuroSAT": _one_piece("eurosat"),
    "FER2013": _by_split("train", files=("fer2013",), can_download=False),
    "FGVCAircraft": _by_split("trainval", files=("fgvc-aircraft-2013b",)),
    "FashionMNIST": _by_flag("FashionMNIST/raw"),
    "Flowers102": _by_split("train", "val", files=("flowers-102",)),
    "Food101": _by_split("train", files=("food-101",)),
    "GTSRB": _by_split("train", files=("gtsrb",)),
    "ImageNet": _by_split("train", files=("train", "val"), test="val", can_download=False),
    "Imagenette": _by_split("train", files=("imagenette2",), test="val"),
    "KMNIST": _by_flag("KMNIST/raw"),
    "MNIST": _by_flag("MNIST/raw"),
    "OxfordIIITPet": _by_split("trainval", files=("oxford-iiit-pet",)),
    "PCAM": _by_split("train", "val", files=("pcam",)),
    "QMNIST": _by_flag("QMNIST/raw"),
    "RenderedSST2": _by_split("train", "val", files=("rendered-sst2",)),
    "SEMEION": _one_piece(),
    "STL10": _by_split("train", files=()),
    "SUN397": _one_piece("SUN397"),
    "SVHN": _by_split("train", files=()),
    "StanfordCars": _by_split("train", files=("stanford_cars",), can_download=False),
    "USPS": _by_flag("usps.bz2", "usps.t.bz2"),
}
