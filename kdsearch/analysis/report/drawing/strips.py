"""Figures in rows: a strip for each part above a common axis."""

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from kdsearch.analysis.report.drawing.figure import Drawing, Strip
from kdsearch.analysis.report.drawing.frame import Scale
from kdsearch.analysis.report.drawing.svg import group, share, tag
from kdsearch.analysis.report.figures.document import Figure, Look, Part, Series
from kdsearch.analysis.report.figures.ticks import ticks_of

_HEIGHT = 22  # pixels, by hand: a line of text beside it is as high
_MIDDLE = 11  # half the height
_MARGIN = 0.03  # of the width, by hand: a dot at an end of the axis is not cut
_LEAST = 0.003
"""A range of less width could not be seen."""

_Marks = list[Markup]
_Ticks = Sequence[tuple[float, str]]


def draw_rows(figure: Figure) -> Drawing:
    """Draw a strip for each part. The words beside it say what it shows."""
    scale = Scale(figure.x, _MARGIN, 1 - _MARGIN)
    ticks = [(scale.place(value), text) for value, text in ticks_of(figure.x)]
    strips = [_row(part, scale, ticks) for part in figure.parts]
    return Drawing(figure.title, strips=strips, axis=_axis(ticks), axis_name=figure.x.name, keys=figure.keys)


def _row(part: Part, scale: Scale, ticks: _Ticks) -> Strip:
    marks = [group(_MARKS[s.look](scale, s), color=s.color, class_="own") for s in part.series]
    return Strip(part.title, _strip([_grid(ticks), *marks]), part.words)


def _block(scale: Scale, series: Series) -> _Marks:
    return [
        tag("rect", x=share(low), width=share(max(high - low, _LEAST)), y=4, height=14, class_=series.look)
        for low, high in _ends(scale, series)
    ]


def _lines(scale: Scale, series: Series) -> _Marks:
    return [
        tag("line", x1=share(low), x2=share(high), y1=_MIDDLE, y2=_MIDDLE, class_=series.look)
        for low, high in _ends(scale, series)
    ]


def _across(scale: Scale, series: Series) -> _Marks:
    lines = [tag("line", x1=at, x2=at, y1=0, y2=_HEIGHT) for at in map(share, map(scale.place, series.x))]
    return [group(lines, class_=series.look)]


def _point(scale: Scale, series: Series) -> _Marks:
    lines = [
        tag("line", x1=share(low), x2=share(high), y1=_MIDDLE, y2=_MIDDLE, class_="mean")
        for low, high in _ends(scale, series)
    ]
    dots = [tag("circle", cx=share(scale.place(x)), cy=_MIDDLE, r=5, class_=series.look) for x in series.x]
    return [*lines, *dots]


_MARKS: Mapping[Look, Callable[[Scale, Series], _Marks]] = {
    **{"near": _block, "block": _block, "whisker": _lines, "wide": _lines},
    **{"usual": _across, "same": _across, "point": _point},
}


def _ends(scale: Scale, series: Series) -> list[tuple[float, float]]:
    return [(scale.place(a), scale.place(b)) for a, b in zip(series.low, series.high, strict=True)]


def _grid(ticks: _Ticks) -> Markup:
    lines = [tag("line", x1=share(at), x2=share(at), y1=0, y2=_HEIGHT) for at, _ in ticks]
    return group(lines, class_="grid")


def _axis(ticks: _Ticks) -> Markup:
    texts = [tag("text", text, x=share(at), y=13, class_="mid") for at, text in ticks]
    return _strip([group(texts, class_="ticks")], height=18)


def _strip(marks: Sequence[Markup], height: int = _HEIGHT) -> Markup:
    """Return a strip that is as wide as its place."""
    return tag("svg", *marks, class_="strip", width="100%", height=height, aria_hidden="true")
