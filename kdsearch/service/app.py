"""The service as an ASGI app, the dashboard behind our pages."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount

from kdsearch.errors import KDSearchError, RequestError
from kdsearch.service.answering.answers import Answers
from kdsearch.service.dashboard import Dashboard
from kdsearch.service.documents import API, Documents
from kdsearch.service.events import Events
from kdsearch.service.guard import LOOPBACK_NAMES, Guard
from kdsearch.service.pages import Pages, error_page
from kdsearch.service.reader import DatabaseReader
from kdsearch.service.tagged import Tagged
from kdsearch.storage.sql.failures import explained


def build_app(
    storage_url: str,
    *,
    hosts: Collection[str] | None = LOOPBACK_NAMES,
    token: str | None = None,
    answers: Answers | None = None,
) -> Starlette:
    """Return the service over a database, which need not exist yet.

    Args:
        storage_url: The database's URL.
        hosts: The host names under which it may be asked; None for any.
        token: What every request must carry; None for nothing.
        answers: What computes the answers; by default processes of the service's own, that end with it.
    """
    own = answers or Answers()
    reader = DatabaseReader(storage_url, own)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if answers is None:
            own.start()
        yield
        if answers is None:
            own.close()

    dashboard = Dashboard(reader)
    pages = Pages(reader, dashboard)
    return Starlette(
        routes=[
            *Events(reader, pages).routes(),
            *pages.routes(),
            Mount(API, routes=Documents(reader).routes()),
            Mount("/", dashboard),
        ],
        middleware=[
            Middleware(Guard, hosts=hosts, token=token),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=6),
            Middleware(Tagged),
        ],
        exception_handlers={
            HTTPException: _http_error,
            RequestError: _request_error,
            **dict.fromkeys((KDSearchError, SQLAlchemyError, OSError), _failure),
        },
        lifespan=lifespan,
    )


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered
    return _error(request, error.status_code, error.detail)


def _request_error(request: Request, error: Exception) -> Response:
    return _error(request, 422, str(error))


def _failure(request: Request, error: Exception) -> Response:
    return _error(request, 503, str(explained(error)))


def _error(request: Request, status: int, message: str) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": message, "reason": message}, status)  # the dashboard shows a `reason`
    if request.url.path.startswith(f"{API}/"):
        return JSONResponse({"error": message}, status)
    return error_page(status, message)
