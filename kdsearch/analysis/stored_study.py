"""A study of a database and its answers. What they need is read once, and here alone."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from kdsearch.analysis.kept import KeptAnswers
from kdsearch.analysis.questions.best import BestAnswer, best_of
from kdsearch.analysis.questions.comparison import Comparison, compare
from kdsearch.analysis.questions.forecast import Forecast, forecast_of
from kdsearch.analysis.questions.importance import Importance, importance
from kdsearch.analysis.questions.verdicts import VerdictAnswer, verdicts_of
from kdsearch.analysis.response.fitted import Response, ResponseCurve, fit_response, response_curves
from kdsearch.analysis.response.warm_start import EarlierStudy, load_prior
from kdsearch.intervals import LEVEL, SMALLEST_REGRET, TOLERANCE, check_loss
from kdsearch.spec import Claim, StudySpec
from kdsearch.storage import (
    Database,
    StudySummary,
    TrialColumns,
    TrialRow,
    columns_of,
    load_columns,
    load_slots,
    load_spec_of,
    load_study,
    load_trials,
)


class StoredStudy:
    """A study as its database has it when first asked.

    Args:
        database: The open database.
        name: The study's name.

    Raises:
        RequestError: There is no such study.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self.name = name
        self.spec: StudySpec = load_spec_of(database, name)

    @cached_property
    def summary(self) -> StudySummary:
        """The study's state and why, its progress, and its hours."""
        return load_study(self._database, self.name)

    @cached_property
    def rows(self) -> list[TrialRow]:
        """Every trial by number."""
        return load_trials(self._database, self.name)

    @cached_property
    def columns(self) -> TrialColumns:
        """The trials as columns; of the rows where these are read: a running study grows in between."""
        return columns_of(self.rows) if "rows" in self.__dict__ else load_columns(self._database, self.name)

    @cached_property
    def earlier(self) -> list[EarlierStudy]:
        """The studies that `search.warm_start` names, as far as the database has them."""
        return load_prior(self._database, self.spec)

    @cached_property
    def slots(self) -> float:
        """How many packs ran at the same time."""
        return load_slots(self._database, self.name)

    @cached_property
    def response(self) -> Response:
        """What the trials say, for every question the same."""
        return fit_response(self.spec, self.columns, earlier=self.earlier)

    @cached_property
    def _kept(self) -> KeptAnswers:
        """Answers of the same trials that were computed before: what is left then is to read the trials."""
        return KeptAnswers(self.spec, self.columns, self.earlier, self.slots)

    def best(
        self,
        by: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        level: float = LEVEL,
        tolerance: float = TOLERANCE,
    ) -> BestAnswer:
        """Return what `kdsearch.analysis.best` does, with the study's state.

        `by` may be one factor's path.
        """
        paths = [by] if isinstance(by, str) else by
        answer = self._kept.answer(
            BestAnswer,
            ["best", paths, where, level, tolerance],
            lambda: best_of(
                *(self.response, self.columns),
                by=paths,
                where=where,
                level=level,
                tolerance=tolerance,
                slots=self.slots,
            ),
        )
        return answer.of_study(self.summary)

    def compare(
        self, factor: str, where: Mapping[str, Any] | None = None, level: float = LEVEL
    ) -> Comparison:
        """Return what `kdsearch.analysis.compare` does."""
        return self._kept.answer(
            Comparison,
            ["compare", factor, where, level],
            lambda: compare(self.response, factor, where=where, level=level),
        )

    def forecast(self, regret: float | None = None, where: Mapping[str, Any] | None = None) -> Forecast:
        """Return which setups are decided, and what the others need. None asks for the study's own target."""
        if regret is not None:
            check_loss("regret", regret, least=SMALLEST_REGRET)
        found = self._kept.answer(
            Forecast,
            ["forecast", regret, where],
            lambda: forecast_of(self.response, regret=regret, where=where, slots=self.slots),
        )
        return found.of_study(self.spec, self.summary)

    def importance(self, where: Mapping[str, Any] | None = None, level: float = LEVEL) -> Importance:
        """Return what `kdsearch.analysis.questions.importance` does."""
        return self._kept.answer(
            Importance,
            ["importance", where, level],
            lambda: importance(self.response, where=where, level=level),
        )

    def verdict(self, claims: Sequence[Claim] | None = None) -> VerdictAnswer:
        """Return what the study says of its claims.

        They are those written with it, or some that were written since.
        """
        if claims is not None:
            return verdicts_of(self.response, claims=claims, slots=self.slots)
        return self._kept.answer(
            VerdictAnswer, ["verdict"], lambda: verdicts_of(self.response, slots=self.slots)
        )

    def curves(self, level: float = LEVEL) -> list[ResponseCurve]:
        """Return accuracy over temperature, a curve for each setup."""
        return self._kept.answer(
            list[ResponseCurve], ["curves", level], lambda: response_curves(self.response, level=level)
        )
