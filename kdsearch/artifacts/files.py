"""Files and folders that are there whole or not at all."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder's lock. Another process that asks for it waits, and a dead one has given it back."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        yield


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to fill. It takes its name only when all of it is written.

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
    """Write a file that is named only once it is whole.

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


def write_output(path: Path, content: bytes) -> None:
    """Write a file that a person named, whole or not at all.

    Its folder must be there. A device is written to and never replaced, a link is followed.

    Args:
        path: A file, new or to be replaced; what is no file, such as a pipe, gets the content as it is.
        content: All of it.

    Raises:
        OSError: It can't be written; a file that was there is as it was.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
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
