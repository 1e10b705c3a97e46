"""Digests of stored content. A bit that flips on a disk is found before anything is made of it.

SHA-256 from the standard library runs about as fast as memory is copied, and every file is read once.
"""

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kdsearch.artifacts.files import write_whole

DIGEST_BYTES = 32
"""Of SHA-256."""

DIGESTS_FILE = "digests.json"
"""In an entry's folder: the digest of each of its other files."""

_log = logging.getLogger(__name__)


def sealed(content: bytes | memoryview) -> bytes:
    """Return content with its digest behind it."""
    return b"".join((content, hashlib.sha256(content).digest()))


def unsealed(content: bytes | memoryview) -> memoryview | None:
    """Return what was sealed, or None where it is damaged."""
    inner, digest = memoryview(content)[:-DIGEST_BYTES], memoryview(content)[-DIGEST_BYTES:]
    return inner if hashlib.sha256(inner).digest() == digest else None


def with_digests(files: Mapping[str, bytes | memoryview]) -> dict[str, bytes | memoryview]:
    """Return an entry's files and one more that has their digests."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return {**files, DIGESTS_FILE: json.dumps(digests, indent=1).encode()}


def is_whole(folder: Path) -> bool:
    """Return whether an entry's folder holds what was written. A warning tells where it does not.

    One without digests, from before there were any, counts where the checksums inside its files of tensors
    hold; it gets digests then.
    """
    try:
        digests: dict[str, str] = dict(json.loads((folder / DIGESTS_FILE).read_bytes()))
    except FileNotFoundError:
        return _adopted(folder)
    except (OSError, ValueError, TypeError):
        digests = {DIGESTS_FILE: ""}
    wrong = [name for name, digest in digests.items() if not has_digest(folder / name, digest)]
    if wrong:
        tell_damage(folder, f"{', '.join(wrong)} is not what was written")
    return not wrong


def _adopted(folder: Path) -> bool:
    """Return whether an entry without digests can be trusted.

    One that can is given digests.
    """
    files = [file for file in folder.iterdir() if file.is_file()]
    wrong = [file.name for file in files if file.suffix == ".pt" and not _has_checksums(file)]
    if wrong:
        tell_damage(folder, f"{', '.join(wrong)} is not what was written")
    else:
        with suppress(OSError):  # a store that can only be read stays as it is
            content = with_digests({file.name: file.read_bytes() for file in files})
            write_whole(folder / DIGESTS_FILE, content[DIGESTS_FILE])
    return not wrong


def _has_checksums(file: Path) -> bool:
    """Return whether the checksums hold that torch wrote with each tensor. Its files are zip archives."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error):
        return False


def has_digest(file: Path, digest: str) -> bool:
    """Return whether a file is there and its content has a digest."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == digest
    except OSError:
        return False


def tell_damage(place: object, what: str) -> None:
    """Warn of something that can't be trusted, and is therefore made again."""
    _log.warning("%s is damaged, and is made again: %s.", place, what)
