"""Files that people name to be written: a report, a sheet of pictures."""

import os
from contextlib import suppress
from pathlib import Path


def write_output(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a device is written to and never replaced, a link is followed.

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
