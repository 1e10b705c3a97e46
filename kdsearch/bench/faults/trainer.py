"""A trainer that only waits and, in one of a study's trials, does what the spec's options ask for."""

import math
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from kdsearch.trial import Metrics, Trial

_STEP_BYTES = 64 * 2**20


def train(trial: Trial, report: Callable[[int, Metrics], bool]) -> Metrics:
    """Report accuracies that follow from the temperature; fail once, after epoch `options.at`.

    `options.fault` names a function below, and the file `options.once` keeps it from happening again.
    """
    options = trial.spec.options
    temperature = trial.params["objective.temperature"]
    for epoch in range(1, trial.epochs + 1):
        time.sleep(float(str(options["epoch_s"])))
        accuracy = 0.9 - 0.05 * math.log(temperature / 6) ** 2 - 0.3 / epoch
        report(epoch, {"val_accuracy": accuracy})
        fault = _FAULTS.get(str(options["fault"]))
        if fault and epoch == options["at"] and _is_first(Path(str(options["once"]))):
            accuracy = fault(accuracy)
        if not math.isfinite(accuracy):
            break
    return {"val_accuracy": accuracy}


def _is_first(flag: Path) -> bool:
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _kill(accuracy: float) -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return accuracy


def _raise(_accuracy: float) -> float:
    raise ValueError("a fault of the trainer")


def _hang(accuracy: float) -> float:
    time.sleep(3600)
    return accuracy


def _diverge(_accuracy: float) -> float:
    return math.nan


def _outgrow_limit(accuracy: float) -> float:
    """Ask for more memory than a limit of the process allows."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, before[1]))
    try:
        bytearray(2**31)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    return accuracy


def _outgrow_node(accuracy: float) -> float:
    """Take memory until Ray's monitor ends the worker, or a minute has passed."""
    taken = []
    end = time.monotonic() + 60
    while time.monotonic() < end:
        taken.append(b"x" * _STEP_BYTES)
        time.sleep(0.02)
    return accuracy


_FAULTS: dict[str, Callable[[float], float]] = {
    "worker": _kill,
    "raise": _raise,
    "hang": _hang,
    "diverge": _diverge,
    "memory": _outgrow_limit,
    "monitor": _outgrow_node,
}
