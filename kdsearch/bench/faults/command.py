"""Rounds of random faults, each on a study of its own.

Kind and moment are drawn; what must hold is checked after each.
"""

import json
import random
import re
import shutil
import sys
import time
from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import click

from kdsearch.bench.faults.kinds import KINDS, Kind, hindrance
from kdsearch.bench.faults.shared_services import SharedServices
from kdsearch.bench.faults.study import EPOCHS, FaultStudy, MissedError
from kdsearch.bench.faults.trainer import GATE
from kdsearch.cli.options import format_option

_VERDICTS = ("clean", "failed", "not done")


@dataclass(frozen=True)
class Round:
    """The faults that one study met, and what did not hold after them.

    `missed` says of each kind that hit nobody why.
    """

    number: int
    kinds: tuple[str, ...]
    seconds: float
    lost: int
    problems: list[str]
    missed: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Say how it went: what does not hold fails, whether each fault hit somebody or not."""
        if self.problems:
            return "failed"
        return "not done" if self.missed else "clean"


def run_round(
    kinds: Sequence[str], seed: int, folder: Path, services: SharedServices, number: int = 0
) -> Round:
    """Run a study, do faults to it one after the other, and check it.

    It runs in the folder and is checked once it has ended.

    Args:
        kinds: Keys of `KINDS`, in their order. A kind with a cluster of its own, or whose trainer is another,
            goes with its like.
        seed: Decides the faults' moments.
        folder: An empty folder, for all that the study writes.
        services: What rounds share.
        number: The round's number.
    """
    missed = {kind: why for kind in kinds if (why := hindrance(kind))}
    done = [kind for kind in kinds if kind not in missed]
    if not done:
        return Round(number, tuple(kinds), 0.0, 0, [], missed)
    luck = random.Random(f"{seed} {number} {' '.join(done)}")  # noqa: S311 - moments, no secrets
    known = [KINDS[kind] for kind in done]
    start = time.perf_counter()
    with _study(known, folder, luck, services) as study:
        code = _strike(done, study, luck, services, missed)
        seconds = time.perf_counter() - start
        found = study.read()
        right = None
        if found is not None and known[0].distills:
            right = services.reference.curves(found, folder / "study.yaml", study.artifacts)
        problems = study.problems(code, "|".join(one.reason for one in known), right)
    failed = [trial for trial in found.trials if trial.state == "failed"] if found is not None else []
    for kind, one in zip(done, known, strict=True):
        if one.hits and kind not in missed and not any(re.match(one.reason, t.reason or "") for t in failed):
            problems.append(f"no trial failed with {one.reason!r}")
    return Round(number, tuple(kinds), seconds, len(failed), problems, missed)


def _strike(
    kinds: Sequence[str],
    study: FaultStudy,
    luck: random.Random,
    services: SharedServices,
    missed: dict[str, str],
) -> int:
    """Do the faults, let the study run to its end, and return the last launch's exit code.

    Which faults hit nobody is added to `missed`.
    """
    verifying = {}
    for kind in kinds:
        try:
            verifying[kind] = KINDS[kind].strike(study, luck, services)
        except MissedError as error:
            missed[kind] = str(error)
    code = study.finish()
    for kind, verify in verifying.items():
        try:
            if verify is not None:
                verify()
        except MissedError as error:
            missed[kind] = str(error)
    return code


def _study(known: Sequence[Kind], folder: Path, luck: random.Random, services: SharedServices) -> FaultStudy:
    faults = [one.fault for one in known if one.fault is not None]
    latest = min(one.latest for one in known) - len(faults[1:])  # each meets a trial of its own
    meets = {
        "options.faults": " ".join([*([GATE] if len(faults) < len(known) else []), *faults]),
        "options.at": str(luck.randint(1, EPOCHS - 1)),
        "options.first": str(luck.randint(0, latest)),
        "options.folder": str(folder),
        "options.epoch_s": "0",
    }
    distills, own_ray = known[0].distills, any(one.own_ray for one in known)
    settings = ChainMap({} if distills else meets, *(dict(one.settings) for one in known))
    return FaultStudy(
        folder,
        distills=distills,
        settings=settings,
        n_faults=len(known),
        address=None if own_ray else services.address(),
        token="" if own_ray else services.token,
        storage=services.new_database() if any(one.on_server for one in known) else None,
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
            found = run_round([kind], seed, folder, services, number)
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
    missed = "; ".join(found.missed.values())
    said = {"clean": "", "failed": f": {'; '.join(found.problems)}", "not done": f": {missed}"}
    words = f"{found.verdict}{said[found.verdict]}"
    kind = " ".join(found.kinds)
    return f"{found.number:>4} {kind:<10} {found.seconds:6.1f} s {found.lost:>3} failed  {words}"


def _table(done: Sequence[Round]) -> str:
    """Return a table of the rounds' verdicts by kind of fault.

    It also has the mean seconds of a round.
    """
    lines = [f"{'kind':<12}{''.join(f'{verdict:>10}' for verdict in _VERDICTS)}{'s a round':>12}"]
    for kind in (*(kind for kind in KINDS if any(kind in found.kinds for found in done)), "all"):
        own = [found for found in done if kind in (*found.kinds, "all")]
        counts = Counter(found.verdict for found in own)
        mean = sum(found.seconds for found in own) / max(1, len(own))
        lines.append(f"{kind:<12}{''.join(f'{counts[verdict]:>10}' for verdict in _VERDICTS)}{mean:>12.1f}")
    return "\n".join(lines)
