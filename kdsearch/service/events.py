"""Server-sent events. An open page is told within a second that there is something new."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from kdsearch.errors import KDSearchError
from kdsearch.service.pages import Pages, answer_mark, filled
from kdsearch.service.questions import read_question
from kdsearch.service.reader import DatabaseReader
from kdsearch.service.standing import rendered_standing
from kdsearch.service.what_if import given_setup

MOST_STREAMS = 100
"""Pages that are open at the same time; others are told to come again."""

_LOOK_S = 0.5
"""A page is to change within 3 seconds of a trial's end, most of which the answer takes."""

_FULL_LOOK_S = 5.0
"""How a study is may change without a trial: its driver may have died."""

_LIFE_S = 600.0
"""A stream ends after so long; a browser opens it again by itself."""

_ALIVE_S = 15.0
"""A word so often, so that a proxy doesn't end a stream on which nothing happens."""

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_News = Callable[[], Awaitable[dict[str, Any]]]


class Events:
    """Streams what is new to open pages."""

    def __init__(self, reader: DatabaseReader, pages: Pages) -> None:
        self._reader = reader
        self._pages = pages
        self._n_open = 0
        self._marks: dict[str, tuple[float, str]] = {}

    def routes(self) -> list[Route]:
        """Return the addresses that open pages listen to."""
        return [
            Route("/events", self.studies),
            Route("/studies/{name}/events", self.study),
            Route("/studies/{name}/trials/events", self.trials),
            Route("/studies/{name}/what-if/events", self.what_if),
        ]

    async def studies(self, request: Request) -> StreamingResponse:
        """Tell that the list of studies has changed."""

        async def news() -> dict[str, Any]:
            return {"mark": (await self._pages.studies_view())["mark"]}

        return self._stream(request, news)

    async def study(self, request: Request) -> StreamingResponse:
        """Tell how a study is, and that its answers have changed."""
        name = request.path_params["name"]
        asked = read_question(filled(request), ("by", "where", "level", "tolerance"))
        spec = await run_in_threadpool(self._reader.spec, name)

        async def news() -> tuple[dict[str, Any], bool]:
            latest = await self._pages.answers(name, asked)
            html = await run_in_threadpool(rendered_standing, self._reader, latest, spec)
            return {"standing": html, "mark": answer_mark(latest)}, latest.is_current

        return self._stream(request, self._seldom(name, news))

    async def trials(self, request: Request) -> StreamingResponse:
        """Tell that a study's trials have changed."""
        name = request.path_params["name"]
        await run_in_threadpool(self._reader.study, name)

        async def news() -> dict[str, Any]:
            return {"mark": await self._mark(name)}

        return self._stream(request, news)

    async def what_if(self, request: Request) -> StreamingResponse:
        """Tell that the answer for a setup has changed."""
        name = request.path_params["name"]
        await run_in_threadpool(self._reader.study, name)
        setup = given_setup(filled(request), await run_in_threadpool(self._reader.spec, name))

        async def news() -> dict[str, Any]:
            return {"mark": answer_mark(await self._pages.recommended(name, setup))}

        return self._stream(request, news)

    async def _mark(self, study: str) -> str:
        """Return the mark of a study's trials. All pages that are open share a look at the database."""
        looked, mark = self._marks.get(study, (-math.inf, ""))
        if time.monotonic() - looked >= _LOOK_S:
            mark = await run_in_threadpool(self._reader.trials_mark, study)
            self._marks[study] = time.monotonic(), mark
        return mark

    def _seldom(self, study: str, news: Callable[[], Awaitable[tuple[dict[str, Any], bool]]]) -> _News:
        """Return the same news, looked for in full less often.

        A full look is taken when a trial has changed, and every few seconds.

        Args:
            study: The study.
            news: Looks for them, and says whether they are of all trials that there are.
        """
        seen: tuple[str, dict[str, Any], bool, float] | None = None

        async def sparing() -> dict[str, Any]:
            nonlocal seen
            mark = await self._mark(study)
            if seen and seen[0] == mark and seen[2] and time.monotonic() - seen[3] < _FULL_LOOK_S:
                return seen[1]
            found, is_current = await news()
            seen = mark, found, is_current, time.monotonic()
            return found

        return sparing

    def _stream(self, request: Request, news: _News) -> StreamingResponse:
        if self._n_open >= MOST_STREAMS:
            raise HTTPException(503, "Too many pages are open. Close some.", {"Retry-After": "15"})
        if request.method == "HEAD":
            return StreamingResponse(iter(()), media_type="text/event-stream", headers=_HEADERS)
        return StreamingResponse(
            self._news_of(request, news), media_type="text/event-stream", headers=_HEADERS
        )

    async def _news_of(self, request: Request, news: _News) -> AsyncIterator[str]:
        self._n_open += 1
        try:
            yield "retry: 1000\n\n"
            before, told = None, time.monotonic()
            until = told + _LIFE_S
            while time.monotonic() < until and not getattr(request.app.state, "is_closing", False):
                found = await _or_none(news)
                if found is not None and found != before:
                    before, told = found, time.monotonic()
                    yield f"event: change\ndata: {json.dumps(found)}\n\n"
                elif time.monotonic() - told > _ALIVE_S:
                    told = time.monotonic()
                    yield ": nothing new\n\n"
                await asyncio.sleep(_LOOK_S)
        finally:
            self._n_open -= 1


async def _or_none(news: _News) -> dict[str, Any] | None:
    """Return the news. None while the database can't be asked: it may come back."""
    try:
        return await news()
    except (KDSearchError, HTTPException, OSError):
        return None
