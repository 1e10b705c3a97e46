"""What the Optuna dashboard shows of ours."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdsearch.analysis.labels import factor_label, temperature_text
from kdsearch.analysis.questions.best import BestAnswer
from kdsearch.analysis.report.contents import standing
from kdsearch.analysis.report.headline import headline
from kdsearch.analysis.report.inks import markdown_of
from kdsearch.analysis.report.tables import Table, answer_table
from kdsearch.analysis.report.verdict_tables import verdict_table
from kdsearch.analysis.response.fitted import ResponseCurve
from kdsearch.analysis.stored_study import StoredStudy
from kdsearch.spec import TEMPERATURE
from kdsearch.spec.luck import luck_text
from kdsearch.storage import Database, TrialRow
from kdsearch.storage.mirror.frozen import TRIAL_ATTRIBUTE

_MOST_FIGURES = 12
"""One for each setup; they come again with every look at a running study."""

_LAYOUT = {
    "height": 440,
    "margin": {"t": 52, "b": 150},
    "legend": {"y": 0, "yanchor": "bottom"},
}
"""Pixels: the dashboard gives a figure 450, and half its window, where a legend takes four lines or more."""

_STATES = {"Fail": "Failed"}
_SPECIAL = re.compile(r"([\\*_\[\]<>~#!&])")
_CODE = re.compile(r"(`[^`]*`)")


@dataclass(frozen=True)
class StudyNote:
    """What the dashboard shows of a study.

    Attributes:
        text: In Markdown.
        figures: As plotly's JSON, in their order.
        metric: What the dashboard calls the value of a trial.
    """

    text: str
    figures: tuple[str, ...] = ()
    metric: str = BestAnswer.metric


def study_note(database: Database, study: str) -> StudyNote:
    """Return a study's answer for the dashboard: in words, as tables and as curves with their doubt."""
    stored = StoredStudy(database, study)
    trials = stored.rows  # first: all questions are then asked of the same trials
    answer, verdicts = stored.best(), stored.verdict()
    curves = [curve for curve in stored.curves() if curve.points]
    parts = [
        f"**{_escaped(headline(answer))}**",
        _escaped(standing(stored.summary)),
        _table_text(answer_table(answer)),
        _escaped(luck_text(answer.luck)),
        *(["**What was claimed**", _table_text(verdict_table(verdicts))] if verdicts.verdicts else []),
        _warning(answer, len(curves)),
    ]
    figures = _figures(curves[:_MOST_FIGURES], trials, answer)
    return StudyNote("\n\n".join(parts), figures, answer.metric)


def plain_note(text: str) -> StudyNote:
    """Return a note that says this, where there is no answer."""
    return StudyNote(_escaped(text))


def _figures(
    curves: Sequence[ResponseCurve], trials: Sequence[TrialRow], answer: BestAnswer
) -> tuple[str, ...]:
    from kdsearch.analysis.report.plots import plot_response  # late: nothing else here needs plotly

    drawn = (plot_response([curve], trials, answer) for curve in curves)
    return tuple(figure.update_layout(_LAYOUT).to_json() for figure in drawn)


def annotated(
    document: dict[str, Any], study: str, note: StudyNote, factors: Collection[str]
) -> dict[str, Any]:
    """Return the dashboard's document of a study with our notes and figures. What people wrote follows.

    Args:
        document: What the dashboard's API answers about the study; it is changed.
        study: The study's name.
        note: Its note.
        factors: Which parameters of a trial are its setup, by path.
    """
    for trial in [*document["trials"], *document["best_trials"]]:
        if any(attribute["key"] == TRIAL_ATTRIBUTE for attribute in trial["user_attrs"]):
            _add_note(trial, _trial_text(trial, study, factors))
    page = f"[All that is known of {study}](/studies/{study}): figures, trials, what is decided, *what if*."
    _add_note(document, f"{note.text}\n\n{page}")
    own = [{"id": f"kdsearch-{n}", "graph_object": figure} for n, figure in enumerate(note.figures, start=1)]
    document["plotly_graph_objects"] = [*own, *document["plotly_graph_objects"]]
    document.setdefault("objective_names", [note.metric])
    return document


def _add_note(noted: dict[str, Any], text: str) -> None:
    written = noted["note"]["body"]
    noted["note"] = {**noted["note"], "body": f"{text}\n\n---\n\n{written}" if written else text}


def _trial_text(trial: Mapping[str, Any], study: str, factors: Collection[str]) -> str:
    params = {param["name"]: param["param_external_value"] for param in trial["params"]}
    reason = next((a["value"] for a in trial["user_attrs"] if a["key"] == "reason"), "")
    setup = ", ".join(f"{factor_label(path)} {params[path]}" for path in factors if path in params)
    number = trial["number"]
    parts = [
        f"**{_lead(trial, params)}**",
        *([f"Setup: {_escaped(setup)}."] if setup else []),
        *([_fenced(reason)] if reason else []),
        f"Train it again: `kdsearch reproduce {study} {number}`",
        f"[Trial {number} on its own page](/studies/{study}/trials/{number}): curve, parameters, seed.",
    ]
    return "\n\n".join(parts)


def _lead(trial: Mapping[str, Any], params: Mapping[str, str]) -> str:
    temperature = params.get(TEMPERATURE)
    at = "" if temperature is None else f" at T = {temperature_text(float(temperature))}"
    values = [value for value in trial.get("values") or () if isinstance(value, float | int)]
    accuracy = f": {values[0]:.2%} on the validation split" if values else ""
    return f"{_STATES.get(trial['state'], trial['state'])}{at}{accuracy}."


def _warning(answer: BestAnswer, n_figures: int) -> str:
    """Return what a reader of the dashboard's other figures may get wrong."""
    over = " of all setups together" if len(answer.setups) > 1 else ""
    left_out = f", of the first {_MOST_FIGURES} of {n_figures} setups" if n_figures > _MOST_FIGURES else ""
    return (
        f"The dashboard's best trial is the luckiest one{over}: it is no answer, and neither are its other "
        f"figures, which know of no doubt. Ours are below them{left_out}."
    )


def _table_text(table: Table) -> str:
    notes = [_escaped(f"{name}: {note}") for name, note in table.notes]
    return markdown_of(replace(table, rows=[[*map(_escaped, row)] for row in table.rows]), notes)


def _escaped(text: str) -> str:
    """Return text that Markdown shows unchanged, but for code in backticks."""
    parts: Sequence[str] = _CODE.split(text)
    return "".join(
        part if _CODE.fullmatch(part) else _SPECIAL.sub(r"\\\1", part).replace("`", r"\`") for part in parts
    )


def _fenced(text: str) -> str:
    """Return text as a block that nothing in it ends."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
