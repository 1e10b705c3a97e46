"""Plotly figures of a study. Each draws numbers that are computed elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import plotly.graph_objects as go

from kdsearch.analysis.labels import (
    effect_label,
    factor_label,
    setup_names,
    temperature_text,
    value_text,
    wrapped,
)
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.importance import Importance
from kdsearch.analysis.questions.outcomes import TemperatureBand, band_of, belongs_to, temperature_of
from kdsearch.analysis.report.colors import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INK,
    MUTED,
    NEAR_OPTIMAL,
    PRUNED,
    faded,
    sequence_colors,
    setup_colors,
)
from kdsearch.analysis.report.drawing.response import shown_points
from kdsearch.analysis.report.figure_layout import (
    Grid,
    blank_figure,
    grid_figure,
    legend_entry,
    mark,
    temperature_axis,
    title_width,
)
from kdsearch.analysis.report.panels import Panel, Point, response_panels
from kdsearch.analysis.response.fitted import ResponseCurve
from kdsearch.spec import Setup
from kdsearch.storage import TrialRow


def plot_response(
    curves: Sequence[ResponseCurve],
    trials: Sequence[TrialRow] = (),
    answer: BestAnswer | None = None,
    *,
    most_points: int | None = None,
) -> go.Figure:
    """Draw accuracy over temperature, a panel for each setup.

    Each panel has the mean curve with its credible band, a lighter one for the other parameters kept at the
    recommendation, and the trials. The axes leave out failed and terrible trials; these stand as triangles
    at the lower edge.

    Args:
        curves: One for each setup.
        trials: Gives the points their numbers, parameters and states; pruned trials are shown too.
        answer: Adds the best temperature, its interval and the near-optimal range.
        most_points: At most so many trials in a panel, the best among them; None for all.
    """
    panels = response_panels(curves, trials, answer)
    if most_points is not None:
        panels = [replace(panel, points=shown_points(panel.points, most_points)) for panel in panels]
    titles = [_response_title(panel, title_width(len(panels))) for panel in panels]
    grid = Grid(len(panels), max((len(lines) for lines in titles), default=1))
    figure = grid_figure(grid, ["<br>".join(lines) for lines in titles])
    axis = temperature_axis(_temperatures(panels))
    for index, panel in enumerate(panels):
        for trace in [_frame(), *_curve_traces(panel), *_point_traces(panel), *_answer_traces(panel)]:
            figure.add_trace(trace, **grid.cell(index))
        figure.update_yaxes(range=panel.window, **grid.cell(index))
        figure.update_xaxes(**axis, **grid.cell(index))
        _mark_near_optimal(figure, panel, index, grid)
    if len({panel.window for panel in panels}) == 1:
        grid.share_accuracies(figure)
    grid.name_axes(figure, x="temperature", y="validation accuracy")
    figure.add_traces(_response_legend(answer, has_common=any(panel.curve.at_common for panel in panels)))
    return figure


def plot_best_temperatures(answer: BestAnswer, span: tuple[float, float]) -> go.Figure:
    """Draw each setup's best temperature, interval and near-optimal range within the span searched."""
    setups = [found.setup for found in answer.setups]
    figure = blank_figure(height=110 + 30 * len(setups))
    for row, (found, color) in enumerate(zip(answer.setups, setup_colors(setups), strict=True)):
        figure.add_traces(_forest_traces(found, row, color))
        figure.add_annotation(
            **{"x": 1.01, "y": row, "xref": "paper", "xanchor": "left", "showarrow": False},
            text=_forest_text(found),
            font={"size": 12, "color": INK if found.temperature else MUTED},
        )
    names = [escape(name) for name in setup_names(setups)]
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6], showgrid=False
    )
    figure.update_xaxes(title_text="temperature", **temperature_axis(span))
    figure.update_layout(margin={"r": 210})
    figure.add_traces(_forest_legend(answer))
    return figure


def plot_importance(found: Importance) -> go.Figure:
    """Draw the shares of variation as bars with their intervals: parameters and pairs, then factors."""
    parts = {"within a setup": found.tuned, "between setups": found.factors}
    figure = blank_figure(height=130 + 26 * sum(map(len, parts.values())))
    for (name, effects), color in zip(parts.items(), sequence_colors(3), strict=False):
        if not effects:
            continue
        shares = [effect.share for effect in effects]
        figure.add_bar(
            orientation="h",
            y=[escape(effect_label(effect.paths)) for effect in effects],
            x=shares,
            name=name,
            marker={"color": faded(color, 0.6)},
            error_x={
                **{"type": "data", "symmetric": False, "color": INK, "thickness": 1.5, "width": 4},
                "array": [effect.interval[1] - effect.share for effect in effects],
                "arrayminus": [effect.share - effect.interval[0] for effect in effects],
            },
            hovertemplate="%{y}: %{x:.0%} of the variation<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text="share of variation", tickformat=".0%", range=[0, 1])
    return figure


def plot_learning_curves(
    setups: Sequence[Setup],
    trials: Sequence[TrialRow],
    accuracies: Mapping[int, Sequence[tuple[int, float]]],
    bands: Sequence[TemperatureBand],
) -> go.Figure:
    """Draw validation accuracy over epochs, a panel for each setup, coloured by temperature.

    Args:
        setups: The setups to draw.
        trials: Their trials.
        accuracies: (epoch, accuracy) by the number of each trial that is to be drawn.
        bands: The ranges of temperature that share a colour, in order.
    """
    lines = [wrapped(name, title_width(len(setups))) for name in setup_names(setups)]
    grid = Grid(len(setups), max(map(len, lines), default=1))
    figure = grid_figure(grid, [f"<b>{'<br>'.join(map(escape, title))}</b>" for title in lines])
    colors = sequence_colors(len(bands))
    for index, setup in enumerate(setups):
        drawn = [t for t in trials if t.number in accuracies and belongs_to(t, setup)]
        for band, color in enumerate(colors):
            members = [t for t in drawn if band_of(temperature_of(t) or 0.0, bands) == band]
            if members:
                figure.add_trace(_learning_trace(members, accuracies, color), **grid.cell(index))
    names = [f"T {temperature_text(band.low)} to {temperature_text(band.high)}" for band in bands]
    figure.add_traces(
        [legend_entry(n, mode="lines", line={"color": c}) for n, c in zip(names, colors, strict=True)]
    )
    grid.share_accuracies(figure)
    grid.name_axes(figure, x="epoch", y="validation accuracy")
    return figure


def plot_outcomes(bands: Sequence[TemperatureBand]) -> go.Figure:
    """Draw how many trials were completed, pruned and lost in each range of temperatures."""
    figure = blank_figure(height=290)
    labels = [f"{temperature_text(band.low)}–{temperature_text(band.high)}" for band in bands]
    kinds = {"complete": COMPLETE, "pruned": PRUNED, "diverged": DIVERGED, "failed": FAILED}
    for kind, color in kinds.items():
        counts = [getattr(band, kind) for band in bands]
        if kind == "complete" or any(counts):
            figure.add_bar(
                x=labels,
                y=counts,
                name=kind,
                marker={"color": color, "line": {"color": "white", "width": 1}},
                hovertemplate=f"T %{{x}}: %{{y}} {kind}<extra></extra>",
            )
    figure.update_layout(barmode="stack", bargap=0.25)
    figure.update_xaxes(title_text="temperature", type="category", showgrid=False)
    figure.update_yaxes(title_text="trials", rangemode="tozero", tickformat="d")
    return figure


def plot_progress(setups: Sequence[Setup], trials: Sequence[TrialRow]) -> go.Figure:
    """Draw the best validation accuracy seen so far in each setup, over the trial numbers."""
    figure = blank_figure(height=340)
    for setup, name, color in zip(setups, setup_names(setups), setup_colors(setups), strict=True):
        numbers, best = _best_so_far([t for t in trials if belongs_to(t, setup)])
        figure.add_scatter(
            x=numbers,
            y=best,
            mode="lines+markers",
            name=escape(name),
            line={"shape": "hv", "color": color, "width": 2},
            marker={"size": 4},
            hovertemplate=f"{escape(name)}<br>after trial %{{x}}: %{{y:.2%}}<extra></extra>",
            showlegend=len(setups) <= 8,
        )
    figure.update_xaxes(title_text="trial number")
    figure.update_yaxes(title_text="best validation accuracy", tickformat=".1~%")
    return figure


def _temperatures(panels: Sequence[Panel]) -> list[float]:
    drawn = [t for panel in panels for t in panel.curve.temperatures]
    tried = [point.temperature for panel in panels for point in panel.points]
    return [*drawn, *tried] or [1.0, 40.0]


def _response_title(panel: Panel, width: int) -> list[str]:
    lines = [f"<b>{escape(line)}</b>" for line in wrapped(panel.name, width)]
    if panel.answer is None:
        return lines
    text = _temperature_text(panel.answer) or _clipped(panel.answer.reason or "no answer yet", width)
    return [*lines, f"<span style='color:{MUTED}'>{escape(text)}</span>"]


def _temperature_text(found: SetupAnswer) -> str | None:
    if found.temperature is None:
        return None
    text = f"T = {temperature_text(found.temperature)}"
    if found.interval is None:
        return text
    low, high = map(temperature_text, found.interval)
    return f"{text} ({low} to {high})" + (", flat" if found.flat else "")


def _frame() -> go.Scatter:
    """Return a trace without data: plotly leaves out the axes of a panel that has no trace."""
    return mark(x=[None], y=[None], mode="markers")


def _curve_traces(panel: Panel) -> list[go.Scatter]:
    curve = panel.curve
    if not len(curve.temperatures):
        return []
    around = {
        "x": [*curve.temperatures, *reversed(curve.temperatures)],
        "y": [*curve.high, *reversed(curve.low)],
    }
    band = mark(
        **around, fill="toself", fillcolor=faded(panel.color, 0.16), line={"width": 0}, hoverinfo="skip"
    )
    hover = "T %{x:.3g}: mean %{y:.2%}<extra></extra>"
    line = {"color": panel.color, "width": 2.5}
    mean = mark(x=curve.temperatures, y=curve.mean, mode="lines", line=line, hovertemplate=hover)
    return [band, *_common_traces(panel), mean]


def _common_traces(panel: Panel) -> list[go.Scatter]:
    curve = panel.curve
    if not curve.at_common:
        return []
    params = (panel.answer.params if panel.answer else None) or {}
    kept = ", ".join(f"{factor_label(path)} {value_text(value)}" for path, value in params.items())
    return [
        mark(
            x=curve.temperatures,
            y=curve.at_common,
            mode="lines",
            line={"color": faded(panel.color, 0.55), "width": 1.6, "dash": "dash"},
            hovertemplate=f"T %{{x:.3g}}: mean %{{y:.2%}} at {escape(kept or 'the recommended parameters')}"
            "<extra></extra>",
        )
    ]


def _point_traces(panel: Panel) -> list[go.Scatter]:
    low, _ = panel.window
    inside = [point for point in panel.points if point.accuracy >= low]
    below = [point for point in panel.points if point.accuracy < low]
    filled = {"size": 6, "color": faded(panel.color, 0.55), "line": {"width": 0.5, "color": "white"}}
    hollow = {"size": 6, "symbol": "circle-open", "color": panel.color}
    edge = {"size": 7, "symbol": "triangle-down-open", "color": MUTED}
    groups = [
        ([point for point in inside if point.is_complete], filled),
        ([point for point in inside if not point.is_complete], hollow),
        ([replace(point, accuracy=low) for point in below], edge),
    ]
    return [_points(points, marker) for points, marker in groups if points]


def _points(points: Sequence[Point], marker: dict[str, Any]) -> go.Scatter:
    return mark(
        x=[point.temperature for point in points],
        y=[point.accuracy for point in points],
        mode="markers",
        marker=marker,
        text=["<br>".join(map(escape, point.text)) for point in points],
        hovertemplate="T %{x:.3g}<br>%{text}<extra></extra>",
        cliponaxis=False,
    )


def _answer_traces(panel: Panel) -> list[go.Scatter]:
    found = panel.answer
    if found is None or found.temperature is None or found.accuracy is None:
        return []
    best = found.temperature
    low, high = found.interval or (best, best)
    error = {"type": "data", "symmetric": False, "array": [high - best], "arrayminus": [best - low]}
    return [
        mark(
            x=[best],
            y=[found.accuracy],
            mode="markers",
            marker={"symbol": "diamond", "size": 11, "color": INK, "line": {"color": "white", "width": 1.5}},
            error_x={**error, "color": INK, "thickness": 1.8, "width": 5},
            hovertemplate=f"best: {_temperature_text(found)}<br>accuracy %{{y:.2%}}<extra></extra>",
        )
    ]


def _mark_near_optimal(figure: go.Figure, panel: Panel, index: int, grid: Grid) -> None:
    if panel.answer is None or panel.answer.near_optimal is None:
        return
    low, high = panel.answer.near_optimal
    figure.add_vrect(low, high, fillcolor=NEAR_OPTIMAL, line_width=0, layer="below", **grid.cell(index))


def _response_legend(answer: BestAnswer | None, *, has_common: bool) -> list[go.Scatter]:
    grey = {"color": MUTED}
    level = f"{answer.level:.0%} " if answer else ""
    kept = {"color": faded(MUTED, 0.7), "width": 1.6, "dash": "dash"}
    common = legend_entry("mean, not retuned", mode="lines", line=kept)
    entries = [
        legend_entry("mean", mode="lines", line={**grey, "width": 2.5}),
        *([common] if has_common else []),
        legend_entry(
            f"{level}band", mode="markers", marker={"symbol": "square", "size": 11, "color": "#d7dce1"}
        ),
        legend_entry("trial", mode="markers", marker={**grey, "size": 6}),
        legend_entry("pruned or failed", mode="markers", marker={**grey, "size": 6, "symbol": "circle-open"}),
        legend_entry(
            "below the axis", mode="markers", marker={**grey, "size": 7, "symbol": "triangle-down-open"}
        ),
    ]
    if answer is None:
        return entries
    best = {"symbol": "diamond", "size": 10, "color": INK}
    near = {"symbol": "square", "size": 11, "color": NEAR_OPTIMAL}
    return [
        *entries,
        legend_entry(f"best temperature, {level}interval", mode="markers", marker=best),
        legend_entry(f"within {100 * answer.tolerance:g} points of the best", mode="markers", marker=near),
    ]


def _forest_traces(found: SetupAnswer, row: int, color: str) -> list[go.Scatter]:
    traces = []
    for ends, width, shade in ((found.near_optimal, 13, NEAR_OPTIMAL), (found.interval, 3, color)):
        if ends is not None:
            line = {"color": shade, "width": width}
            traces.append(mark(x=list(ends), y=[row, row], mode="lines", line=line, hoverinfo="skip"))
    if found.temperature is not None:
        marker = {"symbol": "diamond", "size": 11, "color": color, "line": {"color": "white", "width": 1.5}}
        hover = f"{_temperature_text(found)}<br>{found.trials} trials<extra></extra>"
        traces.append(
            mark(x=[found.temperature], y=[row], mode="markers", marker=marker, hovertemplate=hover)
        )
    return traces


def _forest_text(found: SetupAnswer) -> str:
    text = _temperature_text(found)
    if text is None:
        return escape(_clipped(found.reason or "no answer yet", 32))
    return text if found.accuracy is None else f"{text} · {found.accuracy:.1%}"


def _forest_legend(answer: BestAnswer) -> list[go.Scatter]:
    near = {"symbol": "square", "size": 11, "color": NEAR_OPTIMAL}
    return [
        legend_entry(
            "best temperature", mode="markers", marker={"symbol": "diamond", "size": 9, "color": MUTED}
        ),
        legend_entry(f"{answer.level:.0%} interval", mode="lines", line={"color": MUTED, "width": 3}),
        legend_entry(f"within {100 * answer.tolerance:g} points of the best", mode="markers", marker=near),
    ]


def _learning_trace(
    trials: Sequence[TrialRow], accuracies: Mapping[int, Sequence[tuple[int, float]]], color: str
) -> go.Scatter:
    """Return the curves of one colour as one trace, with gaps between the trials."""
    epochs: list[int | None] = []
    heights: list[float | None] = []
    texts: list[str] = []
    for trial in trials:
        curve = accuracies[trial.number]
        epochs += [*(epoch for epoch, _ in curve), None]
        heights += [*(accuracy for _, accuracy in curve), None]
        texts += [f"trial {trial.number} · T {temperature_of(trial):.3g}"] * (len(curve) + 1)
    return mark(
        x=epochs,
        y=heights,
        mode="lines",
        line={"color": faded(color, 0.75), "width": 1.3},
        text=texts,
        hovertemplate="%{text}<br>epoch %{x}: %{y:.2%}<extra></extra>",
    )


def _best_so_far(trials: Sequence[TrialRow]) -> tuple[list[int], list[float]]:
    numbers: list[int] = []
    best: list[float] = []
    for trial in sorted(trials, key=lambda t: t.number):
        if trial.state == "complete" and trial.val_accuracy is not None:
            numbers.append(trial.number)
            best.append(max([trial.val_accuracy, *best[-1:]]))
    return numbers, best


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
