"""Figures in small multiples: a card with a plot for each part."""

from collections.abc import Callable, Mapping
from itertools import repeat

from markupsafe import Markup

from kdsearch.analysis.report.drawing.figure import Card, Drawing
from kdsearch.analysis.report.drawing.frame import Frame, frame_of, shape_of
from kdsearch.analysis.report.drawing.svg import group, line_path, tag
from kdsearch.analysis.report.figures.document import Figure, Look, Part, Series

_DIAMOND = 6.0  # pixels from its centre to a corner, by hand: larger than the dot of a trial
_Marks = list[Markup]


def draw_cards(figure: Figure) -> Drawing:
    """Draw a card for each part."""
    cards = [_card(figure, part) for part in figure.parts]
    columns = shape_of(len(figure.parts))[0]
    return Drawing(figure.title, cards, keys=figure.keys, columns=columns)


def _card(figure: Figure, part: Part) -> Card:
    frame = frame_of(figure, part)
    marks = [_colored(series, _MARKS[series.look](frame, series)) for series in part.series]
    return Card(part.title, part.words, frame.svg(marks, part.alt), part.alt)


def _colored(series: Series, marks: _Marks) -> Markup:
    return group(marks, class_="own", color=series.color) if series.color else Markup("").join(marks)


def _near(frame: Frame, series: Series) -> _Marks:
    height = frame.floor - frame.ceiling
    ends = [(frame.x.place(a), frame.x.place(b)) for a, b in zip(series.low, series.high, strict=True)]
    return [
        tag("rect", x=low, y=frame.ceiling, width=max(high - low, 1.0), height=height, class_="near")
        for low, high in ends
    ]


def _across(frame: Frame, series: Series) -> _Marks:
    marks = []
    for x in map(frame.x.place, series.x):
        line = tag("line", x1=x, x2=x, y1=frame.floor, y2=frame.ceiling)
        text = tag("text", series.name, x=x + 4, y=frame.floor - 5)
        marks.append(group([line, text], class_="usual"))
    return marks


def _mean(frame: Frame, series: Series) -> _Marks:
    xs, means = frame.places(series.x, series.y)
    line = tag("path", d=line_path(xs, means), class_="mean")
    if not series.low:
        return [line]
    tops, bottoms = (list(map(frame.y.place, ends)) for ends in (series.high, series.low))
    return [tag("path", d=line_path([*xs, *xs[::-1]], [*tops, *bottoms[::-1]]) + "Z", class_="band"), line]


def _line(frame: Frame, series: Series) -> _Marks:
    if not series.x:
        return []
    own = {"class_": series.look, "data_trial": next(iter(series.trials), None)}
    path = line_path(*frame.places(series.x, series.y))
    return [tag("path", tag("title", series.name), d=path, **own)]


def _step(frame: Frame, series: Series) -> _Marks:
    ends = [*series.x[1:], frame.x.axis.high]
    xs = [x for start, end in zip(series.x, ends, strict=True) for x in (start, end)]
    ys = [y for y in series.y for _ in range(2)]
    return [tag("path", d=line_path(*frame.places(xs, ys)), class_="mean")]


def _dots(frame: Frame, series: Series) -> _Marks:
    xs, ys = frame.places(series.x, series.y)
    return [
        _dot(series.look, x, y, text, trial)
        for x, y, text, trial in zip(xs, ys, series.texts or repeat(""), series.trials or repeat(None))  # noqa: B905
    ]


def _dot(look: Look, x: float, y: float, text: str, trial: int | None) -> Markup:
    title = tag("title", text) if text else ""
    if look == "below":
        return tag("path", title, d=f"M{x - 4:.1f},{y - 7:.1f}h8l-4,6z", class_=look, data_trial=trial)
    return tag("circle", title, cx=x, cy=y, r=2.8, class_=look, data_trial=trial)


def _best(frame: Frame, series: Series) -> _Marks:
    marks = []
    xs, ys = frame.places(series.x, series.y)
    for x, y, low, high in zip(xs, ys, series.low, series.high, strict=True):
        line = tag("line", x1=frame.x.place(low), x2=frame.x.place(high), y1=y, y2=y)
        diamond = tag("path", d=f"M{x - _DIAMOND:.1f},{y:.1f}l6,-6l6,6l-6,6z")
        marks.append(group([line, diamond], class_="best"))
    return marks


_MARKS: Mapping[Look, Callable[[Frame, Series], _Marks]] = {
    **{"near": _near, "usual": _across, "mean": _mean, "kept": _line, "learning": _line, "step": _step},
    **{"trial": _dots, "lost": _dots, "below": _dots, "best": _best},
}
