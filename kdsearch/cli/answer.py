"""`kdsearch answer`: the best temperature from runs that exist."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdsearch.cli.options import F, Interval, formats_option, level_option, tolerance_option
from kdsearch.errors import RequestError

if TYPE_CHECKING:
    from kdsearch.analysis.questions.runs import RunsAnswer
    from kdsearch.runs import Asked, Runs


def names(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """Return the names of a text that are separated by commas. None where it was not given."""
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())


def runs_options(function: F) -> F:
    """Add the options that choose runs and name their columns.

    They arrive as keywords.
    """
    options: list[Callable[[F], F]] = [
        click.argument("file", required=False, type=click.Path(path_type=Path)),
        click.option(
            "--setup",
            metavar="A,B",
            callback=names,
            help="Columns whose combinations get an answer each.",
        ),
        click.option("--temperature", metavar="COLUMN", help="The temperature's column."),
        click.option(
            "--tuned",
            metavar="A,B",
            callback=names,
            help="Columns that may be chosen anew at each temperature; guessed: the learning rate.",
        ),
        click.option("--metric", metavar="COLUMN", help="The accuracy's column."),
        click.option("--seed", metavar="COLUMN", help="What tells replicates apart."),
        click.option(
            "--ignore", metavar="A,B", callback=names, help="Columns in which runs may differ without a say."
        ),
        click.option(
            "--unit",
            type=click.Choice(["auto", "percent", "fraction"]),
            default="auto",
            show_default=True,
            help="Of accuracies.",
        ),
        click.option("--optuna", metavar="URL", help="An Optuna storage, instead of a file."),
        click.option("--study", metavar="NAME", help="The study in it."),
        click.option(
            "--points",
            type=Interval(0, min_open=True),
            help="What one percentage point is in the Optuna objective's unit; default: recognised.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@runs_options
@level_option
@tolerance_option
@formats_option
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Write a figure, too: .html, .svg, .pdf or .png."
)
def answer(level: float, tolerance: float, output: str, plot: Path | None, **asked: Any) -> None:
    """Tell the best temperature per setup from runs that exist: a file of runs, or an Optuna study.

    FILE is CSV, TSV, JSON lines, JSON or Parquet, one run a row; exports of W&B and MLflow are such files.
    Columns of usual names need no option: what was guessed is shown.
    """
    from kdsearch.analysis.questions.runs import answer_runs
    from kdsearch.cli.formats import print_as

    if plot is not None:
        check_figure(plot)
    found = answer_runs(read_runs(**asked), level=level, tolerance=tolerance)
    print_as(output, found, lambda: _show(found))
    if plot is not None:
        write_figure(found, plot)


def read_runs(
    *, file: Path | None, optuna: str | None, study: str | None, points: float | None, **asked: Any
) -> "Runs":
    """Return the runs that the options of `runs_options` name.

    Raises:
        RequestError: They name no runs, or some that can't be read.
    """
    from kdsearch.runs import read_table, runs_of

    told = _asked(asked)
    if (file is None) == (optuna is None):
        raise RequestError("`kdsearch answer` must have a FILE of runs, or --optuna URL and --study NAME.")
    if optuna is None and (study is not None or points is not None):
        raise RequestError("`--study` and `--points` go with --optuna URL. Leave them out for a file.")
    if optuna is not None:
        from kdsearch.runs.optuna_runs import load_runs

        return load_runs(optuna, study, told, points=points)
    assert file is not None  # noqa: S101 - one of the two is given
    return runs_of(read_table(file), told)


def _asked(options: Mapping[str, Any]) -> "Asked":
    from kdsearch.runs import Asked

    given = {name: value for name, value in options.items() if value is not None}
    return Asked(**given)


def _show(found: "RunsAnswer") -> None:
    from kdsearch.cli.tables import print_answer, say

    read = found.read
    guessed = set(read["guessed"])
    parts = []
    for role in ("temperature", "metric", "setup", "tuned", "seed"):
        columns = read[role] if isinstance(read[role], list) else [read[role]] if read[role] else []
        if columns:
            parts.append(f"{role} {', '.join(columns)}{' (guessed)' if role in guessed else ''}")
    say(f"Read from {read['source']}: {'; '.join(parts)}; accuracies are {read['unit']}.")
    print_answer(found.answer)
    for note in found.notes:
        say(note)


FIGURES = (".html", ".svg", ".pdf", ".png")
_PICTURE_PX = 1_200  # three panels side by side, each wide enough for its title


def check_figure(path: Path) -> None:
    """Raise RequestError where a figure of this kind can't be written."""
    from importlib.util import find_spec

    if path.suffix.lower() not in FIGURES:
        raise RequestError(f"`--plot` must end with one of {', '.join(FIGURES)}, got {path}.")
    if path.suffix.lower() != ".html" and find_spec("kaleido") is None:
        raise RequestError(
            f"`--plot` needs kaleido to write {path}. Install it: pip install kaleido; or write .html."
        )


def write_figure(found: "RunsAnswer", path: Path) -> None:
    """Write the figure of some answers.

    Raises:
        RequestError: It can't be written.
    """
    from kdsearch.artifacts.files import write_output

    figure, kind = found.figure(), path.suffix.lower()
    try:
        if kind == ".html":
            write_output(path, figure.to_html(include_plotlyjs=True).encode())
        else:
            write_output(path, figure.to_image(format=kind.removeprefix("."), width=_PICTURE_PX))
    except Exception as error:  # kaleido's own depend on its browser
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise RequestError(f"`--plot` can't be written to {path}: {reason}.") from error


COMMANDS = (answer,)
