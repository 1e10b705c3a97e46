"""User's own training loops: what they are given, and how each way to end is recorded."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from kdsearch.errors import RequestError
from kdsearch.schedule.workers.trainers import load_trainer
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.trial import Metrics, PackEndedError, Trial, TrialResult

SPEC = load_spec(
    {
        "name": "own",
        "training": {"epochs": 4},
        "setup": {"optimizer.name": ["sgd", "adamw"]},
        "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
    }
)
SOURCE = """
import functools
import math

import numpy

def steady(trial, report):
    for epoch in range(1, trial.epochs + 1):
        if report(epoch, {"val_accuracy": epoch / 10, "train_loss": 1.0 / epoch}):
            break
    return {"val_accuracy": epoch / 10, "test_accuracy": trial.params["objective.temperature"] / 100}

def raises(trial, report):
    report(1, {"val_accuracy": 0.1})
    raise ValueError("no such layer")

def diverges(trial, report):
    report(1, {"val_accuracy": 0.1})
    report(2, {"val_accuracy": math.nan})
    return {"val_accuracy": math.nan}

def forgets(trial, report):
    return {"accuracy": 1.0}

def percents(trial, report):
    return {"val_accuracy": 94.2}

def test_percents(trial, report):
    return {"val_accuracy": 0.9, "test_accuracy": 94.2}

def words(trial, report):
    return {"val_accuracy": "good"}

def truth(trial, report):
    return {"val_accuracy": numpy.bool_(True)}

class Unsaid(Exception):
    def __str__(self):
        raise RuntimeError

def raises_what_cant_be_written(trial, report):
    raise Unsaid

def unmeasured(trial, report):
    return {"val_accuracy": 0.9, "test_accuracy": None}

def numpy_numbers(trial, report):
    report(numpy.int64(3), {"val_accuracy": numpy.float32(0.5)})
    return {"val_accuracy": numpy.float32(0.5)}

def word_for_epoch(trial, report):
    report("first", {"val_accuracy": 0.5})
    return {"val_accuracy": 0.5}

def pack_of_words(trials, report):
    report(1, {trial.number: {"val_accuracy": "good"} for trial in trials})
    return [{"val_accuracy": 0.5} for trial in trials]

def pack_of_strangers(trials, report):
    report(1, {999: {"val_accuracy": 0.5}})
    return [{"val_accuracy": 0.5} for trial in trials]

def unprintable(trial, report):
    raise ValueError("no\\0 \\x1b[31mlayer \\ud800")

def whole_pack(trials, report):
    stopped = report(1, {trial.number: {"val_accuracy": trial.seed / 10} for trial in trials})
    return [{"val_accuracy": trial.seed / 10 + 0.5 * (trial.number not in stopped)} for trial in trials]

def epoch_of_weeks(trial, report):
    report(10**19, {"val_accuracy": 0.5})
    return {"val_accuracy": 0.5}

def epoch_below_zero(trial, report):
    report(-1, {"val_accuracy": 0.5})
    return {"val_accuracy": 0.5}

def epoch_too_far(trials, report):
    report(5, {trial.number: {"val_accuracy": 0.5} for trial in trials})
    return [{"val_accuracy": 0.5} for trial in trials]

def word_that_looks_like_a_number(trial, report):
    return {"val_accuracy": "0.5"}

def named_by_numbers(trial, report):
    return {"val_accuracy": 0.5, 7: 1.0}

def no_list(trials, report):
    return None

def exits(trial, report):
    import sys
    sys.exit("no data")

def exits_as_a_pack(trials, report):
    raise SystemExit(3)

def goes_away(trial, report):
    import os
    os.makedirs("runs", exist_ok=True)
    os.chdir("runs")
    return {"val_accuracy": 0.5, "is_deeper": float(os.getcwd().count("runs"))}

def long_words(trial, report):
    raise ValueError("begin" + 100_000 * "x" + "end")

def without_arguments():
    return {"val_accuracy": 0.5}

def three(trial, report, lr):
    return {"val_accuracy": 0.5}

def swapped(report, trial):
    return {"val_accuracy": 0.5}

def bare(function):
    @functools.wraps(function)
    def call():
        return function(None, None)
    return call

def with_rate(function):
    @functools.wraps(function)
    def call(trial, report):
        return function(0.5, trial, report)
    return call

@bare
def wrapped_bare(trial, report):
    return {"val_accuracy": 0.5}

@with_rate
def wrapped(rate, trial, report):
    report(trial.epochs, {"val_accuracy": rate})

async def later(trial, report):
    return {"val_accuracy": 0.5}

class Trainer:
    def __init__(self, trial, report):
        pass

answer = 42
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_trainers.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_trainers", None)


def pack(size: int = 2) -> list[Trial]:
    setup = SPEC.setups()[1]
    params = [{TEMPERATURE: 2.0 + k} for k in range(size)]
    return [Trial(10 + k, k + 1, setup, p, SPEC.resolve(setup, p)) for k, p in enumerate(params)]


def train(name: str, stop: Sequence[int] = ()) -> list[TrialResult]:
    trainer = load_trainer(f"own_trainers:{name}", Path("unused"))
    return trainer(pack(), lambda epoch, metrics: stop if epoch == 2 or name == "whole_pack" else ())


def test_each_trial_is_trained_with_its_own_parameters() -> None:
    first, second = train("steady")
    assert (first.number, first.state, first.epochs) == (10, "complete", 4)
    assert first.metrics == {"val_accuracy": 0.4, "train_loss": 0.25, "test_accuracy": 0.02}
    assert second.metrics["test_accuracy"] == 0.03


def test_a_stopped_trial_is_pruned_at_its_epoch_and_its_neighbour_goes_on() -> None:
    first, second = train("steady", stop=[10])
    assert (first.state, first.epochs) == ("pruned", 2)
    assert (second.state, second.epochs) == ("complete", 4)


def test_an_error_fails_its_trial_with_the_place_in_words() -> None:
    result = train("raises")[0]
    assert (result.state, result.epochs) == ("failed", 1)
    assert result.reason is not None
    assert result.reason.startswith("ValueError: no such layer (own_trainers.py:")


def test_not_a_number_is_a_divergence() -> None:
    result = train("diverges")[0]
    assert (result.state, result.reason, result.epochs) == ("failed", "diverged", 2)


def test_missing_accuracy_is_told() -> None:
    result = train("forgets")[0]
    assert result.state == "failed"
    assert result.reason is not None
    assert "must be a mapping with `val_accuracy`" in result.reason


def test_percents_are_refused() -> None:
    result = train("percents")[0]
    assert result.state == "failed"
    assert result.reason is not None
    assert "must be a fraction in [0, 1], got 94.2" in result.reason


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("test_percents", "`test_accuracy` must be a fraction in [0, 1], got 94.2"),
        ("words", "`val_accuracy` must be a number, got 'good'"),
        ("truth", "`val_accuracy` must be a number, got np.True_"),
        ("raises_what_cant_be_written", "Unsaid: (its text raises RuntimeError) (own_trainers.py:"),
        ("unmeasured", "`test_accuracy` must be a number, got None"),
        ("word_for_epoch", "An epoch that is reported must be a whole number, got 'first'"),
        ("epoch_of_weeks", "must be from 1 to `training.epochs`, 4, got 1e+19"),
        ("epoch_below_zero", "must be from 1 to `training.epochs`, 4, got -1"),
        ("epoch_too_far", "must be from 1 to `training.epochs`, 4, got 5"),
        ("word_that_looks_like_a_number", "`val_accuracy` must be a number, got '0.5'"),
        ("named_by_numbers", "A metric's name must be a text of at most 100 letters, got 7"),
        ("no_list", "must return a list of 2 results, one for each trial, got None"),
        ("exits", "it ended the program: SystemExit: no data (own_trainers.py:"),
        ("exits_as_a_pack", "it ended the program: SystemExit: 3 (own_trainers.py:"),
        ("pack_of_words", "`val_accuracy` must be a number, got 'good'"),
        ("pack_of_strangers", "must be a mapping from its trials' numbers to metrics, got {999:"),
    ],
)
def test_what_is_no_measurement_fails_its_trial_and_reaches_no_driver(name: str, told: str) -> None:
    results, reports = train_and_watch(name, 2)
    assert {result.state for result in results} == {"failed"}
    assert all(told in (result.reason or "") for result in results)
    assert reports == []


def train_and_watch(name: str, size: int) -> tuple[list[TrialResult], list[tuple[int, dict[int, Metrics]]]]:
    reports: list[tuple[int, dict[int, Metrics]]] = []

    def watch(epoch: int, metrics: Mapping[int, Metrics]) -> Sequence[int]:
        reports.append((epoch, dict(metrics)))
        return ()

    return load_trainer(f"own_trainers:{name}", Path("unused"))(pack(size), watch), reports


def test_numbers_of_numpy_are_handed_on_as_pythons_own() -> None:
    (result,), ((epoch, metrics),) = train_and_watch("numpy_numbers", 1)
    assert (type(epoch), epoch) == (int, 3)
    assert type(metrics[10]["val_accuracy"]) is type(result.metrics["val_accuracy"]) is float
    assert type(result.epochs) is int


def test_a_reason_holds_only_what_a_database_takes_and_a_terminal_shows() -> None:
    reason = train("unprintable")[0].reason or ""
    assert reason.startswith("ValueError: no\ufffd \ufffd[31mlayer \ufffd (")


def test_a_reason_is_as_long_as_one_can_read() -> None:
    reason = train("long_words")[0].reason or ""
    assert len(reason) <= 1000
    assert "begin" in reason
    assert "end (own_trainers.py:" in reason


def test_a_pack_that_is_to_end_is_no_failure_of_its_trainer() -> None:
    def ended(_epoch: int, _metrics: Mapping[int, Metrics]) -> Sequence[int]:
        raise PackEndedError

    for name in ("steady", "whole_pack"):
        with pytest.raises(PackEndedError):
            load_trainer(f"own_trainers:{name}", Path("unused"))(pack(), ended)


def test_a_decorated_function_is_called_as_its_decorator_says() -> None:
    assert [result.metrics["val_accuracy"] for result in train("wrapped")] == [0.5, 0.5]


def test_a_function_of_trials_trains_the_pack() -> None:
    first, second = train("whole_pack", stop=[11])
    assert (first.state, first.metrics["val_accuracy"]) == ("complete", 0.6)
    assert (second.state, second.metrics["val_accuracy"]) == ("pruned", 0.2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_trainers:stedy", "has no 'stedy'"),
        ("own_trainer:steady", "No module named 'own_trainer'"),
        ("own_trainers:answer", "must name a function"),
        ("own_trainers:without_arguments", r"of \(trial, report\), got .* which takes \(\): too many"),
        ("own_trainers:three", "missing a required argument: 'lr'"),
        ("own_trainers:swapped", "must take the trial first"),
        ("own_trainers:wrapped_bare", r"which takes \(\): too many"),
        ("own_trainers:later", "a coroutine"),
        ("own_trainers:Trainer", "a class"),
    ],
)
def test_a_trainer_that_is_not_there_is_a_wrong_request(name: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load_trainer(name, Path("unused"))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def train(trial, report)\n", r"SyntaxError: expected ':' \(broken_trainer.py:1\)"),
        ("\nopen('nowhere.json')\n", r"FileNotFoundError: .*'nowhere.json' \(broken_trainer.py:2\)"),
        ("import sys\nsys.exit('bye')\n", r"ends the program: SystemExit: bye \(broken_trainer.py:2\)"),
        ("import nowhere_at_all\n", r"No module named 'nowhere_at_all' \(broken_trainer.py:1\)"),
        (
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('--data', required=True)\np.parse_args()",
            r"ends the program: SystemExit: 2 \(broken_trainer.py:4\)\. Put what parses a command line",
        ),
    ],
)
def test_a_module_that_cant_be_imported_is_told_in_one_line(tmp_path: Path, source: str, told: str) -> None:
    (tmp_path / "broken_trainer.py").write_text(source)
    with pytest.raises(
        RequestError, match=rf"`trainer` must be importable, got 'broken_trainer:train': .*{told}"
    ):
        load_trainer("broken_trainer:train", Path("unused"))


def test_each_trial_begins_in_the_folder_of_the_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [result.metrics["is_deeper"] for result in train("goes_away")] == [1.0, 1.0]
    assert Path.cwd() == tmp_path


def test_a_module_that_goes_away_and_prints_disturbs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandering_trainer.py").write_text(
        "import os\nos.chdir('/')\nprint('loading')\ndef train(trial, report):\n    return {'val_accuracy': 0.5}\n"
    )
    load_trainer("wandering_trainer:train", Path("unused"))
    assert Path.cwd() == tmp_path
    assert capsys.readouterr() == ("", "loading\n")


def test_a_module_that_reads_a_command_line_finds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["kdsearch", "launch", "x.yaml", "--dry-run"])
    (tmp_path / "parsing_trainer.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', default=0.1)\nargs = p.parse_args()\n"
        "def train(trial, report):\n    return {'val_accuracy': args.lr}\n"
    )
    results = load_trainer("parsing_trainer:train", Path("unused"))(pack(1), lambda _epoch, _metrics: ())
    assert results[0].metrics == {"val_accuracy": 0.1}
    assert sys.argv[-1] == "--dry-run"
