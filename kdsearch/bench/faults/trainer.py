"""A trainer that takes no time: it fails once as the spec's options ask, or waits at a gate."""

import math
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kdsearch.trial import Metrics, Trial

_STEP_BYTES = 64 * 2**20  # by hand: up to 3 GB a second, in steps far below the monitor's room
_LOOK_S = 0.02  # between looks: the gate should cost a trial no time that counts

ONCE, OPEN = "once", "open"
"""Files in the folder `options.folder`: the fault has happened, the gate is open."""


def train(trial: Trial, report: Callable[[int, Metrics], bool]) -> Metrics:
    """Report accuracies that follow from the temperature.

    Trials from the number `options.first` on meet the fault after epoch `options.at`: `options.fault` names a
    function below, which is called once in a study, or `gate`, where each waits until the gate is open.
    """
    options = trial.spec.options
    folder, fault = Path(str(options["folder"])), str(options["fault"])
    accuracy = math.nan
    for epoch in range(1, trial.epochs + 1):
        time.sleep(float(str(options["epoch_s"])))
        accuracy = accuracy_at(trial.params["objective.temperature"], epoch)
        report(epoch, {"val_accuracy": accuracy})
        if epoch == options["at"] and trial.number >= int(str(options["first"])):
            if fault == "gate":
                wait_at_gate(folder)
            elif fault in _FAULTS and _is_first(folder / ONCE):
                accuracy = _FAULTS[fault](accuracy)
        if not math.isfinite(accuracy):
            break
    return {"val_accuracy": accuracy}


def accuracy_at(temperature: float, epoch: int) -> float:
    """Return the validation accuracy of a temperature after an epoch."""
    return 0.9 - 0.05 * math.log(temperature / 6) ** 2 - 0.3 / epoch


def wait_at_gate(folder: Path) -> None:
    """Leave this process's mark at the gate until it opens."""
    if (folder / OPEN).exists():
        return
    mark = folder / f"at-gate-{os.getpid()}"
    mark.touch()
    while not (folder / OPEN).exists():
        time.sleep(_LOOK_S)
    mark.unlink(missing_ok=True)


def at_gate(folder: Path) -> list[int]:
    """Return the ids of the processes at the gate.

    Dead ones are included.
    """
    return [int(mark.name.rpartition("-")[2]) for mark in folder.glob("at-gate-*")]


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
    """Take memory until Ray's monitor ends the worker.

    After a minute it gives up.
    """
    taken = []
    end = time.monotonic() + 60
    while time.monotonic() < end:
        taken.append(b"x" * _STEP_BYTES)
        time.sleep(0.02)
    return accuracy


_FAULTS: Mapping[str, Callable[[float], float]] = {
    "worker": _kill,
    "raise": _raise,
    "hang": _hang,
    "diverge": _diverge,
    "memory": _outgrow_limit,
    "monitor": _outgrow_node,
}
