"""How figures are laid out: style, panels, axes, legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kdsearch.analysis.report.colors import HAIRLINE, INK, MUTED
from kdsearch.analysis.report.figures.document import Axis
from kdsearch.analysis.report.figures.ticks import ticks_of

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"format": "svg"},
}

_LEGEND, _BOTTOM, _AXIS, _LINE = 44, 56, 48, 16  # pixels that plotly needs for these, by eye
_SHAPES = ((1, 1, 380), (4, 2, 260), (12, 3, 210))  # at most so many panels: columns, pixels of height
_MANY = (4, 180)  # of more panels; by hand, since in more columns their titles do not fit
_PAGE_CHARACTERS = 130  # of titles in a page's width, by eye: those of panels side by side share it


@dataclass(frozen=True)
class Grid:
    """Where small multiples stand: fewer columns and taller panels for fewer of them.

    `title_lines` are the lines of text above each panel.
    """

    count: int
    title_lines: int = 1

    @property
    def columns(self) -> int:
        """The number of panels side by side."""
        return self._shape[0]

    @property
    def rows(self) -> int:
        """The number of rows, at least one."""
        return max(1, math.ceil(self.count / self.columns))

    @property
    def height(self) -> int:
        """The figure's height in pixels."""
        return self.top + _BOTTOM + self.rows * self._shape[1] + (self.rows - 1) * self._gap

    @property
    def top(self) -> int:
        """The pixels above the first row: the legend and a title."""
        return _LEGEND + _LINE * self.title_lines

    @property
    def gap(self) -> float:
        """The space between rows, as a fraction of the plotted height."""
        return self._gap / (self.height - self.top - _BOTTOM)

    def cell(self, index: int) -> dict[str, int]:
        """Return the row and column of a panel, counted from 1.

        So plotly counts them.
        """
        return {"row": index // self.columns + 1, "col": index % self.columns + 1}

    def share_accuracies(self, figure: go.Figure) -> None:
        """Let all panels have one vertical axis, also when a reader zooms."""
        for index in range(1, self.count):
            figure.update_yaxes(matches="y", **self.cell(index))

    def name_axes(self, figure: go.Figure, *, x: str, y: str) -> None:
        """Name the axes at the left and the lower border.

        They are the vertical axis of the first column and the lowest horizontal axis of each.
        """
        for index in range(self.count):
            if index % self.columns == 0:
                figure.update_yaxes(title_text=y, **self.cell(index))
            if index + self.columns >= self.count:
                figure.update_xaxes(title_text=x, **self.cell(index))

    @property
    def _gap(self) -> int:
        return _AXIS + _LINE * self.title_lines

    @property
    def _shape(self) -> tuple[int, int]:
        fitting = ((columns, height) for most, columns, height in _SHAPES if self.count <= most)
        return next(fitting, _MANY)


def title_width(count: int) -> int:
    """Return how many characters fit above one of `count` panels."""
    return _PAGE_CHARACTERS // Grid(count).columns


def blank_figure(*, height: int) -> go.Figure:
    """Return an empty figure in the style of all others."""
    return _styled(go.Figure(), height, _LEGEND + _LINE)


def grid_figure(grid: Grid, titles: Sequence[str]) -> go.Figure:
    """Return an empty figure with a titled panel for each cell."""
    figure = make_subplots(
        rows=grid.rows,
        cols=grid.columns,
        subplot_titles=list(titles),
        vertical_spacing=grid.gap,
        horizontal_spacing=0.16 / (grid.columns + 1),
    )
    for index, title in enumerate(figure.layout.annotations):
        start = next(figure.select_xaxes(**grid.cell(index))).domain[0]
        title.update(x=start, xanchor="left", align="left", font={"size": 12.5, "color": INK})
    return _styled(figure, grid.height, grid.top)


def axis_look(axis: Axis) -> dict[str, Any]:
    """Return how plotly draws an axis: its range with a margin, and on a log axis our ticks."""
    if axis.scale == "linear":
        margin = 0.03 * (axis.high - axis.low)
        return {
            "range": [axis.low - margin, axis.high + margin],
            "tickformat": ".1~%" if axis.unit == "fraction" else None,
            **(_points_ticks(axis) if axis.unit == "points" else {}),
        }
    margin = 0.03 * max(math.log10(axis.high / axis.low), 0.5)
    ticks = ticks_of(axis)
    return {
        "type": "log",
        "range": [math.log10(axis.low) - margin, math.log10(axis.high) + margin],
        "tickvals": [value for value, _ in ticks],
        "ticktext": [text for _, text in ticks],
    }


def _points_ticks(axis: Axis) -> dict[str, Any]:
    ticks = ticks_of(axis)
    return {"tickvals": [value for value, _ in ticks], "ticktext": [text for _, text in ticks]}


def mark(**look: Any) -> go.Scatter:
    """Return a trace that the legend leaves out."""
    return go.Scatter(showlegend=False, **look)


def legend_entry(name: str, **look: Any) -> go.Scatter:
    """Return a trace without data that explains a mark in the legend."""
    return go.Scatter(x=[None], y=[None], name=name, showlegend=True, **look)


def _styled(figure: go.Figure, height: int, top: int) -> go.Figure:
    axis = {"gridcolor": HAIRLINE, "linecolor": HAIRLINE, "zeroline": False, "title": {"font": {"size": 12}}}
    figure.update_xaxes(**axis, ticks="outside", tickcolor=HAIRLINE)
    figure.update_yaxes(**axis, tickformat=".1~%", automargin=True)
    figure.update_layout(
        template="none",
        height=height,
        font={"family": FONT, "size": 12, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 70, "r": 20, "t": top, "b": _BOTTOM},
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0.01,
            "y": 1,
            "xref": "container",
            "yref": "container",
            "traceorder": "normal",
            "yanchor": "top",
            "font": {"color": MUTED},
        },
        hoverlabel={"bgcolor": "white", "bordercolor": HAIRLINE, "font": {"color": INK}, "align": "left"},
        hovermode="closest",
    )
    return figure
