"""What a figure is made of: axes, parts, points and words."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import plotly.graph_objects as go

StudyFigure = Literal[
    "response", "comparison", "best-temperatures", "importance", "outcomes", "learning", "progress"
]
STUDY_FIGURES: tuple[str, ...] = get_args(StudyFigure)
"""The figures that a study may have, in the order of its report."""

Look = Literal[
    "mean",  # a line, with a band where it has ends
    "kept",
    "learning",
    "step",
    "trial",
    "lost",
    "below",  # a dot that lies below the vertical axis
    "best",  # an estimate with its interval, in a plot
    "point",  # the same in a row
    "near",  # a range, as the next three
    "wide",
    "block",
    "whisker",
    "usual",  # a line across, at T = 4
    "same",  # the same where nothing differs
]
Unit = Literal["", "fraction", "points", "ratio", "epochs", "trials"]


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        name: What it shows.
        unit: `fraction` is shown in percent, `points` as hundredths of accuracy; both are fractions here.
        low: Where it begins.
        high: Where it ends.
        scale: Linear or logarithmic.
    """

    name: str
    unit: Unit
    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Series:
    """Points of one look.

    Attributes:
        look: How they are drawn.
        name: What they are, in words.
        color: As `#rrggbb`; None is the ink of the page.
        x: Places on the horizontal axis [n].
        y: Heights [n]; empty in a row, and for marks that reach over the whole height.
        low: Lower ends of the intervals [n], or empty.
        high: Their upper ends.
        along: The axis along which `low` and `high` are.
        texts: What a reader learns of each point [n], or empty.
        trials: The numbers of the trials that the points are, or the one that they all are of.
    """

    look: Look
    name: str = ""
    color: str | None = None
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    along: Literal["x", "y"] = "x"
    texts: tuple[str, ...] = ()
    trials: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """One plot, or one row, of a figure.

    Attributes:
        title: Its name: a setup, a pair of levels, an effect.
        words: Its numbers in words.
        alt: What a reader who does not see it is told.
        series: What is drawn, in this order.
        window: The range of the vertical axis; None in a row.
    """

    title: str
    words: str
    alt: str
    series: tuple[Series, ...]
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class Key:
    """One entry of a legend: what a look means, or a colour."""

    look: Look
    text: str
    color: str | None = None


@dataclass(frozen=True)
class Figure:
    """A figure as plain data, of which every drawing is made.

    Attributes:
        kind: Which figure it is; see `STUDY_FIGURES`.
        title: Its heading.
        caption: How it is to be read.
        layout: Plots side by side, or rows above one axis.
        x: The horizontal axis of all parts.
        y: The vertical axis; its ends span every part's window. None where the parts are rows.
        parts: The plots, or the rows.
        keys: What the looks mean.
    """

    kind: str
    title: str
    caption: str
    layout: Literal["cards", "rows"]
    x: Axis
    y: Axis | None
    parts: tuple[Part, ...]
    keys: tuple[Key, ...] = ()

    @property
    def alt(self) -> str:
        """What a reader who does not see it is told."""
        return " ".join([f"{self.title}.", *(f"{part.alt.rstrip('.')}." for part in self.parts)])

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def to_plotly(self) -> "go.Figure":
        """Return it as a plotly figure."""
        from kdsearch.analysis.report.plotly_drawing import plotly_of

        return plotly_of(self)

    def _repr_mimebundle_(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Any:
        return self.to_plotly()._repr_mimebundle_(include, exclude)


def ends_of(parts: Sequence[Part]) -> tuple[float, float]:
    """Return the range that holds the windows of all parts."""
    windows = [part.window for part in parts if part.window is not None] or [(0.0, 1.0)]
    return min(low for low, _ in windows), max(high for _, high in windows)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return [*map(_plain, value)] if isinstance(value, tuple) else value
