"""The driver's scratch folder, gone with its process."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdsearch.errors import RequestError
from kdsearch.storage.rows.processes import is_dead, process_mark

_PREFIX = "kds-"
_OWNER = "owner"
_MOST_BYTES = 28
"""Of TMPDIR: a socket's path has at most 107, ours takes 13 and Ray's 66 of them, below `RAY`."""
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - mkdtemp makes the folder, for us alone
RAY = "r"
"""The folder in the scratch folder that Ray gets: it opens that one to all users of the machine."""

_log = logging.getLogger(__name__)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder that only this user can enter.

    It is removed when the block ends. Those of drivers that were killed are removed first; never one of a
    driver that may live in another container or on another host with the same TMPDIR.

    Raises:
        RequestError: No folder for temporary files can be written.
    """
    chosen = _temporary_folder()
    _remove_leftovers(chosen)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=chosen))
        (folder / _OWNER).write_text(process_mark())
    except OSError as error:
        raise RequestError(
            f"TMPDIR must be a folder that can be written, got {chosen}: {error.strerror}. Name another."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder() -> Path:
    """Return TMPDIR, or a folder short enough for Ray's sockets."""
    try:
        wanted = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise RequestError(f"TMPDIR must be a folder that can be written: {error.strerror}.") from error
    if len(os.fsencode(wanted)) <= _MOST_BYTES:
        return Path(wanted)
    for folder in map(Path, _SHORT_FOLDERS):
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            _log.info("TMPDIR is too long for Ray's sockets: %s is used instead.", folder)
            return folder
    raise RequestError(
        f"TMPDIR must have at most {_MOST_BYTES} characters for Ray's sockets, got {wanted}, "
        f"and none of {', '.join(_SHORT_FOLDERS)} can be written. Set TMPDIR to a shorter one."
    )


def _remove_leftovers(folder: Path) -> None:
    for left in folder.glob(f"{_PREFIX}*"):
        try:
            mark = (left / _OWNER).read_text()
        except OSError:  # another user's, or one that is being made
            continue
        if is_dead(mark):
            shutil.rmtree(left, ignore_errors=True)
