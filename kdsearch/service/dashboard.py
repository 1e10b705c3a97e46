"""The Optuna dashboard over the same database; its links are absolute, so it is mounted at the root."""

from threading import Lock
from typing import Any

from a2wsgi import WSGIMiddleware
from sqlalchemy import inspect
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from kdsearch.service.library import Library
from kdsearch.storage import Database
from kdsearch.storage.mirror.store import open_optuna_storage

_ADDRESS = "/dashboard"
_ITS_OWN = (_ADDRESS, "/api/", "/static/", "/csv/", "/artifacts/", "/favicon.ico")


class Dashboard:
    """An ASGI app that starts the dashboard when the database has Optuna's tables.

    Its storage is a cached one: finished trials are read once, not at every refresh.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._starting = Lock()
        self._database: Database | None = None
        self._storage: Any = None
        self._app: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer through the dashboard, started at the first request; what is not its own is not found."""
        if scope["type"] == "http" and not scope["path"].startswith(_ITS_OWN):
            raise HTTPException(404, "There is no such page.")
        await run_in_threadpool(self._start)
        await self._app(_with_accept_encoding(scope), receive, send)

    def address_of(self, study: str) -> str:
        """Return the address of a study in the dashboard, or the dashboard's own."""
        try:
            self._start()
            return f"{_ADDRESS}/studies/{self._storage.get_study_id_from_name(study)}"
        except (HTTPException, KeyError):
            return _ADDRESS

    def _start(self) -> None:
        database = self._library.database()
        with self._starting:
            if database is self._database:
                return
            if not inspect(database.engine).has_table("studies"):
                raise HTTPException(503, "The database has no Optuna study yet.")
            self._storage = _cached_storage(database)
            self._app = WSGIMiddleware(_dashboard(self._storage))
            self._database = database


def _with_accept_encoding(scope: Scope) -> Scope:
    """Return a request that says which encodings it takes: the dashboard fails on one that doesn't."""
    if scope["type"] != "http" or "accept-encoding" in Headers(scope=scope):
        return scope
    return {**scope, "headers": [*scope["headers"], (b"accept-encoding", b"identity")]}


def _cached_storage(database: Database) -> Any:
    from optuna.storages import get_storage

    return get_storage(open_optuna_storage(database))


def _dashboard(storage: Any) -> Any:
    from optuna_dashboard import wsgi

    return wsgi(storage)
