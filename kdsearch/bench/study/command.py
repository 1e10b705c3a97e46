"""A study's trials a minute, against plain Ray Tune and Optuna.

The plain script runs the same trials. Both run in processes of their own, in turns, the start of Ray
included, with the teachers trained before.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click

from kdsearch.bench.options import rounds_option, spec_argument
from kdsearch.cli.options import format_option
from kdsearch.distill.teachers.made import ensure_teacher, recipe_of
from kdsearch.spec import load_spec


@dataclass(frozen=True)
class Run:
    """One run of one way: wall seconds, the start of Ray included, and trials a minute."""

    way: str
    wall_s: float
    trials_per_minute: float


@click.command()
@spec_argument
@click.option("--trials", default=64, show_default=True, help="Trials of each study.")
@rounds_option
@format_option
def study_command(spec: Path, trials: int, rounds: int, output: str) -> None:
    """Measure trials per minute against a plain Ray Tune and OptunaSearch script."""
    with TemporaryDirectory(prefix="kdsearch-bench-") as folder:
        artifacts = Path(folder)
        _train_teachers(spec, artifacts)
        runs = [
            _timed(way, _command(way, spec, trials, artifacts, turn), trials)
            for turn in range(rounds)
            for way in ("plain", "kdsearch")
        ]
    if output == "json":
        click.echo(json.dumps([asdict(run) for run in runs]))
        return
    for run in runs:
        click.echo(f"{run.way:<9} {run.wall_s:7.1f} s {run.trials_per_minute:7.1f} trials/min")
    click.echo(f"kdsearch / plain: {_ratio(runs):.1f} times the trials per minute")


def _train_teachers(spec: Path, artifacts: Path) -> None:
    study = load_spec(spec)
    for setup in study.setups():
        ensure_teacher(recipe_of(study.resolve(setup, {})), artifacts)


def _command(way: str, spec: Path, trials: int, artifacts: Path, turn: int) -> list[str]:
    budget = f"search.trials={trials}"
    if way == "plain":
        return [sys.executable, "-m", "kdsearch.bench.study.plain_study", str(spec), str(artifacts), budget]
    database = f"sqlite:///{artifacts / f'{turn}.db'}"
    overrides = ["--set", budget, "--set", f"artifacts={artifacts}"]
    return [sys.executable, "-m", "kdsearch", "launch", str(spec), "--storage", database, *overrides]


def _timed(way: str, command: list[str], trials: int) -> Run:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    wall = time.perf_counter() - start
    return Run(way, wall, 60 * trials / wall)


def _ratio(runs: list[Run]) -> float:
    ours = median(run.trials_per_minute for run in runs if run.way == "kdsearch")
    return ours / median(run.trials_per_minute for run in runs if run.way == "plain")
