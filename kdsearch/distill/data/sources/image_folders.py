"""Folders of images as people keep them: parts, classes, and files that are no images. Imports no torch."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from kdsearch.distill.data.remembered import remembered
from kdsearch.errors import RequestError
from kdsearch.spec.space import alike_pair

Part: TypeAlias = Literal["train", "val", "test"]

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_NAMES: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LIKE_A_PART = re.compile(r"(?<![a-z])(train|test|valid|val(?![a-z]))")
_COMPANIONS = ("__MACOSX",)  # beside it, every name that begins with a dot
_GONE_BYTES = -1  # no size that a file can have


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image's file as found by a walk. Its size is -1 where it is a broken link."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class FolderPart:
    """One part of a data set: its folder, its classes' names, and their files in order."""

    folder: Path
    classes: tuple[str, ...]
    files: tuple[tuple[ImageFile, ...], ...]
    n_others: int

    def samples(self) -> Iterator[tuple[ImageFile, int]]:
        """Yield each file with the number of its class."""
        for label, files in enumerate(self.files):
            for file in files:
                yield file, label


@dataclass(frozen=True)
class ImageFolder:
    """A folder's parts by role. A folder without parts is a training part."""

    parts: Mapping[Part, FolderPart]

    @property
    def training(self) -> Sequence[FolderPart]:
        """The parts that training and validation samples come from."""
        own = [self.parts["train"]]
        return [*own, self.parts["val"]] if {"val", "test"} <= set(self.parts) else own

    @property
    def test(self) -> FolderPart | None:
        """The test part, or the validation part where there is none."""
        return self.parts.get("test") or self.parts.get("val")


def read_image_folder(root: Path) -> ImageFolder:
    """Return the images below a folder: those of each class, or of each part's classes.

    Parts are folders of class folders called train, val, valid, validation, test, …, in any case. Names
    that begin with a dot and `__MACOSX` are passed over, as systems' companions.

    Raises:
        RequestError: It is no such folder, or its parts don't fit together.
    """
    return remembered(("image folder", str(root)), lambda: _read(root))


def _read(root: Path) -> ImageFolder:
    folders = _folders(root)
    parts = _parts(root, folders)
    if parts is None:
        return ImageFolder({"train": _part(root, root)})
    found = {role: _part(root, folder) for role, folder in parts.items()}
    _check_classes(root, found)
    return ImageFolder(found)


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return sorted(Path(entry) for entry in entries if _is_shown(entry.name) and entry.is_dir())
    except OSError as error:
        raise RequestError(
            f"`dataset.root` must hold one folder of images for each class, or `train` and `val` or `test` "
            f"folders of that kind, got {str(root)!r} ({error.strerror}). Put the images there."
        ) from error


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name not in _COMPANIONS


def _parts(root: Path, folders: Sequence[Path]) -> Mapping[Part, Path] | None:
    """Return the folders that are parts, or None where all are classes."""
    named: dict[Part, Path] = {}
    for folder in folders:
        role = _NAMES.get(folder.name.lower())
        if role is None or not _holds_folders_alone(folder):
            continue
        if role in named:
            raise RequestError(
                f"`dataset.root` must hold one folder of each part, got {str(root)!r} with "
                f"{named[role].name!r} and {folder.name!r}. Join them."
            )
        named[role] = folder
    _check_parts(root, folders, named)
    return named or None


def _check_parts(root: Path, folders: Sequence[Path], named: Mapping[Part, Path]) -> None:
    others = [folder for folder in folders if folder not in named.values()]
    found = ", ".join(repr(folder.name) for folder in named.values())
    if named and "train" not in named:
        raise RequestError(f"`dataset.root` must hold `train` beside {found}, got {str(root)!r}. Add it.")
    if named:
        unread = [folder.name for folder in others if _holds_images(folder)]
        if unread:
            raise RequestError(
                f"`dataset.root` must hold train, val and test folders alone where it holds one of them, got "
                f"{str(root)!r} with {', '.join(map(repr, unread[:5]))} beside {found}. "
                "Rename or move what is no such part."
            )
        return
    for folder in others:
        like = _LIKE_A_PART.search(folder.name.lower())
        if like and _holds_folders_alone(folder):
            raise RequestError(
                f"`dataset.root` must hold classes, or parts called train, val and test, got {str(root)!r} "
                f"with {folder.name!r}, a folder of folders. Rename it to {_NAMES[like[1]]!r}, or the class."
            )
    _refuse_images_alone(root, others)
    _refuse_alike(root, others)


def _refuse_images_alone(root: Path, folders: Sequence[Path]) -> None:
    """Refuse parts that hold images without folders of classes: they would be the classes."""
    likes = [_LIKE_A_PART.search(folder.name.lower()) for folder in folders]
    if all(likes) and len({_NAMES[like[1]] for like in likes if like}) > 1:
        names = ", ".join(repr(folder.name) for folder in folders[:5])
        raise RequestError(
            "`dataset.root` must hold a folder for each class, or parts with such folders, got "
            f"{str(root)!r} with {names} alone, parts by their names. Put each part's images into folders of "
            "classes; if these are the classes, put them all into one folder `train`."
        )


def _refuse_alike(root: Path, folders: Sequence[Path]) -> None:
    """Refuse folders that hold the same folders: parts by other names, or folds."""
    if len(folders) < 2 or not all(map(_holds_folders_alone, folders)):
        return
    below = [{folder.name for folder in _folders(folder)} for folder in folders]
    if len(below[0]) > 1 and all(names == below[0] for names in below):
        raise RequestError(
            f"`dataset.root` must hold classes, or parts called train, val and test, got {str(root)!r} with "
            f"{folders[0].name!r} and {folders[1].name!r}, which hold the same folders. Rename them if they "
            "are parts; if they are classes, put them all into one folder `train` there."
        )


def _holds_folders_alone(folder: Path) -> bool:
    """Return whether a folder has folders but no images, like a part."""
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if _is_shown(entry.name)]
    return any(entry.is_dir() for entry in shown) and not any(map(_is_image, shown))


def _holds_images(folder: Path) -> bool:
    return any(name.lower().endswith(IMAGE_ENDINGS) for _, _, names in os.walk(folder) for name in names)


def _is_image(entry: "os.DirEntry[str]") -> bool:
    return entry.name.lower().endswith(IMAGE_ENDINGS)


def _part(root: Path, folder: Path) -> FolderPart:
    classes = _folders(folder)
    if pair := alike_pair(below.name for below in classes):
        raise RequestError(
            f"`dataset.root` must hold folders of classes that can be told apart, got {pair[0]!a} and "
            f"{pair[1]!a}, which look the same, below {str(folder)!r}. Join or rename them."
        )
    found = [_files(below) for below in classes]
    empty = [below.name for below, (files, _) in zip(classes, found, strict=True) if not files]
    if empty or not classes:
        what = f"no image in {', '.join(map(repr, empty[:5]))}" if empty else "no folder"
        raise RequestError(
            f"`dataset.root` must hold one folder of images for each class, got {str(root)!r} with {what} "
            f"below {str(folder)!r}. Images end in {', '.join(IMAGE_ENDINGS)}."
        )
    return FolderPart(
        folder,
        tuple(below.name for below in classes),
        tuple(files for files, _ in found),
        sum(n_others for _, n_others in found),
    )


def _files(folder: Path) -> tuple[tuple[ImageFile, ...], int]:
    """Return a class's images and its number of other files. The images are in torchvision's order."""
    images: list[ImageFile] = []
    n_others = 0
    for place, names in sorted(_walk(folder)):
        for entry in names:
            if not _is_image(entry):
                n_others += 1
                continue
            images.append(_as_file(place, entry))
    return tuple(images), n_others


def _walk(folder: Path) -> Iterator[tuple[str, list["os.DirEntry[str]"]]]:
    """Yield each folder below with its files, links followed, each folder once."""
    waiting, seen = [str(folder)], set()
    while waiting:
        place = waiting.pop()
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        with os.scandir(place) as entries:
            shown = sorted((e for e in entries if _is_shown(e.name)), key=lambda entry: entry.name)
        waiting += [entry.path for entry in shown if entry.is_dir()]
        yield place, [entry for entry in shown if not entry.is_dir()]


def _as_file(place: str, entry: "os.DirEntry[str]") -> ImageFile:
    path = os.path.join(place, entry.name)
    try:
        status = entry.stat()
    except OSError:
        return ImageFile(path, _GONE_BYTES, 0)
    return ImageFile(path, status.st_size, status.st_mtime_ns)


def _check_classes(root: Path, parts: Mapping[Part, FolderPart]) -> None:
    train = parts["train"]
    for part in parts.values():
        lacks = sorted(set(train.classes) - set(part.classes))
        adds = sorted(set(part.classes) - set(train.classes))
        if lacks or adds:
            told = [f"{what} {', '.join(map(repr, names[:5]))}" for what, names in _named(lacks, adds)]
            raise RequestError(
                f"`dataset.root` must have the same class folders in every part, got {str(root)!r}, where "
                f"{part.folder.name!r} {' and '.join(told)} beside {train.folder.name!r}. Make them agree."
            )


def _named(lacks: Sequence[str], adds: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    return [(what, names) for what, names in (("lacks", lacks), ("has", adds)) if names]
