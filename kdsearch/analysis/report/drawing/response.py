"""Accuracy over temperature: a card for each setup, with its answer and its trials."""

from collections.abc import Sequence

from markupsafe import Markup

from kdsearch.analysis.labels import temperature_text
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.replication import USUAL_TEMPERATURE
from kdsearch.analysis.report.drawing.figure import Card, Drawing, Key
from kdsearch.analysis.report.drawing.frame import Frame, frame_of, shape_of, temperature_labels
from kdsearch.analysis.report.drawing.svg import group, line_path, tag
from kdsearch.analysis.report.panels import Panel, Point, response_panels
from kdsearch.analysis.response.fitted import ResponseCurve
from kdsearch.storage import TrialRow

MOST_POINTS = 1_500
"""In a whole figure: each is an element, and more of them hide the curve."""

_MOST_POINTS_A_CARD = 300
_DIAMOND = 6.0


def draw_response(
    curves: Sequence[ResponseCurve], trials: Sequence[TrialRow] = (), answer: BestAnswer | None = None
) -> Drawing:
    """Draw accuracy over temperature; see `kdsearch.analysis.report.plots.plot_response` for the marks."""
    panels = response_panels(curves, trials, answer)
    most = max(20, min(_MOST_POINTS_A_CARD, MOST_POINTS // max(len(panels), 1)))
    span = _span(panels)
    cards = [_card(panel, span, len(panels), most) for panel in panels]
    has_common = any(panel.curve.at_common for panel in panels)
    return Drawing(cards, keys=_keys(answer, has_common=has_common), columns=shape_of(len(panels))[0])


def draw_curve(curve: ResponseCurve, answer: SetupAnswer) -> Drawing:
    """Draw one curve with its answer, without trials."""
    (panel,) = response_panels([curve], (), None)
    own = Panel(panel.name, panel.color, curve, answer, panel.points, panel.window)
    return Drawing([_card(own, _span([own]), 1, 0)], columns=1)


def shown_points(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most so many of the points: the best tenth of them, the others spread over temperatures."""
    if len(points) <= most:
        return list(points)
    by_accuracy = sorted(points, key=lambda point: -point.accuracy)
    best, rest = by_accuracy[: most // 10], by_accuracy[most // 10 :]
    rest.sort(key=lambda point: (point.temperature, point.accuracy))
    count = most - len(best)
    return [*(rest[index * len(rest) // count] for index in range(count)), *best]


def _span(panels: Sequence[Panel]) -> tuple[float, float]:
    drawn = [t for panel in panels for t in panel.curve.temperatures]
    tried = [point.temperature for panel in panels for point in panel.points]
    every = [*drawn, *tried] or [1.0, 40.0]
    low, high = min(every), max(every)
    return (low, high) if high > low else (low / 2, high * 2)


def _card(panel: Panel, span: tuple[float, float], count: int, most: int) -> Card:
    frame = frame_of(count, span, panel.window, log=True)
    points = shown_points(panel.points, most)
    marks = [
        _near_optimal(frame, panel),
        _usual(frame, span),
        group([*_curve(frame, panel), *_points(frame, points)], color=panel.color, class_="own"),
        _best(frame, panel),
    ]
    told = answer_text(panel.answer) if panel.answer else ""
    label = f"{panel.name}: validation accuracy over temperature, {len(panel.points)} trials. {told}"
    svg = frame.svg(marks, x_ticks=temperature_labels(*span), x_name="temperature", label=label.strip())
    return Card(panel.name, told, svg, label)


def answer_text(found: SetupAnswer) -> str:
    """Return a setup's answer in a line: the temperature, its interval, what T = 4 costs."""
    if found.temperature is None:
        return found.reason or "no answer yet"
    text = f"T = {temperature_text(found.temperature)}"
    if found.interval is not None:
        low, high = map(temperature_text, found.interval)
        text += f" ({low} to {high})" + (", flat: any will do" if found.flat else "")
    lost = (found.regret_of or {}).get(f"{USUAL_TEMPERATURE:g}")
    return text if lost is None else f"{text} · T = {USUAL_TEMPERATURE:g} costs {max(100 * lost, 0.0):.1f}"


def _near_optimal(frame: Frame, panel: Panel) -> Markup:
    found = panel.answer
    if found is None or found.near_optimal is None:
        return Markup()
    low, high = (frame.x.place(end) for end in found.near_optimal)
    height = frame.floor - frame.ceiling
    return tag("rect", x=low, y=frame.ceiling, width=max(high - low, 1.0), height=height, class_="near")


def _usual(frame: Frame, span: tuple[float, float]) -> Markup:
    if not span[0] <= USUAL_TEMPERATURE <= span[1]:
        return Markup()
    x = frame.x.place(USUAL_TEMPERATURE)
    line = tag("line", x1=x, x2=x, y1=frame.floor, y2=frame.ceiling)
    text = tag("text", f"T = {USUAL_TEMPERATURE:g}", x=x + 4, y=frame.floor - 5)
    return group([line, text], class_="usual")


def _curve(frame: Frame, panel: Panel) -> list[Markup]:
    curve = panel.curve
    if not len(curve.temperatures):
        return []
    xs, tops = frame.places(curve.temperatures, curve.high)
    _, bottoms = frame.places(curve.temperatures, curve.low)
    _, means = frame.places(curve.temperatures, curve.mean)
    marks = [tag("path", d=line_path([*xs, *xs[::-1]], [*tops, *bottoms[::-1]]) + "Z", class_="band")]
    if curve.at_common:
        _, kept = frame.places(curve.temperatures, curve.at_common)
        marks.append(tag("path", d=line_path(xs, kept), class_="kept"))
    return [*marks, tag("path", d=line_path(xs, means), class_="mean")]


def _points(frame: Frame, points: Sequence[Point]) -> list[Markup]:
    marks = []
    for point in points:
        x, y = frame.x.place(point.temperature), frame.y.place(point.accuracy)
        title = tag("title", "\n".join(point.text)) if point.text else ""
        if point.accuracy < frame.y.low:
            marks.append(
                tag(
                    "path",
                    title,
                    d=f"M{x - 4:.1f},{y - 7:.1f}h8l-4,6z",
                    class_="below",
                    data_trial=point.number,
                )
            )
            continue
        look = "trial" if point.is_complete else "lost"
        marks.append(tag("circle", title, cx=x, cy=y, r=2.8, class_=look, data_trial=point.number))
    return marks


def _best(frame: Frame, panel: Panel) -> Markup:
    found = panel.answer
    if found is None or found.temperature is None or found.accuracy is None:
        return Markup()
    x, y = frame.x.place(found.temperature), frame.y.place(found.accuracy)
    low, high = (frame.x.place(end) for end in found.interval or (found.temperature, found.temperature))
    diamond = f"M{x - _DIAMOND:.1f},{y:.1f}l6,-6l6,6l-6,6z"
    return group([tag("line", x1=low, x2=high, y1=y, y2=y), tag("path", d=diamond)], class_="best")


def _keys(answer: BestAnswer | None, *, has_common: bool) -> list[Key]:
    level = f"{answer.level:.0%} " if answer else ""
    common = [Key("kept", "mean, others not retuned")] if has_common else []
    keys = [Key("mean", "mean"), *common, Key("band", f"{level}band"), Key("trial", "trial")]
    keys += [Key("lost", "pruned or failed"), Key("below", "below the axis")]
    if answer is None:
        return keys
    near = f"within {100 * answer.tolerance:g} points of the best"
    return [*keys, Key("best", f"best temperature, {level}interval"), Key("near", near)]
