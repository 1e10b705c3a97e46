"""What data and code are made of, as digests: names and paths may stand for something else tomorrow.

Imports no torch, unless a user's factory makes the data.
"""

import ast
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from kdsearch.distill.data.remembered import remembered
from kdsearch.distill.data.sources.image_folders import ImageFile, read_image_folder
from kdsearch.distill.data.sources.roots import data_root
from kdsearch.distill.data.sources.torchvision_sets import TORCHVISION_PARTS
from kdsearch.spec.catalogue import LIBRARIES
from kdsearch.spec.sections import Dataset

READ_WHOLE_BYTES = 256 * 2**20
"""Files of more bytes together are known by their sizes, not by what they hold: half a second to hash."""

_PACKED = (".gz", ".zip", ".tar", ".tgz")  # beside what was unpacked from them, and not on every node
_HUB = "hf:"
_INSTALLED = {"site-packages", "dist-packages"}


def data_fingerprint(dataset: Dataset) -> str | None:
    """Return a digest of a data set's samples.

    It is None where the name alone decides them, or where no files are there. Files count by their names
    below the root and by what they hold, so that a copy is the same data; above 256 MiB by their sizes, those
    of an `imagefolder` by their times of change too. What a factory gives counts itself.

    Raises:
        RequestError: The files don't make a data set, or the factory fails.
    """
    if dataset.name == "digits":
        return None
    if dataset.name == "imagefolder":
        return _of_image_folder(data_root(dataset))
    if dataset.name in TORCHVISION_PARTS:
        return _of_published_files(dataset)
    key = ("factory", dataset.model_dump_json(), code_fingerprint(dataset.name))
    return remembered(key, lambda: _of_factory(dataset))


def _of_image_folder(root: Path) -> str | None:
    if not root.is_dir():
        return None
    folder = read_image_folder(root)
    files = [
        (f"{role}/{os.path.relpath(file.path, part.folder)}", file)
        for role, part in folder.parts.items()
        for file, _ in part.samples()
    ]
    return _of_files(files, timed=True)


def _of_published_files(dataset: Dataset) -> str | None:
    """Return a digest of a torchvision data set's files.

    It is None where their class checks them by md5 itself.
    """
    root = data_root(dataset)
    places = [root / name for name in TORCHVISION_PARTS[dataset.name].files]

    def found() -> list[tuple[str, ImageFile]]:
        return [(os.path.relpath(file.path, root), file) for file in sorted(_below(places), key=_path_of)]

    files = remembered(("files", *map(str, places)), found)
    return _of_files(files, timed=False) if files else None


def _path_of(file: ImageFile) -> str:
    return file.path


def _below(places: Iterable[Path]) -> Iterator[ImageFile]:
    for place in places:
        folders = os.walk(place) if place.is_dir() else [(str(place.parent), [], [place.name])]
        for folder, _, names in folders:
            for name in names:
                path = Path(folder, name)
                if not name.startswith(".") and path.suffix not in _PACKED and path.is_file():
                    status = path.stat()
                    yield ImageFile(str(path), status.st_size, status.st_mtime_ns)


def _of_files(files: Sequence[tuple[str, ImageFile]], *, timed: bool) -> str:
    if sum(file.size_bytes for _, file in files) <= READ_WHOLE_BYTES:
        return _of_contents(tuple(files))
    lines = (
        f"{name}\0{file.size_bytes}\0{file.mtime_ns // 10**9 if timed else ''}\n" for name, file in files
    )
    return _digest(lines)


@lru_cache(maxsize=8)
def _of_contents(files: tuple[tuple[str, ImageFile], ...]) -> str:
    """Return a digest of names and contents. Files whose size and time are known are not read again."""
    return _digest(f"{name}\0{_content(file)}\n" for name, file in files)


def _content(file: ImageFile) -> str:
    try:
        with open(file.path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:  # who reads the image says so
        return "unreadable"


def _of_factory(dataset: Dataset) -> str:
    from kdsearch.distill.data.sources.loading import load_source  # imports torch

    return load_source(dataset).fingerprint()


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def code_fingerprint(name: str) -> str | None:
    """Return a digest of the code behind a `package.module:object`.

    It is None where the code is not a user's. All files of its package count, or else the module's and those
    it imports from its folder; comments and layout don't. Of `hf:FOLDER` all that the folder holds counts.
    """
    module, colon, _ = name.partition(":")
    if name.startswith(_HUB) and Path(name.removeprefix(_HUB)).is_dir():
        return _of_model_folder(Path(name.removeprefix(_HUB)))
    if not colon or module in LIBRARIES:
        return None
    files = _source_files(module)
    return _digest(f"{file.name}\0{_code(file)}\n" for file in files) if files else None


def _of_model_folder(folder: Path) -> str:
    files = sorted(_below([folder]), key=_path_of)
    return _of_files([(os.path.relpath(file.path, folder), file) for file in files], timed=True)


def _source_files(module: str) -> list[Path]:
    try:
        found = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if found is None:
        return []
    if found.submodule_search_locations:
        folders = [Path(folder) for folder in found.submodule_search_locations]
        return sorted(file for folder in folders for file in folder.rglob("*.py"))
    return _with_neighbours(Path(found.origin)) if found.origin and found.has_location else []


def _with_neighbours(file: Path) -> list[Path]:
    """Return a module's file and those that it imports from its folder.

    Imports are followed from file to file.
    """
    if _INSTALLED & set(file.parts):  # where everything is a neighbour
        return [file]
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        if (current := waiting.pop()) not in seen:
            seen.add(current)
            for name in _imported(current):
                below = [file.parent / f"{name}.py", *(file.parent / name).rglob("*.py")]
                waiting += [path for path in below if path.is_file()]
    return sorted(seen)


def _imported(file: Path) -> Iterator[str]:
    """Yield the top names of the modules that a file imports."""
    tree = _tree(file)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _code(file: Path) -> str:
    status = file.stat()
    return _meaning(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _meaning(file: Path, mtime_ns: int, size_bytes: int) -> str:  # noqa: ARG001 - they tell a changed file
    """Return a digest of a file's code without comments and layout. An installed file is taken as it is."""
    tree = None if _INSTALLED & set(file.parts) else _tree(file)
    return _digest([file.read_text(errors="replace") if tree is None else ast.unparse(tree)])


def _tree(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return None
