"""Answers as CSV, Markdown and LaTeX: the numbers of the terminal's tables, for papers and spreadsheets."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from kdsearch.cli.ask import print_json
from kdsearch.spec import level_label

if TYPE_CHECKING:
    from rich.table import Table

Document = Mapping[str, Any]

_LATEX = {
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_"},
    **{"{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "×": r"$\times$", "→": r"$\to$", "–": "--", "<": "$<$", ">": "$>$"},
}
_PAIRS = ("interval", "near_optimal", "accuracy_interval")


def print_as(
    output: str,
    document: Document,
    *,
    table: "Callable[[Document], Table]",
    rows: Callable[[Document], Sequence[Document]],
    notes: Callable[[Document], Sequence[str]],
    show: Callable[[Document], None],
) -> None:
    """Print a document in one of `FORMATS`.

    Args:
        output: The format.
        document: The document.
        table: Makes its table, for Markdown and LaTeX.
        rows: Makes its rows with every number, for CSV.
        notes: Makes the sentences without which the table is not to be believed.
        show: Prints it for the terminal.
    """
    if output == "table":
        show(document)
    elif output == "json":
        print_json(document)
    elif output == "csv":
        click.echo(csv_text(rows(document)), nl=False)
    else:
        text = markdown_text if output == "markdown" else latex_text
        click.echo(text(table(document), notes(document)))


def csv_text(rows: Sequence[Document]) -> str:
    """Return rows as CSV; what has no number is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def markdown_text(table: "Table", notes: Sequence[str]) -> str:
    """Return a table in Markdown, its notes as a list below it."""
    heads, rows = _cells(table)
    lines = [heads, [_rule(column) for column in table.columns], *rows]
    text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return "\n".join([text, *(["", *(f"- {note}" for note in notes)] if notes else [])])


def latex_text(table: "Table", notes: Sequence[str]) -> str:
    """Return a table in LaTeX, with the rules of booktabs; its notes stand below it."""
    heads, rows = _cells(table)
    columns = "".join("r" if column.justify == "right" else "l" for column in table.columns)
    body = [" & ".join(map(_latex, line)) + r" \\" for line in rows]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(map(_latex, heads)) + r" \\"]
    lines += [r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(rf"\par\footnotesize {_latex(note)}" for note in notes)])


def _cells(table: "Table") -> tuple[list[str], list[list[str]]]:
    columns = [list(map(str, column.cells)) for column in table.columns]
    return [str(column.header) for column in table.columns], [list(row) for row in zip(*columns, strict=True)]


def _rule(column: Any) -> str:
    return "---:" if column.justify == "right" else "---"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text.replace(" … ", "–"))


def answer_rows(document: Document) -> list[dict[str, Any]]:
    """Return the answers of `best`, a flat row for each setup."""
    return [_answer_row(setup, document) for setup in document["setups"]]


def _answer_row(setup: Document, document: Document) -> dict[str, Any]:
    forecast = setup["forecast"] or {}
    pairs = {f"{name}_{end}": at for name in _PAIRS for end, at in _ends(setup[name])}
    return {
        **{path: level_label(level) for path, level in setup["setup"].items()},
        "temperature": setup["temperature"],
        "level": document["level"],
        **pairs,
        **{name: setup[name] for name in ("interval_loss", "accuracy", "test_accuracy")},
        **(setup["params"] or {}),
        **{f"lost_at_{default}": lost for default, lost in (setup["regret_of"] or {}).items()},
        **{name: setup[name] for name in ("trials", "failed", "pruned")},
        "expected_loss": forecast.get("regret"),
        "decided": bool(forecast.get("decided")),
        "reason": setup["reason"],
        "notes": "; ".join([*forecast.get("missing", ()), *setup["warnings"]]),
    }


def _ends(pair: Sequence[float] | None) -> list[tuple[str, float | None]]:
    low, high = pair or (None, None)
    return [("low", low), ("high", high)]


def comparison_rows(document: Document) -> list[dict[str, Any]]:
    """Return what `compare` found, a flat row for each pair of levels."""
    return [
        {
            "factor": document["factor"],
            **dict(zip(("from", "to"), map(level_label, pair["levels"]), strict=True)),
            **{"log_shift": pair["shift"], "level": document["level"]},
            **{f"log_shift_{end}": at for end, at in _ends(pair["interval"])},
            **{"probability": pair["probability"], "cost": pair["cost"]},
        }
        for pair in document["pairs"]
    ]


def forecast_rows(document: Document) -> list[dict[str, Any]]:
    """Return what `forecast` found, a flat row for each setup."""
    return [
        {
            **{path: level_label(level) for path, level in setup["setup"].items()},
            **{name: setup[name] for name in ("trials", "regret", "decided")},
            **dict(
                zip(
                    ("more_best", "more_likely", "more_worst"),
                    setup["more_trials"] or [None] * 3,
                    strict=True,
                )
            ),
            **{name: setup[name] for name in ("hours", "reason", "stopped")},
            "missing": "; ".join(setup["missing"]),
        }
        for setup in document["setups"]
    ]
