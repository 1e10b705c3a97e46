"""Objects at a URL, by fsspec. Each is written once, under its content's digest, and checked when it is read.

So a half-written object is never taken for a whole one, on file systems without atomic writes as well.
"""

import hashlib
import os
import platform
from collections.abc import Callable
from typing import Any, TypeVar

from fsspec.core import url_to_fs

from kdsearch.errors import RequestError, RunError

_T = TypeVar("_T")


class Remote:
    """What lies below a URL. Its objects are named `STEM.DIGEST`.

    Args:
        url: Any that fsspec knows; credentials come from where its file system looks for them.

    Raises:
        RequestError: The URL can't be opened: its protocol is unknown, a package is missing, nobody answers.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._files, self._root = _opened(url)
        self._has_worked = False

    def check(self) -> None:
        """Write, read and remove a small object.

        Raises:
            RequestError: One of them does not work; the message says why.
        """
        content = os.urandom(16)
        try:
            name = self.write("", "probe", content)
            found = self.read("", name)
            self.remove("", name)
        except RunError as error:
            raise RequestError(
                f"`artifacts` must be a place that every node can read and write, got {self._url!r}. {error}"
            ) from error
        if found != content:
            raise RequestError(
                f"`artifacts` must give back what was written, got {self._url!r}. Name another place."
            )

    def names(self, folder: str) -> set[str]:
        """Return the names of the objects and folders in a folder. None where there is no folder."""

        def listed(files: Any) -> list[str]:
            try:
                found: list[str] = files.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
            return found

        return {path.rstrip("/").rpartition("/")[2] for path in self._attempt("read", folder, listed)}

    def write(self, folder: str, stem: str, content: bytes | memoryview) -> str:
        """Write an object and return its name."""
        name = _object_name(stem, content)
        path = self._path(folder, name)
        self._attempt("write", folder, lambda files: self._put(files, path, bytes(content)))
        return name

    def write_once(self, folder: str, stem: str, content: bytes | memoryview) -> str:
        """Write an object unless it is there whole, and return its name. Another node may read it now."""
        name = _object_name(stem, content)
        return name if self.read(folder, name) is not None else self.write(folder, stem, content)

    def read(self, folder: str, name: str) -> bytes | None:
        """Return an object's content, or None without a whole object."""

        def content(files: Any) -> bytes | None:
            try:
                found: bytes = files.cat_file(self._path(folder, name))
            except FileNotFoundError:
                return None
            return found

        found = self._attempt("read", folder, content)
        is_whole = found is not None and hashlib.sha256(found).hexdigest() == name.rpartition(".")[2]
        return found if is_whole else None

    def remove(self, folder: str, name: str) -> None:
        """Remove an object, if it is there."""

        def removed(files: Any) -> None:
            try:
                files.rm_file(self._path(folder, name))
            except FileNotFoundError:
                return

        self._attempt("write", folder, removed)

    def _path(self, *parts: str) -> str:
        return "/".join([self._root.rstrip("/"), *filter(None, parts)])

    def _put(self, files: Any, path: str, content: bytes) -> None:
        """Write an object, and its folder where that is missing.

        One whose paths begin with no slash has none: its first part is a bucket, and a misspelt one is not
        made.
        """
        folder = path.rpartition("/")[0]
        try:
            files.pipe_file(path, content)
        except Exception:
            if not path.startswith("/") or files.exists(folder):
                raise
            files.makedirs(folder, exist_ok=True)
            files.pipe_file(path, content)

    def _attempt(self, what: str, folder: str, action: Callable[[Any], _T]) -> _T:
        """Do something over the network, if need be over a new connection.

        One that has worked and now fails may have been closed, so it is tried once more.
        """
        try:
            try:
                self._files.invalidate_cache()
                result = action(self._files)
            except Exception:
                if not self._has_worked:
                    raise
                self._files, _ = url_to_fs(self._url, skip_instance_cache=True)
                result = action(self._files)
        except Exception as error:
            where = "/".join(filter(None, [self._url, folder]))
            raise RunError(
                f"{platform.node()} can't {what} {where}: {_line_of(error)}. "
                "Check the name, the node's credentials for it and its network."
            ) from error
        self._has_worked = True
        return result


def _object_name(stem: str, content: bytes | memoryview) -> str:
    return f"{stem}.{hashlib.sha256(content).hexdigest()}"


def _opened(url: str) -> tuple[Any, str]:
    try:
        files, root = url_to_fs(url, skip_instance_cache=True)
    except ImportError as error:
        raise RequestError(
            f"`artifacts` must be a URL whose file system every node has, got {url!r} "
            f"({_line_of(error)}, on {platform.node()}). Install that package beside kdsearch on every node."
        ) from error
    except Exception as error:
        raise RequestError(
            f"`artifacts` must be a folder or a URL that fsspec can open, such as s3://bucket/path, "
            f"got {url!r} ({_line_of(error)}, on {platform.node()}). Check its protocol, name and network."
        ) from error
    return files, str(root)


def _line_of(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
