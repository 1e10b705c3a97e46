"""A trainer that takes no time: it fails as the spec's options ask, each way once, or waits at a gate."""

import math
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kdsearch.trial import Metrics, Trial

_STEP_BYTES = 64 * 2**20  # by hand: up to 3 GB a second, in steps far below the monitor's room
_LOOK_S = 0.02  # between looks: the gate should cost a trial no time that counts

GATE = "gate"
"""The word in `options.faults` at which trials wait."""
LAUNCH = "KDSEARCH_FAULT_LAUNCH"
"""The variable that tells a launch's own Ray which one it is: that of a killed driver lives for a moment."""
OPEN = "open"
"""The file in the folder `options.folder` that opens the gate."""


def train(trial: Trial, report: Callable[[int, Metrics], bool]) -> Metrics:
    """Report accuracies that follow from the temperature.

    Trials from the number `options.first` on meet a fault after epoch `options.at`: each does the first of
    `options.faults` that no trial has done, by its function below. At `gate` each waits until it opens.
    """
    options = trial.spec.options
    folder = Path(str(options["folder"]))
    accuracy = math.nan
    for epoch in range(1, trial.epochs + 1):
        time.sleep(float(str(options["epoch_s"])))
        accuracy = accuracy_at(trial.params["objective.temperature"], epoch)
        report(epoch, {"val_accuracy": accuracy})
        if epoch == options["at"] and trial.number >= int(str(options["first"])):
            accuracy = _meet(str(options["faults"]).split(), folder, accuracy)
        if not math.isfinite(accuracy):
            break
    return {"val_accuracy": accuracy}


def _meet(faults: Sequence[str], folder: Path, accuracy: float) -> float:
    """Do one fault at most. Return the accuracy that goes on."""
    for fault in faults:
        if fault == GATE:
            wait_at_gate(folder)
        elif _is_first(folder, fault):
            return _FAULTS[fault](accuracy)
    return accuracy


def accuracy_at(temperature: float, epoch: int) -> float:
    """Return the validation accuracy of a temperature after an epoch."""
    return 0.9 - 0.05 * math.log(temperature / 6) ** 2 - 0.3 / epoch


def wait_at_gate(folder: Path) -> None:
    """Leave this process's mark at the gate until it opens."""
    if (folder / OPEN).exists():
        return
    mark = folder / f"at-gate-{os.environ.get(LAUNCH, '')}-{os.getpid()}"
    mark.touch()
    while not (folder / OPEN).exists():
        time.sleep(_LOOK_S)
    mark.unlink(missing_ok=True)


def at_gate(folder: Path, launch: int) -> list[int]:
    """Return the ids of a launch's processes at the gate.

    Dead ones are included, and those of a Ray that launches share.
    """
    marks = (*folder.glob(f"at-gate-{launch}-*"), *folder.glob("at-gate--*"))
    return [int(mark.name.rpartition("-")[2]) for mark in marks]


def has_happened(folder: Path, fault: str) -> bool:
    """Return whether a trial has done a fault."""
    return (folder / f"once-{fault}").exists()


def _is_first(folder: Path, fault: str) -> bool:
    try:
        (folder / f"once-{fault}").touch(exist_ok=False)
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
