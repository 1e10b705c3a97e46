"""A study stops once its setups are decided.

On an embedded Ray that is told, kept and gone on with.
"""

from typing import Any

import pytest

from kdsearch.analysis.questions.decision import ENOUGH_TO_DECIDE
from kdsearch.storage import load_study, open_database

pytestmark = [pytest.mark.ray, pytest.mark.slow]

QUICK = ("--trials", "60")


def test_decided_setups_end_a_study_until_a_lower_regret_is_asked(launches: Any) -> None:
    code, out, err = launches.run(*QUICK, "--set", "search.stop.regret=0.05")
    assert code == 0, err
    assert "The study is finished: every setup is decided, expected to lose at most 5 points; " in out
    assert "2 of 2 setups were stopped early." in out
    with open_database(launches.storage) as database:
        study = load_study(database, "waiting")
    assert (study.reason or "").startswith("every setup is decided")
    assert [stopped.setup["optimizer.name"] for stopped in study.stopped] == ["sgd", "adamw"]
    at_first = len(launches.rows())
    assert 2 * ENOUGH_TO_DECIDE <= at_first < 60
    code, _, err = launches.run(*QUICK, "--set", "search.stop.regret=0.05")  # as decided as before
    assert code == 0, err
    assert len(launches.rows()) == at_first
    code, out, err = launches.run(*QUICK, "--set", "search.stop.regret=1e-12")
    assert code == 0, err
    assert len(launches.rows()) == 60
    assert "The study is finished: all 60 trials are done." in out
    with open_database(launches.storage) as database:
        assert load_study(database, "waiting").stopped == ()
