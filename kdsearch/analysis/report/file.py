"""One self-contained HTML file with a study's answers and figures. It opens offline."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from kdsearch.analysis.report.contents import (
    Findings,
    figure_sections,
    load_findings,
    reading,
    standing,
    summary,
)
from kdsearch.analysis.report.pages import TEMPLATES, page_templates
from kdsearch.analysis.report.study_words import shown_document
from kdsearch.analysis.report.tables import answer_table, forecast_table, teacher_table
from kdsearch.analysis.report.verdict_tables import verdict_table
from kdsearch.artifacts.files import write_output
from kdsearch.errors import RequestError
from kdsearch.intervals import LEVEL, TOLERANCE
from kdsearch.storage import Database

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Under which nothing runs and nothing is fetched."""


def write_report(
    database: Database, study: str, path: Path, *, level: float = LEVEL, tolerance: float = TOLERANCE
) -> Path:
    """Write a study's report and return its path.

    A file is written beside `path` and then moved to it, so that no reader sees half of it; what a link
    points to is replaced, not the link, and what is no file, such as a pipe, gets the text as it is.

    Args:
        database: The open database.
        study: The study's name.
        path: The file, in a folder that is there.
        level: Probability of the intervals, between 0 and 1.
        tolerance: What counts as near the best, as a fraction of accuracy.

    Raises:
        RequestError: There is no such study, or the file can't be written.
    """
    findings = load_findings(database, study, level=level, tolerance=tolerance)
    html = report_html(findings, written=datetime.now(UTC))
    try:
        write_output(path, html.encode())
    except OSError as error:
        raise RequestError(
            f"The report can't be written to {path}: {error.strerror}. Name another place with --out."
        ) from error
    return path


def report_html(findings: Findings, *, written: datetime) -> str:
    """Return the report as HTML: style and figures inside, no script and no request to anywhere.

    Args:
        findings: What is known of the study.
        written: When; shown in the footer.
    """
    template = page_templates().get_template("report.html")
    return template.render(
        study=findings.spec.name,
        summary=[*summary(findings), standing(findings.study)],
        answer=answer_table(findings.answer),
        reading=reading(findings.answer),
        forecast=forecast_table(findings.answer),
        verdicts=findings.verdicts and verdict_table(findings.verdicts),
        sections=figure_sections(findings),
        teachers=teacher_table(findings.teachers),
        spec=yaml.safe_dump(shown_document(findings.spec), sort_keys=False, allow_unicode=True),
        written=f"{written:%Y-%m-%d %H:%M} UTC",
        versions=_versions(findings.runs),
        style=Markup((TEMPLATES / "style.css").read_text()),  # noqa: S704 - ours
        policy=_POLICY,
    )


def _versions(runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        return ""
    latest = runs[-1]
    packages = ", ".join(f"{package} {version}" for package, version in latest["versions"].items())
    commit = f"; git commit {latest['git_commit'][:12]}" if latest.get("git_commit") else ""
    more = f"; earlier parts ran with {len(runs) - 1} other set(s) of versions" if len(runs) > 1 else ""
    return f"Ran with {packages}{commit}{more}."
