"""Answers from a study's trials: best temperatures, comparisons, curves. Neither torch nor Ray is needed."""

from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer, best
from kdsearch.analysis.questions.comparison import Comparison, compare
from kdsearch.analysis.questions.importance import Importance, importance
from kdsearch.analysis.questions.runs import answer_runs, best_of_optuna
from kdsearch.analysis.response.fitted import ResponseCurve, fit_response, response_curves

__all__ = [
    "BestAnswer",
    "Comparison",
    "Importance",
    "ResponseCurve",
    "SetupAnswer",
    "answer_runs",
    "best",
    "best_of_optuna",
    "compare",
    "fit_response",
    "importance",
    "response_curves",
]
