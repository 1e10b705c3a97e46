"""What is asked in percent or points where a fraction is meant is refused by every way to ask from Python."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdsearch.analysis import best
from kdsearch.analysis.questions.comparison import compare
from kdsearch.analysis.questions.importance import importance
from kdsearch.analysis.questions.recommendation import recommend_from
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.analysis.stored_study import StoredStudy
from kdsearch.errors import RequestError
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import StudyRecord, open_database

SPEC = load_spec(
    {
        "name": "s",
        "setup": {"optimizer.name": ["sgd", "adamw"]},
        "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
        "search": {"trials": 8},
    }
)
RESPONSE = fit_response(SPEC, [])
OF_LEVELS = [
    lambda asked: best(SPEC, [], **asked),
    lambda asked: compare(RESPONSE, "optimizer.name", **asked),
    lambda asked: importance(RESPONSE, **asked),
    lambda asked: recommend_from([], {}, **asked),
]
OF_TOLERANCES = [OF_LEVELS[0], OF_LEVELS[3]]


@pytest.mark.parametrize("ask", OF_LEVELS)
@pytest.mark.parametrize("level", [90, 1, 0.1, math.nan])
def test_a_level_is_a_probability_that_intervals_may_have(ask: Callable[[Any], Any], level: float) -> None:
    with pytest.raises(RequestError, match=r"`level` must be a number from 0.5 to 0.999"):
        ask({"level": level})
    ask({"level": 0.9})


@pytest.mark.parametrize("ask", OF_TOLERANCES)
@pytest.mark.parametrize("tolerance", [0.5, -0.001, math.nan])
def test_a_tolerance_is_a_fraction_of_accuracy(ask: Callable[[Any], Any], tolerance: float) -> None:
    with pytest.raises(RequestError, match=r"`tolerance` must be an accuracy from 0 to 0.1, ten points"):
        ask({"tolerance": tolerance})
    ask({"tolerance": 0.0})


@pytest.mark.parametrize("regret", [0.2, 0.0, -0.001, math.nan])
def test_a_regret_is_a_fraction_of_accuracy_above_none(tmp_path: Path, regret: float) -> None:
    with open_database(f"sqlite:///{tmp_path}/s.db", create=True) as database:
        StudyRecord.open(database, SPEC)
        study = StoredStudy(database, "s")
        with pytest.raises(RequestError, match=r"`regret` must be an accuracy from 1e-06 to 0.1, ten points"):
            study.forecast(regret)
        study.forecast(0.002)
