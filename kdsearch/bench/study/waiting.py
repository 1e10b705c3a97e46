"""A training that takes a fixed time and no work: the trials of `overhead`.

Run as a script, it is the plain study: one student a Ray trial, sampled by `OptunaSearch`.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdsearch.spec import TEMPERATURE, StudySpec
from kdsearch.trial import Metrics, Trial


def train(trial: Trial, report: Callable[[int, Metrics], bool]) -> Metrics:
    """Wait `options.seconds` in all and report a computed accuracy.

    It follows from the temperature.
    """
    last: Metrics = {}
    for epoch, last in _epochs(trial.params, trial.epochs, trial.spec.options):
        report(epoch, last)
    return last


def wait_plainly(spec: StudySpec, folder: Path) -> int:
    """Run the spec's trials by Ray Tune and Optuna alone.

    Returns how many ended.
    """
    from ray import tune

    from kdsearch.bench.study.plain_tune import tune_plainly

    def train_one(config: dict[str, Any]) -> None:
        for _, metrics in _epochs(config, spec.training.epochs, spec.options):
            tune.report(metrics)

    return tune_plainly(train_one, spec, folder)


def _epochs(
    params: Mapping[str, Any], epochs: int, options: Mapping[str, Any]
) -> Iterator[tuple[int, Metrics]]:
    for epoch in range(1, epochs + 1):
        time.sleep(options["seconds"] / epochs)
        far = math.log(params[TEMPERATURE] / 6) ** 2
        yield epoch, {"val_accuracy": 0.9 - 0.05 * far - 0.3 / epoch}


def main(words: Sequence[str]) -> str | int:
    """Run the plain study of a file; see `run_file`."""
    from kdsearch.bench.study.plain_tune import run_file

    return run_file(words, wait_plainly)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
