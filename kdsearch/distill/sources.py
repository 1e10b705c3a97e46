"""Where samples come from: scikit-learn, torchvision, a folder of images, or a user's factory."""

import gzip
import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from kdsearch.distill.factories import load_factory
from kdsearch.distill.images import ImageArray, ImageFiles, Labelled
from kdsearch.distill.torchvision_sets import TORCHVISION_PARTS
from kdsearch.errors import RequestError, RunError
from kdsearch.spec.sections import Dataset

_LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")
_SAMPLE_ATTRIBUTES = ("samples", "_samples")
_CLASS_ATTRIBUTES = ("classes", "categories")


@dataclass(frozen=True)
class Source:
    """All samples of a data set: its training part, then its own test part, where it has one."""

    images: ImageArray | ImageFiles
    labels: Int64[Tensor, " N"]
    n_test: int | None
    classes: tuple[str, ...] | None


def data_root(dataset: Dataset) -> Path:
    """Return where a data set's files lie: `dataset.root`, KDSEARCH_DATA or the user's cache."""
    named = dataset.root or os.environ.get("KDSEARCH_DATA") or "~/.cache/kdsearch/data"
    return Path(named).expanduser()


def load_source(dataset: Dataset) -> Source:
    """Return the samples of the data set that a spec names.

    Raises:
        RequestError: The data set's files are missing, or a factory gives something else than samples.
    """
    if dataset.name == "digits":
        return _digits()
    if dataset.name == "imagefolder":
        return _image_folder(dataset)
    if dataset.name in TORCHVISION_PARTS:
        return _torchvision(dataset)
    return _from_factory(dataset)


def _digits() -> Source:
    table = _digits_table()
    images = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = _as_labels(table[:, -1].astype(np.int64), "digits")
    return Source(ImageArray(_as_images(images)), labels, None, tuple(str(digit) for digit in range(10)))


def _digits_table() -> Float64[np.ndarray, "N 65"]:
    """Return the pixels in 0 to 16, and the digit, of each image: scikit-learn's file, read without it.

    Importing scikit-learn takes longer than a pack of small students trains.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise RequestError("`dataset.name` 'digits' needs scikit-learn. Install it.")
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        return np.loadtxt(file, delimiter=",")


def _torchvision(dataset: Dataset) -> Source:
    parts = TORCHVISION_PARTS[dataset.name]
    train = [_open_torchvision(dataset, arguments) for arguments in parts.train]
    test = None if parts.test is None else _open_torchvision(dataset, parts.test)
    return _joined(train, test)


def _open_torchvision(dataset: Dataset, arguments: dict[str, Any]) -> Any:
    import torchvision  # a second of CPU time that other data sets need not spend

    opener = getattr(torchvision.datasets, dataset.name)
    can_download = TORCHVISION_PARTS[dataset.name].can_download
    root = data_root(dataset)
    options = {**arguments, "download": dataset.download} if can_download else arguments
    if dataset.download:
        root.mkdir(parents=True, exist_ok=True)
    try:
        part = opener(root, **options)
    except URLError as error:
        raise RunError(f"The data set {dataset.name} could not be downloaded: {error.reason}.") from error
    except (ImportError, RuntimeError, OSError, ValueError) as error:
        if package := _missing_package(error):
            raise RequestError(f"`dataset.name` {dataset.name!r} needs {package}. Install it.") from error
        advice = (
            "Set `dataset.download: true`, or put" if can_download else "torchvision can't download it; put"
        )
        raise RequestError(
            f"`dataset.root` must hold the files of {dataset.name}, got {str(root)!r} "
            f"({_first_line(error)}). {advice} them there as torchvision's class expects them."
        ) from error
    if dataset.name == "SUN397":
        _sort_files(part)
    return part


def _missing_package(error: Exception) -> str | None:
    """Return the package whose absence an error is about, where a class says it its own way."""
    cause = error if isinstance(error, ImportError) else error.__context__
    return cause.name if isinstance(cause, ImportError) else None


def _sort_files(part: Any) -> None:
    """Put the samples in the order of their paths; SUN397 lists them as the file system does."""
    samples = sorted(zip(part._image_files, part._labels, strict=True))
    part._image_files = [file for file, _ in samples]
    part._labels = [label for _, label in samples]


def _image_folder(dataset: Dataset) -> Source:
    from torchvision.datasets import ImageFolder

    root = data_root(dataset)
    held_out = [name for name in ("test", "val") if (root / name).is_dir()]
    try:
        if not (root / "train").is_dir():
            return _joined([ImageFolder(root)], None)
        folders = [ImageFolder(root / name) for name in ("train", *held_out)]
    except OSError as error:
        raise RequestError(
            f"`dataset.root` must hold one folder of images for each class, or `train` and `val` or `test` "
            f"folders of that kind, got {str(root)!r} ({_first_line(error)}). Put the images there."
        ) from error
    if any(folder.classes != folders[0].classes for folder in folders):
        raise RequestError(
            f"`dataset.root` must have the same class folders in {', '.join(('train', *held_out))}, "
            f"got {str(root)!r}."
        )
    train = [folders[0], *folders[2:]]
    return _joined(train, folders[1] if held_out else None)


def _from_factory(dataset: Dataset) -> Source:
    """Return the samples of `package.module:factory`.

    The factory is called with the spec's dataset section (or with nothing, where it takes nothing) and
    returns `(train, test)`; `test` may be None. Each is a pair `(images, labels)` of arrays, the images
    uint8 of shape [N, H, W], [N, H, W, C] or [N, C, H, W], or a map-style data set of (image, label),
    the image a PIL image or a uint8 array of shape [C, H, W].
    """
    factory = load_factory(dataset.name, "dataset.name")
    result = factory(dataset) if inspect.signature(factory).parameters else factory()
    if not (isinstance(result, Sequence) and len(result) == 2):
        raise RequestError(
            f"`dataset.name` {dataset.name!r} must return (train, test), got {type(result).__name__}. "
            "Return None for a missing test part."
        )
    train, test = result
    if not isinstance(train, Sequence):
        return _joined([train], test)
    arrays = [train] if test is None else [train, test]
    images = torch.cat([_checked_images(pair[0], dataset.name) for pair in arrays])
    labels = torch.cat([_as_labels(pair[1], dataset.name) for pair in arrays])
    return Source(ImageArray(images), labels, None if test is None else len(test[1]), None)


def _checked_images(images: Any, name: str) -> UInt8[Tensor, "N C H W"]:
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise RequestError(
            f"`dataset.name` {name!r} must return uint8 images of three or four dimensions, "
            f"got {array.dtype} of {array.ndim}."
        )
    return _as_images(array)


def _joined(train: Sequence[Any], test: Any | None) -> Source:
    parts = [*train] if test is None else [*train, test]
    labels = torch.cat([_labels_of(part) for part in parts])
    arrays = [_array_of(part) for part in parts]
    images: ImageArray | ImageFiles
    if any(array is None for array in arrays):
        images = ImageFiles(parts)
    else:
        images = ImageArray(torch.cat([array for array in arrays if array is not None]))
    return Source(images, labels, None if test is None else len(test), _classes_of(parts[0]))


def _array_of(part: Any) -> UInt8[Tensor, "N C H W"] | None:
    """Return the images of a data set that holds them all as one array."""
    data = getattr(part, "data", None)
    if not isinstance(data, np.ndarray | Tensor) or data.ndim not in (3, 4) or len(data) != len(part):
        return None
    return _as_images(np.asarray(data))


def _as_images(array: UInt8[np.ndarray, "..."]) -> UInt8[Tensor, "N C H W"]:
    images = torch.from_numpy(np.ascontiguousarray(array))
    if images.ndim == 3:
        return images[:, None]
    if images.shape[1] not in (1, 3) and images.shape[-1] in (1, 3):
        return images.permute(0, 3, 1, 2).contiguous()
    return images


def _labels_of(part: Labelled) -> Int64[Tensor, " N"]:
    """Return a data set's labels, from the list it keeps of them where it keeps one."""
    owner = type(part).__name__
    if owner == "PCAM":
        return _as_labels(_pcam_labels(part), owner)
    if owner == "QMNIST":
        return _as_labels(_qmnist_labels(part), owner)
    for name in _LABEL_ATTRIBUTES:
        labels = np.asarray(getattr(part, name, ()))
        if labels.shape == (len(part),):
            return _as_labels(labels, owner)
    for name in _SAMPLE_ATTRIBUTES:
        samples = getattr(part, name, ())
        if len(samples) == len(part):
            return _as_labels([label for _, label in samples], owner)
    return _as_labels([part[index][1] for index in range(len(part))], owner)


def _pcam_labels(part: Any) -> UInt8[np.ndarray, " N"]:
    """Return all labels at once: the class opens two files for each of its 327,680 samples."""
    file, *_ = part._FILES[part._split]["targets"]
    with part.h5py.File(part._base_folder / file) as opened:
        labels: UInt8[np.ndarray, " N"] = opened["y"][:].reshape(-1)
    return labels


def _qmnist_labels(part: Any) -> Int64[np.ndarray, " N"]:
    """Return the first column of a table whose other seven tell of the digits' writers."""
    labels: Int64[np.ndarray, " N"] = part.targets[:, 0].numpy()
    return labels


def _as_labels(labels: Any, owner: str) -> Int64[Tensor, " N"]:
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min(initial=0) < 0:
        raise RequestError(
            f"The labels of {owner} must be one integer from 0 for each image, got {array.dtype} of "
            f"{array.ndim} dimensions. Choose files with labels in every part."
        )
    return torch.from_numpy(array.astype(np.int64))


def _classes_of(part: Any) -> tuple[str, ...] | None:
    for name in _CLASS_ATTRIBUTES:
        if (classes := getattr(part, name, None)) is not None:
            return tuple(c if isinstance(c, str) else str(c[0]) for c in classes)
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
