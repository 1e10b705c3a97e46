"""Each question of the service as a function of an open database."""

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from kdsearch.analysis.questions.heat import heat_map
from kdsearch.analysis.questions.recommendation import recommend_from
from kdsearch.analysis.report.contents import figure_sections, load_findings, reading, summary
from kdsearch.analysis.report.pages import page_templates
from kdsearch.analysis.report.tables import answer_lines, answer_table, forecast_table
from kdsearch.analysis.report.verdict_tables import verdict_table
from kdsearch.analysis.response.warm_start import load_earlier
from kdsearch.analysis.stored_study import StoredStudy
from kdsearch.service.answering.dashboard_notes import study_note
from kdsearch.storage import (
    Database,
    load_mark,
    load_spec_of,
    load_study,
    load_trials,
)

_LINES = 6
"""By hand: a study in the list of studies takes no more of the screen."""

_OPEN = ("running", "waiting")


@dataclass(frozen=True)
class Task:
    """A question about a database's studies. Equal ones have equal answers while nothing changes.

    Attributes:
        url: The database's.
        file: Which file is behind the URL: another one is opened anew.
        kind: The name of a function in `KINDS`.
        study: The study that is asked about; None for all.
        asked: What is asked, as pairs of names and values.
    """

    url: str
    file: Hashable
    kind: str
    study: str | None = None
    asked: tuple[tuple[str, Any], ...] = ()

    def options(self) -> dict[str, Any]:
        """Return what is asked, by name. Pairs within are levels, as JSON, by their path."""
        return {name: _levels(value) if name in ("where", "setup") else value for name, value in self.asked}


def _levels(pairs: tuple[tuple[str, str], ...] | None) -> dict[str, Any] | None:
    return None if pairs is None else {path: json.loads(level) for path, level in pairs}


@dataclass(frozen=True)
class StudyAnswers:
    """The part of a study's page that tells its answers.

    Attributes:
        headline: The answer in words, which stands first.
        html: The rest of it, as HTML.
        decided: How many setups are decided.
        setups: How many there are.
    """

    headline: str
    html: str
    decided: int
    setups: int


def evidence(database: Database, study: str) -> Hashable:
    """Return a value that changes whenever a study's answers may change.

    No trials are read for it.
    """
    studies = (study, *load_spec_of(database, study).search.warm_start)
    now = load_study(database, study)
    told = now.state, now.why, now.driver and now.driver.pid
    return told, tuple(_of_ended(load_mark(database, name)) for name in studies)


def _of_ended(mark: Any) -> Hashable:
    """Return a study's mark without its trials in training. No answer depends on how far they are."""
    return mark and tuple(part for part in mark if not (isinstance(part, tuple) and part[0] in _OPEN))


def compute(database: Database, task: Task) -> tuple[Hashable, Any]:
    """Return an answer, and the evidence that it is at least of."""
    before = evidence(database, task.study) if task.study is not None else None
    return before, KINDS[task.kind](database, task.study, **task.options())


def _best(database: Database, study: str, **asked: Any) -> Any:
    return StoredStudy(database, study).best(**asked)


def _lines(database: Database, study: str, **asked: Any) -> list[str]:
    return answer_lines(_best(database, study, **asked), most=_LINES)


def _forecast(database: Database, study: str, **asked: Any) -> Any:
    return StoredStudy(database, study).forecast(**asked)


def _compare(database: Database, study: str, **asked: Any) -> Any:
    return StoredStudy(database, study).compare(**asked)


def _importance(database: Database, study: str, **asked: Any) -> Any:
    return StoredStudy(database, study).importance(**asked)


def _verdict(database: Database, study: str) -> Any:
    return StoredStudy(database, study).verdict()


def _recommend(
    database: Database,
    _study: None,
    *,
    setup: Mapping[str, Any],
    studies: tuple[str, ...] | None,
    **asked: Any,
) -> Any:
    return recommend_from(load_earlier(database, studies), setup, **asked)


def _trials(database: Database, study: str) -> bytes:
    return _json([row.to_dict() for row in load_trials(database, study)])


def _figures(database: Database, study: str, *, level: float, tolerance: float) -> dict[str, bytes]:
    """Return the JSON of each figure of the study's page.

    They are by kind, in the page's order.
    """
    sections = figure_sections(load_findings(database, study, level=level, tolerance=tolerance))
    return {section.figure.kind: _json(section.figure.to_dict()) for section in sections}


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _page(
    database: Database,
    study: str,
    *,
    by: tuple[str, ...] | None,
    where: dict[str, Any] | None,
    level: float,
    tolerance: float,
) -> StudyAnswers:
    findings = load_findings(database, study, level=level, tolerance=tolerance)
    answer = findings.answer
    if by or where:
        asked = {"by": by, "where": where, "level": level, "tolerance": tolerance}
        answer = _best(database, study, **asked)
    first, *rest = summary(findings)
    html = (
        page_templates("kdsearch.service")
        .get_template("answers.html")
        .render(
            summary=rest,
            by=by,
            where=where,
            answer=answer_table(answer),
            heat=heat_map(answer),
            reading=reading(answer),
            forecast=forecast_table(findings.answer),
            verdicts=findings.verdicts and verdict_table(findings.verdicts),
            sections=figure_sections(findings),
            figures_at=f"/kdsearch/v1/studies/{study}/figures?level={level:g}&tolerance={tolerance:g}",
        )
    )
    decided = sum(found.forecast is not None and found.forecast.decided for found in findings.answer.setups)
    return StudyAnswers(first, html, decided, len(findings.answer.setups))


def _what_if(database: Database, study: str, *, setup: Mapping[str, Any]) -> Any:
    return recommend_from(load_earlier(database, (study,)), setup)


KINDS: Mapping[str, Callable[..., Any]] = {
    "best": _best,
    "lines": _lines,
    "forecast": _forecast,
    "compare": _compare,
    "importance": _importance,
    "verdict": _verdict,
    "recommend": _recommend,
    "trials": _trials,
    "figures": _figures,
    "page": _page,
    "what_if": _what_if,
    "dashboard": study_note,
}
