"""What happens in time: learning curves and the search's progress."""

import math
from collections.abc import Mapping, Sequence

from kdsearch.analysis.labels import setup_names, temperature_text
from kdsearch.analysis.questions.outcomes import TemperatureBand, band_of, belongs_to, temperature_of
from kdsearch.analysis.report.colors import sequence_colors, setup_colors
from kdsearch.analysis.report.figures.document import Axis, Figure, Key, Part, Series
from kdsearch.spec import Setup
from kdsearch.storage import TrialRow

_TRIAL = "#0072b2"
_Curve = Sequence[tuple[int, float]]


def learning_figure(
    setups: Sequence[Setup],
    trials: Sequence[TrialRow],
    accuracies: Mapping[int, _Curve],
    bands: Sequence[TemperatureBand],
) -> Figure:
    """Return validation accuracy over epochs, a part for each setup.

    Its lines are coloured by temperature.

    Args:
        setups: The setups to draw.
        trials: Their trials.
        accuracies: (epoch, accuracy) by the number of each trial that is to be drawn.
        bands: The ranges of temperature that share a colour, in order.
    """
    colors = sequence_colors(len(bands))
    axes = _axes([*accuracies.values()])
    parts = []
    for setup, name in zip(setups, setup_names(setups), strict=True):
        drawn = [t for t in trials if t.number in accuracies and belongs_to(t, setup)]
        series = [_line(t, accuracies[t.number], _color(t, bands, colors)) for t in drawn]
        alt = f"{name}: validation accuracy over epochs of {len(drawn)} trials"
        window = axes[1].low, axes[1].high
        parts.append(Part(name, f"{len(drawn)} trials", alt, tuple(series), window))
    names = [f"T {temperature_text(band.low)} to {temperature_text(band.high)}" for band in bands]
    return Figure(
        "learning",
        "Learning curves",
        "Validation accuracy over epochs, coloured by temperature. "
        "Low temperatures often lead early without winning.",
        "cards",
        *axes,
        tuple(parts),
        tuple(Key("learning", name, color) for name, color in zip(names, colors, strict=True)),
    )


def trial_figure(trial: TrialRow, curve: _Curve) -> Figure:
    """Return one trial's learning curve."""
    axes = _axes([curve])
    alt = f"Trial {trial.number}: validation accuracy over {curve[-1][0]} epochs, at last {curve[-1][1]:.2%}"
    xs, ys = _columns(curve)
    series = (
        Series("mean", "accuracy", _TRIAL, xs, ys, trials=(trial.number,)),
        Series("trial", "epoch", _TRIAL, xs, ys, texts=tuple(f"epoch {e}: {a:.2%}" for e, a in curve)),
    )
    part = Part("Learning curve", "", alt, series, (axes[1].low, axes[1].high))
    return Figure("trial", f"Learning curve of trial {trial.number}", "", "cards", *axes, (part,))


def progress_figure(setups: Sequence[Setup], trials: Sequence[TrialRow]) -> Figure:
    """Return the best validation accuracy so far in each setup.

    It is drawn over the trial numbers.
    """
    courses = [best_so_far([t for t in trials if belongs_to(t, setup)]) for setup in setups]
    seen = [accuracy for _, best in courses for accuracy in best] or [0.0, 1.0]
    margin = 0.05 * max(max(seen) - min(seen), 0.02)
    window = max(min(seen) - margin, 0.0), max(seen) + margin
    last = max((trial.number for trial in trials), default=1)
    named = zip(setup_names(setups), setup_colors(setups), courses, strict=True)
    return Figure(
        "progress",
        "Progress of the search",
        "The best accuracy observed in each setup after each trial. A best observation is partly luck: "
        "it shows whether the search still moves, not what to expect.",
        "cards",
        Axis("trial", "trials", 0, max(last, 1)),
        Axis("best validation accuracy", "fraction", *window),
        tuple(_progress_part(name, color, *course, window) for name, color, course in named),
    )


def best_so_far(trials: Sequence[TrialRow]) -> tuple[list[int], list[float]]:
    """Return numbers and accuracies of trials that were the best yet."""
    numbers: list[int] = []
    best: list[float] = []
    for trial in sorted(trials, key=lambda t: t.number):
        accuracy = trial.val_accuracy
        if trial.state == "complete" and accuracy is not None and (not best or accuracy > best[-1]):
            numbers.append(trial.number)
            best.append(accuracy)
    return numbers, best


def _axes(curves: Sequence[_Curve]) -> tuple[Axis, Axis]:
    """Return the axes over epochs and accuracies that learning curves share."""
    heights = [accuracy for curve in curves for _, accuracy in curve if math.isfinite(accuracy)] or [0.0, 1.0]
    last = max((epoch for curve in curves for epoch, _ in curve), default=1)
    low, high = min(heights), max(heights)
    margin = 0.05 * max(high - low, 0.02)
    accuracy = Axis("validation accuracy", "fraction", max(low - margin, 0.0), high + margin)
    return Axis("epoch", "epochs", 0, max(last, 1)), accuracy


def _line(trial: TrialRow, curve: _Curve, color: str) -> Series:
    temperature = temperature_of(trial)
    at = "" if temperature is None else f" · T {temperature:.3g}"
    return Series("learning", f"trial {trial.number}{at}", color, *_columns(curve), trials=(trial.number,))


def _columns(curve: _Curve) -> tuple[tuple[float, ...], tuple[float, ...]]:
    known = [(epoch, accuracy) for epoch, accuracy in curve if math.isfinite(accuracy)]
    return tuple(epoch for epoch, _ in known), tuple(accuracy for _, accuracy in known)


def _color(trial: TrialRow, bands: Sequence[TemperatureBand], colors: Sequence[str]) -> str:
    return colors[band_of(temperature_of(trial) or 0.0, bands)]


def _progress_part(
    name: str, color: str, numbers: list[int], best: list[float], window: tuple[float, float]
) -> Part:
    words = f"{best[-1]:.1%} since trial {numbers[-1]}" if best else "no complete trial"
    alt = f"{name}: the best accuracy seen so far, {words}"
    series = (Series("step", "best so far", color, tuple(numbers), tuple(best)),) if best else ()
    return Part(name, words, alt, series, window)
