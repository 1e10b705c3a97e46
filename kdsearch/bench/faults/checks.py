"""What must hold of a study after any fault."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from math import isclose
from pathlib import Path

from kdsearch.bench.faults.reading import Reading, TrialLine
from kdsearch.bench.faults.trainer import accuracy_at

Curves = Mapping[int, Mapping[int, float | None]]
"""The right validation accuracies by a trial's seed and by epoch."""

_MIRRORED = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def problems_of_study(found: Reading, trials: int, epochs: int, reason: str) -> Iterator[str]:
    """Yield what does not hold of an ended study.

    Args:
        found: What its database holds.
        trials: Its budget.
        epochs: How long each trial trains.
        reason: What the reason of each lost or failed trial begins with; several by `|`.
    """
    if found.state != "finished":
        yield f"the study is {found.state}: {found.reason}"
    states = Counter(trial.state for trial in found.trials)
    if states["running"] + states["waiting"]:
        yield f"{states['running']} running, {states['waiting']} waiting"
    if found.running_packs or found.drivers:
        yield f"{found.running_packs} packs and {found.drivers} drivers are left in the database"
    if len(found.finished) != trials:
        yield f"{len(found.finished)} of {trials} finished"
    yield from _problems_of_lost(found, reason)
    for trial in found.finished.values():
        if not trial.is_diverged and sorted(trial.curve) != list(range(1, epochs + 1)):
            yield f"the curve of trial {trial.number} has the epochs {sorted(trial.curve)}"
    yield from _problems_of_mirror(found)


def _problems_of_lost(found: Reading, reason: str) -> Iterator[str]:
    """Yield where a lost trial was not repeated exactly once.

    Its parameters and its seed have to be the same.
    """
    finished = found.finished.values()
    for name, seen in (
        ("seed", Counter(trial.seed for trial in finished)),
        ("lost trial", Counter(t.retry_of for t in found.trials if t.retry_of is not None)),
    ):
        if twice := [value for value, count in seen.items() if count > 1]:
            yield f"a {name} counted twice: {twice}"
    failed = [trial for trial in found.trials if trial.state == "failed" and not trial.is_diverged]
    if strange := {trial.reason for trial in failed if not re.match(reason, trial.reason or "")}:
        yield f"the reasons {strange}"
    known = {trial.number: trial for trial in found.trials}
    for trial in found.trials:
        before = known.get(trial.number if trial.retry_of is None else trial.retry_of)
        if before is None or (before.seed, before.params, before.setup) != (
            trial.seed,
            trial.params,
            trial.setup,
        ):
            yield f"trial {trial.number} is not what trial {trial.retry_of} was"


def _problems_of_mirror(found: Reading) -> Iterator[str]:
    """Yield where Optuna's rows differ from ours."""
    if found.mirrored.keys() != {trial.number for trial in found.trials}:
        yield f"Optuna has the trials {sorted(found.mirrored)}"
    for trial in found.trials:
        state, value = found.mirrored.get(trial.number, ("", None))
        is_same = value == trial.val_accuracy or trial.state != "complete"
        if _MIRRORED.get(trial.state, state) != state or not is_same:
            yield f"Optuna has trial {trial.number} as {state} with {value}"


def problems_of_change(before: Mapping[int, TrialLine], now: Reading) -> Iterator[str]:
    """Yield the finished trials that are lost or have changed."""
    for number, trial in before.items():
        if now.finished.get(number) != trial:
            yield f"the finished trial {number} changed, or was lost"


def problems_of_numbers(found: Reading, right: Curves | None) -> Iterator[str]:
    """Yield which accuracies are wrong. Without curves those of the trainer that waits are right."""
    for trial in found.trials:
        for epoch, value in trial.curve.items():
            expected = (
                accuracy_at(trial.params["objective.temperature"], epoch)
                if right is None
                else right.get(trial.seed, {}).get(epoch)
            )
            if expected is None or value is None or not isclose(value, expected, abs_tol=1e-9):
                yield f"trial {trial.number} has {value} after epoch {epoch}, not {expected}"
                break
        last = trial.curve.get(trial.epochs)
        if trial.state == "complete" and trial.val_accuracy != last:
            yield f"trial {trial.number} has {trial.val_accuracy}, and {last} in its last epoch"


def problems_of_files(artifacts: Path) -> Iterator[str]:
    """Yield what is left of unfinished files and of checkpoints."""
    unfinished = (*artifacts.rglob("*.part"), *artifacts.glob("teachers/.*"))
    if left := [path.name for path in (*unfinished, *artifacts.glob("checkpoints/*"))]:
        yield f"left behind: {left}"


def problems_of_log(log: str) -> Iterator[str]:
    """Yield where a driver said what is no words for people."""
    for mark in ("Traceback (most recent call last)", "*** SIG", "Fatal Python error"):
        if mark in log:
            after = log[log.index(mark) :].strip().splitlines()
            yield f"{mark} in the log: … {after[-1][:200]}"
