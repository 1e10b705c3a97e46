"""The training loop that a spec names: ours, or a user's own."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias

from kdsearch.artifacts.store import Place, place_below
from kdsearch.distill.factories import check_call, load_factory, reason_of, signature_of
from kdsearch.errors import RequestError
from kdsearch.schedule.workers.commands import train_by_command
from kdsearch.spec.sections import CommandTrainer
from kdsearch.trial import DIVERGED, Metrics, Outcome, PackEndedError, PackReport, Trial, TrialResult

if TYPE_CHECKING:
    from kdsearch.distill.execution import Way

PackTrainer: TypeAlias = Callable[[Sequence[Trial], PackReport], list[TrialResult]]


MOST_METRICS = 100
"""By hand: each is a value of every trial's row."""

_MOST_LETTERS = 100  # of a metric's name
_FRACTIONS = ("val_accuracy", "test_accuracy", "teacher_agreement")


def load_trainer(
    name: str | CommandTrainer,
    artifacts: Place,
    *,
    checkpoint_interval_s: float | None = 30.0,
    way: "Way | None" = None,
    device: str | None = None,
) -> PackTrainer:
    """Return the function that trains a pack.

    Args:
        name: `distill`, `package.module:function` of a user, or a command. A function whose first parameter
            is called `trials` trains a whole pack, any other one trial, as a command does.
        artifacts: Where teachers, soft targets and checkpoints are kept.
        checkpoint_interval_s: How often `distill` saves a pack in training: at 30, by hand, a lost worker
            costs half a minute. None: never, and it goes on from none.
        way: How `distill` trains the students of a pack side by side; None stands for the fastest.
        device: Where `distill` trains; None stands for CUDA where there is one.

    Raises:
        RequestError: The user's function can't be imported, or can't be called as a trainer is.
    """
    if isinstance(name, CommandTrainer):
        return _one_by_one(train_by_command(name))
    if name == "distill":
        return _distill(artifacts, checkpoint_interval_s, way, device)
    function = load_factory(name, "trainer")
    whole_pack = _first_parameter(function) == "trials"
    check_call(function, name, "trainer", "trials" if whole_pack else "trial", "report")
    if _first_parameter(function) == "report":
        raise RequestError(
            f"`trainer` must take the trial first, as (trial, report), got {name!r}, which takes (report, …)."
        )
    return _whole_pack(function) if whole_pack else _one_by_one(function)


def _first_parameter(function: Callable[..., Any]) -> str:
    signature = signature_of(function)
    return "" if signature is None else next(iter(signature.parameters), "")


def _distill(
    artifacts: Place, checkpoint_interval_s: float | None, way: "Way | None", device: str | None
) -> PackTrainer:
    def train(trials: Sequence[Trial], report: PackReport) -> list[TrialResult]:
        from kdsearch.distill import train_trials

        return train_trials(
            trials,
            artifacts=artifacts,
            device=device,
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
        last = replace(last, epochs=_epoch(epoch, trial.epochs), metrics=_checked(metrics))
        reported = {trial.number: last.metrics}
        stop = _diverged(last.metrics) or trial.number in report(last.epochs, reported)
        last = replace(last, state="pruned" if stop else "complete")
        return stop

    start = time.perf_counter()
    try:
        with chdir("."):  # the next trial's relative paths mean what this one's do
            final = _checked(function(trial, report_one))
    except (KeyboardInterrupt, PackEndedError):
        raise
    except BaseException as error:  # a script may end in SystemExit
        result = _failed(last, error)
    else:
        result = _ended(last, final, trial.epochs)
    return replace(result, seconds=time.perf_counter() - start)


def _whole_pack(function: Callable[..., Any]) -> PackTrainer:
    def train(trials: Sequence[Trial], report: PackReport) -> list[TrialResult]:
        last = {trial.number: TrialResult(trial.number, "complete", 0) for trial in trials}
        longest = max(trial.epochs for trial in trials)

        def report_pack(epoch: int, metrics: Mapping[int, Metrics]) -> set[int]:
            at, checked = _epoch(epoch, longest), _checked_pack(metrics, last)
            stop = set(report(at, checked)) | {n for n, m in checked.items() if _diverged(m)}
            for number, values in checked.items():
                state: Outcome = "pruned" if number in stop else "complete"
                last[number] = replace(last[number], epochs=at, metrics=values, state=state)
            return stop

        start = time.perf_counter()
        try:
            finals = _checked_finals(function(trials, report_pack), len(trials))
            pairs = zip(trials, finals, strict=True)
            results = [_ended(last[t.number], _checked(final), t.epochs) for t, final in pairs]
        except (KeyboardInterrupt, PackEndedError):
            raise
        except BaseException as error:  # a script may end in SystemExit
            results = [_failed(last[trial.number], error) for trial in trials]
        seconds = (time.perf_counter() - start) / len(trials)
        return [replace(result, seconds=seconds) for result in results]

    return train


def _epoch(epoch: Any, longest: int) -> int:
    """Return an epoch as Python's own number: what NumPy counts with is no number to a database."""
    try:
        if isinstance(epoch, bool):
            raise TypeError("bool")
        whole = index(epoch)
    except TypeError as error:
        raise ValueError(f"An epoch that is reported must be a whole number, got {_shown(epoch)}.") from error
    if not 0 <= whole <= longest:
        raise ValueError(
            f"An epoch that is reported must be from 1 to `training.epochs`, {longest}, got {_shown(whole)}. "
            "Train for `trial.epochs`, or set `training.epochs` to what is trained."
        )
    return whole


def _checked_finals(finals: Any, n_trials: int) -> Sequence[Any]:
    if not isinstance(finals, Sequence) or len(finals) != n_trials:
        raise ValueError(
            f"The trainer must return a list of {n_trials} results, one for each trial, got {_shown(finals)}."
        )
    return finals


def _shown(value: Any) -> str:
    try:
        text = f"{value:g}" if isinstance(value, int) and abs(value) > 10**9 else repr(value)
    except Exception:  # an object of the user's
        text = f"an object of {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]} …"


def _checked_pack(metrics: Any, numbers: Collection[int]) -> dict[int, Metrics]:
    if not isinstance(metrics, Mapping) or not metrics.keys() <= set(numbers):
        raise ValueError(
            "What a pack reports must be a mapping from its trials' numbers to metrics, "
            f"got {_shown(metrics)}."
        )
    return {index(number): _checked(values) for number, values in metrics.items()}


def _checked(metrics: Any) -> Metrics:
    if not isinstance(metrics, Mapping) or "val_accuracy" not in metrics:
        raise ValueError(
            f"A trainer's metrics must be a mapping with `val_accuracy`, got {_shown(metrics)}. "
            "Return it from the function and pass it to `report`."
        )
    if len(metrics) > MOST_METRICS:
        raise ValueError(f"A trainer's metrics must be at most {MOST_METRICS}, got {len(metrics)}.")
    checked = {_metric_name(name): _number(name, value) for name, value in metrics.items()}
    for name in _FRACTIONS:
        if math.isfinite(fraction := checked.get(name, 0.0)) and not 0 <= fraction <= 1:
            raise ValueError(
                f"`{name}` must be a fraction in [0, 1], got {fraction:g}. Divide percents by 100."
            )
    return checked


def _metric_name(name: Any) -> str:
    if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= _MOST_LETTERS):
        raise ValueError(
            f"A metric's name must be a text of at most {_MOST_LETTERS} letters, got {_shown(name)}."
        )
    return str(name)


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes) or _is_truth(value):  # which Python would read as a number
            raise TypeError(type(value).__name__)
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception as error:  # a tensor's own kinds of errors too
        raise ValueError(
            f"`{name}` must be a number, got {_shown(value)}. Leave out what is not measured."
        ) from error


def _is_truth(value: Any) -> bool:
    """Return whether a value is true or false, of NumPy's and torch's too: as an accuracy, all or nothing."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")


def _diverged(metrics: Metrics) -> bool:
    return not math.isfinite(metrics["val_accuracy"])


def _ended(last: TrialResult, final: Metrics, epochs: int) -> TrialResult:
    if _diverged(final) or (last.epochs and _diverged(last.metrics)):
        return replace(last, state="failed", reason=DIVERGED, metrics=last.metrics | final)
    if last.state == "pruned":
        return replace(last, metrics=last.metrics | final)
    return replace(last, epochs=epochs, metrics=last.metrics | final)


def _failed(last: TrialResult, error: BaseException) -> TrialResult:
    return replace(last, state="failed", reason=reason_of(error))
