"""Whether a study's answers hold against an exhaustive grid of really trained students, its truth.

The truth of a setup is the mean validation accuracy over seeds, at the best learning rate of each
temperature. A study with a tenth of the grid's trials is searched, by the same sampler and the same
training without Ray, and its recommended temperatures are looked up in that truth.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from kdsearch.analysis import best
from kdsearch.distill import Member, train_pack
from kdsearch.search import build_proposer
from kdsearch.spec import TEMPERATURE, Params, Range, Setup, StudySpec, load_spec
from kdsearch.storage import TrialRow

_LR = "optimizer.lr"
_SEED = 10**9  # far from a study's own seeds
_TOLERANCE = 0.005


@dataclass(frozen=True)
class GridScore:
    """One setup's answer in the grid's truth: what it loses, a fraction, and whether it is near-optimal."""

    setup: Setup
    best_of_grid: float
    near_of_grid: tuple[float, float]
    recommended: float
    lost: float
    near: bool


def true_profile(
    spec: StudySpec, setup: Setup, shape: tuple[int, int, int], artifacts: Path
) -> tuple[list[float], NDArray[np.float64]]:
    """Train a setup's grid; return its temperatures and the accuracy at each, at its best learning rate.

    Args:
        spec: A study that tunes temperature and learning rate.
        setup: One of its setups.
        shape: Numbers of temperatures, learning rates and seeds.
        artifacts: The folder of the artifact store.
    """
    n_temperatures, n_rates, n_seeds = shape
    temperatures, rates = (
        _spread(spec.dimensions(setup)[path], n)
        for path, n in ((TEMPERATURE, n_temperatures), (_LR, n_rates))
    )
    cells: list[Params] = [{TEMPERATURE: t, _LR: rate} for t in temperatures for rate in rates]
    rows = _train(spec, setup, cells * n_seeds, _SEED, artifacts)
    accuracies = np.array([row.val_accuracy or 0.0 for row in rows])
    means = accuracies.reshape(n_seeds, n_temperatures, n_rates).mean(axis=0)
    return temperatures, means.max(axis=1)


def _spread(dimension: Any, count: int) -> list[float]:
    assert isinstance(dimension, Range)  # noqa: S101 - the benchmark's specs tune ranges
    return [float(dimension.from_unit(unit)) for unit in np.linspace(0.0, 1.0, count)]


def _train(
    spec: StudySpec, setup: Setup, params: Sequence[Params], first: int, artifacts: Path
) -> list[TrialRow]:
    training = spec.resolve(setup, {}).with_values(setup)
    rows: list[TrialRow] = []
    for start in range(0, len(params), spec.search.pack):
        chunk = params[start : start + spec.search.pack]
        members = [Member(first + start + k, first + start + k, own) for k, own in enumerate(chunk)]
        for own, result in zip(chunk, train_pack(training, members, artifacts=artifacts), strict=True):
            rows.append(
                TrialRow(
                    number=result.number,
                    state=result.state,
                    reason=result.reason,
                    setup=setup,
                    params=own,
                    seed=result.number,
                    epochs=result.epochs,
                    val_accuracy=result.metrics.get("val_accuracy"),
                    test_accuracy=result.metrics.get("test_accuracy"),
                )
            )
    return rows


def searched(spec: StudySpec, artifacts: Path) -> list[TrialRow]:
    """Search a study to its budget of trials, one pack after the other, nothing pruned."""
    proposer = build_proposer(spec)
    rows: list[TrialRow] = []
    while room := spec.search.trials - len(rows):
        proposal = proposer.propose(rows, min(spec.search.pack, room))
        rows += _train(spec, proposal.setup, proposal.params, len(rows), artifacts)
    return rows


def score(
    setup: Setup, temperatures: Sequence[float], truth: NDArray[np.float64], recommended: float
) -> GridScore:
    """Return how good a recommended temperature is in a setup's truth, interpolated in log temperature."""
    at = float(np.interp(np.log(recommended), np.log(temperatures), truth))
    near = [
        t for t, accuracy in zip(temperatures, truth, strict=True) if accuracy >= truth.max() - _TOLERANCE
    ]
    lost = float(truth.max()) - at
    return GridScore(
        setup,
        temperatures[int(truth.argmax())],
        (min(near), max(near)),
        recommended,
        lost,
        lost <= _TOLERANCE,
    )


@click.command("grid")
@click.argument("spec", type=click.Path(path_type=Path), default=Path("studies/quickstart.yaml"))
@click.option("--shape", nargs=3, type=int, default=(12, 6, 5), help="Temperatures, learning rates, seeds.")
@click.option("--trials", type=int, help="Trials of the study; default: a tenth of the grid's.")
@click.option("--artifacts", type=click.Path(path_type=Path), default=Path("~/.cache/kdsearch").expanduser())
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def grid_command(
    spec: Path, shape: tuple[int, int, int], trials: int | None, artifacts: Path, output: str
) -> None:
    """Check a study's answers against an exhaustive grid of trained students."""
    study = load_spec(spec)
    n_trials = trials or len(study.setups()) * int(np.prod(shape)) // 10
    study = study.model_copy(update={"search": study.search.model_copy(update={"trials": n_trials})})
    answers = best(study, searched(study, artifacts)).setups
    scores = []
    for answer in answers:
        temperatures, truth = true_profile(study, answer.setup, shape, artifacts)
        if answer.temperature is not None:
            scores.append(score(answer.setup, temperatures, truth, answer.temperature))
            if output == "table":
                click.echo(_line(scores[-1]))
    if output == "json":
        click.echo(json.dumps([asdict(one) for one in scores]))


def _line(one: GridScore) -> str:
    name = ", ".join(f"{path}={level}" for path, level in one.setup.items())
    low, high = one.near_of_grid
    return (
        f"{name:<55} grid's best T {one.best_of_grid:5.1f}, near-optimal {low:.1f} to {high:.1f}; "
        f"recommended {one.recommended:5.1f} loses {100 * one.lost:.2f} points"
    )
