"""The pages for people, rendered on the server. Each is there at once, and tells how old its answer is."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.routing import Route

from kdsearch.analysis.report.pages import TEMPLATES, page_templates
from kdsearch.analysis.report.tables import teacher_table
from kdsearch.errors import KDSearchError, RequestError
from kdsearch.service.dashboard import Dashboard
from kdsearch.service.questions import Question, read_question
from kdsearch.service.reader import FIRST_ANSWER_S, DatabaseReader, Latest
from kdsearch.service.standing import standing_html
from kdsearch.service.trial_pages import trial_context, trials_context
from kdsearch.service.what_if import given_setup, what_if_context
from kdsearch.spec import StudySpec, level_label, spec_document

_ANSWERED = 5
"""By hand: each computes an answer when the list is opened."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY}
_STATIC = {
    "live.js": Path(__file__).parent / "static" / "live.js",
    "style.css": TEMPLATES / "style.css",
}
_VERSION = hashlib.sha256(b"".join(path.read_bytes() for path in _STATIC.values())).hexdigest()[:12]
"""In the addresses of what pages load, which browsers keep."""

_ANSWER_PARAMETERS = ("by", "where", "level", "tolerance")


class Pages:
    """Answers requests for HTML from a database."""

    def __init__(self, reader: DatabaseReader, dashboard: Dashboard) -> None:
        self._reader = reader
        self._dashboard = dashboard

    def routes(self) -> list[Route]:
        """Return the addresses of the pages and of what they load."""
        return [
            Route("/", self.studies),
            Route("/studies/{name}", self.study),
            Route("/studies/{name}/trials", self.trials),
            Route("/studies/{name}/trials/{number:int}", self.trial),
            Route("/studies/{name}/what-if", self.what_if),
            Route("/studies/{name}/spec", self.spec),
            Route("/studies/{name}/dashboard", self.dashboard),
            Route("/kdsearch/static/{file}", static_file),
        ]

    async def studies(self, request: Request) -> HTMLResponse:
        """List the studies. While there is no database, say so and look again."""
        read_question(request.query_params, ())
        view = await self.studies_view(FIRST_ANSWER_S)
        return _page("studies.html", events="/events", **view)

    async def studies_view(self, patience_s: float = 0.0) -> dict[str, Any]:
        """Return what the list shows; `mark` differs once that does."""
        try:
            found = await run_in_threadpool(self._reader.studies)
        except HTTPException as error:
            return {"studies": [], "answers": {}, "message": error.detail, "mark": error.detail}
        studies = sorted(found, key=lambda study: study.updated, reverse=True)
        newest = [study.name for study in studies if study.state != "unreadable"][:_ANSWERED]
        until = time.monotonic() + patience_s
        answers = {name: await self._lines(name, max(until - time.monotonic(), 0.0)) for name in newest}
        mark = _mark([study.to_dict() for study in studies], answers)
        return {"studies": studies, "answers": answers, "message": None, "mark": mark}

    async def study(self, request: Request) -> HTMLResponse:
        """Show a study's answers and figures."""
        name, asked = _name(request), read_question(filled(request), _ANSWER_PARAMETERS)
        latest = await self.answers(name, asked, FIRST_ANSWER_S)
        answers = latest.kept.answer if latest.kept else None
        if latest.kept and latest.kept.error:
            raise latest.kept.error
        spec = await run_in_threadpool(self._reader.spec, name)
        return _page(
            "study.html",
            study=latest.study,
            events=f"/studies/{name}/events",
            trials_at=f"/studies/{name}/trials",
            factors=_factors(spec),
            asked=asked,
            is_asked=asked != Question(),
            chosen=[(path, level_label(value)) for path, value in (asked.where or {}).items()],
            answers=answers,
            age=latest.age(),
            mark=answer_mark(latest),
            **await run_in_threadpool(standing_html, self._reader, latest, spec),
        )

    async def answers(self, name: str, asked: Question, patience_s: float = 0.0) -> Latest:
        """Return the last answers of a study's page."""
        options = {"by": asked.by, "where": asked.where, "level": asked.level, "tolerance": asked.tolerance}
        return await self._reader.latest("page", name, patience_s=patience_s, **options)

    async def trials(self, request: Request) -> HTMLResponse:
        """List trials: sorted, filtered, page by page, with the reasons of those that were lost."""
        context = await run_in_threadpool(trials_context, self._reader, _name(request), filled(request))
        return _page("trials.html", **context)

    async def trial(self, request: Request) -> HTMLResponse:
        """Show one trial."""
        read_question(request.query_params, ())
        number = request.path_params["number"]
        return _page(
            "trial.html", **await run_in_threadpool(trial_context, self._reader, _name(request), number)
        )

    async def what_if(self, request: Request) -> HTMLResponse:
        """Answer for a setup that need not have been run."""
        name = _name(request)
        study = await run_in_threadpool(self._reader.study, name)
        spec = await run_in_threadpool(self._reader.spec, name)
        setup = given_setup(filled(request), spec)
        latest = await self.recommended(name, setup, FIRST_ANSWER_S) if setup else None
        events = f"/studies/{name}/what-if/events" if setup else None
        context = what_if_context(setup, latest)
        mark = answer_mark(latest) if latest else ""
        is_refused = latest and latest.kept and isinstance(latest.kept.error, RequestError)
        shown = {"study": study, "factors": _factors(spec), "events": events, "mark": mark, **context}
        return _page("what_if.html", 422 if is_refused else 200, **shown)

    async def recommended(self, name: str, setup: Mapping[str, Any], patience_s: float = 0.0) -> Latest:
        """Return the last answer for a setup that may be new."""
        return await self._reader.latest("what_if", name, patience_s=patience_s, setup=setup)

    async def spec(self, request: Request) -> HTMLResponse:
        """Show what a study was launched with, and its teachers."""
        read_question(request.query_params, ())
        name = _name(request)
        study = await run_in_threadpool(self._reader.study, name)
        spec = await run_in_threadpool(self._reader.spec, name)
        teachers = await run_in_threadpool(self._reader.teachers)
        own = teacher_table([teacher for teacher in teachers if name in teacher.studies])
        text = yaml.safe_dump(spec_document(spec), sort_keys=False, allow_unicode=True)
        return _page("spec.html", study=study, teachers=own, spec=text)

    async def dashboard(self, request: Request) -> RedirectResponse:
        """Redirect to a study in the Optuna dashboard.

        It is found only now, since the dashboard's libraries take seconds to load.
        """
        name = _name(request)
        await run_in_threadpool(self._reader.study, name)
        return RedirectResponse(await run_in_threadpool(self._dashboard.address_of, name))

    async def _lines(self, study: str, patience_s: float) -> list[str]:
        """Return a study's answer in a few lines.

        Where there is none, they say why: one study's error must not hide the others.
        """
        asked = Question()
        options = {"level": asked.level, "tolerance": asked.tolerance}
        try:
            latest = await self._reader.latest("lines", study, patience_s=patience_s, **options)
        except Exception as error:
            if not (message := _message_of(error)):
                raise
            return [message]
        if latest.kept is None:
            return ["The answer is being computed."]
        if latest.kept.error is not None:
            return [_message_of(latest.kept.error) or "There is no answer."]
        return list(latest.kept.answer)


def answer_mark(latest: Latest) -> str:
    """Return what differs once the answer of a page does."""
    return "" if latest.kept is None else f"{latest.kept.at:.6f}"


def error_page(status: int, message: str) -> HTMLResponse:
    """Return a page that tells what went wrong."""
    titles = {404: "Not found", 422: "That can't be answered", 503: "No answer now"}
    title = titles.get(status, "Something went wrong")
    return _page("error.html", status, title=title, message=message)


def filled(request: Request) -> QueryParams:
    """Return the query without what a form's empty fields leave in it."""
    return QueryParams([(key, value) for key, value in request.query_params.multi_items() if value])


def static_file(request: Request) -> FileResponse:
    """Return one of the files that the pages load."""
    path = _STATIC.get(request.path_params["file"])
    if path is None:
        raise HTTPException(404, f"There is no file {request.path_params['file']!r} here.")
    return FileResponse(path, headers={"Cache-Control": "max-age=3600"})


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    given = {"events": None, "trials_at": None, "version": _VERSION, **values}
    html = page_templates("kdsearch.service").get_template(template).render(**given)
    return HTMLResponse(html, status, headers=_HEADERS)


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _factors(spec: StudySpec) -> dict[str, list[str]]:
    """Return the labels of the levels of factors that have several."""
    return {path: [*map(level_label, levels)] for path, levels in spec.setup.items() if len(levels) > 1}


def _message_of(error: Exception) -> str | None:
    if isinstance(error, HTTPException):
        return error.detail
    return str(error) if isinstance(error, KDSearchError) else None


def _mark(*values: Any) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]
