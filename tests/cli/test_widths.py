"""What the commands print on a terminal: at 80 columns, and at every other width; nothing is ever broken."""

import os
import pty
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

from kdsearch.analysis import BestAnswer, Comparison, SetupAnswer
from kdsearch.analysis.questions.comparison import Shift
from kdsearch.analysis.questions.forecast import Budget, Forecast, SetupForecast
from kdsearch.analysis.questions.outcomes import TemperatureBand
from kdsearch.analysis.report.inks import text_of
from kdsearch.analysis.report.listings import studies_table, trials_table
from kdsearch.cli import tables
from kdsearch.spec import TEMPERATURE
from kdsearch.storage import Progress, StudySummary, TrialRow
from kdsearch.storage.rows.read import Hours

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
SETUPS = [
    {"optimizer.name": name, "teacher.finetune.epochs": n} for name in ("sgd", "adamw") for n in (5, 40)
]
FORECASTS = [
    SetupForecast(SETUPS[0], 32, 0.0002, decided=True, more_trials=(0, 0, 0), hours=0.0),
    SetupForecast(SETUPS[1], 48, 0.0013, False, ("a second look that agrees",), (1, 1, 1), 0.00021),
    SetupForecast(SETUPS[2], 8, 0.0031, False, ("4 more complete trials", "b", "c"), (21, 50, 119), 102.0),
    SetupForecast(SETUPS[3], 2, reason="too few trials: 2."),
]
BANDS = (TemperatureBand(1, 6.3, 30, 0, 2, 0), TemperatureBand(6.3, 40, 10, 6, 0, 0))


def setup_answer(at: int) -> SetupAnswer:
    forecast = FORECASTS[at]
    if forecast.reason:
        return SetupAnswer(SETUPS[at], trials=2, failed=3, reason=forecast.reason)
    return SetupAnswer(
        setup=SETUPS[at],
        temperature=(1.0, 4.04, 9.96)[at],
        interval=((1.0, 1.27), (2.7, 40.0), (0.52, 17.2))[at],
        interval_loss=(0.001, 0.0013, 0.0031)[at],
        near_optimal=((1.0, 1.1), (3.3, 4.8), None)[at],
        accuracy=(0.849, 0.951, 0.9996)[at],
        accuracy_interval=((0.842, 0.856), (0.946, 0.956), (0.998, 1.0))[at],
        test_accuracy=0.9213,
        params={"optimizer.lr": (0.000949, 0.26, 1000.0)[at]},
        trials=forecast.trials,
        pruned=(0, 6, 0)[at],
        outcomes=BANDS,
        regret_of={"1": (0.0, 0.01, 0.00704)[at], "4": (0.0241, -0.0, 0.115)[at]},
        forecast=forecast,
        warnings=("The best temperature probably lies at the edge of its range.",) if at == 0 else (),
    )


ANSWER = BestAnswer(
    *("quickstart", 0.9, 0.005, [setup_answer(at) for at in range(4)]),
    state="finished",
    state_reason="all 160 trials are done",
    slots=1.9,
)
FORECAST = Forecast(
    "quickstart", 0.002, FORECASTS, 1.9, {"trials": Budget(90, 160), "hours": Budget(0.5, 48)}
)
COMPARISON = Comparison(
    *("quickstart", "teacher.finetune.epochs", 0.9),
    pairs=[Shift((5, 40), 1.84, (0.01, 2.71), (0.0, 2.8), 0.78, 0.0031)],
    statement="Undecided: with probability 0.79 no one temperature serves all levels of "
    "`teacher.finetune.epochs`.",
)
STUDIES = [
    StudySummary(
        "quickstart",
        "finished",
        4,
        Progress(160, complete=154, pruned=6),
        NOW,
        NOW,
        None,
        Hours(0.047, 0, 0.028),
        reason="all 160 trials are done",
    ),
    StudySummary(
        "a-study-with-a-name",
        "running",
        12,
        Progress(10_000, complete=1234, failed=3, running=64),
        NOW,
        NOW,
        None,
        Hours(480, 96.5, 0.5),
    ),
]
TRIALS = [
    TrialRow(
        0,
        "complete",
        None,
        SETUPS[0],
        {TEMPERATURE: 1.2345, "optimizer.lr": 0.00225},
        7,
        40,
        0.8512,
        0.84,
        seconds=12.3,
    ),
    TrialRow(
        1,
        "failed",
        "ValueError: the loss of [cuda:0] is not finite at epoch 3 of 40",
        SETUPS[3],
        {TEMPERATURE: 39.9, "optimizer.lr": 3.0},
        8,
        3,
    ),
    TrialRow(159, "running", None, SETUPS[1], {TEMPERATURE: 4.0, "optimizer.lr": 0.1}, 9, 0),
]
PRINTED: dict[str, Callable[[], None]] = {
    "best": lambda: tables.print_answer(ANSWER),
    "compare": lambda: tables.print_comparison(COMPARISON),
    "forecast": lambda: tables.print_forecast(FORECAST),
    "studies": lambda: tables.print_table(studies_table(STUDIES)),
    "trials": lambda: tables.print_table(trials_table(TRIALS)),
}
TABLES = {
    "best": ANSWER.table(),
    "compare": COMPARISON.table(),
    "forecast": FORECAST.table(),
    "studies": studies_table(STUDIES),
    "trials": trials_table(TRIALS),
}


@pytest.mark.parametrize("name", PRINTED)
def test_at_80_columns_a_command_prints_its_golden_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(tables, "terminal_width", lambda: 80)
    PRINTED[name]()
    printed, path = capsys.readouterr().out, GOLDEN / f"{name}.txt"
    if os.environ.get("KDSEARCH_RENEW_GOLDEN"):
        path.write_text(printed)
    assert printed == path.read_text()


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", [24, 40, 60, 80, 100, 160, 300])
def test_at_no_width_is_a_number_broken_or_a_column_hidden(name: str, width: int) -> None:
    table = TABLES[name]
    text = text_of(table, width)
    assert max(map(len, text.splitlines())) <= max(width, len("`teacher.finetune.epochs`."))
    words = text.replace("-", "- ").split()
    joined = " ".join(text.split())
    _, _, left_out = joined.partition("Left out at this width: ")
    for at, heading in enumerate(table.headings):
        cells = [row[at] for row in table.rows]
        is_left_out = f"{heading.text}," in left_out or f"{heading.text}." in left_out
        assert (
            is_left_out
            or all(word in words for word in heading.text.replace("-", "- ").split())
            or f"{heading.text}:" in joined
        )
        if heading.kind == "number" and not is_left_out:
            assert all(word in words for cell in cells for word in cell.replace("-", "- ").split())


def test_on_a_terminal_of_80_columns_no_line_is_wider(storage: str) -> None:
    command = [sys.executable, "-m", "kdsearch", "best", "made", "--storage", storage]
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(command, stdout=theirs, stdin=theirs, env=environment) as program:
        os.close(theirs)
        parts = []
        while True:
            try:
                parts.append(os.read(ours, 65536))
            except OSError:  # Linux says so that all is read
                break
            if not parts[-1]:
                break
    os.close(ours)
    lines = b"".join(parts).decode().splitlines()
    assert program.returncode == 0
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("sgd ") and "±" in line for line in lines)
