"""Answers in every format: as the terminal's table, JSON, CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from kdsearch.cli.ask import print_json

if TYPE_CHECKING:
    from kdsearch.analysis.shown import Shown


def print_as(output: str, answer: "Shown", show: Callable[[], None]) -> None:
    """Print an answer in one of `FORMATS`.

    Args:
        output: The format.
        answer: Has its document, its table, for Markdown and LaTeX, and its rows with every number, for CSV.
        show: Prints it for the terminal.
    """
    if output in ("markdown", "latex"):
        from kdsearch.analysis.questions.best import BestAnswer
        from kdsearch.analysis.report.inks import latex_of, markdown_of
        from kdsearch.analysis.report.tables import terms_of

        table, draw = answer.table(), markdown_of if output == "markdown" else latex_of
        best = getattr(answer, "answer", answer)  # runs of a file come with what was read of them
        terms = terms_of(best) if isinstance(best, BestAnswer) else []
        click.echo(draw(table, [*terms, *(f"{name}: {note}" for name, note in table.notes)]))
    else:
        print_document(output, answer.to_dict, answer.rows, show)
        if output == "csv" and not answer.rows():
            click.echo("\n".join(": ".join(note) for note in answer.table().notes), err=True)


def print_document(
    output: str,
    document: Callable[[], Any],
    rows: Callable[[], Sequence[dict[str, Any]]],
    show: Callable[[], None],
) -> None:
    """Print a document for the terminal, as JSON or as CSV.

    Args:
        output: The format.
        document: Returns what JSON has.
        rows: Returns what CSV has, a row each.
        show: Prints it for the terminal.
    """
    if output == "json":
        print_json(document())
    elif output == "csv":
        click.echo(csv_text(rows()), nl=False)
    else:
        show()


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV. What has no number is empty, recipes are JSON texts."""
    from kdsearch.analysis.report.flat_rows import one_kind_a_column

    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(one_kind_a_column(rows))
    return out.getvalue()
