"""Files and folders of the artifact store: each made once, whole or not at all."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; another process that asks for it waits, and a dead one has given it back."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        yield


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; it takes its name only when all of it is written.

    Hold the folder's lock: what a killed process has left half-written is removed.
    """
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir()
    try:
        yield temporary
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file that takes its name only when all of it is written.

    What killed processes of this machine have left half-written in its folder is removed.

    Raises:
        OSError: The disk is full, or the folder can't be written; nothing is left of the file then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    temporary = path.with_name(f".{path.name}@{platform.node()}@{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_leftovers(folder: Path) -> None:
    for part in folder.glob(f".*@{platform.node()}@*.part"):
        pid = part.stem.rpartition("@")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            part.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
