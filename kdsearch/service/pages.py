"""The pages for people, rendered on the server; figures are drawn by two scripts of our own."""

import asyncio
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse
from starlette.routing import Route

from kdsearch.analysis.report.pages import PLOTLY_JS, TEMPLATES, page_templates
from kdsearch.errors import KDSearchError
from kdsearch.service.dashboard import Dashboard
from kdsearch.service.library import Library
from kdsearch.service.questions import Question, read_question

REFRESH_S = 20
_ANSWERED = 5
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY}
_STATIC = {
    "plotly.min.js": PLOTLY_JS,
    "figures.js": TEMPLATES / "figures.js",
    "style.css": TEMPLATES / "style.css",
}


class Pages:
    """Answers requests for HTML from a library."""

    def __init__(self, library: Library, dashboard: Dashboard) -> None:
        self._library = library
        self._dashboard = dashboard

    def routes(self) -> list[Route]:
        """Return the addresses of the pages and of what they load."""
        return [
            Route("/", self.studies),
            Route("/studies/{name}", self.study),
            Route("/kdsearch/static/{file}", static_file),
        ]

    async def studies(self, request: Request) -> HTMLResponse:
        """List the studies; while there is no database, say so and look again."""
        read_question(request.query_params, ())
        try:
            found = await run_in_threadpool(self._library.studies)
            studies = sorted(found, key=lambda study: study.updated, reverse=True)
            newest = [study.name for study in studies if study.state != "unreadable"][:_ANSWERED]
            lines = await asyncio.gather(*map(self._short_answer, newest))
            answers, message = dict(zip(newest, lines, strict=True)), None
        except HTTPException as error:
            studies, answers, message = [], {}, error.detail
        return _page("studies.html", studies=studies, answers=answers, message=message, refresh_s=REFRESH_S)

    async def study(self, request: Request) -> HTMLResponse:
        """Show a study's answers and figures."""
        name = request.path_params["name"]
        await run_in_threadpool(self._library.study, name)  # tells where there is no such study
        asked = read_question(request.query_params, ("by", "level", "tolerance"))
        dashboard = await run_in_threadpool(self._dashboard.address_of, name)
        html = await self._library.page(
            name, by=asked.by, level=asked.level, tolerance=asked.tolerance, dashboard=dashboard
        )
        return HTMLResponse(html, headers=_HEADERS)

    async def _short_answer(self, study: str) -> list[str]:
        """Return a study's answer in a few lines, or why there is none: it must not hide the others."""
        asked = Question()
        try:
            return await self._library.lines(study, level=asked.level, tolerance=asked.tolerance)
        except HTTPException as error:
            return [error.detail]
        except KDSearchError as error:
            return [str(error)]


def error_page(status: int, message: str) -> HTMLResponse:
    """Return a page that tells what went wrong."""
    titles = {404: "Not found", 422: "That can't be answered", 503: "No database"}
    title = titles.get(status, "Something went wrong")
    return _page("error.html", status, title=title, message=message, refresh_s=None)


def static_file(request: Request) -> FileResponse:
    """Return one of the files that the pages load."""
    path = _STATIC.get(request.path_params["file"])
    if path is None:
        raise HTTPException(404, f"There is no file {request.path_params['file']!r} here.")
    return FileResponse(path, headers={"Cache-Control": "max-age=3600"})


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    html = page_templates("kdsearch.service").get_template(template).render(**values)
    return HTMLResponse(html, status, headers=_HEADERS)
