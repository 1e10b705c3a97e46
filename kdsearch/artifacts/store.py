"""Where artifacts are: in a folder, or at a URL behind one. Imports no torch."""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from kdsearch.artifacts.digests import (
    has_digest,
    is_whole,
    sealed,
    tell_damage,
    unsealed,
    with_digests,
)
from kdsearch.artifacts.files import exclusive, published, write_whole
from kdsearch.errors import RequestError, RunError

if TYPE_CHECKING:
    from kdsearch.artifacts.remote import Remote

Place: TypeAlias = Path | str
"""A folder, or a URL."""


class ArtifactStore(Protocol):
    """Keeps entries, and files that are replaced.

    An entry is a folder of files that are written once.

    Attributes:
        root: The folder of this node where it keeps what it makes for itself, and its locks.
        setting: What names that folder.
    """

    root: Path
    setting: str

    def check(self) -> None:
        """Raise RequestError where nothing can be stored."""

    def entries(self, kind: str) -> set[str]:
        """Return the names of the entries of a kind."""

    def find(self, entry: str, *files: str) -> Path | None:
        """Return a folder with an entry's files of these names. None without entry.

        What it gives is what was kept: an entry whose content has changed since is none.
        """

    def keep(self, entry: str, files: Mapping[str, bytes | memoryview]) -> None:
        """Write an entry, whole or not at all. The caller holds its lock."""

    def recover(self, entry: str) -> bool:
        """Return whether an entry that could not be sent before is now. The caller holds its lock."""

    def address(self, entry: str) -> str:
        """Return where an entry is, for people."""

    def open(self, name: str) -> BytesIO | None:
        """Return a file as it was replaced last. None where there is none, or it has changed since."""

    def replace(self, name: str, content: bytes | memoryview) -> None:
        """Write a file in place of the one before. One of them is there at any time."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def forget(self, age_s: float) -> None:
        """Remove the files that were replaced last so long ago."""


def store_at(place: Place) -> ArtifactStore:
    """Return the store at a folder or a URL.

    A URL's folder of this node lies below `KDSEARCH_CACHE`, else `~/.cache/kdsearch`.

    Raises:
        RequestError: The URL can't be one of artifacts.
    """
    if (folder := folder_of(place)) is not None:
        return FolderStore(folder)
    return _url_store(str(place).rstrip("/"), cache_folder())


def cache_folder() -> Path:
    """Return where this node keeps what can be made or fetched again."""
    return Path(os.environ.get("KDSEARCH_CACHE") or "~/.cache/kdsearch").expanduser().resolve()


def folder_of(place: Place) -> Path | None:
    """Return the folder that a place is, or None for a URL.

    `file://` names a folder.
    """
    text = str(place).removeprefix("file://")
    return None if "://" in text else Path(text)


def place_below(place: Place, name: str) -> Place:
    """Return the place of a name below another."""
    return f"{str(place).rstrip('/')}/{name}" if "://" in str(place) else Path(place) / name


class FolderStore:
    """Artifacts in a folder, of this machine or shared."""

    setting = "`artifacts`"

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Do nothing. A folder that can't be written is told by who writes there."""

    def entries(self, kind: str) -> set[str]:
        """Return the names of the entries of a kind."""
        folder = self.root / kind
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def find(self, entry: str, *files: str) -> Path | None:  # noqa: ARG002 - a folder has all of them
        """Return an entry's folder, or None without a whole entry."""
        folder = self.root / entry
        return folder if folder.exists() and is_whole(folder) else None

    def keep(self, entry: str, files: Mapping[str, bytes | memoryview]) -> None:
        """Write an entry, whole or not at all."""
        _keep(self.root / entry, with_digests(files))

    def recover(self, entry: str) -> bool:  # noqa: ARG002 - nothing is sent
        """Return that nothing waits to be sent."""
        return False

    def address(self, entry: str) -> str:
        """Return an entry's folder."""
        return str(self.root / entry)

    def open(self, name: str) -> BytesIO | None:
        """Return a file's content."""
        path = self.root / name
        try:
            content = unsealed(path.read_bytes())
        except FileNotFoundError:
            return None
        if content is None:
            tell_damage(path, "it is not what was written")
        return None if content is None else BytesIO(content)

    def replace(self, name: str, content: bytes | memoryview) -> None:
        """Write a file in place of the one before."""
        write_whole(self.root / name, sealed(content))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.root / name).unlink(missing_ok=True)

    def forget(self, age_s: float) -> None:
        """Remove the files that were replaced last so long ago."""
        for file in self.root.glob("*.pt"):
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > age_s:
                    file.unlink()


class UrlStore:
    """Artifacts at a URL.

    An entry's objects are its files, and last an index that names them: without it there is no entry.
    The copies on a node lie in a folder named by the index's digest, so none is ever out of date. Object
    stores have no locks: where two nodes write an entry at once, the index whose digest sorts first counts,
    for both. Each version of a file that is replaced is an object of its own; the newest whole one counts.

    Args:
        url: The URL.
        root: The folder of this node.
    """

    setting = "KDSEARCH_CACHE"

    def __init__(self, url: str, root: Path) -> None:
        self.root = root
        self._url = url

    @cached_property
    def _remote(self) -> "Remote":
        from kdsearch.artifacts.remote import Remote

        return Remote(self._url)

    def check(self) -> None:
        """Raise RequestError where nothing can be stored."""
        self._remote.check()

    def entries(self, kind: str) -> set[str]:
        """Return the names of the entries of a kind."""
        return self._remote.names(kind)

    def find(self, entry: str, *files: str) -> Path | None:
        """Return a folder with an entry's files of these names.

        They are fetched where needed.

        Raises:
            RunError: The URL can't be read, or an object that the index names is damaged.
            OSError: The node's folder can't be written.
        """
        found = self._index(entry)
        if found is None:
            return None
        digest, objects = found
        folder = self.root / entry / digest
        for file in sorted(objects.keys() & set(files)):
            if not has_digest(folder / file, objects[file].rpartition(".")[2]):
                if (folder / file).exists():
                    tell_damage(folder / file, "it is not what was written")
                with exclusive(folder):
                    self._fetch(entry, objects[file], folder / file)
        return folder

    def keep(self, entry: str, files: Mapping[str, bytes | memoryview]) -> None:
        """Write an entry to the node's folder and on to the URL. What can't be sent waits there."""
        waiting = self._waiting(entry)
        waiting.parent.mkdir(parents=True, exist_ok=True)
        _keep(waiting, files)
        self._send(entry)

    def recover(self, entry: str) -> bool:
        """Return whether an entry that could not be sent before is now."""
        if not self._waiting(entry).exists():
            return False
        self._send(entry)
        return True

    def address(self, entry: str) -> str:
        """Return an entry's URL."""
        return f"{self._url}/{entry}"

    def open(self, name: str) -> BytesIO | None:
        """Return the newest whole version of a file."""
        contents = (self._remote.read("", version) for version in self._versions(name))
        return next((BytesIO(content) for content in contents if content is not None), None)

    def replace(self, name: str, content: bytes | memoryview) -> None:
        """Write a file's new version, then remove those before it."""
        before = self._versions(name)
        written = self._remote.write("", f"{name}.{time.time_ns():020d}", content)
        self._discard(version for version in before if version != written)

    def remove(self, name: str) -> None:
        """Remove a file's versions."""
        self._discard(self._versions(name))

    def forget(self, age_s: float) -> None:
        """Remove the versions that are so old."""
        oldest = time.time_ns() - int(age_s * 1e9)
        self._discard(name for name in self._remote.names("") if 0 <= _written_ns(name) < oldest)

    def _versions(self, name: str) -> list[str]:
        """Return the objects that are versions of a file, the newest first."""
        return sorted((own for own in self._remote.names("") if own.rsplit(".", 2)[0] == name), reverse=True)

    def _discard(self, names: Iterable[str]) -> None:
        for name in names:
            self._remote.remove("", name)

    def _index(self, entry: str) -> tuple[str, dict[str, str]] | None:
        """Return the digest of an entry's index, and its objects' names.

        The names are by file.
        """
        for name in sorted(own for own in self._remote.names(entry) if own.startswith("index.")):
            content = self._remote.read(entry, name)
            if content is not None:
                return name.removeprefix("index."), json.loads(content)
        return None

    def _fetch(self, entry: str, name: str, path: Path) -> None:
        content = self._remote.read(entry, name)
        if content is None:
            address = self.address(entry)
            raise RunError(f"{address}/{name} is missing or damaged. Remove {address}.")
        write_whole(path, content)

    def _waiting(self, entry: str) -> Path:
        return self.root / "unsent" / entry

    def _send(self, entry: str) -> None:
        """Send an entry that waits, and keep it as a copy.

        It is not sent where another node was quicker.
        """
        waiting = self._waiting(entry)
        if self._index(entry) is None:
            files = sorted(waiting.iterdir())
            objects = {f.name: self._remote.write_once(entry, f.name, f.read_bytes()) for f in files}
            index = self._remote.write_once(entry, "index", json.dumps(objects).encode())
            copy = self.root / entry / index.removeprefix("index.")
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists():
                os.replace(waiting, copy)
        shutil.rmtree(waiting, ignore_errors=True)


_PASSWORD = re.compile(r"(?<=://)(/*[^:/]*):.*@", re.DOTALL)
"""The user of a URL and all up to the last `@`: a password that is not escaped may hold any character."""

_NO_PORT = re.compile(r"(?<=://)([^:/?\[]*:)(?!\d*(?:[/?]|$)).*", re.DOTALL)
"""What stands where a port would: a password, say, whose `@host` was forgotten."""

_SHORT_HOST = re.compile(r"^((?:ftp|sftp|ssh|smb)://(?!localhost:)[^.:/?\[]+:)\d+.*", re.DOTALL)
"""A name without a dot and a number: a host's port, or a user's password whose `@host` was forgotten."""

_QUERY = re.compile(r"\?.*", re.DOTALL)
"""What a signed address has its secret in."""


@lru_cache
def _url_store(url: str, cache: Path) -> UrlStore:
    _refuse_secrets(url)
    if "::" in url:
        raise RequestError(f"`artifacts` must be a URL without `::`, got {url!r}. It is cached as it is.")
    name = re.sub(r"[^\w.-]+", "-", url)[-60:].strip("-")
    return UrlStore(url, cache / "remote" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}")


def _refuse_secrets(url: str) -> None:
    """Raise RequestError for a URL that may hold a password. The message has nothing of it."""
    for pattern, rule, hidden in (
        (_PASSWORD, "hold no password, which everyone could read in the database", r"\1:…@"),
        (_NO_PORT, "have a port behind its host's colon, and no password", r"\1…"),
        (_SHORT_HOST, "name its host in full where a port follows, such as nas.lan:2121", r"\1…"),
        (_QUERY, "have no `?`: what stands behind it everyone could read in the database", "?…"),
    ):
        if pattern.search(url):
            raise RequestError(
                f"`artifacts` must {rule}, got {pattern.sub(hidden, url)!r}. Put credentials where the file "
                "system looks for them, such as FSSPEC_FTP_PASSWORD."
            )


def _keep(folder: Path, files: Mapping[str, bytes | memoryview]) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # it is damaged, or it would have been found
    with published(folder) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)


def _written_ns(version: str) -> int:
    """Return when a version was written, or -1 for other names.

    It is in nanoseconds.
    """
    stamp = version.split(".")[-2:-1]
    return int(stamp[0]) if stamp and stamp[0].isdigit() else -1
