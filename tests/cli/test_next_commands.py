"""What a person is told to do after an answer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kdsearch.cli.main import run
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import StudyRecord, open_database
from kdsearch.storage.rows.read import StudyState
from kdsearch.trial import TrialResult

SPEC = {"name": "half", "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}}, "search": {"trials": 4}}


@pytest.fixture
def ended(tmp_path: Path) -> Callable[[StudyState, int], str]:
    """Return what makes a study with so many trials of 4, ended in a state, and returns its database."""

    def make(state: StudyState, n_trials: int) -> str:
        url = f"sqlite:///{tmp_path / 'half.db'}"
        with open_database(url, create=True) as database:
            record = StudyRecord.open(database, load_spec(SPEC))
            for trial in record.start({}, [{TEMPERATURE: 2.0 + n} for n in range(n_trials)], "p"):
                record.finish(TrialResult(trial.number, "complete", 20, {"val_accuracy": 0.8}))
            record.set_state(state, "so it was")
        return url

    return make


@pytest.mark.parametrize("state", ["interrupted", "stopped", "failed"])
def test_best_says_how_an_unfinished_study_is_resumed(
    capsys: pytest.CaptureFixture[str], ended: Callable[[StudyState, int], str], state: StudyState
) -> None:
    url = ended(state, 3)
    assert run(["best", "half", "--storage", url]) == 0
    command = f"kdsearch launch FILE --trials 4 --storage {url}"
    purpose = "resume the study, FILE is its study file: 3 of 4 trials are finished"
    assert f"{command}   {purpose}" in capsys.readouterr().out


def test_nobody_is_told_to_resume_what_is_done_or_runs(
    capsys: pytest.CaptureFixture[str], ended: Callable[[StudyState, int], str]
) -> None:
    url = ended("finished", 3)  # its hours were spent: the same command would start nothing
    assert run(["best", "half", "--storage", url]) == 0
    assert "resume" not in capsys.readouterr().out


def test_best_names_a_trial_that_can_be_reproduced(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    assert run(["best", "made", "--storage", storage, "--format", "json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["setups"]
    for options, number, which in (
        ([], first["nearest_trial"], "the answer of sgd"),
        (["--where", "optimizer.name=adamw"], second["nearest_trial"], "the answer"),
    ):
        assert run(["best", "made", "--storage", storage, *options]) == 0
        command = f"kdsearch reproduce made {number} --storage {storage}"
        assert f"{command}   train the trial nearest to {which} again" in capsys.readouterr().out
    assert run(["best", "made", "--storage", storage, "--by", "optimizer.name"]) == 0
    assert "Next:" not in capsys.readouterr().out
