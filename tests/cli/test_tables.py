"""What a person is shown of an answer."""

from dataclasses import replace

import pytest

from kdsearch.analysis import BestAnswer, SetupAnswer
from kdsearch.analysis.forecast import Forecast, SetupForecast
from kdsearch.analysis.outcomes import TemperatureBand
from kdsearch.cli.tables import print_answer, print_forecast

BANDS = (
    TemperatureBand(1, 6, 3, 0, 1, 0),
    TemperatureBand(6, 40, 0, 2, 0, 0),
    TemperatureBand(40, 90, 0, 0, 0, 0),
)
SETUP = SetupAnswer(
    {"optimizer.name": "sgd"}, trials=3, failed=1, pruned=2, reason="too few trials.", outcomes=BANDS
)


def shown(capsys: pytest.CaptureFixture[str], *setups: SetupAnswer) -> str:
    print_answer(BestAnswer("demo", 0.9, 0.005, list(setups)).to_dict())
    return capsys.readouterr().out


def test_a_person_is_shown_at_which_temperatures_trials_were_pruned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = replace(SETUP, setup={"optimizer.name": "adamw"}, pruned=0)
    _, table = shown(capsys, SETUP, whole).split("Pruned of all that ended, by temperature")
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert "optimizer.name 1 … 6 6 … 40 40 … 90" in rows
    assert "sgd 0 of 4 2 of 2 –" in rows
    assert not any(row.startswith("adamw 0") for row in rows)


def test_where_nothing_was_pruned_nothing_is_said_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Pruned" not in shown(capsys, replace(SETUP, pruned=0))


UNDECIDED = SetupForecast({"optimizer.name": "sgd"}, 12, 0.004, more_trials=(10, 20, 40), hours=3.0)


def forecast_shown(capsys: pytest.CaptureFixture[str], found: Forecast) -> list[str]:
    print_forecast(found.to_dict())
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_stopped_setup_is_forecast_no_trials_and_no_hours(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = replace(UNDECIDED, setup={"optimizer.name": "adamw"}, stopped="expected to lose little")
    lines = forecast_shown(capsys, Forecast("demo", 0.002, [UNDECIDED, stopped]))
    assert "sgd 12 0.40 about 20 10 … 40 3 h" in lines
    assert "adamw 12 0.40 stopped –" in lines
    assert "in all about 3 h with 1 packs at once, as many as ran so far" in lines
    assert not any("in all" in line for line in forecast_shown(capsys, Forecast("demo", 0.002, [stopped])))
