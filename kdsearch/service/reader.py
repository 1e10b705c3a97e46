"""A database's studies and their answers, for the service."""

import hashlib
import json
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
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
from kdsearch.service.answering.answers import Answers, Kept
from kdsearch.service.answering.computing import Task, evidence
from kdsearch.spec import StudySpec
from kdsearch.storage import (
    Database,
    StudySummary,
    TeacherRow,
    TrialRow,
    list_studies,
    load_epochs,
    load_mark,
    load_spec_of,
    load_study,
    load_teachers,
    open_database,
)
from kdsearch.storage.rows.browsing import (
    LossReason,
    RunningPack,
    TrialPage,
    TrialQuery,
    load_loss_reasons,
    load_name,
    load_running_packs,
    load_trial,
    load_trial_page,
)

FIRST_ANSWER_S = 1.0
"""How long a page waits for its first answer; later ones come to it."""


@dataclass(frozen=True)
class Latest:
    """A study's state, and the last answer to a question about it.

    Attributes:
        study: How it is now.
        kept: The answer, or why there is none; None until the first is computed.
        is_current: Whether nothing has changed since.
    """

    study: StudySummary
    kept: Kept | None
    is_current: bool

    def age(self) -> str:
        """Return how old the answer is, in words."""
        if self.kept is None:
            return "Computing …"
        if self.is_current:
            return "Up to date."
        return f"Of {time.monotonic() - self.kept.at:.0f} s ago; being renewed."


class DatabaseReader:
    """Reads a database that may appear, grow or be replaced meanwhile.

    It never writes. An answer is kept, and computed again only when a trial has changed.
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

    def name_of(self, uid: str) -> str | None:
        """Return the name of the study with a uid. None where there is none."""
        return load_name(self.database(), uid)

    def teachers(self) -> list[TeacherRow]:
        """Return the trained teachers."""
        return load_teachers(self.database())

    def spec(self, name: str) -> StudySpec:
        """Return what a study was last launched with."""
        return load_spec_of(self.database(), name)

    def trial_page(self, name: str, query: TrialQuery) -> TrialPage:
        """Return some of a study's trials."""
        return load_trial_page(self.database(), name, query)

    def trial(self, name: str, number: int) -> tuple[TrialRow, list[tuple[int, float]]]:
        """Return one trial, and its (epoch, validation accuracy)."""
        trial = load_trial(self.database(), name, number)
        epochs = load_epochs(self.database(), name, [number])
        return trial, [(row.epoch, row.val_accuracy) for row in epochs if row.val_accuracy is not None]

    def loss_reasons(self, name: str) -> list[LossReason]:
        """Return why trials of a study were lost."""
        return load_loss_reasons(self.database(), name)

    def running_packs(self, name: str) -> list[RunningPack]:
        """Return the packs of a study that are in training."""
        return load_running_packs(self.database(), name)

    def trials_mark(self, name: str) -> str:
        """Return what differs once a trial of a study has changed."""
        return hashlib.sha256(repr(load_mark(self.database(), name)).encode()).hexdigest()[:16]

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
        answer: BestAnswer = found.of_study(study)  # a kept one is of the study's hours and progress then
        return answer

    async def forecast(self, name: str, *, where: Mapping[str, Any] | None, regret: float | None) -> Forecast:
        """Return which setups are decided, and about what the others need. None asks for the study's own."""
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

    async def figures(self, name: str, *, level: float, tolerance: float) -> Mapping[str, bytes]:
        """Return the figures of a study's page as JSON, by their kinds."""
        _, found = await self._ask("figures", name, level=level, tolerance=tolerance)
        answer: Mapping[str, bytes] = found
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
        answer: Recommendation = await self._answers.ask(self._task("recommend", None, **asked))
        return answer

    async def latest(self, kind: str, name: str, *, patience_s: float = 0.0, **asked: Any) -> Latest:
        """Return a study's state and the last answer to a question.

        It waits for no new one.

        Args:
            kind: The name of a function in `computing.KINDS`.
            name: The study.
            patience_s: How long to wait where there is no answer yet.
            asked: What is asked.

        Raises:
            HTTPException: There is no study of this name (404).
        """
        study, now = await run_in_threadpool(self._now, name)
        kept = await self._answers.latest(self._task(kind, name, **asked), now, patience_s=patience_s)
        return Latest(study, kept, is_current=kept is not None and kept.evidence == now)

    async def _ask(self, kind: str, name: str, **asked: Any) -> tuple[StudySummary, Any]:
        """Return a study's state and the answer to a question.

        Raises:
            HTTPException: There is no study of this name (404).
        """
        study, now = await run_in_threadpool(self._now, name)
        return study, await self._answers.ask(self._task(kind, name, **asked), now)

    def _now(self, name: str) -> tuple[StudySummary, Hashable]:
        return self.study(name), evidence(self.database(), name)

    def _task(self, kind: str, name: str | None, **asked: Any) -> Task:
        pairs = tuple((key, _hashable(value)) for key, value in asked.items())
        return Task(self._url, self._file, kind, name, pairs)

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
    if isinstance(value, Mapping):  # levels as text: to Python true is 1
        return tuple((path, json.dumps(level)) for path, level in value.items())
    return tuple(value) if isinstance(value, list) else value


def _file_identity(database: Database) -> Hashable:
    """Return what tells a SQLite file from another at the same place. None for a server.

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
