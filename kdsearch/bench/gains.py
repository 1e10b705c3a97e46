"""What distillation gains, and what each temperature costs, over paired seeds.

The gain is over training alone. For every setup of a study and every temperature, the learning rate is chosen
on some seeds and the accuracy measured on others, so that no temperature suffers from another's learning rate
and none is flattered by the choice. Seeds are shared by all temperatures: differences are paired.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from kdsearch.bench.options import spec_argument
from kdsearch.cli.options import format_option
from kdsearch.distill import train_pack
from kdsearch.spec import TEMPERATURE, Params, Range, Setup, StudySpec, level_label, load_spec

ALONE = "alone"
DEFAULT = "T = 4"
LEARNING_RATE = "optimizer.lr"
TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0, 40.0)  # doublings about the usual 4, and one near the limit


@dataclass(frozen=True)
class Gain:
    """One arm in one setup: accuracies in percent, differences paired by seed, each ± its standard error.

    `gain` is over training alone, `loss` is against T = 4, the default of the literature.
    """

    setup: Setup
    arm: str
    learning_rate: float
    accuracy: float
    gain: float
    gain_error: float
    loss: float
    loss_error: float


@click.command()
@spec_argument
@click.option("--choosing", default=3, show_default=True, help="Seeds that choose each learning rate.")
@click.option("--measured", default=12, show_default=True, help="Fresh seeds that measure.")
@click.option("--rates", default=5, show_default=True, help="Learning rates tried.")
@click.option("--setup", "only", type=int, help="Only the setup of this number, from 0.")
@click.option("--artifacts", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True)
@format_option
def gains_command(
    spec: Path, choosing: int, measured: int, rates: int, only: int | None, artifacts: Path, output: str
) -> None:
    """Measure what distillation gains at each temperature.

    Seeds are paired; training has one thread.
    """
    torch.set_num_threads(1)
    checked = load_spec(spec)
    setups = checked.setups() if only is None else [checked.setups()[only]]
    for gain in measure_gains(checked, setups, artifacts, choosing, measured, rates):
        if output == "json":
            click.echo(json.dumps(asdict(gain)))
            continue
        name = ", ".join(f"{path}={level_label(level)}" for path, level in gain.setup.items())
        click.echo(
            f"{name:<50} {gain.arm:<7} lr {gain.learning_rate:<6.3g} {gain.accuracy:5.1f} "
            f"{gain.gain:+6.2f} ±{gain.gain_error:.2f}, "
            f"lost against T = 4 {gain.loss:+6.2f} ±{gain.loss_error:.2f}"
        )


def measure_gains(
    spec: StudySpec,
    setups: Sequence[Setup],
    artifacts: Path,
    n_choosing: int,
    n_measured: int,
    n_rates: int,
) -> Iterator[Gain]:
    """Yield the gain of every arm in every setup.

    Args:
        spec: The study; its own search is not used.
        setups: Those of its setups that are measured.
        artifacts: Where teachers and soft targets are kept.
        n_choosing: Seeds that choose each arm's learning rate, by validation accuracy.
        n_measured: Fresh seeds that measure the test accuracy.
        n_rates: Learning rates of the range that are tried.
    """
    for setup in setups:
        yield from _measure_setup(spec, setup, artifacts, n_choosing, n_measured, n_rates)


def _measure_setup(
    spec: StudySpec, setup: Setup, artifacts: Path, n_choosing: int, n_measured: int, n_rates: int
) -> list[Gain]:
    arms = _arms()
    rates = _learning_rates(spec, setup, n_rates)
    tried = [{**arm, LEARNING_RATE: rate} for arm, rate in product(arms.values(), rates)]
    chosen = _accuracies(spec, setup, tried, range(n_choosing), artifacts, "val_accuracy")
    best = np.nanmean(chosen, axis=1).reshape(len(arms), len(rates)).argmax(axis=1)
    final = [{**arm, LEARNING_RATE: rates[i]} for arm, i in zip(arms.values(), best, strict=True)]
    seeds = range(n_choosing, n_choosing + n_measured)
    measured = 100 * _accuracies(spec, setup, final, seeds, artifacts, "test_accuracy")
    gains = measured - measured[list(arms).index(ALONE)]
    losses = measured[list(arms).index(DEFAULT)] - measured
    return [
        Gain(
            setup=setup,
            arm=name,
            learning_rate=rates[best[i]],
            accuracy=float(measured[i].mean()),
            gain=float(gains[i].mean()),
            gain_error=float(gains[i].std(ddof=1) / np.sqrt(n_measured)),
            loss=float(losses[i].mean()),
            loss_error=float(losses[i].std(ddof=1) / np.sqrt(n_measured)),
        )
        for i, name in enumerate(arms)
    ]


def _arms() -> dict[str, Params]:
    soft: dict[str, Params] = {f"T = {t:g}": {TEMPERATURE: t} for t in TEMPERATURES}
    return {ALONE: {"objective.alpha": 0.0}, **soft}


def _learning_rates(spec: StudySpec, setup: Setup, n_rates: int) -> list[float]:
    dimension = spec.dimensions(setup).get(LEARNING_RATE)
    if not isinstance(dimension, Range):
        return [spec.resolve(setup, {}).optimizer.lr]
    return [float(dimension.from_unit(unit)) for unit in np.linspace(0, 1, n_rates)]


def _accuracies(
    spec: StudySpec,
    setup: Setup,
    points: Sequence[Params],
    seeds: Sequence[int],
    artifacts: Path,
    metric: str,
) -> NDArray[np.float64]:
    """Return the accuracies [points, seeds]; a student that diverged has none (NaN)."""
    pairs = list(product(points, seeds))
    members = [{**point, "seed": seed} for point, seed in pairs]
    results = train_pack(spec.resolve(setup, {}), members, artifacts=artifacts)
    values = [result.metrics.get(metric, np.nan) for result in results]
    return np.array(values).reshape(len(points), len(seeds))
