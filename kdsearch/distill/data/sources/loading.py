"""Where samples come from: scikit-learn, torchvision, a folder of images, or a user's factory."""

import gzip
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from PIL import Image
from torch import Tensor

from kdsearch.distill.data.images import ImageArray, ImageFiles, Labelled
from kdsearch.distill.data.pixels import channels_first
from kdsearch.distill.data.sources.image_folders import FolderPart, read_image_folder
from kdsearch.distill.data.sources.own_sources import own_source
from kdsearch.distill.data.sources.own_texts import own_texts
from kdsearch.distill.data.sources.roots import data_root
from kdsearch.distill.data.sources.samples import Source, as_labels, classes_of, kept_labels
from kdsearch.distill.data.sources.torchvision_sets import TORCHVISION_PARTS
from kdsearch.errors import RequestError, RunError
from kdsearch.spec.sections import Dataset


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
    return own_texts(dataset) if dataset.kind == "text" else own_source(dataset)


def _digits() -> Source:
    table = _digits_table()
    images = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = as_labels(table[:, -1].astype(np.int64), "digits")
    return Source(
        ImageArray(torch.from_numpy(images)[:, None]), labels, None, tuple(str(digit) for digit in range(10))
    )


def _digits_table() -> Float64[np.ndarray, "N 65"]:
    """Return each image's pixels, 0 to 16, and its digit.

    They are in scikit-learn's file, which is read without it. Importing scikit-learn takes longer than a pack
    of small students trains.
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
    """Return the package that is missing, if that caused an error.

    Some classes raise an error of their own for it.
    """
    cause = error if isinstance(error, ImportError) else error.__context__
    return cause.name if isinstance(cause, ImportError) else None


def _sort_files(part: Any) -> None:
    """Sort the samples by path. SUN397 lists them as the file system does."""
    samples = sorted(zip(part._image_files, part._labels, strict=True))
    part._image_files = [file for file, _ in samples]
    part._labels = [label for _, label in samples]


def _image_folder(dataset: Dataset) -> Source:
    folder = read_image_folder(data_root(dataset))
    parts = [FolderImages(part) for part in (*folder.training, folder.test) if part is not None]
    n_others = sum(part.n_others for part in folder.parts.values())
    return Source(
        ImageFiles(parts, "`dataset.root`", trusted=True),
        torch.cat([torch.tensor(part.labels) for part in parts]),
        None if folder.test is None else len(parts[-1]),
        folder.parts["train"].classes,
        notes=(f"{n_others} files are passed over, since their names end like no image's.",) * (n_others > 0),
    )


class FolderImages:
    """The images of a folder's part, decoded when asked for. They keep their own depth."""

    def __init__(self, part: FolderPart) -> None:
        self.samples = [file.path for file, _ in part.samples()]
        self.labels = [label for _, label in part.samples()]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        with open(self.samples[index], "rb") as file:
            image = Image.open(file)
            image.load()
            return image, self.labels[index]


def _joined(train: Sequence[Any], test: Any | None) -> Source:
    parts = [*train] if test is None else [*train, test]
    labels = torch.cat([_labels_of(part) for part in parts])
    arrays = [_array_of(part) for part in parts]
    images: ImageArray | ImageFiles
    if any(array is None for array in arrays):
        images = ImageFiles(parts, "`dataset.root`", trusted=True, turned=False)
    else:
        images = ImageArray(torch.cat([array for array in arrays if array is not None]))
    return Source(images, labels, None if test is None else len(test), classes_of(parts[0]))


def _array_of(part: Any) -> UInt8[Tensor, "N C H W"] | None:
    """Return a data set's images where it holds them as one array."""
    data = getattr(part, "data", None)
    if not isinstance(data, np.ndarray | Tensor) or data.ndim not in (3, 4) or len(data) != len(part):
        return None
    return channels_first(torch.from_numpy(np.ascontiguousarray(np.asarray(data))))


def _labels_of(part: Labelled) -> Int64[Tensor, " N"]:
    """Return a data set's labels. They come from its list of labels where it keeps one."""
    owner = type(part).__name__
    if owner == "PCAM":
        return as_labels(_pcam_labels(part), owner)
    if owner == "QMNIST":
        return as_labels(_qmnist_labels(part), owner)
    kept = kept_labels(part)
    return as_labels([part[index][1] for index in range(len(part))] if kept is None else kept, owner)


def _pcam_labels(part: Any) -> UInt8[np.ndarray, " N"]:
    """Return all labels at once: the class opens two files for each of its 327,680 samples."""
    file, *_ = part._FILES[part._split]["targets"]
    with part.h5py.File(part._base_folder / file) as opened:
        labels: UInt8[np.ndarray, " N"] = opened["y"][:].reshape(-1)
    return labels


def _qmnist_labels(part: Any) -> Int64[np.ndarray, " N"]:
    """Return the table's first column. The other seven are about the writers of the digits."""
    labels: Int64[np.ndarray, " N"] = part.targets[:, 0].numpy()
    return labels


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
