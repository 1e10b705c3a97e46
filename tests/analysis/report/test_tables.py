from dataclasses import replace

from kdsearch.analysis import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.forecast import SetupForecast
from kdsearch.analysis.report.tables import answer_lines, answer_table, forecast_table

ANSWERED = SetupAnswer(
    setup={"optimizer.name": "sgd"},
    temperature=6.32,
    interval=(4.2, 16.7),
    near_optimal=(5.3, 7.6),
    accuracy=0.898,
    accuracy_interval=(0.891, 0.904),
    test_accuracy=0.881,
    params={"optimizer.lr": 0.0421},
    trials=22,
    failed=1,
    pruned=2,
    regret_of={"1": 0.0288, "4": 0.0048},
    flat=False,
    warnings=("The best `optimizer.lr` lies at the edge of its range.",),
)
SILENT = SetupAnswer(setup={"optimizer.name": "adamw"}, trials=1, reason="too few trials: 1.")


def answer(*setups: SetupAnswer) -> BestAnswer:
    return BestAnswer("demo", 0.9, 0.005, list(setups))


def test_an_answer_stands_with_its_doubt():
    table = answer_table(answer(ANSWERED))
    row = dict(zip([heading.text for heading in table.headings], table.rows[0], strict=True))
    assert row["best T"] == "6.3"
    assert row["90% interval"] == "4.2 to 17"
    assert row["near-optimal"] == "5.3 to 7.6"
    assert row["accuracy %"] == "89.8 ±0.7"
    assert row["test %"] == "88.1"
    assert row["optimizer lr"] == "0.0421"
    assert row["points lost at T=4"] == "0.5"
    assert (row["trials"], row["failed"], row["pruned"]) == ("22", "1", "2")
    assert table.headings[table.emphasis].text == "best T"


def test_no_answer_is_a_dash_with_its_reason():
    table = answer_table(answer(ANSWERED, SILENT))
    assert table.rows[1][:4] == ["adamw", "–", "–", "–"]
    assert ("adamw", "too few trials: 1.") in table.notes
    assert ("sgd", "The best `optimizer.lr` lies at the edge of its range.") in table.notes


def test_where_temperature_hardly_matters_any_will_do():
    flat = SetupAnswer({}, temperature=6.0, interval=(1.0, 40.0), near_optimal=(1.0, 40.0), flat=True)
    assert "1.0 to 40" in answer_table(answer(flat)).rows[0]


def test_lines_name_the_first_answers_and_count_the_rest():
    lines = answer_lines(answer(ANSWERED, SILENT, ANSWERED), most=2)
    assert lines == ["sgd: 6.3 (4.2 to 17), not decided", "adamw: not known yet", "and 1 more"]


def test_lines_say_which_answers_are_decided():
    decided = SetupForecast(ANSWERED.setup, 22, 0.001, more_trials=(0, 0, 0), hours=0.0, decided=True)
    lines = answer_lines(answer(replace(ANSWERED, forecast=decided)), most=2)
    assert lines == ["sgd: 6.3 (4.2 to 17), decided"]


def test_a_sentence_among_what_is_missing_ends_once():
    missing = ("2 more trials", "None of its trials is low: it may be better.")
    undecided = SetupForecast(ANSWERED.setup, 22, 0.004, missing=missing, more_trials=(1, 2, 3))
    notes = [
        note
        for _, note in answer_table(
            BestAnswer("demo", 0.9, 0.005, [replace(ANSWERED, forecast=undecided)])
        ).notes
    ]
    assert "Not decided. It takes 2 more trials; None of its trials is low: it may be better." in notes


def test_a_stopped_setup_is_forecast_no_trials():
    undecided = SetupForecast(ANSWERED.setup, 22, 0.004, more_trials=(10, 20, 40), hours=3.0)
    running = replace(ANSWERED, forecast=undecided)
    stopped = replace(running, stopped="expected to lose little")
    rows = forecast_table(answer(running, stopped, replace(SILENT, stopped="expected to lose little"))).rows
    assert [row[1:] for row in rows] == [
        ["22", "0.40", "about 20", "10 to 40", "3 h"],
        ["22", "0.40", "stopped", "–", "–"],
        ["1", "–", "stopped", "–", "–"],
    ]


def test_hours_and_packs_are_told_without_an_exponent():
    needed = SetupForecast(ANSWERED.setup, 22, 0.004, more_trials=(10, 20, 40), hours=480.0)
    table = forecast_table(replace(answer(replace(ANSWERED, forecast=needed)), slots=128.0))
    assert table.rows[0][-1] == "480 h"
    assert table.headings[-1].title.startswith("with 128 packs")


def test_the_table_says_what_is_decided():
    forecasts = [
        SetupForecast({}, 20, 0.001, decided=decided, more_trials=(10, 20, 40)) for decided in (True, False)
    ]
    setups = [replace(ANSWERED, forecast=forecast) for forecast in forecasts]
    table = answer_table(answer(*setups, SILENT))
    assert table.headings[-1].text == "to go"
    assert [row[-1] for row in table.rows] == ["decided", "about 20", "–"]
