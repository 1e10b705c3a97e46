"""A figure drawn by plotly, for Python and notebooks. It knows nothing but the figure's data."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from kdsearch.analysis.labels import wrapped
from kdsearch.analysis.report.colors import INK, MUTED, NEAR_OPTIMAL, faded
from kdsearch.analysis.report.figure_layout import (
    Grid,
    axis_look,
    blank_figure,
    grid_figure,
    legend_entry,
    mark,
    title_width,
)
from kdsearch.analysis.report.figures.document import Axis, Figure, Key, Look, Part, Series

_ROW_PIXELS = 30  # by hand: two lines of small text fit into a row
_CHARACTER_PIXELS = 6.4  # the mean width of a character of 11 pixels
_MOST_WORDS = 44
"""Characters in a line beside a row; more would leave no room for it."""

_VALUES: Mapping[str, str] = {
    "fraction": ":.2%",
    "points": ":.4f",
    "ratio": ":.3g",
    "epochs": "",
    "trials": "",
    "": ":.3g",
}
_Traces = list[go.Scatter]


def plotly_of(figure: Figure) -> go.Figure:
    """Return a figure as plotly draws it. What a reader who can't see it is told is in `layout.meta`."""
    drawn = _cards(figure) if figure.layout == "cards" else _rows(figure)
    drawn.add_traces([_legend(key) for key in figure.keys])
    drawn.update_layout(meta={"kind": figure.kind, "title": figure.title, "alt": figure.alt})
    return drawn


def _cards(figure: Figure) -> go.Figure:
    width = title_width(len(figure.parts))
    titles = [_title(part, width) for part in figure.parts]
    grid = Grid(len(figure.parts), max(map(len, titles), default=1))
    drawn = grid_figure(grid, ["<br>".join(lines) for lines in titles])
    assert figure.y is not None  # noqa: S101 - cards have heights
    for index, part in enumerate(figure.parts):
        cell = grid.cell(index)
        for trace in [_frame(), *_part_traces(figure, part)]:
            drawn.add_trace(trace, **cell)
        drawn.update_xaxes(**axis_look(figure.x), **cell)
        drawn.update_yaxes(**axis_look(figure.y), **cell)
        drawn.update_yaxes(range=part.window, **cell)
        _mark_ranges(drawn, part, cell)
    if len({part.window for part in figure.parts}) == 1:
        grid.share_accuracies(drawn)
    grid.name_axes(drawn, x=figure.x.name, y=figure.y.name)
    return drawn


def _rows(figure: Figure) -> go.Figure:
    drawn = blank_figure(height=110 + _ROW_PIXELS * len(figure.parts))
    for row, part in enumerate(figure.parts):
        for series in part.series:
            drawn.add_traces(_ROW_MARKS[series.look](series, row, figure.x))
        color = INK if part.series else MUTED
        drawn.add_annotation(
            **{"x": 1.01, "y": row, "xref": "paper", "xanchor": "left", "showarrow": False},
            text="<br>".join(map(escape, _lines(part.words))),
            align="left",
            font={"size": 11, "color": color},
        )
    _mark_lines(drawn, figure)
    names = [escape(part.title) for part in figure.parts]
    rows = {"tickvals": [*range(len(names))], "ticktext": names, "range": [len(names) - 0.4, -0.6]}
    drawn.update_yaxes(**rows, showgrid=False)
    drawn.update_xaxes(title_text=figure.x.name, **axis_look(figure.x))
    longest = max((len(line) for part in figure.parts for line in _lines(part.words)), default=0)
    drawn.update_layout(margin={"r": 30 + int(_CHARACTER_PIXELS * longest)}, barmode="overlay")
    return drawn


def _title(part: Part, width: int) -> list[str]:
    lines = [f"<b>{escape(line)}</b>" for line in wrapped(part.title, width)]
    words = escape(_clipped(part.words, width))
    return [*lines, f"<span style='color:{MUTED}'>{words}</span>"] if words else lines


def _frame() -> go.Scatter:
    """Return a trace without data. Plotly leaves out the axes of a panel that has no trace."""
    return mark(x=[None], y=[None], mode="markers")


def _part_traces(figure: Figure, part: Part) -> _Traces:
    traces = []
    for series in _joined(part.series):
        draw = _CARD_MARKS.get(series.look)
        traces += draw(series, figure, part) if draw else []
    return traces


def _joined(every: Sequence[Series]) -> list[Series]:
    """Return the series, thin lines of one colour as one: a trace each would make a figure slow."""
    groups: dict[Any, list[Series]] = {}
    for index, series in enumerate(every):
        groups.setdefault(series.color if series.look == "learning" else index, []).append(series)
    return [_with_gaps(own) for own in groups.values()]


def _with_gaps(every: Sequence[Series]) -> Series:
    first = every[0]
    if first.look != "learning":
        return first
    gap: Any = None
    xs = tuple(x for series in every for x in (*series.x, gap))
    ys = tuple(y for series in every for y in (*series.y, gap))
    texts = tuple(series.name for series in every for _ in range(len(series.x) + 1))
    return Series("learning", first.name, first.color, xs, ys, texts=texts)


def _mean(series: Series, figure: Figure, part: Part) -> _Traces:  # noqa: ARG001 - as the others
    color = series.color or INK
    line = {"color": color, "width": 2.5}
    hover = _hover(figure, "{x}: mean {y}")
    mean = mark(x=series.x, y=series.y, mode="lines", line=line, hovertemplate=hover)
    if not series.low:
        return [mean]
    xs, ys = [*series.x, *series.x[::-1]], [*series.high, *series.low[::-1]]
    look = {"fill": "toself", "fillcolor": faded(color, 0.16), "line": {"width": 0}, "hoverinfo": "skip"}
    return [mark(x=xs, y=ys, **look), mean]


def _kept(series: Series, figure: Figure, part: Part) -> _Traces:  # noqa: ARG001
    line = {"color": faded(series.color or INK, 0.55), "width": 1.6, "dash": "dash"}
    hover = _hover(figure, f"{{x}}: {{y}}, {escape(series.name)}")
    return [mark(x=series.x, y=series.y, mode="lines", line=line, hovertemplate=hover)]


def _thin(series: Series, figure: Figure, part: Part) -> _Traces:  # noqa: ARG001
    line = {"color": faded(series.color or INK, 0.75), "width": 1.3}
    hover = _hover(figure, "%{text}<br>{x}: {y}")
    text = [*map(escape, series.texts)]
    return [mark(x=series.x, y=series.y, mode="lines", line=line, text=text, hovertemplate=hover)]


def _step(series: Series, figure: Figure, part: Part) -> _Traces:  # noqa: ARG001
    line = {"shape": "hv", "color": series.color, "width": 2}
    hover = _hover(figure, "after {x}: {y}")
    look = {"mode": "lines+markers", "line": line, "marker": {"size": 4}, "hovertemplate": hover}
    lasting = [*series.x, figure.x.high], [*series.y, *series.y[-1:]]
    return [mark(x=lasting[0], y=lasting[1], **look)]


def _dots(series: Series, figure: Figure, part: Part) -> _Traces:
    color = series.color or INK
    markers: Mapping[str, dict[str, Any]] = {
        "trial": {"size": 6, "color": faded(color, 0.55), "line": {"width": 0.5, "color": "white"}},
        "lost": {"size": 6, "color": color, "symbol": "circle-open"},
        "below": {"size": 7, "color": color, "symbol": "triangle-down-open"},
    }
    floor = part.window[0] if part.window else 0.0
    heights = [floor] * len(series.y) if series.look == "below" else series.y
    return [
        mark(
            x=series.x,
            y=heights,
            mode="markers",
            marker=markers[series.look],
            text=["<br>".join(map(escape, text.split("\n"))) for text in series.texts],
            hovertemplate=_hover(figure, "{x}<br>%{text}"),
            cliponaxis=False,
        )
    ]


def _best(series: Series, figure: Figure, part: Part) -> _Traces:  # noqa: ARG001
    marker = {"symbol": "diamond", "size": 11, "color": INK, "line": {"color": "white", "width": 1.5}}
    text = [*map(escape, series.texts)]
    hover = _hover(figure, "best: %{text}<br>{y}")
    look = {"mode": "markers", "marker": marker, "text": text, "hovertemplate": hover}
    return [mark(x=series.x, y=series.y, error_x=_error(series, INK), **look)]


_CARD_MARKS: Mapping[Look, Callable[[Series, Figure, Part], _Traces]] = {
    **{"mean": _mean, "kept": _kept, "learning": _thin, "step": _step},
    **{"trial": _dots, "lost": _dots, "below": _dots, "best": _best},
}


def _mark_ranges(drawn: go.Figure, part: Part, cell: Mapping[str, int]) -> None:
    """Mark what reaches over the whole height of a panel."""
    for series in part.series:
        if series.look == "near":
            for low, high in zip(series.low, series.high, strict=True):
                drawn.add_vrect(low, high, fillcolor=NEAR_OPTIMAL, line_width=0, layer="below", **cell)
        elif series.look == "usual":
            for x in series.x:
                drawn.add_vline(x, line={"color": MUTED, "width": 1, "dash": "dot"}, layer="below", **cell)


def _mark_lines(drawn: go.Figure, figure: Figure) -> None:
    """Mark what all rows have in common: the usual temperature, or no shift."""
    places = {
        (s.look, x) for part in figure.parts for s in part.series if s.look in ("usual", "same") for x in s.x
    }
    for look, x in sorted(places):
        dash = "dot" if look == "usual" else "solid"
        drawn.add_vline(x, line={"color": MUTED, "width": 1, "dash": dash}, layer="below")


def _range(width: float, color: str | None) -> Callable[[Series, int, Axis], _Traces]:
    def traces(series: Series, row: int, axis: Axis) -> _Traces:  # noqa: ARG001
        line = {"color": color or series.color or INK, "width": width}
        ends = zip(series.low, series.high, strict=True)
        return [mark(x=[*pair], y=[row, row], mode="lines", line=line, hoverinfo="skip") for pair in ends]

    return traces


def _point(series: Series, row: int, axis: Axis) -> _Traces:
    color = series.color or INK
    marker = {"symbol": "diamond", "size": 11, "color": color, "line": {"color": "white", "width": 1.5}}
    look = {
        "mode": "markers",
        "marker": marker,
        "hovertemplate": f"%{{x{_VALUES[axis.unit]}}}<extra></extra>",
    }
    return [mark(x=series.x, y=[row] * len(series.x), error_x=_error(series, color), **look)]


def _block(series: Series, row: int, axis: Axis) -> list[go.Bar]:
    widths = [high - low for low, high in zip(series.low, series.high, strict=True)]
    hover = f"%{{customdata{_VALUES[axis.unit]}}} {escape(series.name)}<extra></extra>"
    color = faded(series.color or INK, 0.6)
    return [
        go.Bar(
            **{"orientation": "h", "x": widths, "base": series.low, "y": [row] * len(widths), "width": 0.65},
            **{"customdata": series.x, "name": series.name, "marker": {"color": color}},
            hovertemplate=hover,
            showlegend=False,
        )
    ]


def _nothing(series: Series, row: int, axis: Axis) -> _Traces:  # noqa: ARG001
    """Return nothing: the line is drawn once for all rows."""
    return []


_ROW_MARKS: Mapping[Look, Callable[[Series, int, Axis], Any]] = {
    **{"near": _range(13, NEAR_OPTIMAL), "wide": _range(1.2, MUTED), "whisker": _range(1.5, INK)},
    **{"point": _point, "block": _block, "usual": _nothing, "same": _nothing},
}


def _error(series: Series, color: str) -> dict[str, Any]:
    return {
        **{"type": "data", "symmetric": False, "color": color, "thickness": 1.8, "width": 5},
        "array": [high - x for x, high in zip(series.x, series.high, strict=True)],
        "arrayminus": [x - low for x, low in zip(series.x, series.low, strict=True)],
    }


def _hover(figure: Figure, text: str) -> str:
    """Return what hovering shows.

    `{x}` and `{y}` stand for the values in the units of the axes.
    """
    name = "T" if figure.x.name == "temperature" else escape(figure.x.name)
    x = f"{name} %{{x{_VALUES[figure.x.unit]}}}"
    y = f"%{{y{_VALUES[figure.y.unit if figure.y else '']}}}"
    return text.replace("{x}", x).replace("{y}", y) + "<extra></extra>"


def _legend(key: Key) -> go.Scatter:
    color = key.color or MUTED
    lines: Mapping[str, dict[str, Any]] = {
        "mean": {"width": 2.5},
        "kept": {"width": 1.6, "dash": "dash"},
        "learning": {"width": 1.6},
        "usual": {"width": 1, "dash": "dot"},
        "same": {"width": 1},
        "wide": {"width": 1.2},
    }
    if key.look in lines:
        return legend_entry(key.text, mode="lines", line={"color": color, **lines[key.look]})
    markers: Mapping[str, dict[str, Any]] = {
        "trial": {"size": 6},
        "lost": {"size": 6, "symbol": "circle-open"},
        "below": {"size": 7, "symbol": "triangle-down-open"},
        "best": {"size": 10, "symbol": "diamond", "color": INK},
        "point": {"size": 9, "symbol": "diamond"},
        "near": {"size": 11, "symbol": "square", "color": NEAR_OPTIMAL},
        "block": {"size": 11, "symbol": "square"},
    }
    return legend_entry(key.text, mode="markers", marker={"color": color, **markers[key.look]})


def _lines(words: str) -> list[str]:
    """Return words in at most two lines."""
    return textwrap.wrap(words, _MOST_WORDS, max_lines=2, placeholder=" …")


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
