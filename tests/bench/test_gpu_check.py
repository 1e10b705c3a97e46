import json
import logging
import math
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from kdsearch.bench.__main__ import bench
from kdsearch.bench.engine.command import Row
from kdsearch.bench.gpu_check import command, study, table
from kdsearch.bench.gpu_check.command import goal_line
from kdsearch.bench.gpu_check.equality import EqualityCheck, Student, heard, largest_difference
from kdsearch.bench.gpu_check.table import goals_of
from kdsearch.bench.gpu_check.trainings import CASES
from kdsearch.spec.catalogue import OBJECTIVES, OPTIMIZERS, SCHEDULES

CPU = torch.device("cpu")
DONE = ("complete", 3, None)
NAMES = ["a member diverges", "pruned and resumed, adamw", "dropout drawn globally"]


def only(monkeypatch, *names):
    monkeypatch.setattr(command, "CASES", [case for case in CASES if case.name in names])


def run(*options):
    return CliRunner().invoke(bench, ["gpu_check", *options])


def test_packs_equal_their_students_alone_and_the_table_has_its_targets(monkeypatch, tmp_path):
    only(monkeypatch, *NAMES)
    out = tmp_path / "found.json"
    options = ("--device", "cpu", "--small", "--part", "equality", "--part", "table", "--out", str(out))
    result = run(*options)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    rows = [(row["case"], row["way"], row["difference"] == 0) for row in found["equality"]]
    assert [(case, way) for case, way, _ in rows] == [
        ("dropout drawn globally", "streams, a pack"),
        ("dropout drawn globally", "streams, alone"),
        ("a member diverges", "streams, a pack"),
        ("a member diverges", "streams, alone"),
        ("a member diverges", "fused, a pack"),
        ("pruned and resumed, adamw", "streams, a pack"),
        ("pruned and resumed, adamw", "streams, alone"),
        ("pruned and resumed, adamw", "fused, a pack"),
    ]
    assert [same for _, way, same in rows if way == "streams, a pack"] == [True] * 3
    assert all(row["holds"] for row in found["equality"])
    assert [(row["size"], row["what"]) for row in found["table"]["targets"]] == [
        (1, "of its graph alone"),
        (2, "times the plain loop"),
    ]
    assert all(row["found"] > 0 for row in found["table"]["targets"])
    assert found["table"]["failed"] == []
    assert "8 of 8 comparisons hold" in result.output


def test_the_exit_code_tells_a_pack_that_differs(monkeypatch):
    (case,) = (case for case in CASES if case.name == "vision transformer")
    monkeypatch.setattr(command, "CASES", [replace(case, rounding=1e-12)])  # fused packs round otherwise
    result = run("--device", "cpu", "--small", "--part", "equality")
    assert result.exit_code == 1
    assert "ok  vision transformer                         streams, a pack" in result.output
    assert "NOT vision transformer                         fused, a pack" in result.output
    assert "2 of 3 comparisons hold" in result.output
    assert "_loss: " in result.output


def test_a_case_that_fails_leaves_the_others(monkeypatch):
    only(monkeypatch, "perceptron", "clipping")
    whole = EqualityCheck._pack

    def breaking(self, case, way):
        if case.name == "clipping":
            raise torch.OutOfMemoryError("CUDA out of memory.\nTry less.")
        return whole(self, case, way)

    monkeypatch.setattr(EqualityCheck, "_pack", breaking)
    result = run("--device", "cpu", "--small", "--part", "equality", "--format", "json")
    assert result.exit_code == 1
    rows = json.loads(result.output)["equality"]
    assert [(row["case"], row["holds"]) for row in rows] == [
        ("clipping", False),
        ("clipping", True),
        ("clipping", False),
        *[("perceptron", True)] * 3,
    ]
    assert {row["reason"] for row in rows if not row["holds"]} == {
        "OutOfMemoryError: CUDA out of memory. Try less."
    }


def test_the_trainings_have_all_that_may_go_wrong():
    specs = [case.spec(small=True, eager=True) for case in CASES]
    assert {spec.objective.name for spec in specs} > set(OBJECTIVES)
    assert {spec.optimizer.name for spec in specs} > set(OPTIMIZERS)
    assert {spec.training.schedule for spec in specs} > set(SCHEDULES)
    assert any(case.stops and case.resumes for case in CASES)
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(len(case.points()) == 3 for case in CASES)


def test_the_difference_is_the_largest_one_relative_to_what_should_be():
    expected = {0: Student(DONE, {"val_loss": 2.0, "val_accuracy": 0.5}), 1: Student(DONE, {"val_loss": 4.0})}
    found = {0: Student(DONE, {"val_loss": 2.2, "val_accuracy": 0.9}), 1: Student(DONE, {"val_loss": 4.0})}
    assert largest_difference(expected, expected, losses_alone=False) == (0.0, "")
    difference, where = largest_difference(found, expected, losses_alone=True)
    assert difference == pytest.approx(0.1)
    assert where == "member 0, val_loss: 2.2, not 2.0"
    assert largest_difference(found, expected, losses_alone=False)[0] == pytest.approx(0.8)
    broken = {**expected, 1: Student(("failed", 1, "diverged"), {"val_loss": 4.0})}
    assert largest_difference(broken, expected, losses_alone=True)[0] == math.inf


def test_what_is_logged_meanwhile_is_heard():
    lines = []
    with heard(lines):
        logging.getLogger("kdsearch.distill").info("The step\ncan't be recorded.")
    assert lines == ["The step can't be recorded."]


def test_goals_compare_the_chosen_way():
    def row(way, size, wall, speedup, of_limit):
        return Row("resnet20", way, size, 1.0, wall, speedup, of_limit, None, None, 3)

    case = table.GPU_CASES["resnet20"]
    goals = goals_of(
        case,
        [
            row("plain", 1, 186.0, 1.0, 9.8),
            row("chosen: streams", 1, 21.0, 8.9, 1.1),
            row("chosen: streams", 8, 10.5, 17.7, 0.5),
        ],
    )
    assert [(goal.found, goal.is_met) for goal in goals] == [(10.5, False), (1.1, True), (17.7, True)]
    assert goal_line(goals[0]) == "resnet20 K=8: 10.50 µs, target at most 10: NOT met"
    assert [goal.is_met for goal in goals_of(case, [])] == [False] * 3


def test_no_gpu_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for options, said in (((), "torch finds no GPU"), (("--device", "cpu"), "Add --small")):
        result = run(*options)
        assert result.exit_code == 1
        assert said in result.output
        assert len(result.output.strip().splitlines()) == 1


def test_a_study_that_fails_is_one_line(monkeypatch):
    monkeypatch.setitem(study._SMALL, "search", {"trials": 0})
    result = run("--device", "cpu", "--small", "--part", "study")
    assert result.exit_code == 0
    (line,) = (line for line in result.output.splitlines() if "failed: " in line)
    assert line.startswith("failed: The study ended with exit code 2: kdsearch: ")
    assert "`search.trials` (line 1) must be greater than or equal to 1, got 0" in line
