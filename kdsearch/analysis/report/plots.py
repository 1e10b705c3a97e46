"""Plotly figures of a study. Each is the drawing of a figure of `kdsearch.analysis.report.figures`."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from kdsearch.analysis.questions.best import BestAnswer
from kdsearch.analysis.questions.comparison import Comparison
from kdsearch.analysis.questions.importance import Importance
from kdsearch.analysis.questions.outcomes import TemperatureBand
from kdsearch.analysis.report.figures import (
    best_temperatures_figure,
    comparison_figure,
    importance_figure,
    learning_figure,
    outcomes_figure,
    progress_figure,
    response_figure,
)
from kdsearch.analysis.report.plotly_drawing import plotly_of
from kdsearch.analysis.response.fitted import ResponseCurve
from kdsearch.spec import Setup
from kdsearch.storage import TrialRow


def plot_response(
    curves: Sequence[ResponseCurve], trials: Sequence[TrialRow] = (), answer: BestAnswer | None = None
) -> go.Figure:
    """Draw accuracy over temperature, a panel for each setup; see `response_figure`."""
    return plotly_of(response_figure(curves, trials, answer))


def plot_best_temperatures(answer: BestAnswer, span: tuple[float, float]) -> go.Figure:
    """Draw each setup's best temperature, interval and near-optimal range.

    The axis is the span that was searched.
    """
    return plotly_of(best_temperatures_figure(answer, span))


def plot_comparison(comparisons: Sequence[Comparison]) -> go.Figure:
    """Draw how the best temperature moves between the levels of each factor."""
    return plotly_of(comparison_figure(comparisons))


def plot_importance(found: Importance) -> go.Figure:
    """Draw the shares of variation as bars with their intervals: parameters and pairs, then factors."""
    return plotly_of(importance_figure(found))


def plot_learning_curves(
    setups: Sequence[Setup],
    trials: Sequence[TrialRow],
    accuracies: Mapping[int, Sequence[tuple[int, float]]],
    bands: Sequence[TemperatureBand],
) -> go.Figure:
    """Draw validation accuracy over epochs, a panel for each setup; see `learning_figure`."""
    return plotly_of(learning_figure(setups, trials, accuracies, bands))


def plot_outcomes(bands: Sequence[TemperatureBand]) -> go.Figure:
    """Draw how trials ended in each range of temperatures.

    They were completed, pruned or lost.
    """
    return plotly_of(outcomes_figure(bands))


def plot_progress(setups: Sequence[Setup], trials: Sequence[TrialRow]) -> go.Figure:
    """Draw the best validation accuracy so far in each setup.

    It is drawn over the trial numbers.
    """
    return plotly_of(progress_figure(setups, trials))
