"""The page that answers for a setup that was not run."""

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import QueryParams

from kdsearch.analysis.labels import level_text, temperature_text, value_text
from kdsearch.analysis.questions.recommendation import Recommendation
from kdsearch.analysis.report.contents import FigureSection
from kdsearch.analysis.report.figures import sources_figure, what_if_figure
from kdsearch.errors import RequestError
from kdsearch.service.reader import Latest
from kdsearch.spec import StudySpec, parse_levels


def given_setup(query: QueryParams, spec: StudySpec) -> dict[str, Any]:
    """Return the levels that a query names by their factor. Other names are refused."""
    for path in query:
        if path not in spec.setup:
            known = f"Factors: {', '.join(spec.setup)}." if spec.setup else "It has none."
            raise RequestError(f"`{path}` is no factor of this study. {known}")
    pairs = [f"{path}={value}" for path, value in query.multi_items()]
    return parse_levels(pairs, "set", example="set=optimizer.name=sgd")


def what_if_context(setup: Mapping[str, Any], latest: Latest | None) -> dict[str, Any]:
    """Return what the page shows: the asked setup, and the answer or why there is none."""
    kept = latest.kept if latest else None
    found: Recommendation | None = kept.answer if kept else None
    error = getattr(kept.error, "detail", None) or str(kept.error) if kept and kept.error else None
    context = {
        "given": {path: level_text(path, value) for path, value in setup.items()},
        "error": error,
        "found": found,
    }
    if found is None or found.temperature is None:
        return {**context, "lead": "", "fields": [], "sections": []}
    figures = (what_if_figure(found), sources_figure(found))
    sections = [FigureSection(figure) for figure in figures if figure is not None]
    return {**context, "lead": _lead(found), "fields": _fields(found), "sections": sections}


def _lead(found: Recommendation) -> str:
    assert found.temperature is not None  # noqa: S101 - as the caller checked
    text = f"T = {temperature_text(found.temperature)}"
    if found.interval is not None:
        low, high = map(temperature_text, found.interval)
        text += f" ({found.level:.0%} interval {low} to {high})"
    ran = f"{found.trials} of its own trials" if found.trials else "no trial of its own"
    return f"{text}, from {ran} and the setups that are like it."


def _fields(found: Recommendation) -> list[tuple[str, str]]:
    near = found.near_optimal
    return [
        *((path, level_text(path, value)) for path, value in found.setup.items()),
        ("near-optimal T", " to ".join(map(temperature_text, near)) if near else "not known"),
        *((path, value_text(value)) for path, value in (found.params or {}).items()),
        *(
            (f"T = {t} loses", f"{max(100 * lost, 0.0):.1f} points")
            for t, lost in (found.regret_of or {}).items()
        ),
    ]
