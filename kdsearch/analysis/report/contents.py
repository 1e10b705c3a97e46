"""All that a report or a page says of one study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import select

from kdsearch.analysis.labels import factor_label, value_text, varied_factors
from kdsearch.analysis.questions.best import BestAnswer
from kdsearch.analysis.questions.comparison import Comparison
from kdsearch.analysis.questions.importance import Importance
from kdsearch.analysis.questions.outcomes import (
    belongs_to,
    temperature_bands,
    temperature_of,
    temperature_span,
)
from kdsearch.analysis.questions.verdicts import VerdictAnswer
from kdsearch.analysis.report.drawing import Drawing, draw
from kdsearch.analysis.report.figures import (
    Figure,
    best_temperatures_figure,
    comparison_figure,
    importance_figure,
    learning_figure,
    outcomes_figure,
    progress_figure,
    response_figure,
)
from kdsearch.analysis.report.headline import headline
from kdsearch.analysis.report.study_words import epochs_text, training_sentence
from kdsearch.analysis.report.tables import (
    Table,
    effect_table,
    importance_table,
    outcome_table,
    promised_points,
)
from kdsearch.analysis.response.fitted import ResponseCurve
from kdsearch.analysis.stored_study import StoredStudy
from kdsearch.intervals import LEVEL, TOLERANCE
from kdsearch.spec import Choices, Range, Setup, StudySpec
from kdsearch.spec.luck import luck_text
from kdsearch.storage import (
    Database,
    StudySummary,
    TeacherRow,
    TrialRow,
    load_epochs,
    load_teachers,
)
from kdsearch.storage.rows.queries import study_id
from kdsearch.storage.sql.tables import StudyTable

_MOST_CURVES = 240
"""Of all setups; more make lines that nobody tells apart, and a page that is slow to load."""

_MOST_CURVES_A_SETUP = 40
"""By hand, for the same reason."""

_MOST_POINTS_A_CURVE = 40
"""By hand: a curve of accuracies shows nothing more with more."""

Curve: TypeAlias = list[tuple[int, float]]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Findings:
    """What is known of a study.

    Attributes:
        spec: Its spec.
        trials: Its trials.
        answer: The best temperature per setup.
        curves: Accuracy over temperature per setup.
        comparisons: Whether the best temperature depends on each factor.
        learning: (epoch, validation accuracy) by the number of each trial of a sample.
        teachers: The teachers it used.
        runs: With which package versions and git commit it ran, the latest last.
        study: How it is, and why.
        importance: What accuracy depends on.
        verdicts: What it says of its claims; None where nobody asked.
    """

    spec: StudySpec
    trials: list[TrialRow]
    answer: BestAnswer
    curves: list[ResponseCurve]
    comparisons: list[Comparison]
    learning: Mapping[int, Curve]
    teachers: list[TeacherRow]
    runs: list[dict[str, Any]]
    study: StudySummary
    importance: Importance
    verdicts: VerdictAnswer | None = None

    def of_study(self, study: StudySummary) -> "Findings":
        """Return the same findings with how their study is now."""
        return replace(self, study=study, answer=self.answer.of_study(study))

    @property
    def setups(self) -> list[Setup]:
        """The setups that are owed an answer."""
        return [found.setup for found in self.answer.setups]


@dataclass(frozen=True)
class FigureSection:
    """One figure of a page, with its numbers as a table.

    There is a table where the numbers matter; notes are (name, sentence).
    """

    figure: Figure
    table: Table | None = None
    notes: Sequence[tuple[str, str]] = ()

    @property
    def drawing(self) -> Drawing:
        """The figure as a page draws it."""
        return draw(self.figure)


def load_findings(
    database: Database, study: str, *, level: float = LEVEL, tolerance: float = TOLERANCE
) -> Findings:
    """Return what a database knows of a study.

    Args:
        database: The open database.
        study: The study's name.
        level: Probability of the intervals, between 0 and 1.
        tolerance: What counts as near the best, as a fraction of accuracy.

    Raises:
        RequestError: There is no such study.
    """
    stored = StoredStudy(database, study)
    trials = stored.rows  # first: all questions are then asked of the same trials
    answer = stored.best(level=level, tolerance=tolerance)
    sample = learning_sample([found.setup for found in answer.setups], trials)
    return Findings(
        stored.spec,
        trials,
        answer,
        stored.curves(level),
        [stored.compare(factor, level=level) for factor in _factors(answer)],
        _learning_curves(database, study, sample),
        load_teachers(database, study),
        _runs(database, study),
        stored.summary,
        stored.importance(level=level),
        stored.verdict(),
    )


def learning_sample(setups: Sequence[Setup], trials: Sequence[TrialRow]) -> list[int]:
    """Return the numbers of the trials whose learning curves are drawn: some of each setup.

    They are spread evenly over the order of temperatures.
    """
    most = max(6, min(_MOST_CURVES_A_SETUP, _MOST_CURVES // max(len(setups), 1)))
    numbers: list[int] = []
    for setup in setups:
        known = [t for t in trials if belongs_to(t, setup) and temperature_of(t) is not None]
        ordered = sorted(known, key=lambda t: (temperature_of(t) or 0.0, t.number))
        numbers += [t.number for t in _evenly(ordered, most)]
    return numbers


def figure_sections(findings: Findings) -> list[FigureSection]:
    """Return the figures of a study, the response to temperature first."""
    answer, trials, setups = findings.answer, findings.trials, findings.setups
    span = temperature_span(trials, findings.spec)
    bands = temperature_bands(trials, span)
    has_effects = any(found.effect_at_common for found in answer.setups)
    response = response_figure(findings.curves, trials, answer)
    sections = [FigureSection(response, effect_table(answer) if has_effects else None)]
    if findings.comparisons:
        figure = comparison_figure(findings.comparisons)
        sections.append(FigureSection(figure, notes=_coupling(findings.comparisons)))
    sections.append(FigureSection(best_temperatures_figure(answer, span)))
    if findings.importance.tuned:
        shares = importance_table(findings.importance)
        sections.append(FigureSection(importance_figure(findings.importance), shares))
    if any(band.finished for band in bands):
        sections.append(FigureSection(outcomes_figure(bands), outcome_table(bands, answer)))
    if findings.learning:
        sections.append(FigureSection(learning_figure(setups, trials, findings.learning, bands)))
    if any(trial.state == "complete" for trial in trials):
        sections.append(FigureSection(progress_figure(setups, trials)))
    return sections


def summary(findings: Findings) -> list[str]:
    """Return a few sentences about what was searched and found.

    They name the setups and the budget too.
    """
    spec, setups = findings.spec, len(findings.setups)
    owed = f"each of {setups} setups" if setups > 1 else "this setup"
    return [
        headline(findings.answer),
        f"Which distillation temperature is best in {owed}, and how sure is that?",
        f"{training_sentence(spec)} Every student was given {epochs_text(spec)} epochs; "
        "only trials that ran all of them compete.",
        f"{_progress(spec, findings.trials)} Searched in each setup: {_searched(spec)}.",
        *(f"Widened after {w.trials} complete trials: {w}." for w in findings.study.widened),
    ]


def standing(study: StudySummary) -> str:
    """Return how a study is, and why, in a sentence."""
    return f"The study is {study.state}{f': {study.why}' if study.why else ''}."


def reading(answer: BestAnswer) -> list[str]:
    """Return how the answers are to be read."""
    level, points = f"{answer.level:.0%}", f"{100 * answer.tolerance:g}"
    earlier = ", ".join(answer.prior_from)
    prior = [f"The study started from {earlier}, whose trials have a say as far as this one's agree."]
    return [
        *(prior if earlier else []),
        f"The interval holds, with {level} probability, a temperature that loses at most "
        f"{promised_points(answer) or 'little'} against the best. Each temperature in the near-optimal range "
        f"is, with {level} probability, within {points} points of the best accuracy.",
        "Accuracies are expected ones on the validation split, the other tuned parameters at their best. "
        "The test split was measured once per trial and took no part in the choice.",
        luck_text(answer.luck),
    ]


def _coupling(comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Return each factor's effect on the best temperature as a sentence.

    Pairs are (factor, sentence).
    """
    return [(found.factor, found.statement or found.reason or "") for found in comparisons]


def _learning_curves(database: Database, study: str, numbers: Sequence[int]) -> dict[int, Curve]:
    curves: dict[int, Curve] = {}
    for row in load_epochs(database, study, numbers):
        if row.val_accuracy is not None:
            curves.setdefault(row.number, []).append((row.epoch, row.val_accuracy))
    return {number: _evenly(curve, _MOST_POINTS_A_CURVE) for number, curve in curves.items()}


def _factors(answer: BestAnswer) -> list[str]:
    return varied_factors([found.setup for found in answer.setups])


def _runs(database: Database, study: str) -> list[dict[str, Any]]:
    with database.read() as connection:
        query = select(StudyTable.versions).where(StudyTable.id == study_id(connection, study))
        return connection.scalar(query) or []


def _evenly(items: Sequence[_Item], most: int) -> list[_Item]:
    """Return at most `most` items, evenly spread.

    The first and the last are among them.
    """
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _progress(spec: StudySpec, trials: Sequence[TrialRow]) -> str:
    diverged = sum(t.reason == "diverged" and t.state == "failed" for t in trials)
    counts = {
        "complete": sum(t.state == "complete" for t in trials),
        "pruned": sum(t.state == "pruned" for t in trials),
        "diverged": diverged,
    }
    failed = sum(t.state == "failed" for t in trials) - diverged
    finished = sum(counts.values())
    parts = [f"{count} {kind}" for kind, count in counts.items() if count]
    also = f" {failed} more failed and were replaced." if failed else ""
    return f"{finished} of {spec.search.trials} trials finished ({', '.join(parts) or 'none yet'}).{also}"


def _searched(spec: StudySpec) -> str:
    dimensions: dict[str, list[str]] = {}
    for setup in spec.setups():
        for path, dimension in spec.dimensions(setup).items():
            texts = dimensions.setdefault(factor_label(path), [])
            if (text := _dimension_text(dimension)) not in texts:
                texts.append(text)
    return "; ".join(f"{name} {' or '.join(texts)}" for name, texts in dimensions.items())


def _dimension_text(dimension: Range | Choices) -> str:
    if isinstance(dimension, Choices):
        return f"({', '.join(map(value_text, dimension.choices))})"
    scale = " (log)" if dimension.log else ""
    return f"{value_text(dimension.low)} to {value_text(dimension.high)}{scale}"
