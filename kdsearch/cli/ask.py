"""The commands that read a study."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdsearch.cli.completion import factors, study_names
from kdsearch.cli.options import (
    Interval,
    again_with,
    format_option,
    formats_option,
    level_option,
    set_option,
    storage_option,
    study_argument,
    tolerance_option,
    where_option,
)
from kdsearch.errors import RequestError
from kdsearch.intervals import LARGEST_LOSS, SMALLEST_REGRET

if TYPE_CHECKING:
    from kdsearch.analysis import BestAnswer
    from kdsearch.api import Study
    from kdsearch.storage import StudySummary, TrialRow


def print_json(document: Any) -> None:
    """Print one JSON document; what has no number is null, never NaN."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


@click.command()
@storage_option
@format_option
def studies(storage: str, output: str) -> None:
    """List the studies in the database, with state and progress."""
    from kdsearch.analysis.report.flat_rows import study_row
    from kdsearch.cli.formats import print_document
    from kdsearch.storage import list_studies, open_database

    found = list_studies(open_database(storage))
    print_document(
        output,
        lambda: [study.to_dict() for study in found],
        lambda: [study_row(study) for study in found],
        lambda: _show_studies(found),
    )


def _show_studies(found: Sequence["StudySummary"]) -> None:
    from kdsearch.analysis.report.listings import studies_table
    from kdsearch.cli.tables import print_table

    if found:
        print_table(studies_table(found))
    else:
        click.echo("No study yet. Start one: kdsearch launch studies/quickstart.yaml")


@click.command()
@study_argument
@click.option(
    "--by",
    metavar="PATH,PATH",
    shell_complete=factors,
    help="Answer per level of these factors, over all others.",
)
@where_option
@level_option
@tolerance_option
@storage_option
@formats_option
def best(
    study: str,
    by: str | None,
    where: dict[str, Any] | None,
    level: float,
    tolerance: float,
    storage: str,
    output: str,
) -> None:
    """Tell the best temperature per setup, with its uncertainty."""
    from kdsearch.api import open_study
    from kdsearch.cli.formats import print_as

    paths = [path.strip() for path in by.split(",")] if by else None
    asked = open_study(study, storage=storage)
    answer = asked.best(by=paths, where=where, level=level, tolerance=tolerance)
    print_as(output, answer, lambda: _show_best(asked, answer, again_with(storage)))


def _show_best(study: "Study", answer: "BestAnswer", storage: str) -> None:
    from kdsearch.cli.next_commands import print_next, to_reproduce, to_resume
    from kdsearch.cli.tables import print_answer

    print_answer(answer)
    print_next([*to_resume(study.summary(), storage), *to_reproduce(answer, study.spec, storage)])


@click.command()
@study_argument
@click.option(
    "--factor",
    required=True,
    metavar="PATH",
    shell_complete=factors,
    help="The factor whose levels are compared.",
)
@where_option
@level_option
@storage_option
@formats_option
def compare(
    study: str, factor: str, where: dict[str, Any] | None, level: float, storage: str, output: str
) -> None:
    """Tell whether the best temperature depends on a factor."""
    from kdsearch.api import open_study
    from kdsearch.cli.formats import print_as
    from kdsearch.cli.tables import print_comparison

    comparison = open_study(study, storage=storage).compare(factor, where=where, level=level)
    print_as(output, comparison, lambda: print_comparison(comparison))


@click.command()
@set_option
@click.option(
    "--study",
    "studies",
    multiple=True,
    metavar="STUDY",
    shell_complete=study_names,
    help="Draw from this one; default: all.",
)
@level_option
@storage_option
@formats_option
def recommend(
    setup: dict[str, Any], studies: tuple[str, ...], level: float, storage: str, output: str
) -> None:
    """Recommend a temperature for a setup that was not run yet.

    It is drawn from all setups that were.
    """
    from kdsearch.api import recommend as recommend_for
    from kdsearch.cli.formats import print_as
    from kdsearch.cli.tables import print_recommendation

    found = recommend_for(setup, studies=studies or None, storage=storage, level=level)
    print_as(output, found, lambda: print_recommendation(found))


@click.command()
@study_argument
@click.option(
    "--regret",
    type=Interval(SMALLEST_REGRET, LARGEST_LOSS),
    help="Accuracy that a recommended temperature may be expected to lose, a fraction; default: what `best` "
    "goes by, the study's search.stop.regret or 0.002.",
)
@where_option
@storage_option
@formats_option
def forecast(
    study: str, regret: float | None, where: dict[str, Any] | None, storage: str, output: str
) -> None:
    """Report which setups are decided.

    For the others it says about how many more trials they need.
    """
    from kdsearch.api import open_study
    from kdsearch.cli.formats import print_as
    from kdsearch.cli.tables import print_forecast

    found = open_study(study, storage=storage).forecast(regret=regret, where=where)
    print_as(output, found, lambda: print_forecast(found))


@click.command()
@study_argument
@where_option
@level_option
@storage_option
@formats_option
def importance(study: str, where: dict[str, Any] | None, level: float, storage: str, output: str) -> None:
    """Tell what accuracy depends on: parameters, pairs of them, and factors."""
    from kdsearch.api import open_study
    from kdsearch.cli.formats import print_as
    from kdsearch.cli.tables import print_importance

    found = open_study(study, storage=storage).importance(where=where, level=level)
    print_as(output, found, lambda: print_importance(found))


LAST_TRIALS = 200
"""Rows of a table of trials: some screens. The layout of 100,000 takes minutes."""


@click.command()
@study_argument
@storage_option
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help=f"table has the last {LAST_TRIALS} trials, the others have all; parquet goes to a file or a pipe.",
)
@click.option("--all", "show_all", is_flag=True, help="Show all trials in the table too.")
def trials(study: str, storage: str, output: str, show_all: bool) -> None:
    """List every trial, one row each."""
    from kdsearch.analysis.report.flat_rows import trial_row
    from kdsearch.cli.formats import print_document
    from kdsearch.storage import load_trials, open_database

    rows = load_trials(open_database(storage), study)
    if output == "parquet":
        _print_parquet([trial_row(row) for row in rows])
        return
    print_document(
        output,
        lambda: [row.to_dict() for row in rows],
        lambda: [trial_row(row) for row in rows],
        lambda: _show_trials(rows, len(rows) if show_all else LAST_TRIALS),
    )


def _show_trials(rows: Sequence["TrialRow"], most: int) -> None:
    from kdsearch.analysis.report.listings import trials_table
    from kdsearch.cli.tables import print_table, say

    print_table(trials_table(rows[-most:]))
    if most < len(rows):
        say(f"These are the last {most} of {len(rows):,} trials. All: --all, or --format csv, json, parquet.")


def _print_parquet(rows: Sequence[dict[str, Any]]) -> None:
    from kdsearch.analysis.report.flat_rows import one_kind_a_column
    from kdsearch.analysis.shown import frame_of

    if sys.stdout.isatty():
        raise RequestError("`--format parquet` is binary. Send it to a file: … --format parquet > FILE.")
    sys.stdout.buffer.write(frame_of(one_kind_a_column(rows)).to_parquet(index=False))


@click.command()
@storage_option
@format_option
def teachers(storage: str, output: str) -> None:
    """List the teacher recipes, their accuracy and where their artifacts are."""
    from kdsearch.analysis.report.tables import teacher_table
    from kdsearch.cli.formats import print_document
    from kdsearch.cli.tables import print_table
    from kdsearch.storage import load_teachers, open_database

    found = load_teachers(open_database(storage))
    documents = [teacher.to_dict() for teacher in found]
    print_document(
        output,
        lambda: documents,
        lambda: documents,
        lambda: print_table(teacher_table(found, with_files=True)),
    )


@click.command()
@study_argument
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The HTML file to write.")
@storage_option
def report(study: str, out: Path, storage: str) -> None:
    """Write one self-contained page with the answers and the plots."""
    from kdsearch.api import open_study

    click.echo(open_study(study, storage=storage).report(out))


@click.command()
def schema() -> None:
    """Print the JSON schema of a study file, for editors and agents."""
    from kdsearch.spec import study_schema

    print_json(study_schema())


COMMANDS = (studies, best, compare, forecast, importance, recommend, trials, teachers, report, schema)
