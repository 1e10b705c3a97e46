"""Figures of pages and reports as SVG: drawn here, so that a reader's browser needs no script for them."""

from kdsearch.analysis.report.drawing.figure import Card, Drawing, Key, Strip
from kdsearch.analysis.report.drawing.learning import draw_learning, draw_trial
from kdsearch.analysis.report.drawing.progress import draw_progress
from kdsearch.analysis.report.drawing.response import draw_curve, draw_response
from kdsearch.analysis.report.drawing.strips import draw_best_temperatures, draw_importance, draw_outcomes

__all__ = [
    "Card",
    "Drawing",
    "Key",
    "Strip",
    "draw_best_temperatures",
    "draw_curve",
    "draw_importance",
    "draw_learning",
    "draw_outcomes",
    "draw_progress",
    "draw_response",
    "draw_trial",
]
