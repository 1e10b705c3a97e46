"""Shares and counts as figures: what accuracy depends on, and how trials ended."""

from collections.abc import Sequence

from kdsearch.analysis.labels import effect_label, temperature_text
from kdsearch.analysis.questions.importance import Effect, Importance
from kdsearch.analysis.questions.outcomes import TemperatureBand
from kdsearch.analysis.report.colors import COMPLETE, DIVERGED, FAILED, PRUNED, sequence_colors
from kdsearch.analysis.report.figures.document import Axis, Figure, Key, Part, Series
from kdsearch.trial import audit_text

_KINDS = {"complete": COMPLETE, "pruned": PRUNED, "diverged": DIVERGED, "failed": FAILED}


def importance_figure(found: Importance) -> Figure:
    """Return the shares of variation with their intervals: parameters and pairs, then factors."""
    parts = {"within a setup": found.tuned, "between setups": found.factors}
    colors = dict(zip(parts, sequence_colors(3), strict=False))
    rows = [_share_row(part, colors[part], effect) for part, effects in parts.items() for effect in effects]
    return Figure(
        "importance",
        "What accuracy depends on",
        "The share of accuracy's variation that each tuned parameter explains within a setup, over the whole "
        "ranges, and each pair beyond its two parameters; and that each factor explains between the setups' "
        f"best accuracies. With {found.level:.0%} intervals.",
        "rows",
        Axis("share of variation", "fraction", 0.0, 1.0),
        None,
        tuple(rows),
        tuple(Key("block", part, colors[part]) for part, effects in parts.items() if effects),
    )


def outcomes_figure(bands: Sequence[TemperatureBand]) -> Figure:
    """Return how trials ended in each range of temperatures.

    They were completed, pruned or lost.
    """
    most = max((band.finished for band in bands), default=0) or 1
    kinds = [kind for kind in _KINDS if kind == "complete" or any(getattr(band, kind) for band in bands)]
    caption = "Trials by temperature. Where many were lost, the curve rests on the few that were not."
    audit = audit_text(sum(band.audited for band in bands), sum(band.came_back for band in bands))
    return Figure(
        "outcomes",
        "What was completed, pruned and lost",
        f"{caption} {audit.capitalize()}." if audit else caption,
        "rows",
        Axis("trials", "trials", 0, most),
        None,
        tuple(map(_outcome_row, bands)),
        tuple(Key("block", kind, _KINDS[kind]) for kind in kinds),
    )


def _share_row(part: str, color: str, effect: Effect) -> Part:
    name, (low, high) = effect_label(effect.paths), effect.interval
    words = f"{effect.share:.0%} ({low:.0%} to {high:.0%}), {part}"
    series = (
        Series("block", part, color, (effect.share,), low=(0.0,), high=(effect.share,)),
        Series("whisker", "interval", low=(low,), high=(high,)),
    )
    return Part(name, words, f"{name}: {words}", series)


def _outcome_row(band: TemperatureBand) -> Part:
    counts = {kind: getattr(band, kind) for kind in _KINDS if getattr(band, kind)}
    series, start = [], 0
    for kind, count in counts.items():
        end = start + count
        series.append(Series("block", kind, _KINDS[kind], (count,), low=(start,), high=(end,)))
        start = end
    name = f"T {temperature_text(band.low)} to {temperature_text(band.high)}"
    words = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "no trial"
    return Part(name, words, f"{name}: {words}", tuple(series))
