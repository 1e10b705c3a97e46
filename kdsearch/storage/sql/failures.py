"""What databases and files raise, as one line with a remedy."""

import errno
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from kdsearch.errors import KDSearchError, RequestError, RunError

_SQLITE_READ_ONLY, _SQLITE_FULL = 8, 13  # SQLite's result codes READONLY and FULL
_SQLITE_DAMAGED = (11, 26)  # CORRUPT and NOTADB
_NO_RIGHT, _READ_ONLY, _DISK_FULL, _TOO_MANY = "42501", "25006", "53100", "53300"  # PostgreSQL's SQLSTATEs

_RIGHT = "Ask its owner for the right, or name another user with --storage."
WRITE = "Only reading commands work on it. Ask its owner to let you write, or name another with --storage."
_ROOM = "Make room on its disk; the same command then goes on."
_DAMAGED = (
    "The file is damaged. Restore a copy, or save what can still be read: "
    "sqlite3 FILE .recover | sqlite3 NEW_FILE."
)
_WHAT_TO_DO = {
    errno.ENOSPC: "Make room on that disk",
    errno.EDQUOT: "Make room within your quota",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "Name a place that can be written",
    errno.EACCES: "Name a place that you may use, or ask for the right",
    errno.EPERM: "Name a place that you may use, or ask for the right",
    errno.ENOENT: "Check the name",
    errno.EMFILE: "Raise the limit on open files (ulimit -n)",
}


def explained(error: BaseException) -> KDSearchError | None:
    """Return the failure behind an error, in words. None where no database or file failed.

    Optuna and our own code raise others from it. What the request named wrongly (a place that may not be
    used) is a `RequestError`, what broke on the way a `RunError`.
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, KDSearchError):
            return inner
        if isinstance(inner, SQLAlchemyError):
            return _of_database(inner)
        if isinstance(inner, OSError):
            return _of_file(inner)
        inner = inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)
    return None


def _of_database(error: SQLAlchemyError) -> KDSearchError:
    details = list(dict.fromkeys(getattr(error, "detail", ())))
    name = f"The database {details[0]}" if details else "The database"
    if isinstance(error, PoolTimeoutError):
        return RunError(f"{name} is asked by too many at once. Try again in a moment.")
    if not isinstance(error, DBAPIError):
        return RunError(f"{name} can't be used: {first_line(error)}.")
    cause, code, state = first_line(error.orig), _sqlite_code(error), _sql_state(error)
    if state == _NO_RIGHT:
        return RequestError(f"{name} refuses its user: {cause}. {_RIGHT}")
    if state == _READ_ONLY or code == _SQLITE_READ_ONLY:
        return RequestError(f"{name} can't be written: {cause}. {WRITE}")
    if code in _SQLITE_DAMAGED:
        return RunError(f"{name} can't be read: {cause}. {_DAMAGED}")
    if state == _DISK_FULL or code == _SQLITE_FULL:
        return RunError(f"{name} can't be written: {cause}. {_ROOM}")
    more = " Try again, or raise its max_connections." if state == _TOO_MANY else ""
    return RunError(f"{name} can't be used: {cause}.{more}")


def _of_file(error: OSError) -> KDSearchError:
    reason = error.strerror or first_line(error)
    what = f"{error.filename} can't be used: {reason}" if error.filename is not None else f"{reason}"
    remedy = _WHAT_TO_DO.get(error.errno or 0)
    kind = RequestError if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT) else RunError
    return kind(f"{what}. {remedy}." if remedy else f"{what}.")


def is_read_only(error: DBAPIError) -> bool:
    """Return whether SQLite failed because it may not write.

    Its file may be read-only, or the folder that it writes in beside the file.
    """
    return _sqlite_code(error) in (_SQLITE_READ_ONLY, 14)


def _sqlite_code(error: DBAPIError) -> int | None:
    code: int | None = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # the rest tells what exactly


def _sql_state(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def first_line(error: Any) -> str:
    """Return the first line of an error's text, else its kind."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
