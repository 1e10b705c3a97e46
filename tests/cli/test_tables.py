"""What a person is shown of an answer."""

from dataclasses import replace

import pytest

from kdsearch.analysis import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.forecast import Budget, Forecast, SetupForecast
from kdsearch.analysis.questions.outcomes import TemperatureBand
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
    print_answer(BestAnswer("demo", 0.9, 0.005, list(setups)))
    return capsys.readouterr().out


def test_a_person_is_shown_at_which_temperatures_trials_were_pruned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = replace(SETUP, setup={"optimizer.name": "adamw"}, pruned=0)
    _, table = shown(capsys, SETUP, whole).split("Pruned of all that ended, by temperature")
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert "setup T 1.0 to 6.0 T 6.0 to 40 T 40 to 90" in rows
    assert "sgd 0 of 4 2 of 2 –" in rows
    assert not any(row.startswith("adamw 0") for row in rows)


def test_a_person_is_told_how_often_the_pruner_was_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    bands = (replace(BANDS[0], audited=2, came_back=1), replace(BANDS[1], audited=1))
    told = shown(capsys, replace(SETUP, outcomes=bands), replace(SETUP, pruned=0, outcomes=bands))
    text = "audit: 6 hopeless trials were trained to the end, of which 2 ended above the line"
    assert text in told.splitlines()
    assert "audit" not in shown(capsys, SETUP)


def test_where_nothing_was_pruned_nothing_is_said_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Pruned" not in shown(capsys, replace(SETUP, pruned=0))


def test_a_setup_without_an_answer_has_dashes_for_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    answered = replace(
        SETUP, setup={"optimizer.name": "adamw"}, params={"optimizer.lr": 0.1, "augment.flip": None}
    )
    rows = [" ".join(line.split()) for line in shown(capsys, replace(SETUP, pruned=0), answered).splitlines()]
    (told,) = (row for row in rows if row.startswith("sgd –"))
    assert set(told.split()[1:6]) == {"–"}
    (told,) = (row for row in rows if row.startswith("adamw") and "none" in row)
    assert "0.1 none" in told


UNDECIDED = SetupForecast({"optimizer.name": "sgd"}, 12, 0.004, more_trials=(10, 20, 40), hours=3.0)


def forecast_shown(capsys: pytest.CaptureFixture[str], found: Forecast) -> list[str]:
    print_forecast(found)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_stopped_setup_is_forecast_no_trials_and_no_hours(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = replace(UNDECIDED, setup={"optimizer.name": "adamw"}, stopped="expected to lose little")
    lines = forecast_shown(capsys, Forecast("demo", 0.002, [UNDECIDED, stopped]))
    assert "sgd 12 0.40 about 20 10 to 40 3 h" in lines
    assert "adamw 12 0.40 stopped – –" in lines
    assert "in all about 3 h with 1 packs at once, as many as ran so far" in lines
    assert not any("in all" in line for line in forecast_shown(capsys, Forecast("demo", 0.002, [stopped])))


def test_large_and_small_numbers_are_told_as_people_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    long = replace(UNDECIDED, hours=480.0)
    found = Forecast("demo", 0.0004, [long], slots=128.0, budgets={"trials": Budget(24, 2000)})
    lines = forecast_shown(capsys, found)
    assert lines[0] == "demo: trials until at most 0.04 points are expected to be lost"
    assert "sgd 12 0.40 about 20 10 to 40 480 h" in lines
    assert "in all about 480 h with 128 packs at once, as many as ran so far" in lines
    assert "spent: 24 of 2000 trials" in lines
    setup = replace(SETUP, temperature=120.0, forecast=long)
    print_answer(BestAnswer("demo", 0.9, 0.005, [setup], target=0.0004, slots=128.0))
    shown = " ".join(capsys.readouterr().out.split())
    told = "until at most 0.04 points are expected to be lost; in all about 480 h with 128 packs at once"
    assert told in shown
    assert "sgd 120 " in shown


@pytest.mark.parametrize(
    ("luck", "told"),
    [
        (
            ["initialisation"],
            "Answers hold on this split, with these views and in this batch order; their doubt includes the "
            "luck of the initialisation alone.",
        ),
        (
            ["initialisation", "views", "order", "images"],
            "Answers hold on this split; their doubt includes the luck of the initialisation, the views, "
            "the batch order and the validation images.",
        ),
        (
            ["initialisation", "views", "order", "split"],
            "The doubt includes the luck of the initialisation, the views, the batch order and the split.",
        ),
        (
            ["seed"],
            "The doubt includes the luck of what the trainer takes from a trial's seed alone.",
        ),
    ],
)
def test_an_answer_says_which_luck_its_doubt_includes(
    capsys: pytest.CaptureFixture[str], luck: list[str], told: str
) -> None:
    print_answer(BestAnswer("demo", 0.9, 0.005, [SETUP], luck=tuple(luck)))
    assert told in capsys.readouterr().out.splitlines()
