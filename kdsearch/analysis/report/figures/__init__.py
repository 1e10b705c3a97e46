"""Figures as plain data. Each is computed once from the answers, and every face draws or sends that."""

from kdsearch.analysis.report.figures.answers import (
    answer_text,
    best_temperatures_figure,
    comparison_figure,
    response_figure,
)
from kdsearch.analysis.report.figures.courses import learning_figure, progress_figure, trial_figure
from kdsearch.analysis.report.figures.document import Axis, Figure, Key, Part, Series
from kdsearch.analysis.report.figures.shares import importance_figure, outcomes_figure
from kdsearch.analysis.report.figures.what_if import sources_figure, what_if_figure

__all__ = [
    "Axis",
    "Figure",
    "Key",
    "Part",
    "Series",
    "answer_text",
    "best_temperatures_figure",
    "comparison_figure",
    "importance_figure",
    "learning_figure",
    "outcomes_figure",
    "progress_figure",
    "response_figure",
    "sources_figure",
    "trial_figure",
    "what_if_figure",
]
