"""The numbers behind the figures: what a panel shows and where its axes end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdsearch.analysis.labels import factor_label, setup_names, value_text
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.outcomes import belongs_to, outcome, temperature_of
from kdsearch.analysis.report.colors import setup_colors
from kdsearch.analysis.response.fitted import ResponseCurve
from kdsearch.spec import setup_key
from kdsearch.storage import DIVERGED, TrialRow

_LEAST_SPREAD = 0.005
"""By hand: half a point of accuracy fills an axis at least, or noise would look like an effect."""


@dataclass(frozen=True)
class Point:
    """A trial in a panel.

    `text` is what a reader learns of it, in lines.
    """

    temperature: float
    accuracy: float
    is_complete: bool = True
    text: tuple[str, ...] = ()
    number: int | None = None


@dataclass(frozen=True)
class Panel:
    """One setup's panel: its curve, its answer where there is one, and its trials.

    `window` is the range of accuracies to show; points below it are drawn at its lower edge.
    """

    name: str
    color: str
    curve: ResponseCurve
    answer: SetupAnswer | None
    points: list[Point]
    window: tuple[float, float]


def response_panels(
    curves: Sequence[ResponseCurve], trials: Sequence[TrialRow] = (), answer: BestAnswer | None = None
) -> list[Panel]:
    """Return a panel for each curve. Where accuracies are alike, all share one window.

    Args:
        curves: One for each setup.
        trials: The points to show; without them, the curves' own.
        answer: What to mark in the panels.
    """
    answers = {setup_key(found.setup): found for found in (answer.setups if answer else ())}
    setups = [curve.setup for curve in curves]
    points = [_points(curve, trials) for curve in curves]
    windows = _alike(
        [
            accuracy_window([point.accuracy for point in own], curve.mean, curve.high)
            if own or curve.mean
            else None
            for own, curve in zip(points, curves, strict=True)
        ]
    )
    columns = zip(setup_names(setups), setup_colors(setups), curves, points, windows, strict=True)
    return [
        Panel(name, color, curve, answers.get(setup_key(curve.setup)), own, window)
        for name, color, curve, own, window in columns
    ]


def _points(curve: ResponseCurve, trials: Sequence[TrialRow]) -> list[Point]:
    if not trials:
        return [Point(temperature, accuracy) for temperature, accuracy in curve.points]
    found = [_point(trial) for trial in trials if belongs_to(trial, curve.setup)]
    return [point for point in found if point is not None]


def _point(trial: TrialRow) -> Point | None:
    """Return a trial as a point, if it has one.

    It must have ended with an accuracy, at a temperature.
    """
    temperature, accuracy = temperature_of(trial), trial.val_accuracy
    has_ended = trial.state in ("complete", "pruned", "failed")
    if not has_ended or temperature is None or accuracy is None or not math.isfinite(accuracy):
        return None
    return Point(temperature, accuracy, trial.state == "complete", trial_text(trial), trial.number)


def trial_text(trial: TrialRow) -> tuple[str, ...]:
    """Return what a reader learns of one trial, in lines: number, state, accuracy, parameters."""
    state = outcome(trial) if trial.reason in (None, DIVERGED) else f"{trial.state}: {trial.reason}"
    accuracy = "no accuracy" if trial.val_accuracy is None else f"{trial.val_accuracy:.2%}"
    params = [f"{factor_label(path)} {value_text(value)}" for path, value in trial.params.items()]
    return (
        f"trial {trial.number} · {state}",
        f"{accuracy} after {trial.epochs} epochs",
        *params,
        f"seed {trial.seed}",
    )


def accuracy_window(
    accuracies: Sequence[float], mean: Sequence[float], high: Sequence[float]
) -> tuple[float, float]:
    """Return the accuracies to show.

    Failed and terrible trials must not flatten the curve. The whole mean curve is shown, with room for the
    better half of the trials, unless these would press the curve into less than 40 percent of the height.

    Args:
        accuracies: The trials'; some, unless there is a curve.
        mean: The mean curve, which may be empty.
        high: The upper end of its band, of which the best temperature's is shown.
    """
    top_of_band = [high[int(np.argmax(mean))]] if len(mean) else []
    values = [*accuracies, *mean, *top_of_band]
    top = max(values)
    typical = top - float(np.median(accuracies)) if len(accuracies) else 0.0
    fall = top - min(mean) if len(mean) else typical
    spread = max(1.3 * fall, min(1.4 * typical, 2.3 * fall), _LEAST_SPREAD)
    bottom = max(top - spread, min(values))
    margin = 0.06 * max(top - bottom, _LEAST_SPREAD)
    return max(bottom - margin, -0.02), min(top + margin, 1.02)


def temperature_ticks(low: float, high: float) -> list[float]:
    """Return at most nine powers of two inside a range of temperatures. Where there is none, its ends."""
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    step = max(1, math.ceil((last - first) / 8))
    return [2.0**power for power in range(first, last + 1, step)] or [low, high]


def _alike(windows: list[tuple[float, float] | None]) -> list[tuple[float, float]]:
    """Return one window for all panels, where that costs little height.

    None is an empty panel.
    """
    known = [window for window in windows if window is not None] or [(0.0, 1.0)]
    around = min(low for low, _ in known), max(high for _, high in known)
    typical = float(np.median([high - low for low, high in known]))
    share = around[1] - around[0] <= 3 * typical
    return [around if share or window is None else window for window in windows]
