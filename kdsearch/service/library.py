"""The studies behind the service: opens the database when it is there, asks for answers about it."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from kdsearch.analysis import BestAnswer, Comparison, Importance
from kdsearch.analysis.questions.forecast import Forecast
from kdsearch.analysis.questions.recommendation import Recommendation
from kdsearch.analysis.questions.verdicts import VerdictAnswer
from kdsearch.errors import RequestError
from kdsearch.service.answers import Answers
from kdsearch.service.computing import Task, evidence
from kdsearch.storage import (
    Database,
    StudySummary,
    TeacherRow,
    list_studies,
    load_spec_of,
    load_study,
    load_teachers,
    open_database,
)


class Library:
    """Reads a database that may appear, grow or be replaced while the service runs; never writes.

    An answer is kept, and computed again only when a trial has changed.
    """

    def __init__(self, storage_url: str, answers: Answers) -> None:
        self._url = storage_url
        self._answers = answers
        self._database: Database | None = None
        self._file: Hashable = None
        self._opening = Lock()

    def database(self) -> Database:
        """Return the open database.

        Raises:
            HTTPException: It isn't there, or can't be used (503).
        """
        with self._opening:
            try:
                self._refresh()
            except RequestError as error:
                raise HTTPException(503, str(error)) from error
            assert self._database is not None  # noqa: S101 - `_refresh` opens it or raises
            return self._database

    def studies(self) -> list[StudySummary]:
        """Return every study by name."""
        return list_studies(self.database())

    def study(self, name: str) -> StudySummary:
        """Return one study.

        Raises:
            HTTPException: There is none of this name (404).
        """
        try:
            return load_study(self.database(), name)
        except RequestError as error:
            raise HTTPException(404, str(error)) from error

    def teachers(self) -> list[TeacherRow]:
        """Return the trained teachers."""
        return load_teachers(self.database())

    async def trials(self, name: str) -> bytes:
        """Return a study's trials by number, as JSON."""
        await run_in_threadpool(self.study, name)
        found: bytes = await self._answers.ask(self._task("trials", name))
        return found

    async def best(
        self,
        name: str,
        *,
        by: Sequence[str] | None,
        where: Mapping[str, Any] | None,
        level: float,
        tolerance: float,
    ) -> BestAnswer:
        """Return the best temperature per setup."""
        study, found = await self._ask("best", name, by=by, where=where, level=level, tolerance=tolerance)
        answer: BestAnswer = found.of_study(study)
        return answer

    async def lines(self, name: str, *, level: float, tolerance: float) -> list[str]:
        """Return the best temperature per setup in a few lines."""
        _, lines = await self._ask("lines", name, level=level, tolerance=tolerance)
        return list(lines)

    async def forecast(self, name: str, *, where: Mapping[str, Any] | None, regret: float | None) -> Forecast:
        """Return which setups are decided, and about what the others need; None asks for the study's own."""
        study, found = await self._ask("forecast", name, where=where, regret=regret)
        spec = await run_in_threadpool(lambda: load_spec_of(self.database(), name))
        answer: Forecast = found.of_study(spec, study)
        return answer

    async def compare(
        self, name: str, factor: str, *, where: Mapping[str, Any] | None, level: float
    ) -> Comparison:
        """Return whether the best temperature depends on a factor."""
        _, found = await self._ask("compare", name, factor=factor, where=where, level=level)
        answer: Comparison = found
        return answer

    async def importance(self, name: str, *, where: Mapping[str, Any] | None, level: float) -> Importance:
        """Return what accuracy depends on."""
        _, found = await self._ask("importance", name, where=where, level=level)
        answer: Importance = found
        return answer

    async def verdict(self, name: str) -> VerdictAnswer:
        """Return what the study says of its claims."""
        _, found = await self._ask("verdict", name)
        answer: VerdictAnswer = found
        return answer

    async def recommend(
        self, setup: Mapping[str, Any], *, studies: Sequence[str] | None, level: float, tolerance: float
    ) -> Recommendation:
        """Return the temperature for a setup that need not have been run."""
        asked = {"setup": setup, "studies": studies, "level": level, "tolerance": tolerance}
        await run_in_threadpool(self.database)
        answer: Recommendation = await self._answers.ask(self._task("recommend", None, None, **asked))
        return answer

    async def page(
        self, name: str, *, by: Sequence[str] | None, level: float, tolerance: float, dashboard: str
    ) -> str:
        """Return a study's page."""
        asked = {"by": by, "level": level, "tolerance": tolerance, "dashboard": dashboard}
        _, html = await self._ask("page", name, **asked)
        return str(html)

    async def _ask(self, kind: str, name: str, **asked: Any) -> tuple[StudySummary, Any]:
        """Return how a study is now, and the answer to a question about it.

        Raises:
            HTTPException: There is no study of this name (404).
        """
        study, now = await run_in_threadpool(self._now, name)
        return study, await self._answers.ask(self._task(kind, name, study, **asked), now)

    def _now(self, name: str) -> tuple[StudySummary, Hashable]:
        return self.study(name), evidence(self.database(), name)

    def _task(self, kind: str, name: str | None, study: StudySummary | None = None, **asked: Any) -> Task:
        pairs = tuple((key, _hashable(value)) for key, value in asked.items())
        told = study if kind in ("page", "lines") else None  # which tell how the study is, beside its trials
        beside = told and (told.state, told.why, told.driver and told.driver.pid)
        return Task(self._url, self._file, kind, name, pairs, beside)

    def _refresh(self) -> None:
        """Open the database, again where its file is another one by now."""
        if self._database is not None and _file_identity(self._database) == self._file:
            return
        if self._database is not None:
            self._database.close()
            self._database = None
        self._database = open_database(self._url)
        self._file = _file_identity(self._database)


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(value.items())
    return tuple(value) if isinstance(value, list) else value


def _file_identity(database: Database) -> Hashable:
    """Return what tells a SQLite file from another at the same place; None for a server.

    A file that was opened to be read alone is taken for unchanging: where it has changed it is another.
    """
    if database.url.get_backend_name() != "sqlite" or not database.url.database:
        return None
    try:
        found = Path(database.url.database).stat()
    except OSError:
        return "missing"
    changes = (found.st_mtime_ns, found.st_size) if database.is_read_only else ()
    return (found.st_dev, found.st_ino, *changes)
