"""Whether a study's answers hold against an exhaustive grid of really trained students, its truth.

The truth of a setup is its test accuracy over temperature, which no study selects by: in each cell of the
grid the mean over seeds that all cells share, at the learning rate that validation says is each
temperature's best, smoothed by a cubic in log temperature. Without the smoothing the best of many noisy
means would be luck. A study with a tenth of the grid's trials is searched, by the same sampler and the same
training without Ray, and its recommended temperatures are looked up in that truth.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from kdsearch.analysis import best
from kdsearch.bench.options import spec_argument
from kdsearch.cli.options import format_option
from kdsearch.distill import Member, train_pack
from kdsearch.search import build_proposer
from kdsearch.spec import TEMPERATURE, Params, Range, Setup, StudySpec, load_spec
from kdsearch.storage import TrialRow

_LR = "optimizer.lr"
_SEED = 10**9  # far from a study's own seeds
_TOLERANCE = 0.005
_DEGREE = 3


@dataclass(frozen=True)
class GridScore:
    """One setup's answer in the grid's truth: what it loses ± the truth's own standard error, as fractions.

    It is near-optimal where it loses at most half a point.
    """

    setup: Setup
    best_of_grid: float
    near_of_grid: tuple[float, float]
    recommended: float
    lost: float
    error: float
    near: bool


@dataclass(frozen=True)
class Truth:
    """A setup's accuracy over temperature: a cubic in log temperature, with its covariance.

    Attributes:
        temperatures: Those of the grid.
        coefficients: Of the powers 0 to 3 (fewer on four temperatures or less) of the position in the
            range of log temperature.
        covariance: Theirs.
    """

    temperatures: list[float]
    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, temperatures: Sequence[float], accuracies: NDArray[np.float64]) -> "Truth":
        """Fit accuracies [S, U] of seeds that all temperatures share."""
        n_seeds = len(accuracies)
        powers = _powers(temperatures, temperatures)
        mean = accuracies.mean(axis=0)
        coefficients = np.linalg.lstsq(powers, mean, rcond=None)[0]
        scatter = accuracies - mean - (accuracies.mean(axis=1, keepdims=True) - mean.mean())
        degrees = max((n_seeds - 1) * (len(mean) - 1), 1)
        variance = (scatter**2).sum() / degrees / n_seeds
        return cls(list(temperatures), coefficients, variance * np.linalg.inv(powers.T @ powers))

    def profile(self) -> NDArray[np.float64]:
        """Return the accuracy at the grid's temperatures."""
        return np.asarray(_powers(self.temperatures, self.temperatures) @ self.coefficients)

    def loss(self, temperature: float) -> tuple[float, float]:
        """Return what a temperature loses against the grid's best, and the standard error of that."""
        best = self.temperatures[int(self.profile().argmax())]
        here, there = _powers([temperature, best], self.temperatures)
        apart = there - here
        return float(apart @ self.coefficients), float(np.sqrt(apart @ self.covariance @ apart))


def _powers(temperatures: Sequence[float], span: Sequence[float]) -> NDArray[np.float64]:
    position = np.log(np.array(temperatures) / span[0]) / np.log(span[-1] / span[0])
    return np.vander(position, min(_DEGREE + 1, len(span)), increasing=True)


def true_profile(spec: StudySpec, setup: Setup, shape: tuple[int, int, int], artifacts: Path) -> Truth:
    """Train a setup's grid.

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
    seeds = np.repeat(np.arange(n_seeds), len(cells)) + _SEED
    rows = _train(spec, setup, cells * n_seeds, seeds.tolist(), artifacts)
    pairs = [(row.val_accuracy or 0.0, row.test_accuracy or 0.0) for row in rows]
    measured = np.array(pairs).reshape(n_seeds, n_temperatures, n_rates, 2)
    best_rates = measured[..., 0].mean(axis=0).argmax(axis=1)
    return Truth.of(temperatures, measured[:, np.arange(n_temperatures), best_rates, 1])


def _spread(dimension: Any, count: int) -> list[float]:
    assert isinstance(dimension, Range)  # noqa: S101 - the benchmark's specs tune ranges
    return [float(dimension.from_unit(unit)) for unit in np.linspace(0.0, 1.0, count)]


def _train(
    spec: StudySpec, setup: Setup, params: Sequence[Params], seeds: Sequence[int], artifacts: Path
) -> list[TrialRow]:
    training = spec.resolve(setup, {}).with_values(setup)
    rows: list[TrialRow] = []
    for start in range(0, len(params), spec.search.pack):
        chunk = params[start : start + spec.search.pack]
        members = [Member(start + k, seeds[start + k], own) for k, own in enumerate(chunk)]
        for own, result in zip(chunk, train_pack(training, members, artifacts=artifacts), strict=True):
            rows.append(
                TrialRow(
                    number=result.number,
                    state=result.state,
                    reason=result.reason,
                    setup=setup,
                    params=own,
                    seed=seeds[result.number],
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
        proposal = proposer.propose(rows, min(spec.pack_size, room))
        seeds = range(len(rows), len(rows) + len(proposal.params))
        found = _train(spec, proposal.setup, proposal.params, seeds, artifacts)
        rows += [replace(row, number=row.seed) for row in found]
    return rows


def score(setup: Setup, truth: Truth, recommended: float) -> GridScore:
    """Return how good a recommended temperature is in a setup's truth."""
    profile = truth.profile()
    near = [
        t
        for t, accuracy in zip(truth.temperatures, profile, strict=True)
        if accuracy >= profile.max() - _TOLERANCE
    ]
    lost, error = truth.loss(recommended)
    return GridScore(
        setup=setup,
        best_of_grid=truth.temperatures[int(profile.argmax())],
        near_of_grid=(min(near), max(near)),
        recommended=recommended,
        lost=lost,
        error=error,
        near=lost <= _TOLERANCE,
    )


@click.command("grid")
@spec_argument
@click.option("--shape", nargs=3, type=int, default=(12, 6, 5), help="Temperatures, learning rates, seeds.")
@click.option("--trials", type=int, help="Trials of the study; default: a tenth of the grid's.")
@click.option("--artifacts", type=click.Path(path_type=Path), default=Path("~/.cache/kdsearch").expanduser())
@format_option
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
        if answer.temperature is not None:
            truth = true_profile(study, answer.setup, shape, artifacts)
            scores.append(score(answer.setup, truth, answer.temperature))
            if output == "table":
                click.echo(_line(scores[-1]))
    if output == "json":
        click.echo(json.dumps([asdict(one) for one in scores]))


def _line(one: GridScore) -> str:
    name = ", ".join(f"{path}={level}" for path, level in one.setup.items())
    low, high = one.near_of_grid
    return (
        f"{name:<55} grid's best T {one.best_of_grid:5.1f}, near-optimal {low:.1f} to {high:.1f}; "
        f"recommended {one.recommended:5.1f} loses {100 * one.lost:.2f}±{100 * one.error:.2f} points"
    )
