"""Answers from a study's trials: best temperatures, comparisons, curves. Neither torch nor Ray is needed."""

from kdsearch.analysis.answers import BestAnswer, SetupAnswer, best
from kdsearch.analysis.comparison import Comparison, compare
from kdsearch.analysis.foreign import best_of_optuna
from kdsearch.analysis.importance import Importance, importance
from kdsearch.analysis.response import ResponseCurve, response_curves

__all__ = [
    "BestAnswer",
    "Comparison",
    "Importance",
    "ResponseCurve",
    "SetupAnswer",
    "best",
    "best_of_optuna",
    "compare",
    "importance",
    "response_curves",
]
