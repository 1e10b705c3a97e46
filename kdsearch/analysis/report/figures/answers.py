"""The answers as figures: curves, best temperatures, comparisons."""

import math
from collections.abc import Sequence

from kdsearch.analysis.labels import (
    effect_label,
    factor_label,
    points_text,
    setup_names,
    temperature_text,
    value_text,
)
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.comparison import Comparison, Shift
from kdsearch.analysis.questions.replication import USUAL_TEMPERATURE
from kdsearch.analysis.report.colors import setup_colors
from kdsearch.analysis.report.figures.document import Axis, Figure, Key, Part, Series, ends_of
from kdsearch.analysis.report.panels import Panel, Point, response_panels
from kdsearch.analysis.response.fitted import ResponseCurve
from kdsearch.analysis.response.profiles import Interval
from kdsearch.storage import TrialRow

MOST_POINTS = 1_500
"""In a whole figure: each is an element, and more of them hide the curve."""

_MOST_POINTS_A_CARD = 300
"""By hand: a card is about 500 pixels wide."""

_USUAL = f"{USUAL_TEMPERATURE:g}"
_LEAST_RATIO = 2.0
"""A figure of ratios reaches at least from a half to twice, so that little does not look like much."""

_RESPONSE = (
    "Validation accuracy, the other tuned parameters at their best. Points are trials, which may have "
    "worse parameters and so lie below the curve; of very many, some are drawn, the best among them."
)
_NOT_RETUNED = (
    " The dashed line keeps the others as recommended for the best temperature: what it falls more than "
    "the curve is an effect of tuning, not of temperature."
)


def response_figure(
    curves: Sequence[ResponseCurve], trials: Sequence[TrialRow] = (), answer: BestAnswer | None = None
) -> Figure:
    """Return accuracy over temperature, a part for each setup.

    Each has the mean curve with its credible band, a dashed one for the other parameters kept at the
    recommendation, and the trials. The windows leave out failed and terrible trials.

    Args:
        curves: One for each setup.
        trials: Gives the points their numbers, parameters and states; pruned trials are shown too.
        answer: Adds the best temperature, its interval and the near-optimal range.
    """
    panels = response_panels(curves, trials, answer)
    most = max(20, min(_MOST_POINTS_A_CARD, MOST_POINTS // max(len(panels), 1)))
    axis = temperature_axis(*_span(panels))
    parts = tuple(_response_part(panel, axis, most) for panel in panels)
    has_effect = answer is not None and any(found.effect_at_common for found in answer.setups)
    has_common = any(panel.curve.at_common for panel in panels)
    return Figure(
        "response",
        "Accuracy over temperature",
        _RESPONSE + (_NOT_RETUNED if has_effect else ""),
        "cards",
        axis,
        Axis("validation accuracy", "fraction", *ends_of(parts)),
        parts,
        tuple(_response_keys(answer, has_common=has_common)),
    )


def best_temperatures_figure(answer: BestAnswer, span: tuple[float, float]) -> Figure:
    """Return each setup's best temperature, interval and near-optimal range.

    The axis is the span that was searched.
    """
    setups = [found.setup for found in answer.setups]
    axis = temperature_axis(*span)
    rows = zip(setup_names(setups), setup_colors(setups), answer.setups, strict=True)
    colored = " One colour for each level of the first factor." if len(setups) > 1 else ""
    return Figure(
        "best-temperatures",
        "Best temperatures side by side",
        f"Where intervals overlap, the setups may well share a best temperature.{colored}",
        "rows",
        axis,
        None,
        tuple(_best_row(name, color, found, axis) for name, color, found in rows),
        (
            Key("point", f"best temperature, {answer.level:.0%} interval"),
            Key("near", _near_text(answer)),
            Key("usual", f"the usual T = {_USUAL}"),
        ),
    )


def comparison_figure(comparisons: Sequence[Comparison]) -> Figure:
    """Return how the best temperature moves between levels.

    There is a row for each pair.
    """
    rows = [row for found in comparisons for row in _comparison_rows(found)]
    reach = _reach(rows)
    level = f"{comparisons[0].level:.0%}" if comparisons else ""
    return Figure(
        "comparison",
        "Does the best temperature depend on the factors?",
        "The best temperature of the second level over that of the first, the other factors alike. "
        "Where an interval holds ×1, the shift may be none.",
        "rows",
        Axis("ratio of best temperatures", "ratio", 1 / reach, reach, "log"),
        None,
        tuple(rows),
        (
            Key("point", f"ratio, {level} interval"),
            Key("wide", f"so wide that all pairs of a factor hold together, {level}"),
            Key("same", "no shift"),
        ),
    )


def answer_text(found: SetupAnswer) -> str:
    """Return a setup's answer in a line: the temperature, its interval, what T = 4 costs."""
    if found.temperature is None:
        return found.reason or "no answer yet"
    text = f"T = {temperature_text(found.temperature)}"
    if found.interval is not None:
        text += f" ({_range_text(found.interval)})" + (", hardly matters" if found.flat else "")
    lost = (found.regret_of or {}).get(_USUAL)
    return text if lost is None else f"{text} · T = {_USUAL} costs {max(100 * lost, 0.0):.1f}"


def temperature_axis(low: float, high: float) -> Axis:
    """Return an axis over temperatures. Around a single one it has room on both sides."""
    low, high = (low, high) if high > low else (low / 2, high * 2)
    return Axis("temperature", "", low, high, "log")


def usual_series(axis: Axis) -> list[Series]:
    """Return the line at the usual temperature, if the axis has it.

    The usual one is T = 4.
    """
    if not axis.low <= USUAL_TEMPERATURE <= axis.high:
        return []
    return [Series("usual", f"T = {_USUAL}", x=(USUAL_TEMPERATURE,))]


def near_series(near: Interval | None) -> list[Series]:
    """Return the near-optimal range, where there is one."""
    return [] if near is None else [Series("near", "near-optimal", low=near[:1], high=near[1:])]


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
    return min(every), max(every)


def _response_part(panel: Panel, axis: Axis, most: int) -> Part:
    words = answer_text(panel.answer) if panel.answer else ""
    told = f"{panel.name}: validation accuracy over temperature, {len(panel.points)} trials. {words}"
    series = (
        *near_series(panel.answer.near_optimal if panel.answer else None),
        *usual_series(axis),
        *_curve_series(panel),
        *_point_series(panel, shown_points(panel.points, most)),
        *_best_series(panel.answer),
    )
    return Part(panel.name, words, told.strip(), series, panel.window)


def _curve_series(panel: Panel) -> list[Series]:
    curve = panel.curve
    if not len(curve.temperatures):
        return []
    xs, means = tuple(curve.temperatures), tuple(curve.mean)
    mean = Series("mean", "mean", panel.color, xs, means, tuple(curve.low), tuple(curve.high), along="y")
    if not curve.at_common:
        return [mean]
    params = (panel.answer.params if panel.answer else None) or {}
    kept = ", ".join(f"{factor_label(path)} {value_text(value)}" for path, value in params.items())
    name = f"mean at {kept or 'the recommended parameters'}"
    return [mean, Series("kept", name, panel.color, xs, tuple(curve.at_common))]


def _point_series(panel: Panel, points: Sequence[Point]) -> list[Series]:
    low, _ = panel.window
    groups = {
        "trial": [p for p in points if p.accuracy >= low and p.is_complete],
        "lost": [p for p in points if p.accuracy >= low and not p.is_complete],
        "below": [p for p in points if p.accuracy < low],
    }
    names = {"trial": "trial", "lost": "pruned or failed", "below": "below the axis"}
    return [
        Series(
            look,  # type: ignore[arg-type]  # the keys above
            names[look],
            panel.color,
            tuple(point.temperature for point in own),
            tuple(point.accuracy for point in own),
            texts=tuple("\n".join(point.text) for point in own),
            trials=tuple(point.number for point in own if point.number is not None),
        )
        for look, own in groups.items()
        if own
    ]


def _best_series(found: SetupAnswer | None) -> list[Series]:
    if found is None or found.temperature is None or found.accuracy is None:
        return []
    low, high = found.interval or (found.temperature, found.temperature)
    place = (found.temperature,), (found.accuracy,), (low,), (high,)
    return [Series("best", "best temperature", None, *place, texts=(answer_text(found),))]


def _response_keys(answer: BestAnswer | None, *, has_common: bool) -> list[Key]:
    level = f"{answer.level:.0%} " if answer else ""
    common = [Key("kept", "mean, others not retuned")] if has_common else []
    keys = [Key("mean", f"mean, {level}band"), *common, Key("trial", "trial")]
    keys += [Key("lost", "pruned or failed"), Key("below", "below the axis")]
    if answer is None:
        return keys
    return [*keys, Key("best", f"best temperature, {level}interval"), Key("near", _near_text(answer))]


def _near_text(answer: BestAnswer) -> str:
    return f"within {100 * answer.tolerance:g} points of the best"


def _best_row(name: str, color: str, found: SetupAnswer, axis: Axis) -> Part:
    series = [*near_series(found.near_optimal), *usual_series(axis)]
    if found.temperature is not None:
        low, high = found.interval or (found.temperature, found.temperature)
        best = "best temperature"
        series.append(Series("point", best, color, (found.temperature,), low=(low,), high=(high,)))
    words = answer_text(found)
    return Part(name, words, f"{name}: {words}", tuple(series))


def _comparison_rows(found: Comparison) -> list[Part]:
    factor = effect_label([found.factor])
    if not found.pairs:
        reason = found.reason or "not known"
        return [Part(factor, reason, f"{factor}: {reason}", ())]
    return [_comparison_row(found, pair) for pair in found.pairs]


def _comparison_row(found: Comparison, pair: Shift) -> Part:
    first, second = setup_names([{found.factor: level} for level in pair.levels])
    ratio, interval, family = math.exp(pair.shift), _ratios(pair.interval), _ratios(pair.family_interval)
    words = (
        f"×{temperature_text(ratio)} ({_range_text(interval)}), real with probability "
        f"{pair.probability:.2f}; one T for both loses {points_text(pair.cost)} points"
    )
    series = (
        Series("same", "no shift", x=(1.0,)),
        Series("wide", "all pairs together", low=family[:1], high=family[1:]),
        Series("point", "ratio", x=(ratio,), low=interval[:1], high=interval[1:]),
    )
    title = f"{second} over {first}"
    return Part(title, words, f"{title}: {words}", series)


def _reach(rows: Sequence[Part]) -> float:
    """Return the ratio that the axis reaches on both sides of 1."""
    ends = [end for row in rows for series in row.series for end in (*series.low, *series.high)]
    return max([_LEAST_RATIO, *(max(end, 1 / end) for end in ends)])


def _ratios(interval: Interval) -> Interval:
    return math.exp(interval[0]), math.exp(interval[1])


def _range_text(interval: Interval) -> str:
    return " to ".join(map(temperature_text, interval))
