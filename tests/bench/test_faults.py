"""A handful of the rounds that `python -m kdsearch.bench faults` runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdsearch.bench.__main__ import bench
from kdsearch.bench.faults.command import run_round
from kdsearch.bench.faults.kinds import hindrance
from kdsearch.bench.faults.study import FaultStudy
from kdsearch.spec import load_spec
from kdsearch.storage import StudyRecord, open_database
from kdsearch.trial import TrialResult

pytestmark = pytest.mark.ray

QUICK = ("worker", "pack")
SLOW = ("raise", "hang", "memory", "monitor", "diverge", "driver", "node", "network", "teacher", "disk")


@pytest.mark.parametrize("kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)])
def test_a_study_is_whole_after_a_fault(kind: str, tmp_path: Path) -> None:
    if why := hindrance(kind):
        pytest.skip(why)
    assert run_round(kind, seed=1, folder=tmp_path).problems == []


@pytest.fixture
def broken(tmp_path: Path) -> Callable[..., list[str]]:
    """Return the problems that are found in a study whose trials ended as asked."""

    def problems(*states: str, curve: int = 6) -> list[str]:
        study = FaultStudy(tmp_path, distills=False, settings={})
        spec = load_spec(tmp_path / "study.yaml")
        with open_database(f"sqlite:///{tmp_path / 'study.db'}", create=True) as database:
            record = StudyRecord.open(database, spec)
            points = [{"objective.temperature": 2.0 + n} for n in range(len(states))]
            for trial, state in zip(record.start(spec.setups()[0], points, "p"), states, strict=True):
                for epoch in range(1, curve + 1):
                    record.report(epoch, {trial.number: {"val_accuracy": 0.5}})
                if state == "complete":
                    record.finish(TrialResult(trial.number, "complete", 6, {"val_accuracy": 0.5}))
                elif state == "failed":
                    record.finish(TrialResult(trial.number, "failed", 2, reason="bad luck"))
        return study.problems(0, "its worker was killed", hits=False)

    return problems


def test_what_does_not_hold_is_found(broken: Callable[..., list[str]]) -> None:
    assert broken(*["complete"] * 6, "running", "failed") == [
        "1 running, 0 waiting",
        "6 of 8 finished",
        "the reasons {'bad luck'}",
    ]


def test_gaps_and_litter_are_found(broken: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "artifacts" / "soft_targets").mkdir(parents=True)
    (tmp_path / "artifacts" / "soft_targets" / ".x@host@1.part").touch()
    assert broken(*["complete"] * 8, curve=5) == ["a curve has gaps", "left behind: ['.x@host@1.part']"]


def test_the_command_prints_each_round_and_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdsearch.bench.faults.study.FaultStudy.launch", lambda *_, **__: 1)
    result = CliRunner().invoke(bench, ["faults", "--rounds", "2", "--kind", "raise", "--format", "json"])
    assert result.exit_code == 1
    assert [found["kind"] for found in json.loads(result.stdout)] == ["raise"] * 2
    assert "exit code 1: nothing was printed; " in result.stderr
