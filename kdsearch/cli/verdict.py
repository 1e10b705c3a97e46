"""`kdsearch verdict`: what a study says of its claims."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdsearch.cli.options import formats_option, storage_option, study_argument

if TYPE_CHECKING:
    from kdsearch.analysis.questions.verdicts import VerdictAnswer


@click.command()
@study_argument
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
    from kdsearch.cli.formats import print_as
    from kdsearch.spec.claims_file import load_claims

    opened = open_study(study, storage=storage)
    claims = None if file is None else load_claims(file, opened.spec)
    found = opened.verdict(claims=claims)
    print_as(output, found, lambda: _show(found))


def _show(found: "VerdictAnswer") -> None:
    from kdsearch.cli.tables import print_notes, print_table

    table = found.table()
    if table.rows:
        print_table(table)
    print_notes(table)


COMMANDS = (verdict,)
