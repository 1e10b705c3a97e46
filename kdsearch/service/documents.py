"""The JSON addresses: the same documents as the commands' `--format json`."""

from importlib.metadata import version
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kdsearch.errors import RequestError
from kdsearch.service.openapi import ADDRESSES, MOST_TRIALS, openapi_document
from kdsearch.service.questions import Question, read_question
from kdsearch.service.reader import DatabaseReader
from kdsearch.storage.rows.browsing import TrialQuery

API = "/kdsearch/v1"


class Documents:
    """Answers requests for JSON from a database."""

    def __init__(self, reader: DatabaseReader) -> None:
        self._reader = reader

    def routes(self) -> list[Route]:
        """Return the addresses below the API's prefix."""
        return [Route(path, getattr(self, _handler(path))) for path in ADDRESSES]

    def health(self, request: Request) -> JSONResponse:
        """Tell that the database can be read."""
        read_question(request.query_params, ())
        return JSONResponse({"status": "ok", "studies": len(self._reader.studies())})

    def studies(self, request: Request) -> JSONResponse:
        """List the studies."""
        read_question(request.query_params, ())
        return JSONResponse([study.to_dict() for study in self._reader.studies()])

    def study(self, request: Request) -> JSONResponse:
        """Tell one study's state and progress."""
        read_question(request.query_params, ())
        return JSONResponse(self._reader.study(_name(request)).to_dict())

    async def best(self, request: Request) -> JSONResponse:
        """Answer with the best temperature per setup."""
        name, asked = await self._question(request, "/studies/{name}/best")
        answer = await self._reader.best(
            name, by=asked.by, where=asked.where, level=asked.level, tolerance=asked.tolerance
        )
        return JSONResponse(answer.to_dict())

    async def compare(self, request: Request) -> JSONResponse:
        """Answer whether the best temperature depends on a factor."""
        name, asked = await self._question(request, "/studies/{name}/compare")
        if asked.factor is None:
            raise RequestError("`factor` is missing: the factor whose levels are compared, as PATH.")
        comparison = await self._reader.compare(name, asked.factor, where=asked.where, level=asked.level)
        return JSONResponse(comparison.to_dict())

    async def figures(self, request: Request) -> Response:
        """Answer with the figures of a study's page as data: all of them, or that of a kind."""
        name, asked = await self._question(request, "/studies/{name}/figures")
        found = await self._reader.figures(name, level=asked.level, tolerance=asked.tolerance)
        if asked.kind not in (None, *found):
            raise HTTPException(404, f"{name!r} has no figure {asked.kind!r} yet. It has {', '.join(found)}.")
        chosen = found.values() if asked.kind is None else (found[asked.kind],)
        return Response(b"[" + b",".join(chosen) + b"]", media_type="application/json")

    async def importance(self, request: Request) -> JSONResponse:
        """Answer what accuracy depends on: parameters, pairs of them, and factors."""
        name, asked = await self._question(request, "/studies/{name}/importance")
        found = await self._reader.importance(name, where=asked.where, level=asked.level)
        return JSONResponse(found.to_dict())

    async def forecast(self, request: Request) -> JSONResponse:
        """Answer which setups are decided.

        The others come with about how many more trials they need.
        """
        name, asked = await self._question(request, "/studies/{name}/forecast")
        found = await self._reader.forecast(name, where=asked.where, regret=asked.regret)
        return JSONResponse(found.to_dict())

    async def verdict(self, request: Request) -> JSONResponse:
        """Tell which of the study's claims are confirmed, reversed or not resolved."""
        name, _ = await self._question(request, "/studies/{name}/verdict")
        return JSONResponse((await self._reader.verdict(name)).to_dict())

    async def recommend(self, request: Request) -> JSONResponse:
        """Answer for a setup that may not have been run.

        The answer comes from the setups that were.
        """
        asked = read_question(request.query_params, ADDRESSES["/recommend"].parameters)
        if asked.setup is None:
            raise RequestError("`set` is missing: a value of the setup, as PATH=VALUE.")
        found = await self._reader.recommend(
            asked.setup, studies=asked.studies, level=asked.level, tolerance=asked.tolerance
        )
        return JSONResponse(found.to_dict())

    async def trials(self, request: Request) -> Response:
        """List a study's trials: all of them, or a part that names the next one."""
        name, asked = await self._question(request, "/studies/{name}/trials")
        if asked.limit is None and (asked.offset or asked.state):
            raise RequestError("`limit` is missing: at most how many trials, beside `offset` and `state`.")
        if asked.limit is None:
            await self._check_length(name)
            return Response(await self._reader.trials(name), media_type="application/json")
        query = TrialQuery(state=asked.state, limit=asked.limit, offset=asked.offset)
        found = await run_in_threadpool(self._reader.trial_page, name, query)
        headers = {"X-Total-Count": str(found.total)}
        if asked.offset + asked.limit < found.total:
            following = request.url.include_query_params(offset=asked.offset + asked.limit)
            headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
        return JSONResponse([trial.to_dict() for trial in found.trials], headers=headers)

    async def _check_length(self, name: str) -> None:
        found = await run_in_threadpool(self._reader.trial_page, name, TrialQuery(limit=1))
        if found.total > MOST_TRIALS:
            raise RequestError(
                f"`limit` must be given for more than {MOST_TRIALS:,} trials; {name!r} has {found.total:,}. "
                f"Ask for parts: ?limit={MOST_TRIALS}&offset=0."
            )

    def openapi(self, request: Request) -> JSONResponse:
        """Describe these addresses."""
        read_question(request.query_params, ())
        return JSONResponse(openapi_document(API, version("kdsearch-hpo")))

    def teachers(self, request: Request) -> JSONResponse:
        """List the teachers."""
        read_question(request.query_params, ())
        return JSONResponse([teacher.to_dict() for teacher in self._reader.teachers()])

    async def _question(self, request: Request, path: str) -> tuple[str, Question]:
        """Return the name of an existing study, and what is asked."""
        allowed = ADDRESSES[path].parameters
        asked = read_question(request.query_params, allowed)  # first: it takes no database
        study = await run_in_threadpool(self._reader.study, _name(request))
        return study.name, asked


def _handler(path: str) -> str:
    """Return the name of the method that answers a path: its last word."""
    last = path.rsplit("/", 1)[-1]
    return "study" if last == "{name}" else last.removesuffix(".json")


def _name(request: Request) -> Any:
    return request.path_params["name"]
