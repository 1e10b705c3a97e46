"""Rounds of random faults, each on a study of its own.

Kind and moment are drawn; what must hold is checked after each.
"""

import json
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp

import click

from kdsearch.bench.faults.kinds import KINDS, Kind, hindrance
from kdsearch.bench.faults.shared_services import SharedServices
from kdsearch.bench.faults.study import EPOCHS, FaultStudy, MissedError
from kdsearch.cli.options import format_option

_VERDICTS = ("clean", "failed", "not done")


@dataclass(frozen=True)
class Round:
    """One fault and what did not hold after it.

    `missed` says why it hit nobody, if it did not.
    """

    number: int
    kind: str
    seconds: float
    lost: int
    problems: list[str]
    missed: str | None = None

    @property
    def verdict(self) -> str:
        """Say how it went: what does not hold fails, whether the fault hit somebody or not."""
        if self.problems:
            return "failed"
        return "clean" if self.missed is None else "not done"


def run_round(kind: str, seed: int, folder: Path, services: SharedServices, number: int = 0) -> Round:
    """Run a study, do a fault to it, and check it.

    It runs in the folder and is checked once it has ended.

    Args:
        kind: A key of `KINDS`.
        seed: Decides the fault's moment.
        folder: An empty folder, for all that the study writes.
        services: What rounds share.
        number: The round's number.
    """
    if why := hindrance(kind):
        return Round(number, kind, 0.0, 0, [], why)
    luck = random.Random(f"{seed} {number} {kind}")  # noqa: S311 - moments, no secrets
    known = KINDS[kind]
    start, missed = time.perf_counter(), None
    with _study(known, folder, luck, services) as study:
        try:
            code = known.run(study, luck, services)
        except MissedError as error:
            code, missed = error.code, str(error)
        seconds = time.perf_counter() - start
        found = study.read()
        right = None
        if known.distills and found is not None:
            right = services.reference.curves(found, folder / "study.yaml", study.artifacts)
        problems = study.problems(code, known.reason, right)
    failed = [trial for trial in found.trials if trial.state == "failed"] if found is not None else []
    if known.hits and missed is None and not any(re.match(known.reason, t.reason or "") for t in failed):
        problems.append(f"no trial failed with {known.reason!r}")
    return Round(number, kind, seconds, len(failed), problems, missed)


def _study(known: Kind, folder: Path, luck: random.Random, services: SharedServices) -> FaultStudy:
    meets = {
        "options.fault": known.fault,
        "options.at": str(luck.randint(1, EPOCHS - 1)),
        "options.first": str(luck.randint(0, known.latest)),
        "options.folder": str(folder),
        "options.epoch_s": "0",
    }
    return FaultStudy(
        folder,
        distills=known.distills,
        settings={**({} if known.distills else meets), **known.settings},
        address=None if known.own_ray else services.address(),
        token="" if known.own_ray else services.token,
        storage=services.new_database() if known.on_server else None,
    )


@click.command()
@click.option("--rounds", default=50, show_default=True, help="How many faults.")
@click.option("--seed", default=0, show_default=True, help="Decides kinds and moments.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only these kinds.")
@format_option
def faults_command(rounds: int, seed: int, kinds: tuple[str, ...], output: str) -> None:
    """Do faults to running studies, and check that nothing is lost.

    A round whose fault hit nobody is not done: neither clean nor failed. Exit code 1: a round failed, or none
    was clean.
    """
    done = []
    with SharedServices() as services:
        for number, kind in enumerate(_kinds(rounds, seed, kinds)):
            folder = Path(mkdtemp(prefix="kdsearch-faults-"))
            found = run_round(kind, seed, folder, services, number)
            done.append(found)
            click.echo(_line(found), err=output == "json")
            if found.problems:
                click.echo(f"     its files are in {folder}", err=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
    if output == "json":
        click.echo(json.dumps([{**asdict(found), "verdict": found.verdict} for found in done]))
    else:
        click.echo(_table(done))
    verdicts = Counter(found.verdict for found in done)
    sys.exit(verdicts["failed"] > 0 or verdicts["clean"] == 0)


def _kinds(rounds: int, seed: int, kinds: tuple[str, ...]) -> list[str]:
    """Return a kind for each round: all kinds equally often, in random order."""
    luck = random.Random(seed)  # noqa: S311 - as above
    chosen = list(kinds or KINDS)
    luck.shuffle(chosen)
    drawn = [chosen[number % len(chosen)] for number in range(rounds)]
    luck.shuffle(drawn)
    return drawn


def _line(found: Round) -> str:
    said = {"clean": "", "failed": f": {'; '.join(found.problems)}", "not done": f": {found.missed}"}
    words = f"{found.verdict}{said[found.verdict]}"
    return f"{found.number:>4} {found.kind:<10} {found.seconds:6.1f} s {found.lost:>3} failed  {words}"


def _table(done: Sequence[Round]) -> str:
    """Return a table of the rounds' verdicts by kind of fault.

    It also has the mean seconds of a round.
    """
    lines = [f"{'kind':<12}{''.join(f'{verdict:>10}' for verdict in _VERDICTS)}{'s a round':>12}"]
    for kind in (*(kind for kind in KINDS if any(found.kind == kind for found in done)), "all"):
        own = [found for found in done if kind in (found.kind, "all")]
        counts = Counter(found.verdict for found in own)
        mean = sum(found.seconds for found in own) / max(1, len(own))
        lines.append(f"{kind:<12}{''.join(f'{counts[verdict]:>10}' for verdict in _VERDICTS)}{mean:>12.1f}")
    return "\n".join(lines)
