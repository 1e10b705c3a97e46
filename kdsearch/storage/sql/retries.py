"""Waiting for a database that is locked, or away for a while."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError

from kdsearch.errors import RunError
from kdsearch.storage.sql.database import shown_url
from kdsearch.storage.sql.failures import first_line

RETRY_LIMIT_S = 120.0
"""By hand: a database that is restarted or moved is back by then, and trials train on meanwhile."""

_FIRST_PAUSE_S = 0.2

_LASTING = "readonly database"  # SQLite's words; rights come back by nobody's waiting

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class ConnectionLostError(RunError):
    """A connection broke. Whether what it was asked was done is not known."""


def tell_lost_connections(engine: Engine) -> None:
    """Let an engine raise ConnectionLostError where its connection broke.

    Optuna makes a trial again after any error of SQLAlchemy's: there were two where the first one had been
    committed and only the answer was lost. It also reads on after a read has failed, in a transaction that is
    lost. This error it passes on.
    """
    event.listen(engine, "handle_error", _tell_lost_connection)


def _tell_lost_connection(context: ExceptionContext) -> None:
    if context.is_disconnect and not context.is_pre_ping:  # a ping's is replaced by a new one
        name = shown_url(context.engine.url) if context.engine is not None else ""
        cause = context.original_exception
        raise ConnectionLostError(f"The database {name} can't be used: {first_line(cause)}.") from cause


def with_retries(operation: Callable[[], _Result], *, limit_s: float = RETRY_LIMIT_S) -> _Result:
    """Return what an operation returns. Try again while the database is locked or away.

    Args:
        operation: May be run more than once: a failed one may yet have been committed.
        limit_s: How long it is tried.

    Raises:
        RunError: The database was away for longer.
    """
    deadline = time.monotonic() + limit_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return operation()
        except Exception as error:
            cause = _passing(error)
            if cause is None:
                raise
            if time.monotonic() > deadline:
                raise RunError(f"The database could not be used for {limit_s:g} seconds: {cause}") from error
            _log.warning("The database can't be used now, trying again: %s", cause)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)


def _passing(error: BaseException) -> str | None:
    """Return what is wrong with the database, if it may pass.

    Optuna wraps SQLAlchemy's errors, so causes are looked at too.
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ConnectionLostError):
            return first_line(inner.__cause__)
        if isinstance(inner, DBAPIError) and (
            inner.connection_invalidated or isinstance(inner, OperationalError)
        ):
            cause = str(inner.orig).strip()
            return None if _LASTING in cause else cause
        inner = inner.__cause__
    return None
