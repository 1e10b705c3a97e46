"""A trainer of whole packs that only waits: the students of `scale`."""

import math
import random
import time
from collections.abc import Sequence

from kdsearch.spec import TEMPERATURE
from kdsearch.trial import Metrics, PackReport, Trial

_BEST_TEMPERATURE, _BEST_RATE = 6.0, 0.1  # inside the ranges, so that there is something to find


def train(trials: Sequence[Trial], report: PackReport) -> list[Metrics]:
    """Wait `options.seconds` in all and report computed accuracies.

    They follow from temperature, rate and seed.
    """
    n_epochs = trials[0].epochs
    finals = [_accuracy(trial) for trial in trials]
    for epoch in range(1, n_epochs + 1):
        time.sleep(float(str(trials[0].spec.options["seconds"])) / n_epochs)
        pairs = zip(trials, finals, strict=True)
        report(epoch, {t.number: {"val_accuracy": final * epoch / n_epochs} for t, final in pairs})
    return [{"val_accuracy": final} for final in finals]


def _accuracy(trial: Trial) -> float:
    temperature, rate = trial.params[TEMPERATURE], trial.params["optimizer.lr"]
    far = math.log(temperature / _BEST_TEMPERATURE) ** 2 + math.log(rate / _BEST_RATE) ** 2
    return 0.9 - 0.01 * far + random.Random(trial.seed).gauss(0.0, 0.003)  # noqa: S311 - noise, no secret
