"""`kdsearch verdict`: what a study says of the claims that were written with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdsearch.cli.formats import print_as
from kdsearch.cli.options import formats_option, storage_option
from kdsearch.cli.tables import print_table

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.argument("study")
@click.option(
    "--claims",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Judge the claims of this YAML file instead; the answer says that they were written afterwards.",
)
@storage_option
@formats_option
def verdict(study: str, file: Path | None, storage: str, output: str) -> None:
    """Tell which claims of a study are confirmed, reversed or not resolved."""
    from kdsearch.api import open_study
    from kdsearch.spec.claims_file import load_claims

    opened = open_study(study, storage=storage)
    claims = None if file is None else load_claims(file, opened.spec)
    found = opened.verdict(claims=claims)
    print_as(
        output,
        found.to_dict(),
        table=_table,
        rows=verdict_rows,
        notes=_notes,
        show=_show,
    )


def verdict_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the verdicts, a flat row for each claim."""
    rows = []
    for found in document["verdicts"]:
        row = {**found["claim"], **{name: found[name] for name in found if name != "claim"}}
        for name in ("interval", "interval_at_common"):
            low, high = row.pop(name) or (None, None)
            row |= {f"{name}_low": low, f"{name}_high": high}
        for name, between in (("reasons", "; "), ("notes", " "), ("levels", ", "), ("temperatures", ", ")):
            row[name] = between.join(map(str, row[name]))
        row["where"] = ", ".join(f"{path}={level}" for path, level in row["where"].items())
        rows.append(row)
    return rows


def _show(document: Mapping[str, Any]) -> None:
    if document["verdicts"]:
        print_table(_table(document))
    for note in _notes(document):
        click.echo(note)


def _table(document: Mapping[str, Any]) -> "Table":
    from rich import box
    from rich.table import Table

    from kdsearch.analysis.report.verdict_tables import HEADINGS, verdict_cells

    table = Table(title=f"Verdicts of {document['study']}", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in HEADINGS:
        table.add_column(heading.text, overflow="fold")
    for number, found in enumerate(document["verdicts"], start=1):
        table.add_row(*verdict_cells(number, found))
    return table


def _notes(document: Mapping[str, Any]) -> list[str]:
    from kdsearch.analysis.report.verdict_tables import verdict_notes

    return verdict_notes(document)


COMMANDS = (verdict,)
