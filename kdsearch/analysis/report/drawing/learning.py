"""Validation accuracy over epochs: some trials of each setup, or one trial alone."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from kdsearch.analysis.labels import setup_names, temperature_text
from kdsearch.analysis.questions.outcomes import TemperatureBand, band_of, belongs_to, temperature_of
from kdsearch.analysis.report.colors import sequence_colors
from kdsearch.analysis.report.drawing.figure import Card, Drawing, Key
from kdsearch.analysis.report.drawing.frame import Frame, frame_of, round_steps, shape_of
from kdsearch.analysis.report.drawing.svg import group, line_path, tag
from kdsearch.spec import Setup
from kdsearch.storage import TrialRow

Curve = Sequence[tuple[int, float]]


def draw_learning(
    setups: Sequence[Setup],
    trials: Sequence[TrialRow],
    accuracies: Mapping[int, Curve],
    bands: Sequence[TemperatureBand],
) -> Drawing:
    """Draw learning curves; see `kdsearch.analysis.report.plots.plot_learning_curves`."""
    colors = sequence_colors(len(bands))
    frame = _frame(len(setups), [curve for curve in accuracies.values() if curve])
    cards = []
    for setup, name in zip(setups, setup_names(setups), strict=True):
        drawn = [t for t in trials if t.number in accuracies and belongs_to(t, setup)]
        marks = [_line(frame, t, accuracies[t.number], _color(t, bands, colors)) for t in drawn]
        label = f"{name}: validation accuracy over epochs of {len(drawn)} trials"
        cards.append(Card(name, f"{len(drawn)} trials", _plot(frame, marks, label), label))
    names = [f"T {temperature_text(band.low)} to {temperature_text(band.high)}" for band in bands]
    keys = [Key("line", name, color) for name, color in zip(names, colors, strict=True)]
    return Drawing(cards, keys=keys, columns=shape_of(len(setups))[0])


def draw_trial(trial: TrialRow, curve: Curve) -> Drawing:
    """Draw one trial's learning curve."""
    frame = _frame(1, [curve])
    label = (
        f"Trial {trial.number}: validation accuracy over {curve[-1][0]} epochs, at last {curve[-1][1]:.2%}"
    )
    xs, ys = frame.places([epoch for epoch, _ in curve], [accuracy for _, accuracy in curve])
    dots = [
        tag("circle", tag("title", f"epoch {e}: {a:.2%}"), cx=x, cy=y, r=2.8, class_="trial")
        for (e, a), x, y in zip(curve, xs, ys, strict=True)
    ]
    line = tag("path", d=line_path(xs, ys), class_="mean")
    own = group([line, *dots], color="#0072b2", class_="own")
    return Drawing([Card("Learning curve", "", _plot(frame, [own], label), label)], columns=1)


def _frame(count: int, curves: Sequence[Curve]) -> Frame:
    heights = [accuracy for curve in curves for _, accuracy in curve] or [0.0, 1.0]
    last = max((epoch for curve in curves for epoch, _ in curve), default=1)
    low, high = min(heights), max(heights)
    margin = 0.05 * max(high - low, 0.02)
    return frame_of(count, (0, max(last, 1)), (max(low - margin, 0.0), high + margin))


def _plot(frame: Frame, marks: Sequence[Markup], label: str) -> Markup:
    ticks = [(step, f"{step:g}") for step in round_steps(0, frame.x.high) if step == int(step)]
    return frame.svg(marks, x_ticks=ticks, x_name="epoch", label=label)


def _line(frame: Frame, trial: TrialRow, curve: Curve, color: str) -> Markup:
    xs, ys = frame.places([epoch for epoch, _ in curve], [accuracy for _, accuracy in curve])
    temperature = temperature_of(trial)
    at = "" if temperature is None else f" · T {temperature:.3g}"
    title = tag("title", f"trial {trial.number}{at}")
    return group(
        [tag("path", title, d=line_path(xs, ys), class_="learning", data_trial=trial.number)],
        color=color,
        class_="own",
    )


def _color(trial: TrialRow, bands: Sequence[TemperatureBand], colors: Sequence[str]) -> str:
    return colors[band_of(temperature_of(trial) or 0.0, bands)]
