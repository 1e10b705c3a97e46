"""A recommendation as figures: what each temperature is expected to lose."""

from kdsearch.analysis.labels import setup_names, temperature_text
from kdsearch.analysis.questions.recommendation import LossCurve, Recommendation
from kdsearch.analysis.report.figures.answers import near_series, temperature_axis, usual_series
from kdsearch.analysis.report.figures.document import Axis, Figure, Key, Part, Series

_COLOR = "#0072b2"
_LEAST_LOSS = 0.002
"""A window of less would make differences look large that no training shows."""

_MOST_SOURCES = 12
"""More rows fit on no screen."""


def what_if_figure(found: Recommendation) -> Figure | None:
    """Return accuracy over temperature against the recommended one. None where there is none."""
    curve = found.curve
    if curve is None or found.temperature is None:
        return None
    axis = temperature_axis(curve.temperatures[0], curve.temperatures[-1])
    (name,) = setup_names([found.setup])
    words = _words(found)
    worst, gain = max(_LEAST_LOSS, *curve.high), max(0.0, -min(curve.low))
    margin = 0.06 * (worst + gain)
    window = -worst - margin, gain + margin
    series = (
        *near_series(found.near_optimal),
        *usual_series(axis),
        _curve_series(curve),
        *_best_series(found),
    )
    alt = f"{name}: accuracy over temperature against the recommended one. {words}"
    return Figure(
        "what-if",
        "Accuracy over temperature, against the recommended one",
        "What each temperature is expected to lose, in points of accuracy; how accurate the setup is at its "
        "best is not known before it is run. The band is as wide as setups were found to differ.",
        "cards",
        axis,
        Axis("points against the recommended T", "points", *window),
        (Part(name, words, alt, series, window),),
        (
            Key("mean", f"expected, {found.level:.0%} band"),
            Key("best", f"recommended, {found.level:.0%} interval"),
            *([Key("near", "near-optimal")] if found.near_optimal else []),
            Key("usual", "the usual T = 4"),
        ),
    )


def sources_figure(found: Recommendation) -> Figure | None:
    """Return how much the likest setups share with the asked one.

    Only setups that were run are shown.
    """
    sources = found.sources[:_MOST_SOURCES]
    names = setup_names([source.setup for source in sources])
    rows = []
    for source, name in zip(sources, names, strict=True):
        title = f"{source.study}: {name}"
        words = f"{source.likeness:.0%} in common, {source.trials} trials"
        bar = Series("block", "in common", _COLOR, (source.likeness,), low=(0.0,), high=(source.likeness,))
        rows.append(Part(title, words, f"{title}: {words}", (bar,)))
    left_out = len(found.sources) - len(sources)
    more = f" {left_out} more are less like it." if left_out else ""
    caption = (
        "The setups that were run, the likest first: which share of temperature's effect they are expected "
        f"to have in common with the asked one.{more}"
    )
    axis = Axis("in common", "fraction", 0.0, 1.0)
    return Figure("sources", "What it draws from", caption, "rows", axis, None, tuple(rows)) if rows else None


def _words(found: Recommendation) -> str:
    assert found.temperature is not None  # noqa: S101 - as the caller checked
    text = f"T = {temperature_text(found.temperature)}"
    if found.interval is None:
        return text
    return f"{text} ({' to '.join(map(temperature_text, found.interval))})"


def _curve_series(curve: LossCurve) -> Series:
    """Return minus what each temperature loses, with the ends of that. The best is at the top."""
    mean, low, high = (tuple(0.0 - lost for lost in own) for own in (curve.lost, curve.high, curve.low))
    return Series("mean", "expected", _COLOR, curve.temperatures, mean, low, high, along="y")


def _best_series(found: Recommendation) -> list[Series]:
    assert found.temperature is not None  # noqa: S101 - as the caller checked
    low, high = found.interval or (found.temperature, found.temperature)
    place = (found.temperature,), (0.0,)
    return [Series("best", "recommended", None, *place, (low,), (high,), texts=(_words(found),))]
