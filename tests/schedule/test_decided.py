"""A study that stops once its setups are decided, on an embedded Ray: told, kept and gone on with."""

from typing import Any

import pytest

from kdsearch.analysis.forecast import ENOUGH_TO_DECIDE

pytestmark = [pytest.mark.ray, pytest.mark.slow]

QUICK = ("--trials", "60", "--set", "options.seconds=0.05")


def test_decided_setups_end_a_study_until_a_lower_regret_is_asked(launches: Any) -> None:
    code, out, err = launches.run(*QUICK, "--set", "search.stop.regret=0.05")
    assert code == 0, err
    assert "The study is finished: every setup is decided" in out
    at_first = len(launches.rows())
    assert 2 * ENOUGH_TO_DECIDE <= at_first < 60
    code, _, err = launches.run(*QUICK, "--set", "search.stop.regret=0.05")  # as decided as before
    assert code == 0, err
    assert len(launches.rows()) == at_first
    code, out, err = launches.run(*QUICK, "--set", "search.stop.regret=1e-12")
    assert code == 0, err
    assert len(launches.rows()) == 60
    assert "is decided" not in out
