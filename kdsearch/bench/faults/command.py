"""Rounds of faults of random kind and moment, each on a study of its own: what must hold holds after each."""

import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from kdsearch.bench.faults.kinds import KINDS, hindrance
from kdsearch.bench.faults.study import EPOCHS, FaultStudy
from kdsearch.cli.options import format_option


@dataclass(frozen=True)
class Round:
    """One fault and what did not hold after it; none of `problems` is a clean round."""

    number: int
    kind: str
    seconds: float
    lost: int
    problems: list[str]


def run_round(kind: str, seed: int, folder: Path, number: int = 0) -> Round:
    """Launch a study in a folder, do a fault of a kind to it, and check it once it has ended.

    Args:
        kind: A key of `KINDS`.
        seed: Decides the fault's moment.
        folder: An empty folder, for all that the study writes.
        number: The round's number.
    """
    luck = random.Random(f"{seed} {number} {kind}")  # noqa: S311 - moments, no secrets
    known = KINDS[kind]
    settings = dict(known.settings)
    if not known.distills:
        once = {"fault": kind, "at": str(luck.randint(1, EPOCHS - 1)), "once": str(folder / "once")}
        fault = {f"options.{name}": value for name, value in once.items()}
        settings = {"options.epoch_s": "0.1", **fault, **settings}
    study = FaultStudy(folder, distills=known.distills, settings=settings)
    start = time.perf_counter()
    code = known.run(study, luck)
    seconds = time.perf_counter() - start
    lost = sum(row.state == "failed" for row in study.rows())
    return Round(number, kind, seconds, lost, study.problems(code, known.reason, known.hits))


@click.command()
@click.option("--rounds", default=50, show_default=True, help="How many faults.")
@click.option("--seed", default=0, show_default=True, help="Decides kinds and moments.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only these kinds.")
@format_option
def faults_command(rounds: int, seed: int, kinds: tuple[str, ...], output: str) -> None:
    """Do faults to running studies, and check that nothing is lost."""
    done = []
    for number, kind in enumerate(_kinds(rounds, seed, kinds)):
        with TemporaryDirectory(prefix="kdsearch-faults-") as folder:
            found = run_round(kind, seed, Path(folder), number)
        done.append(found)
        click.echo(_line(found), err=output == "json")
    clean = sum(not found.problems for found in done)
    if output == "json":
        click.echo(json.dumps([asdict(found) for found in done]))
    else:
        counts = Counter(found.kind for found in done)
        click.echo(
            f"{clean} of {len(done)} rounds clean: " + ", ".join(f"{n} {k}" for k, n in counts.items())
        )
    sys.exit(clean < len(done))


def _kinds(rounds: int, seed: int, kinds: tuple[str, ...]) -> list[str]:
    """Return a kind for each round: all kinds equally often, in random order."""
    chosen = [kind for kind in kinds or KINDS if hindrance(kind) is None]
    drawn = [chosen[number % len(chosen)] for number in range(rounds)]
    random.Random(seed).shuffle(drawn)  # noqa: S311 - as above
    return drawn


def _line(found: Round) -> str:
    verdict = "clean" if not found.problems else "; ".join(found.problems)
    return f"{found.number:>4} {found.kind:<8} {found.seconds:6.1f} s {found.lost:>3} failed  {verdict}"
