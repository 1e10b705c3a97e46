"""The pages for people, rendered on the server; figures are drawn by two scripts of our own."""

from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse
from starlette.routing import Route

from kdsearch.analysis.findings import coupling, figure_sections, reading, summary
from kdsearch.analysis.labels import varied_factors
from kdsearch.analysis.pages import PLOTLY_JS, PLOTLY_VERSION, TEMPLATES, page_templates
from kdsearch.analysis.tables import answer_lines, answer_table, forecast_table
from kdsearch.service.dashboard import Dashboard
from kdsearch.service.library import Library
from kdsearch.service.questions import Question, read_question

REFRESH_S = 20
_ANSWERED = 5
_LINES = 6
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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

    def studies(self, request: Request) -> HTMLResponse:
        """List the studies; while there is no database, say so and look again."""
        read_question(request.query_params, ())
        try:
            studies = sorted(self._library.studies(), key=lambda study: study.updated, reverse=True)
            answers = {study.name: self._short_answer(study.name) for study in studies[:_ANSWERED]}
            message = None
        except HTTPException as error:
            studies, answers, message = [], {}, error.detail
        return _page("studies.html", studies=studies, answers=answers, message=message, refresh_s=REFRESH_S)

    def study(self, request: Request) -> HTMLResponse:
        """Show a study's answers and figures."""
        study = self._library.study(request.path_params["name"])
        asked = read_question(request.query_params, ("by", "level", "tolerance"))
        findings = self._library.findings(study.name, level=asked.level, tolerance=asked.tolerance)
        answer = findings.answer
        if asked.by:
            answer = self._library.best(
                study.name, by=asked.by, where=None, level=asked.level, tolerance=asked.tolerance
            )
        return _page(
            "study.html",
            study=study,
            summary=summary(findings),
            by=asked.by,
            factors=varied_factors(findings.setups),
            answer=answer_table(answer),
            reading=reading(answer),
            forecast=forecast_table(findings.answer),
            coupling=coupling(findings.comparisons),
            sections=figure_sections(findings),
            dashboard=self._dashboard.address_of(study.name),
            now=f"{datetime.now(UTC):%H:%M}",
            plotly_version=PLOTLY_VERSION,
            refresh_s=None,
        )

    def _short_answer(self, study: str) -> list[str]:
        asked = Question()
        answer = self._library.best(study, by=None, where=None, level=asked.level, tolerance=asked.tolerance)
        return answer_lines(answer, most=_LINES)


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
    return HTMLResponse(html, status, headers={"Content-Security-Policy": _POLICY})
