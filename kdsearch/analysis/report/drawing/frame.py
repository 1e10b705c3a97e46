"""The axes of one plot: from values to places, with ticks and a grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kdsearch.analysis.report.drawing.svg import group, tag
from kdsearch.analysis.report.panels import temperature_ticks

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 10.0, 34.0
_SHAPES = ((1, 1, 720.0, 300.0), (4, 2, 500.0, 250.0))
_MANY = (3, 340.0, 205.0)
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """One axis: its range, which way it runs on the page, and whether it is logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value is; what is outside is at the nearest end."""
        low, high, at = (
            (math.log(self.low), math.log(self.high), math.log(value))
            if self.log
            else (self.low, self.high, value)
        )
        fraction = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(max(fraction, 0.0), 1.0) * (self.end - self.start)


@dataclass(frozen=True)
class Frame:
    """A plot's area and its two axes."""

    width: float
    height: float
    x: Axis
    y: Axis

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

    def svg(
        self, marks: Sequence[str], *, x_ticks: Sequence[tuple[float, str]], x_name: str, label: str
    ) -> Markup:
        """Return the plot with its axes; `label` says in words what it shows."""
        content = [self._grid(x_ticks), *marks, self._name(x_name)]
        box = f"0 0 {self.width:g} {self.height:g}"
        return tag("svg", *content, class_="chart", viewBox=box, role="img", aria_label=label)

    def _grid(self, x_ticks: Sequence[tuple[float, str]]) -> Markup:
        lines, texts = [], []
        for value in round_steps(self.y.low, self.y.high):
            y = self.y.place(value)
            lines.append(tag("line", x1=self.x.start, x2=self.x.end, y1=y, y2=y))
            texts.append(tag("text", percent_text(value), x=self.x.start - 6, y=y + 4, class_="end"))
        for value, text in x_ticks:
            x = self.x.place(value)
            lines.append(tag("line", x1=x, x2=x, y1=self.floor, y2=self.ceiling))
            texts.append(tag("text", text, x=x, y=self.floor + 14, class_="mid"))
        return group([group(lines, class_="grid"), group(texts, class_="ticks")])

    def _name(self, name: str) -> Markup:
        place = {"x": self.x.end, "y": self.height - 4}
        return tag("text", name, class_="ticks end", **place)


def shape_of(count: int) -> tuple[int, float, float]:
    """Return for a number of cards how many stand side by side, and the width and height of each."""
    fitting = ((columns, width, height) for most, columns, width, height in _SHAPES if count <= most)
    return next(fitting, _MANY)


def frame_of(
    count: int, x: tuple[float, float], y: tuple[float, float], *, log: bool = False, low: bool = False
) -> Frame:
    """Return the frame of one of `count` cards.

    Args:
        count: Cards in the figure.
        x: The range of the horizontal axis.
        y: The range of accuracies.
        log: Whether the horizontal axis is logarithmic.
        low: A card of less height.
    """
    _, width, height = shape_of(count)
    height = 0.75 * height if low else height
    across = Axis(*x, _LEFT, width - _RIGHT, log)
    return Frame(width, height, across, Axis(*y, height - _BOTTOM, _TOP))


def temperature_labels(low: float, high: float) -> list[tuple[float, str]]:
    """Return the ticks of an axis of temperatures."""
    return [(tick, f"{tick:g}") for tick in temperature_ticks(low, high)]


def round_steps(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most so many round numbers inside a range."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def percent_text(fraction: float) -> str:
    """Return a tick's accuracy, with as many digits as it needs."""
    return f"{round(100 * fraction, 2):g}%"
