"""The benchmark of faults, `python -m kdsearch.bench faults`: its checks must find what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest
from click.testing import CliRunner

from kdsearch.bench.__main__ import bench
from kdsearch.bench.faults.command import run_round
from kdsearch.bench.faults.kinds import KINDS
from kdsearch.bench.faults.shared_services import SharedServices
from kdsearch.bench.faults.study import EPOCHS, TRIALS, FaultStudy, MissedError
from kdsearch.bench.faults.trainer import accuracy_at
from kdsearch.spec import load_spec
from kdsearch.storage import StudyRecord, open_database
from kdsearch.storage.mirror.store import open_optuna_storage
from kdsearch.trial import TrialResult
from tests.bench.faults.rounds import ROUNDS_OF_DRIVERS, ROUNDS_OF_MACHINES, ROUNDS_OF_TRIALS

UNTESTED = ("monitor",)
"""Ray's memory monitor ends whom it likes once neighbours take memory: only `bench faults` does that."""


def test_every_kind_is_in_a_round() -> None:
    rounds = (*ROUNDS_OF_TRIALS, *ROUNDS_OF_DRIVERS, *ROUNDS_OF_MACHINES)
    assert sorted([*UNTESTED, *(kind for kinds in rounds for kind in kinds)]) == sorted(KINDS)


Broken = Callable[..., list[str]]


@pytest.fixture
def study(tmp_path: Path) -> FaultStudy:
    return FaultStudy(tmp_path, distills=False, settings={})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "prepared.db"
    with open_database(f"sqlite:///{path}", create=True) as database:
        open_optuna_storage(database)
    return path


@pytest.fixture
def broken(study: FaultStudy, prepared: Path) -> Broken:
    """Return what finds the problems in a study.

    Its trials ended as asked.
    """
    shutil.copy(prepared, study.file)

    def problems(*states: str, curve: int = EPOCHS, off: float = 0.0, sql: str = "") -> list[str]:
        spec = load_spec(study.folder / "study.yaml")
        with open_database(f"sqlite:///{study.file}") as database:
            record = StudyRecord.open(database, spec)
            points = [{"objective.temperature": 2.0 + n} for n in range(len(states))]
            for trial, state in zip(record.start(spec.setups()[0], points, "p"), states, strict=True):
                values = [
                    accuracy_at(trial.params["objective.temperature"], e + 1) + off for e in range(curve)
                ]
                for epoch, value in enumerate(values, start=1):
                    record.report(epoch, {trial.number: {"val_accuracy": value}})
                if state == "complete":
                    record.finish(TrialResult(trial.number, "complete", curve, {"val_accuracy": values[-1]}))
                elif state == "failed":
                    record.finish(TrialResult(trial.number, "failed", 2, reason="bad luck"))
            record.set_state("finished")
        study.read()
        with closing(connect(study.file)) as database:
            database.executescript(sql)
        return study.problems(0, "its worker was killed")

    return problems


def test_nothing_is_found_where_all_is_well(broken: Broken) -> None:
    assert broken(*["complete"] * TRIALS) == []


def test_what_does_not_hold_is_found(broken: Broken) -> None:
    assert broken(*["complete"] * 6, "running", "failed") == [
        "1 running, 0 waiting",
        f"6 of {TRIALS} finished",
        "the reasons {'bad luck'}",
    ]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE kd_study SET state = 'failed', reason = 'x'", "the study is failed: x"),
        ("UPDATE kd_trial SET seed = 1 WHERE number < 2", "a seed counted twice: [1]"),
        ("UPDATE kd_trial SET params = '{\"objective.temperature\": 2}' WHERE number = 3", "trial 3 has "),
        ("UPDATE kd_trial SET retry_of = 2 WHERE number = 3", "trial 3 is not what trial 2 was"),
        (
            "UPDATE kd_epoch SET val_accuracy = 0.5 WHERE number = 4 AND epoch = 2",
            "trial 4 has 0.5 after epoch 2",
        ),
        ("UPDATE kd_trial SET val_accuracy = 0.5 WHERE number = 5", "Optuna has trial 5 as COMPLETE with"),
        ("DELETE FROM trial_values WHERE trial_id = 1", "Optuna has trial 0 as COMPLETE with None"),
        ("UPDATE kd_trial SET epochs = 3 WHERE number = 7", "the finished trial 7 changed, or was lost"),
    ],
)
def test_each_change_of_a_row_is_found(broken: Broken, sql: str, problem: str) -> None:
    assert any(problem in found for found in broken(*["complete"] * TRIALS, sql=sql))


def test_wrong_numbers_gaps_and_litter_are_found(broken: Broken, study: FaultStudy) -> None:
    (study.artifacts / "soft_targets").mkdir(parents=True)
    (study.artifacts / "soft_targets" / ".x@host@1.part").touch()
    (study.folder / "log").write_text("Traceback (most recent call last):\n  x\nValueError: y\n")
    found = broken(*["complete"] * TRIALS, curve=EPOCHS - 1, off=0.01)
    assert f"the curve of trial 0 has the epochs {list(range(1, EPOCHS))}" in found
    assert any(problem.startswith("trial 7 has ") for problem in found)
    assert "left behind: ['.x@host@1.part']" in found
    assert "Traceback (most recent call last) in the log: … ValueError: y" in found


def test_a_process_that_is_left_is_found_and_ended(
    study: FaultStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsearch.bench.faults.study.STANDSTILL_S", 0.0)
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=study.folder, stdin=subprocess.PIPE) as left:
        assert f"processes are left: {[f'{sys.executable} -c input()']}" in study.problems(0, "never")
        with study:
            assert left.poll() is None
        assert left.wait() < 0  # the round's end is its end
    assert study.problems(0, "never") == ["there is no study"]


def test_a_driver_with_which_nothing_goes_on_is_killed(
    study: FaultStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsearch.bench.faults.study.STANDSTILL_S", 0.0)
    (study.folder / "log").touch()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as driver:
        assert study.wait(driver) < 0
    assert study.problems(1, "never")[0] == "nothing went on for 0 s, so the driver was killed"


def launching(code: int) -> Callable[..., int]:
    return lambda *_, **__: code


def test_the_command_prints_each_round_and_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedServices, "address", lambda _: "127.0.0.1:1")
    monkeypatch.setattr(FaultStudy, "finish", launching(1))
    result = CliRunner().invoke(bench, ["faults", "--rounds", "2", "--kind", "raise", "--format", "json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [(one["kinds"], one["verdict"]) for one in found] == [(["raise"], "failed")] * 2
    assert "exit code 1: nothing was printed; " in result.stderr


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let every round miss; `right` tells whether the study is whole then."""

    def miss(*, right: bool) -> list[str]:
        def strike(*_: Any) -> None:
            raise MissedError("it came too late")

        for kind, known in KINDS.items():
            monkeypatch.setitem(KINDS, kind, type(known)(strike, known.reason, hits=True, own_ray=True))
        monkeypatch.setattr(FaultStudy, "finish", launching(0))
        monkeypatch.setattr(FaultStudy, "problems", lambda *_: [] if right else ["a trial was lost"])
        result = CliRunner().invoke(bench, ["faults", "--rounds", "2", "--kind", "node", "--kind", "raise"])
        assert result.exit_code == 1
        return result.output.splitlines()

    return miss


def test_a_fault_that_hit_nobody_is_neither_clean_nor_failed(missing: Any) -> None:
    lines = missing(right=True)
    assert all(line.endswith("not done: it came too late") for line in lines[:2])
    assert lines[-1].split()[:4] == ["all", "0", "0", "2"]
    assert missing(right=False)[-1].split()[:4] == ["all", "0", "2", "0"]


def test_every_kind_has_its_share_whatever_the_seed(missing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(right=True)
    result = CliRunner().invoke(
        bench, ["faults", "--rounds", str(2 * len(KINDS)), "--seed", str(os.getpid()), "--format", "json"]
    )
    kinds = [kind for one in json.loads(result.stdout) for kind in one["kinds"]]
    assert sorted(kinds) == sorted([*KINDS, *KINDS])


def test_a_round_of_several_kinds_tells_of_each_whether_it_hit(
    monkeypatch: pytest.MonkeyPatch, services: SharedServices, tmp_path: Path
) -> None:
    done: list[str] = []

    def missing_at_once(*_: Any) -> None:
        done.append("node")
        raise MissedError("it came too late")

    def missing_in_the_end(*_: Any) -> Callable[[], None]:
        def verify() -> None:
            raise MissedError("nobody was hit")

        done.append("ray")
        return verify

    def hitting(*_: Any) -> None:
        done.append("term")

    strikes = {"node": missing_at_once, "ray": missing_in_the_end, "term": hitting}
    for kind, strike in strikes.items():
        monkeypatch.setitem(KINDS, kind, replace(KINDS[kind], strike=strike, hits=True))
    monkeypatch.setattr(FaultStudy, "finish", launching(0))
    found = run_round([*strikes], seed=1, folder=tmp_path, services=services)
    assert done == [*strikes]
    assert found.missed == {"node": "it came too late", "ray": "nobody was hit"}
    assert found.problems == ["there is no study", f"no trial failed with {KINDS['term'].reason!r}"]
    assert found.verdict == "failed"
