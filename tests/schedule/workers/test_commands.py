"""A program as a trainer: what it is called with, what is read of it, and how it ends."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kdsearch.errors import SpecError
from kdsearch.schedule.workers.trainers import load_trainer
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.trial import Metrics, Trial, TrialResult

DOCUMENT = {
    "name": "own",
    "training": {"epochs": 4},
    "setup": {"optimizer.name": ["sgd", "adamw"]},
    "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
}
Never: Callable[[int, Mapping[int, Metrics]], Sequence[int]] = lambda _epoch, _metrics: ()  # noqa: E731


def train(
    tmp_path: Path, source: str, command: Any = None, report: Callable[..., Sequence[int]] = Never
) -> TrialResult:
    script = tmp_path / "script.py"
    script.write_text(source)
    default = [sys.executable, str(script), f"{{{TEMPERATURE}}}", "{optimizer.name}", "{seed}"]
    spec = load_spec({**DOCUMENT, "trainer": {"command": command or default}})
    setup = spec.setups()[1]
    trial = Trial(10, 7, setup, {TEMPERATURE: 2.5}, spec.resolve(setup, {TEMPERATURE: 2.5}))
    return load_trainer(spec.trainer, Path("unused"))([trial], report)[0]


def test_lines_of_json_are_epochs_and_the_last_one_is_the_result(tmp_path: Path) -> None:
    reports: list[tuple[int, Any]] = []

    def watch(epoch: int, metrics: Mapping[int, Metrics]) -> Sequence[int]:
        reports.append((epoch, dict(metrics)))
        return ()

    source = """
import json, sys
print("epoch 1 ...", {"no": "result"})
print(json.dumps({"epoch": 1, "val_accuracy": 0.25, "val_loss": 1.5}))
print(json.dumps({"other": 1}))
print(json.dumps({"val_accuracy": float(sys.argv[1]) / 10, "test_accuracy": int(sys.argv[3]) / 10}))
"""
    result = train(tmp_path, source, report=watch)
    assert reports == [(1, {10: {"val_accuracy": 0.25, "val_loss": 1.5}})]
    assert (result.state, result.epochs) == ("complete", 4)
    assert result.metrics == {"val_accuracy": 0.25, "val_loss": 1.5, "test_accuracy": 0.7}


def test_results_may_come_in_a_file_and_a_trial_in_one_text(tmp_path: Path) -> None:
    source = """
import json, os, sys
trial = json.loads(sys.argv[1])
assert trial == json.loads(os.environ["KDSEARCH_TRIAL"])
with open(os.environ["KDSEARCH_RESULTS"], "a") as file:
    file.write(json.dumps({"val_accuracy": trial["params"]["objective.temperature"] / 10}))
"""
    result = train(tmp_path, source, command=f"{sys.executable} {tmp_path}/script.py {{trial}}")
    assert (result.state, result.metrics) == ("complete", {"val_accuracy": 0.25})


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "import sys\nprint('loading')\nsys.exit('no data\\n')",
            "its command ended with exit code 1: no data",
        ),
        (
            "raise ValueError('no such layer')",
            "its command ended with exit code 1: ValueError: no such layer",
        ),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
            "ended with signal SIGKILL: it said nothing",
        ),
        ("print('done')", "its command ended without a result"),
        ("import json\nprint(json.dumps({'val_accuracy': 94}))", "must be a fraction in [0, 1], got 94"),
        (
            "import json\nprint(json.dumps({'epoch': 9, 'val_accuracy': 0.5}))",
            "must be from 1 to `training.epochs`, 4",
        ),
        (
            "import os\nopen(os.environ['KDSEARCH_RESULTS'], 'w').write('accuracy 0.5\\n')",
            "must be a JSON object with `val_accuracy`, got 'accuracy 0.5'",
        ),
    ],
)
def test_what_goes_wrong_is_the_trials_reason(tmp_path: Path, source: str, told: str) -> None:
    result = train(tmp_path, source)
    assert result.state == "failed"
    assert told in (result.reason or "")


def test_not_a_number_is_a_divergence(tmp_path: Path) -> None:
    result = train(tmp_path, 'print(\'{"epoch": 2, "val_accuracy": NaN}\')\nimport time\ntime.sleep(600)')
    assert (result.state, result.reason) == ("failed", "diverged")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = train(tmp_path, "", command="nowhere-at-all {trial}")
    assert result.reason is not None
    assert "Check 'nowhere-at-all'" in result.reason


def test_a_stopped_program_is_ended_and_pruned(tmp_path: Path) -> None:
    source = f"""
import os, time
open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
print('{{"epoch": 1, "val_accuracy": 0.5}}')
time.sleep(600)
"""
    result = train(tmp_path, source, report=lambda _epoch, metrics: list(metrics))
    assert (result.state, result.epochs, result.metrics) == ("pruned", 1, {"val_accuracy": 0.5})
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_child_that_outlives_its_program_keeps_no_trial(tmp_path: Path) -> None:
    source = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print('{"val_accuracy": 0.5}')
"""
    start = time.monotonic()
    result = train(tmp_path, source)
    assert result.state == "complete"
    assert time.monotonic() - start < 150


def test_nothing_is_awaited_of_a_program_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsearch.schedule.workers.commands._LAST_WORDS_S", 300.0)
    start = time.monotonic()
    assert train(tmp_path, "print('{\"val_accuracy\": 0.5}')").state == "complete"
    assert time.monotonic() - start < 200


def test_values_never_meet_a_shell(tmp_path: Path) -> None:
    source = "import json, sys\nprint(json.dumps({'val_accuracy': len(sys.argv) / 10}))"
    command = f"'{sys.executable}' {tmp_path}/script.py --all={{trial}} '; exit 3' {{{{literal}}}}"
    assert train(tmp_path, source, command=command).metrics == {"val_accuracy": 0.4}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("python train.py {objective.temperature}", "must ask for {optimizer.name}, which varies"),
        ("python train.py {trial} {lr}", "asks for {lr}, which is no value of a trial"),
        ("python train.py {trial} {search.trials}", "asks for {search.trials}"),
        ("python train.py {trial} {seed:03d}", "must have plain {PATH}"),
        ("python train.py {trial} {}", "must have plain {PATH}"),
        ("python train.py {trial} {seed", "could split"),
        ("python 'train.py {trial}", "could split"),
        ("", "must name a program"),
        ([], "must name a program"),
    ],
)
def test_a_command_that_asks_for_too_little_or_too_much_is_refused(command: Any, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec({**DOCUMENT, "trainer": {"command": command}})
    assert told in caught.value.problems[0]
    assert caught.value.problems[0].startswith("`trainer")


def test_a_command_survives_its_document() -> None:
    spec = load_spec({**DOCUMENT, "trainer": {"command": "python train.py {trial}"}})
    assert load_spec(json.loads(spec.model_dump_json())) == spec
