"""What scheduling costs, against plain Ray Tune and `OptunaSearch`.

Both run the same trials; the cost is what comes beside training. The trials wait a fixed time and do no work.
Each way runs in processes of its own, with few and with many trials: the difference is what a trial costs,
the rest is the start of Ray and of the workers.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from kdsearch.bench.options import rounds_option, spec_argument
from kdsearch.bench.study.spending import Spending, spending_of
from kdsearch.cli.options import format_option

_OURS = {"trainer": "kdsearch.bench.study.waiting:train", "search.pruner": "none"}


@dataclass(frozen=True)
class Run:
    """One run of one way, and what it took beside waiting.

    `trials` is its number of trials.
    """

    way: str
    trials: int
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Overhead:
    """What a way takes beside waiting.

    It is what each trial adds, and what a study takes without any.
    """

    way: str
    trial_wall_s: float
    trial_cpu_s: float
    start_wall_s: float
    start_cpu_s: float


@click.command()
@spec_argument
@click.option("--few", default=16, show_default=True, help="Trials of the small study.")
@click.option("--many", default=144, show_default=True, help="Trials of the large study.")
@click.option("--seconds", default=0.0, show_default=True, help="How long each trial waits.")
@rounds_option
@format_option
def overhead_command(spec: Path, few: int, many: int, seconds: float, rounds: int, output: str) -> None:
    """Measure what scheduling costs a trial against plain Ray Tune and OptunaSearch."""
    runs = [
        measured(way, spec, trials, seconds)
        for _ in range(rounds)
        for trials in (few, many)
        for way in ("plain", "kdsearch")
    ]
    plain, ours = (overhead_of(way, runs) for way in ("plain", "kdsearch"))
    if output == "json":
        found = {"runs": [asdict(run) for run in runs], "overheads": [asdict(plain), asdict(ours)]}
        click.echo(json.dumps(found))
        return
    for way in (plain, ours):
        click.echo(
            f"{way.way:<9} a trial: {1e3 * way.trial_cpu_s:6.0f} ms CPU {1e3 * way.trial_wall_s:6.0f} ms wall"
            f"   start: {way.start_cpu_s:5.1f} s CPU {way.start_wall_s:5.1f} s wall"
        )
    click.echo(
        f"kdsearch / plain, a trial: {ours.trial_cpu_s / plain.trial_cpu_s:.2f} of the CPU time, "
        f"{ours.trial_wall_s / plain.trial_wall_s:.2f} of the wall time"
    )


def measured(way: str, spec: Path, trials: int, seconds: float) -> Run:
    """Run a study of so many waiting trials in one way. What it waited is taken off its wall time.

    Raises:
        RunError: It failed.
    """
    with TemporaryDirectory(prefix="kdsearch-bench-") as folder:
        taken: Spending = spending_of(_command(way, spec, trials, seconds, Path(folder)))
    waited_s = trials * seconds / len(os.sched_getaffinity(0))  # each slot has one CPU
    return Run(way, trials, taken.wall_s - waited_s, taken.cpu_s)


def overhead_of(way: str, runs: list[Run]) -> Overhead:
    """Return what a trial and the start cost in a way.

    They are the least squares through all of its runs.
    """
    own = [run for run in runs if run.way == way]
    design = np.array([[1.0, run.trials] for run in own])
    taken = np.array([[run.wall_s, run.cpu_s] for run in own])
    (start, trial), *_ = np.linalg.lstsq(design, taken)
    return Overhead(way, float(trial[0]), float(trial[1]), float(start[0]), float(start[1]))


def _command(way: str, spec: Path, trials: int, seconds: float, folder: Path) -> list[str]:
    settings = {**_OURS, "search.trials": str(trials), "options.seconds": str(seconds)}
    pairs = ["=".join(item) for item in settings.items()]
    if way == "plain":
        return [sys.executable, "-m", "kdsearch.bench.study.waiting", str(spec), str(folder), *pairs]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    storage = f"sqlite:///{folder / 'study.db'}"
    return [sys.executable, "-m", "kdsearch", "launch", str(spec), "--storage", storage, *overrides]
