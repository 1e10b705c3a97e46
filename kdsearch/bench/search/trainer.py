"""A trainer that computes a simulated student's accuracy.

Nothing is trained; it serves a launched study.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.storage import DIVERGED
from kdsearch.trial import Metrics, Trial


def train(trial: Trial, report: Callable[[int, Metrics], bool]) -> Metrics:
    """Return the accuracy that the study's truth gives a trial.

    It has the noise of the trial's seed.

    Raises:
        RuntimeError: The student was lost, as in scenarios with failures.
    """
    study = _study(tuple(trial.spec.options.items()))
    accuracy, reason = study.outcome(trial.setup, trial.params, trial.seed)
    if accuracy is None and reason != DIVERGED:
        raise RuntimeError(reason)
    metrics = {"val_accuracy": float("nan") if accuracy is None else accuracy}
    report(trial.epochs, metrics)
    return metrics if accuracy is None else {**metrics, "test_accuracy": accuracy}


@lru_cache
def _study(options: tuple[tuple[str, Any], ...]) -> SimulatedStudy:
    """Return the study of a spec's options. A worker needs it for every trial."""
    given = dict(options)
    levels = [int(count) for count in cast("str", given.pop("levels")).split("x")]
    return simulated_study(given.pop("scenario"), given.pop("seed"), levels=levels, **given)
