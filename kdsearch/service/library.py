"""The studies behind the service: opens the database when it is there, keeps what took long to compute."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from kdsearch.analysis import BestAnswer, Comparison, Importance, best, compare, importance
from kdsearch.analysis.findings import Findings, load_findings
from kdsearch.analysis.forecast import Forecast, forecast
from kdsearch.analysis.recommendation import Recommendation, recommend_from
from kdsearch.analysis.transfer import EarlierStudy, load_earlier, load_prior
from kdsearch.errors import RequestError
from kdsearch.spec import StudySpec
from kdsearch.storage import (
    Database,
    StudySummary,
    TeacherRow,
    TrialColumns,
    TrialRow,
    list_studies,
    load_columns,
    load_mark,
    load_slots,
    load_spec_of,
    load_study,
    load_teachers,
    load_trials,
    open_database,
)

_KEPT = 64
_Answer = TypeVar("_Answer")


class Library:
    """Reads a database that may appear, grow or be replaced while the service runs; never writes.

    An answer is kept, and computed again only when a trial has changed.
    """

    def __init__(self, storage_url: str) -> None:
        self._url = storage_url
        self._database: Database | None = None
        self._file: object = None
        self._opening = Lock()
        self._computing = Lock()
        self._kept: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()

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

    def trials(self, name: str) -> list[TrialRow]:
        """Return a study's trials by number."""
        self.study(name)
        return load_trials(self.database(), name)

    def teachers(self) -> list[TeacherRow]:
        """Return the trained teachers."""
        return load_teachers(self.database())

    def best(
        self,
        name: str,
        *,
        by: Sequence[str] | None,
        where: Mapping[str, Any] | None,
        level: float,
        tolerance: float,
    ) -> BestAnswer:
        """Return the best temperature per setup."""
        question = ("best", name, repr((by, where)), level, tolerance)

        def answer() -> BestAnswer:
            spec, trials, earlier = self._known(name)
            return best(
                spec,
                trials,
                earlier=earlier,
                by=by,
                where=where,
                level=level,
                tolerance=tolerance,
                slots=load_slots(self.database(), name),
            )

        return self._keep(name, question, answer).of_study(self.study(name))

    def forecast(self, name: str, *, where: Mapping[str, Any] | None, regret: float | None) -> Forecast:
        """Return which setups are decided, and about what the others need; None asks for the study's own."""
        question = ("forecast", name, repr(where), regret)

        def answer() -> Forecast:
            spec, trials, earlier = self._known(name)
            slots = load_slots(self.database(), name)
            return forecast(spec, trials, earlier=earlier, regret=regret, where=where, slots=slots)

        found = self._keep(name, question, answer)
        return found.of_study(load_spec_of(self.database(), name), self.study(name))

    def compare(self, name: str, factor: str, *, where: Mapping[str, Any] | None, level: float) -> Comparison:
        """Return whether the best temperature depends on a factor."""
        question = ("compare", name, factor, repr(where), level)

        def answer() -> Comparison:
            spec, trials, earlier = self._known(name)
            return compare(spec, trials, factor, earlier=earlier, where=where, level=level)

        return self._keep(name, question, answer)

    def importance(self, name: str, *, where: Mapping[str, Any] | None, level: float) -> Importance:
        """Return what accuracy depends on."""
        question = ("importance", name, repr(where), level)

        def answer() -> Importance:
            spec, trials, earlier = self._known(name)
            return importance(spec, trials, earlier=earlier, where=where, level=level)

        return self._keep(name, question, answer)

    def recommend(
        self, setup: Mapping[str, Any], *, studies: Sequence[str] | None, level: float, tolerance: float
    ) -> Recommendation:
        """Return the temperature for a setup that need not have been run."""
        earlier = load_earlier(self.database(), studies)
        return recommend_from(earlier, setup, level=level, tolerance=tolerance)

    def findings(self, name: str, *, level: float, tolerance: float) -> Findings:
        """Return all that a study's page tells."""
        database = self.database()
        question = ("findings", name, level, tolerance)

        def answer() -> Findings:
            return load_findings(database, name, level=level, tolerance=tolerance)

        return self._keep(name, question, answer).of_study(self.study(name))

    def _known(self, name: str) -> tuple[StudySpec, TrialColumns, list[EarlierStudy]]:
        """Return a study's spec, its trials, and the studies that it started from."""
        database = self.database()
        spec = load_spec_of(database, name)
        return spec, load_columns(database, name), load_prior(database, spec)

    def _keep(self, name: str, question: Hashable, answer: Callable[[], _Answer]) -> _Answer:
        """Return the kept answer to a question about a study, if the trials are still those behind it.

        Raises:
            HTTPException: There is no study of this name (404).
        """
        self.study(name)
        database = self.database()
        studies = (name, *load_spec_of(database, name).search.warm_start)
        evidence = tuple(load_mark(database, study) for study in studies)
        with self._computing:
            found: _Answer
            before, found = self._kept.pop(question, (None, None))
            if before != evidence:
                found = answer()
            self._kept[question] = evidence, found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _refresh(self) -> None:
        """Open the database, again where its file is another one by now."""
        if self._database is not None and _file_identity(self._database) == self._file:
            return
        if self._database is not None:
            self._database.close()
            self._database = None
        self._database = open_database(self._url)
        self._file = _file_identity(self._database)


def _file_identity(database: Database) -> object:
    """Return what tells a SQLite file from another at the same place; None for a server."""
    if database.url.get_backend_name() != "sqlite" or not database.url.database:
        return None
    try:
        found = Path(database.url.database).stat()
    except OSError:
        return "missing"
    return found.st_dev, found.st_ino
