"""The JSON addresses: the same documents as the commands' `--format json`."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kdsearch.errors import RequestError
from kdsearch.service.library import Library
from kdsearch.service.questions import Question, read_question


class Documents:
    """Answers requests for JSON from a library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def routes(self) -> list[Route]:
        """Return the addresses below the API's prefix."""
        return [
            Route("/health", self.health),
            Route("/studies", self.studies),
            Route("/studies/{name}", self.study),
            Route("/studies/{name}/best", self.best),
            Route("/studies/{name}/compare", self.compare),
            Route("/studies/{name}/forecast", self.forecast),
            Route("/studies/{name}/importance", self.importance),
            Route("/studies/{name}/trials", self.trials),
            Route("/studies/{name}/verdict", self.verdict),
            Route("/recommend", self.recommend),
            Route("/teachers", self.teachers),
        ]

    def health(self, request: Request) -> JSONResponse:
        """Tell that the database can be read."""
        read_question(request.query_params, ())
        return JSONResponse({"status": "ok", "studies": len(self._library.studies())})

    def studies(self, request: Request) -> JSONResponse:
        """List the studies."""
        read_question(request.query_params, ())
        return JSONResponse([study.to_dict() for study in self._library.studies()])

    def study(self, request: Request) -> JSONResponse:
        """Tell one study's state and progress."""
        read_question(request.query_params, ())
        return JSONResponse(self._library.study(_name(request)).to_dict())

    async def best(self, request: Request) -> JSONResponse:
        """Answer with the best temperature per setup."""
        name, asked = await self._question(request, "by", "where", "level", "tolerance")
        answer = await self._library.best(
            name, by=asked.by, where=asked.where, level=asked.level, tolerance=asked.tolerance
        )
        return JSONResponse(answer.to_dict())

    async def compare(self, request: Request) -> JSONResponse:
        """Answer whether the best temperature depends on a factor."""
        name, asked = await self._question(request, "factor", "where", "level")
        if asked.factor is None:
            raise RequestError("`factor` is missing: the factor whose levels are compared, as PATH.")
        comparison = await self._library.compare(name, asked.factor, where=asked.where, level=asked.level)
        return JSONResponse(comparison.to_dict())

    async def importance(self, request: Request) -> JSONResponse:
        """Answer what accuracy depends on: parameters, pairs of them, and factors."""
        name, asked = await self._question(request, "where", "level")
        found = await self._library.importance(name, where=asked.where, level=asked.level)
        return JSONResponse(found.to_dict())

    async def forecast(self, request: Request) -> JSONResponse:
        """Tell which setups are decided, and about how many more trials the others need."""
        name, asked = await self._question(request, "where", "regret")
        found = await self._library.forecast(name, where=asked.where, regret=asked.regret)
        return JSONResponse(found.to_dict())

    async def verdict(self, request: Request) -> JSONResponse:
        """Tell which of the study's claims are confirmed, reversed or not resolved."""
        name, _ = await self._question(request)
        return JSONResponse((await self._library.verdict(name)).to_dict())

    async def recommend(self, request: Request) -> JSONResponse:
        """Answer for a setup that need not have been run, from what was."""
        asked = read_question(request.query_params, ("set", "study", "level", "tolerance"))
        if asked.setup is None:
            raise RequestError("`set` is missing: a value of the setup, as PATH=VALUE.")
        found = await self._library.recommend(
            asked.setup, studies=asked.studies, level=asked.level, tolerance=asked.tolerance
        )
        return JSONResponse(found.to_dict())

    async def trials(self, request: Request) -> Response:
        """List a study's trials."""
        name, _ = await self._question(request)
        return Response(await self._library.trials(name), media_type="application/json")

    def teachers(self, request: Request) -> JSONResponse:
        """List the teachers."""
        read_question(request.query_params, ())
        return JSONResponse([teacher.to_dict() for teacher in self._library.teachers()])

    async def _question(self, request: Request, *allowed: str) -> tuple[str, Question]:
        """Return the study that is asked about, which exists, and what is asked."""
        asked = read_question(request.query_params, allowed)  # first: it takes no database
        study = await run_in_threadpool(self._library.study, _name(request))
        return study.name, asked


def _name(request: Request) -> Any:
    return request.path_params["name"]
