"""The training loop that a spec names: ours, or a user's own."""

import inspect
import math
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kdsearch.distill.artifact_store import Place, place_below
from kdsearch.errors import RequestError
from kdsearch.trial import Metrics, Outcome, PackReport, Trial, TrialResult

if TYPE_CHECKING:
    from kdsearch.distill.packs import Way

PackTrainer: TypeAlias = Callable[[Sequence[Trial], PackReport], list[TrialResult]]


def load_trainer(
    name: str, artifacts: Place, *, checkpoint_interval_s: float | None = 30.0, way: "Way | None" = None
) -> PackTrainer:
    """Return the function that trains a pack.

    Args:
        name: `distill`, or `package.module:function` of a user. A function whose first parameter is
            called `trials` trains a whole pack, any other one trial.
        artifacts: Where teachers, soft targets and checkpoints are kept.
        checkpoint_interval_s: How often `distill` saves a pack in training; None: never, and it goes on
            from none.
        way: How `distill` trains the students of a pack side by side; None stands for the fastest.

    Raises:
        RequestError: The user's function can't be imported.
    """
    if name == "distill":
        return _distill(artifacts, checkpoint_interval_s, way)
    function = _import_function(name)
    first = next(iter(inspect.signature(function).parameters), "")
    return _whole_pack(function) if first == "trials" else _one_by_one(function)


def _import_function(name: str) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(import_module(module_name), function_name)
    except ImportError as error:
        raise RequestError(
            f"`trainer` must name an importable function, got {name!r}: {error}. "
            "Run from the folder that holds the module, or install its package."
        ) from error
    except AttributeError as error:
        raise RequestError(
            f"`trainer` must name a function, but {module_name!r} has no {function_name!r}."
        ) from error
    if not callable(function):
        raise RequestError(f"`trainer` must name a function, got {name!r}, a {type(function).__name__}.")
    return function  # type: ignore[no-any-return]  # callable() was checked


def _distill(artifacts: Place, checkpoint_interval_s: float | None, way: "Way | None") -> PackTrainer:
    def train(trials: Sequence[Trial], report: PackReport) -> list[TrialResult]:
        from kdsearch.distill import Member, train_pack

        spec = trials[0].spec.with_values(trials[0].setup)
        members = [Member(trial.number, trial.seed, trial.params) for trial in trials]
        return train_pack(
            spec,
            members,
            artifacts=artifacts,
            report=report,
            checkpoint=None if checkpoint_interval_s is None else place_below(artifacts, "checkpoints"),
            checkpoint_interval_s=checkpoint_interval_s or 0.0,
            way=way,
        )

    return train


def _one_by_one(function: Callable[..., Any]) -> PackTrainer:
    def train(trials: Sequence[Trial], report: PackReport) -> list[TrialResult]:
        return [_train_one(function, trial, report) for trial in trials]

    return train


def _train_one(function: Callable[..., Any], trial: Trial, report: PackReport) -> TrialResult:
    last = TrialResult(trial.number, "complete", 0)

    def report_one(epoch: int, metrics: Metrics) -> bool:
        nonlocal last
        last = replace(last, epochs=_whole(epoch), metrics=_checked(metrics))
        reported = {trial.number: last.metrics}
        stop = _diverged(last.metrics) or trial.number in report(last.epochs, reported)
        last = replace(last, state="pruned" if stop else "complete")
        return stop

    start = time.perf_counter()
    try:
        final = _checked(function(trial, report_one))
    except Exception as error:
        result = _failed(last, error)
    else:
        result = _ended(last, final, trial.epochs)
    return replace(result, seconds=time.perf_counter() - start)


def _whole_pack(function: Callable[..., Any]) -> PackTrainer:
    def train(trials: Sequence[Trial], report: PackReport) -> list[TrialResult]:
        last = {trial.number: TrialResult(trial.number, "complete", 0) for trial in trials}

        def report_pack(epoch: int, metrics: Mapping[int, Metrics]) -> set[int]:
            at, checked = _whole(epoch), _checked_pack(metrics, last)
            stop = set(report(at, checked)) | {n for n, m in checked.items() if _diverged(m)}
            for number, values in checked.items():
                state: Outcome = "pruned" if number in stop else "complete"
                last[number] = replace(last[number], epochs=at, metrics=values, state=state)
            return stop

        start = time.perf_counter()
        try:
            finals = function(trials, report_pack)
            if len(finals) != len(trials):
                raise ValueError(f"The trainer must return {len(trials)} results, got {len(finals)}.")
            pairs = zip(trials, finals, strict=True)
            results = [_ended(last[t.number], _checked(final), t.epochs) for t, final in pairs]
        except Exception as error:
            results = [_failed(last[trial.number], error) for trial in trials]
        seconds = (time.perf_counter() - start) / len(trials)
        return [replace(result, seconds=seconds) for result in results]

    return train


def _whole(epoch: Any) -> int:
    """Return an epoch as Python's own whole number: what NumPy counts with is no number to a database."""
    try:
        return index(epoch)
    except TypeError as error:
        raise ValueError(f"An epoch that is reported must be a whole number, got {epoch!r}.") from error


def _checked_pack(metrics: Any, numbers: Collection[int]) -> dict[int, Metrics]:
    if not isinstance(metrics, Mapping) or not metrics.keys() <= set(numbers):
        raise ValueError(
            f"What a pack reports must be a mapping from its trials' numbers to metrics, got {metrics!r}."
        )
    return {index(number): _checked(values) for number, values in metrics.items()}


def _checked(metrics: Any) -> Metrics:
    if not isinstance(metrics, Mapping) or "val_accuracy" not in metrics:
        raise ValueError(
            f"A trainer's metrics must be a mapping with `val_accuracy`, got {metrics!r}. "
            "Return it from the function and pass it to `report`."
        )
    checked = {name: _number(name, value) for name, value in metrics.items()}
    for name in ("val_accuracy", "test_accuracy"):
        if math.isfinite(accuracy := checked.get(name, 0.0)) and not 0 <= accuracy <= 1:
            raise ValueError(
                f"`{name}` must be a fraction in [0, 1], got {accuracy:g}. Divide percents by 100."
            )
    return checked


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be a number, got {value!r}. Leave out what is not measured."
        ) from error


def _diverged(metrics: Metrics) -> bool:
    return not math.isfinite(metrics["val_accuracy"])


def _ended(last: TrialResult, final: Metrics, epochs: int) -> TrialResult:
    if _diverged(final) or (last.epochs and _diverged(last.metrics)):
        return replace(last, state="failed", reason="diverged", metrics=last.metrics | final)
    if last.state == "pruned":
        return replace(last, metrics=last.metrics | final)
    return replace(last, epochs=epochs, metrics=last.metrics | final)


def told(error: Exception) -> str:
    """Return what an error says, in one text that every database takes and every terminal shows."""
    words = "out of memory: " if isinstance(error, MemoryError) else ""
    text = f"{words}{type(error).__name__}: {error}"
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _failed(last: TrialResult, error: Exception) -> TrialResult:
    where = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{told(error)} ({Path(where.filename).name}:{where.lineno})"
    return replace(last, state="failed", reason=reason)
