"""Figures in rows: a strip across the page for each setup, effect or range of temperatures."""

from collections.abc import Sequence

from markupsafe import Markup

from kdsearch.analysis.labels import effect_label, setup_names, temperature_text
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.importance import Effect, Importance
from kdsearch.analysis.questions.outcomes import TemperatureBand
from kdsearch.analysis.questions.replication import USUAL_TEMPERATURE
from kdsearch.analysis.report.colors import COMPLETE, DIVERGED, FAILED, PRUNED, sequence_colors, setup_colors
from kdsearch.analysis.report.drawing.figure import Drawing, Key, Strip
from kdsearch.analysis.report.drawing.frame import Axis, temperature_labels
from kdsearch.analysis.report.drawing.response import answer_text
from kdsearch.analysis.report.drawing.svg import group, share, tag

_HEIGHT = 22
_MIDDLE = 11
_MARGIN = 0.03
_KINDS = {"complete": COMPLETE, "pruned": PRUNED, "diverged": DIVERGED, "failed": FAILED}


def draw_best_temperatures(answer: BestAnswer, span: tuple[float, float]) -> Drawing:
    """Draw each setup's best temperature, interval and near-optimal range within the span searched."""
    low, high = span if span[1] > span[0] else (span[0] / 2, span[1] * 2)
    axis = Axis(low, high, _MARGIN, 1 - _MARGIN, log=True)
    ticks = [(axis.place(value), text) for value, text in temperature_labels(low, high)]
    setups = [found.setup for found in answer.setups]
    rows = zip(setup_names(setups), setup_colors(setups), answer.setups, strict=True)
    strips = [
        Strip(name, _forest(axis, color, ticks, found), answer_text(found)) for name, color, found in rows
    ]
    keys = [
        Key("best", f"best temperature, {answer.level:.0%} interval"),
        Key("near", f"within {100 * answer.tolerance:g} points of the best"),
        Key("usual", f"the usual T = {USUAL_TEMPERATURE:g}"),
    ]
    return Drawing(strips=strips, axis=_axis(ticks), keys=keys)


def draw_importance(found: Importance) -> Drawing:
    """Draw the shares of variation with their intervals: parameters and pairs, then factors."""
    axis = Axis(0.0, 1.0, _MARGIN, 1 - _MARGIN)
    ticks = [(axis.place(value / 4), f"{25 * value}%") for value in range(5)]
    parts = {"within a setup": found.tuned, "between setups": found.factors}
    colors = dict(zip(parts, sequence_colors(3), strict=False))
    strips = [
        Strip(
            effect_label(effect.paths),
            _bar(axis, ticks, colors[part], effect),
            f"{_share_text(effect)}, {part}",
        )
        for part, effects in parts.items()
        for effect in effects
    ]
    keys = [Key("block", part, colors[part]) for part, effects in parts.items() if effects]
    return Drawing(strips=strips, axis=_axis(ticks), keys=keys)


def draw_outcomes(bands: Sequence[TemperatureBand]) -> Drawing:
    """Draw how many trials were completed, pruned and lost in each range of temperatures."""
    most = max((band.finished for band in bands), default=0) or 1
    strips = [_outcomes(band, most) for band in bands]
    kinds = [kind for kind in _KINDS if kind == "complete" or any(getattr(band, kind) for band in bands)]
    return Drawing(strips=strips, keys=[Key("block", kind, _KINDS[kind]) for kind in kinds])


def _forest(axis: Axis, color: str, ticks: Sequence[tuple[float, str]], found: SetupAnswer) -> Markup:
    marks = [_grid(ticks)]
    if found.near_optimal is not None:
        low, high = map(axis.place, found.near_optimal)
        marks.append(
            tag("rect", x=share(low), width=share(max(high - low, 0.003)), y=4, height=14, class_="near")
        )
    if axis.low <= USUAL_TEMPERATURE <= axis.high:
        at = share(axis.place(USUAL_TEMPERATURE))
        marks.append(group([tag("line", x1=at, x2=at, y1=0, y2=_HEIGHT)], class_="usual"))
    if found.interval is not None:
        low, high = map(axis.place, found.interval)
        line = tag("line", x1=share(low), x2=share(high), y1=_MIDDLE, y2=_MIDDLE, class_="mean")
        marks.append(group([line], color=color, class_="own"))
    if found.temperature is not None:
        dot = tag("circle", cx=share(axis.place(found.temperature)), cy=_MIDDLE, r=5, class_="point")
        marks.append(group([dot], color=color, class_="own"))
    return _strip(marks)


def _bar(axis: Axis, ticks: Sequence[tuple[float, str]], color: str, effect: Effect) -> Markup:
    start, end = axis.place(0.0), axis.place(effect.share)
    low, high = map(axis.place, effect.interval)
    bar = tag("rect", x=share(start), width=share(end - start), y=4, height=14, class_="block")
    line = tag("line", x1=share(low), x2=share(high), y1=_MIDDLE, y2=_MIDDLE, class_="whisker")
    return _strip([_grid(ticks), group([bar], color=color, class_="own"), line])


def _share_text(effect: Effect) -> str:
    low, high = effect.interval
    return f"{effect.share:.0%} ({low:.0%} to {high:.0%})"


def _outcomes(band: TemperatureBand, most: int) -> Strip:
    marks, start = [], 0.0
    counts = {kind: getattr(band, kind) for kind in _KINDS}
    for kind, count in counts.items():
        if count:
            bar = tag("rect", x=share(start), width=share(count / most), y=3, height=16, class_="block")
            marks.append(group([bar], color=_KINDS[kind], class_="own"))
            start += count / most
    text = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no trial"
    name = f"T {temperature_text(band.low)} to {temperature_text(band.high)}"
    return Strip(name, _strip(marks), text)


def _grid(ticks: Sequence[tuple[float, str]]) -> Markup:
    lines = [tag("line", x1=share(at), x2=share(at), y1=0, y2=_HEIGHT) for at, _ in ticks]
    return group(lines, class_="grid")


def _axis(ticks: Sequence[tuple[float, str]]) -> Markup:
    texts = [tag("text", text, x=share(at), y=13, class_="mid") for at, text in ticks]
    return _strip([group(texts, class_="ticks")], height=18)


def _strip(marks: Sequence[Markup], height: int = _HEIGHT) -> Markup:
    """Return a strip that is as wide as its place; the words beside it say what it shows."""
    return tag("svg", *marks, class_="strip", width="100%", height=height, aria_hidden="true")
