"""Figures as SVG, drawn here: a reader's browser needs no script."""

from kdsearch.analysis.report.drawing.cards import draw_cards
from kdsearch.analysis.report.drawing.figure import Card, Drawing, Strip
from kdsearch.analysis.report.drawing.strips import draw_rows
from kdsearch.analysis.report.figures.document import Figure

__all__ = ["Card", "Drawing", "Strip", "draw"]


def draw(figure: Figure) -> Drawing:
    """Draw a figure as cards or as rows.

    A card has a plot, a row has a strip.
    """
    return draw_cards(figure) if figure.layout == "cards" else draw_rows(figure)
