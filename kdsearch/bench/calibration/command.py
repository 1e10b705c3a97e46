"""`python -m kdsearch.bench calibration`: whether answers hold where they were not built.

Three parts: families of shapes, tables of really trained students, and the quickstart. Every search is read
by the public answer; losses are points of accuracy against the best temperature, other parameters at their
best.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import click

from kdsearch.bench.calibration.campaign import Case, Part, Result, run_case
from kdsearch.bench.calibration.rivals import SEARCHES
from kdsearch.bench.calibration.shapes import FAMILIES
from kdsearch.bench.calibration.summaries import summaries_of, table
from kdsearch.bench.calibration.table_world import shipped
from kdsearch.bench.calibration.targets import targets_of
from kdsearch.bench.campaigns import results_of
from kdsearch.bench.options import jobs_option, results_option

_QUICKSTART = "quickstart"
# Numbers of trials at which studies are answered, by hand: from an early look to the budget.
_CHECKPOINTS: dict[str, tuple[int, ...]] = {
    "shapes": (96, 144, 192),
    "tables": (64, 96, 144, 192, 288),
    "quickstart": (32, 64, 96, 160),
    "trained quickstart": (32, 64, 96, 160),
}
_TEN = 10  # the quickstart's studies at most


@click.command("calibration")
@click.option("--part", "parts", multiple=True, type=click.Choice(["shapes", "tables", "quickstart"]))
@click.option("--kind", "kinds", multiple=True, help="Families, or names or paths of tables. Default: all.")
@click.option("--search", "searches", multiple=True, type=click.Choice(SEARCHES), default=SEARCHES)
@click.option("--trials", "checkpoints", multiple=True, type=int, help="When studies are answered.")
@click.option("--studies", default=20, show_default=True, help="Studies of each kind; of the quickstart 10.")
@click.option("--seed", default=0, help="Seed of the first study.")
@click.option("--train", is_flag=True, help="Train the quickstart's students instead of looking them up.")
@jobs_option
@results_option
def calibration_command(
    parts: Sequence[Part],
    kinds: Sequence[str],
    searches: Sequence[str],
    checkpoints: Sequence[int],
    studies: int,
    seed: int,
    train: bool,
    jobs: int,
    out: Path | None,
) -> None:
    """Measure answers on shapes from outside and on really trained students."""
    cases = [
        Case(part, kind, search, one, tuple(sorted(checkpoints)) or _CHECKPOINTS[part])
        for part, kind in _subjects(parts or ("shapes", "tables", "quickstart"), kinds, train)
        for search, one in product(searches, range(seed, seed + _studies(part, studies)))
    ]
    results = results_of(cases, run_case, Result.from_line, jobs=jobs, out=out)
    summaries = summaries_of(results)
    click.echo("\n".join(table(summaries)))
    click.echo("\n".join(["", "Targets:", *(target.line() for target in targets_of(summaries))]))


def _studies(part: str, studies: int) -> int:
    return min(studies, _TEN) if "quickstart" in part else studies


def _subjects(parts: Sequence[Part], kinds: Sequence[str], train: bool) -> list[tuple[Part, str]]:
    """Return what is studied in each part.

    Raises:
        click.UsageError: A kind is neither a family nor a table.
    """
    tables = [name for name in shipped() if name != _QUICKSTART]
    known: list[tuple[Part, str]] = []
    if "shapes" in parts:
        known += [("shapes", family) for family in FAMILIES]
    if "tables" in parts:
        known += [("tables", name) for name in tables]
        known += [("tables", kind) for kind in kinds if kind.endswith(".npz")]
    if "quickstart" in parts and _QUICKSTART in shipped():
        known.append(("trained quickstart" if train else "quickstart", _QUICKSTART))
    names = [name for _, name in known]
    for kind in kinds:
        if kind not in names:
            raise click.UsageError(f"`--kind` must be one of {', '.join(names)} or an npz file, got {kind}.")
    return [(part, kind) for part, kind in known if not kinds or kind in kinds]
