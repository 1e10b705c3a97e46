"""What distillation gains over training alone, and what each temperature costs, over paired seeds.

For every setup of a study and every temperature, the learning rate is chosen on some seeds and the
accuracy measured on others, so that no temperature suffers from another's learning rate and none is
flattered by the choice. Seeds are shared by all temperatures: differences are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsearch.distill import Member, train_pack
from kdsearch.spec import TEMPERATURE, Params, Range, Setup, StudySpec

ALONE = "alone"
LEARNING_RATE = "optimizer.lr"
TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0, 40.0)


@dataclass(frozen=True)
class Gain:
    """One arm in one setup: accuracies in percent; the gain over training alone is paired by seed."""

    setup: Setup
    arm: str
    learning_rate: float
    accuracy: float
    gain: float
    gain_error: float


def measure_gains(
    spec: StudySpec, artifacts: Path, *, n_choosing: int = 3, n_measured: int = 12, n_rates: int = 5
) -> list[Gain]:
    """Return the gain of every arm in every setup.

    Args:
        spec: The study; its own search is not used.
        artifacts: Where teachers and soft targets are kept.
        n_choosing: Seeds that choose each arm's learning rate, by validation accuracy.
        n_measured: Fresh seeds that measure the test accuracy.
        n_rates: Learning rates of the range that are tried.
    """
    return [
        gain
        for setup in spec.setups()
        for gain in _measure_setup(spec, setup, artifacts, n_choosing, n_measured, n_rates)
    ]


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
    return [
        Gain(
            setup=setup,
            arm=name,
            learning_rate=rates[best[i]],
            accuracy=float(measured[i].mean()),
            gain=float(gains[i].mean()),
            gain_error=float(gains[i].std(ddof=1) / np.sqrt(n_measured)),
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
    members = [Member(number, seed, point) for number, (point, seed) in enumerate(pairs)]
    results = train_pack(spec.resolve(setup, {}), members, artifacts=artifacts)
    values = [result.metrics.get(metric, np.nan) for result in results]
    return np.array(values).reshape(len(points), len(seeds))
