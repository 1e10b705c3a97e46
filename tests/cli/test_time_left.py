"""The time until the first budget is spent, against arithmetic by hand."""

import pytest

from kdsearch.cli.progress import Display
from kdsearch.cli.time_left import TimeLeft
from kdsearch.spec import load_spec
from kdsearch.storage import Hours, TrialRow


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def time_left(clock: list[float]) -> TimeLeft:
    return TimeLeft(lambda: clock[0])


def test_trials_alone_go_on_at_their_pace(time_left: TimeLeft, clock: list[float]) -> None:
    assert time_left.seconds([(10, 50)]) is None
    clock[0] += 60
    assert time_left.seconds([(10, 50)]) is None
    clock[0] += 60
    assert time_left.seconds([(20, 50)]) == pytest.approx(30 * 12)


def test_the_budget_that_is_spent_first_counts(time_left: TimeLeft, clock: list[float]) -> None:
    assert time_left.seconds([(0, 1000), (0.5, 2.0), (3.0, 900.0)]) is None
    clock[0] += 1800
    # 10 trials and an hour of the second budget in half an hour: half an hour is left of it.
    assert time_left.seconds([(10, 1000), (1.5, 2.0), (3.0, 900.0)]) == pytest.approx(900)
    assert time_left.seconds([(10, 1000), (2.5, 2.0), (3.0, 900.0)]) == 0.0


def test_a_display_tells_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdsearch.cli.progress.LINE_S", 0.0)
    tuned = {"objective.temperature": {"low": 1, "high": 4}}
    spec = load_spec({"name": "a", "tune": tuned, "search": {"hours": 0.5}})
    row = TrialRow(0, "complete", None, {}, {}, 0, 1)
    with Display(spec) as display:
        display.update(list, Hours)
        display.update(lambda: [row], lambda: Hours(wall=0.5))
    assert capsys.readouterr().err.splitlines() == [
        "a: 0/96 trials, 0 running",
        "a: 1/96 trials, 0 running, about 0 s left",
    ]


def test_a_display_tells_how_far_long_trials_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsearch.cli.progress.LINE_S", 0.0)
    spec = load_spec({"name": "a", "tune": {"objective.temperature": {"low": 1, "high": 4}}})
    rows = [TrialRow(n, "running", None, {}, {}, n, epochs) for n, epochs in enumerate((3, 5, 5))]
    with Display(spec) as display:
        display.update(lambda: rows, Hours)
        display.update(lambda: rows[1:], Hours)
    assert capsys.readouterr().err.splitlines() == [
        "a: 0/96 trials, 3 running (epochs done: 3 to 5)",
        "a: 0/96 trials, 2 running (epochs done: 5)",
    ]
