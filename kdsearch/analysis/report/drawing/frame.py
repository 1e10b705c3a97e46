"""The axes of one plot: from values to places, with ticks and a grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kdsearch.analysis.report.drawing.svg import group, tag
from kdsearch.analysis.report.figures.document import Axis, Figure, Part
from kdsearch.analysis.report.figures.ticks import ticks_of

_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 10.0, 10.0, 34.0  # pixels, by hand: ticks and names fit into them
_SHAPES = ((1, 1, 520.0, 250.0), (4, 2, 500.0, 250.0))  # at most so many cards: columns, width, height
_MANY = (3, 340.0, 205.0)  # of more cards; by hand, so that a row of cards fills a page of about 1,000 pixels
_NARROW = 400.0
"""In a card of less width there is room for four ticks, not for six."""

_LOW = {"progress"}
"""Figures of which little is to be read: their cards have less height."""


@dataclass(frozen=True)
class Scale:
    """From the values of an axis to places on the page."""

    axis: Axis
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value is. What is outside is at the nearest end."""
        low, high, at = self.axis.low, self.axis.high, value
        if self.axis.scale == "log":
            low, high, at = math.log(low), math.log(high), math.log(at)
        fraction = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(max(fraction, 0.0), 1.0) * (self.end - self.start)


@dataclass(frozen=True)
class Frame:
    """A plot's area and its two axes."""

    width: float
    height: float
    x: Scale
    y: Scale

    @property
    def floor(self) -> float:
        """The place of the lower edge."""
        return self.y.start

    @property
    def ceiling(self) -> float:
        """The place of the upper edge."""
        return self.y.end

    def places(self, xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
        """Return where points are."""
        return [self.x.place(x) for x in xs], [self.y.place(y) for y in ys]

    def svg(self, marks: Sequence[str], label: str) -> Markup:
        """Return the plot with its axes.

        `label` says in words what it shows.
        """
        content = [self._grid(), *marks, self._name()]
        box = f"0 0 {self.width:g} {self.height:g}"
        return tag("svg", *content, class_="chart", viewBox=box, role="img", aria_label=label)

    def _grid(self) -> Markup:
        lines, texts = [], []
        for value, text in ticks_of(self.y.axis):
            y = self.y.place(value)
            lines.append(tag("line", x1=self.x.start, x2=self.x.end, y1=y, y2=y))
            texts.append(tag("text", text, x=self.x.start - 6, y=y + 4, class_="end"))
        for value, text in ticks_of(self.x.axis, 4 if self.width < _NARROW else 6):
            x = self.x.place(value)
            lines.append(tag("line", x1=x, x2=x, y1=self.floor, y2=self.ceiling))
            texts.append(tag("text", text, x=x, y=self.floor + 14, class_="mid"))
        return group([group(lines, class_="grid"), group(texts, class_="ticks")])

    def _name(self) -> Markup:
        place = {"x": self.x.end, "y": self.height - 4}
        return tag("text", self.x.axis.name, class_="ticks end", **place)


def shape_of(count: int) -> tuple[int, float, float]:
    """Return how many cards are side by side, and their size.

    It is the width and the height of each, for a number of cards.
    """
    fitting = ((columns, width, height) for most, columns, width, height in _SHAPES if count <= most)
    return next(fitting, _MANY)


def frame_of(figure: Figure, part: Part) -> Frame:
    """Return the frame of one of a figure's cards."""
    assert figure.y is not None  # noqa: S101 - cards have heights
    _, width, height = shape_of(len(figure.parts))
    height = 0.75 * height if figure.kind in _LOW else height
    low, high = part.window or (figure.y.low, figure.y.high)
    upward = Axis(figure.y.name, figure.y.unit, low, high, figure.y.scale)
    across = Scale(figure.x, _LEFT, width - _RIGHT)
    return Frame(width, height, across, Scale(upward, height - _BOTTOM, _TOP))
