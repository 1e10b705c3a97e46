"""`bench guidance`: what it says of results whose truth is known, and that the page is of these results."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from kdsearch.bench.__main__ import bench
from kdsearch.bench.guidance.evidence import evidence_in
from kdsearch.errors import RequestError

STARTED = {"epochs": 5}
STUDY: dict[str, Any] = {
    "name": "start-small",
    "dataset": {"name": "digits", "train_size": 200},
    "setup": {"student.init": ["random", STARTED], "objective.name": ["kd", "mse"]},
    "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
}
BEST_AT = {"random": 16.0, json.dumps(STARTED, separators=(",", ":")): 2.0}
VERDICTS = [
    ("A start wants a lower T", "best_temperature", "student.init", "confirmed", 0.125, 0.08, 0.2),
    ("A start is better", "accuracy", "student.init", "not resolved", 0.002, -0.01, 0.012),
    ("One T costs a point", "shared_temperature", "", "reversed", 0.0, 0.0, 0.001),
]


def write_csv(file: Path, names: list[str], rows: list[list[Any]]) -> None:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([names, *rows])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder with the results of one study: steep curves, their tops known, and one without a T."""
    (tmp_path / "start-small.yaml").write_text(yaml.safe_dump(STUDY))
    rng = np.random.default_rng(0)
    rows = [
        [
            *(init, name, seed, temperature, "complete"),
            0.9
            - 0.03 * (name == "kd") * np.log2(temperature / best_at) ** 2
            + (name == "mse") * 0.01
            + 0.002 * rng.normal(),
        ]
        for init, best_at in BEST_AT.items()
        for name in ("kd", "mse")
        for temperature in np.geomspace(1, 40, 12)
        for seed in range(2)
    ]
    names = ["student.init", "objective.name", "seed", "objective.temperature", "state", "val_accuracy"]
    write_csv(tmp_path / "start-small-trials.csv", names, rows)
    ends = ["effect", "interval_low", "interval_high"]
    names = ["says", "quantity", "factor", "verdict", *ends]
    write_csv(tmp_path / "start-small-verdicts.csv", names, [list(row) for row in VERDICTS])
    return tmp_path


def made(results: Path) -> str:
    out = results / "page.md"
    found = CliRunner().invoke(
        bench, ["guidance", "--results", str(results), "--studies", str(results), "--out", str(out)]
    )
    assert found.exit_code == 0, found.output
    return out.read_text()


def test_it_says_where_to_start_what_the_usual_temperature_costs_and_what_is_not_known(results: Path) -> None:
    page = made(results)
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ") for row in page.splitlines() if " · " in row}
    for init, truth, usual in (("init random", 16, 12.0), ("init 5", 2, 3.0)):
        start, search, cost = next(row for name, row in rows.items() if init in name and "kd" in name)[1:4]
        low, high = map(float, search.split(" to "))
        assert float(start) == pytest.approx(truth, rel=0.35)
        assert low <= truth <= high < 3 * low
        assert float(cost.split()[0]) == pytest.approx(usual, abs=1.5)
    silent = [row for name, row in rows.items() if "mse" in name]
    assert all(row[1:5] == ["–"] * 4 and row[5].startswith("no answer: temperature has") for row in silent)
    assert "Of 2 situations, " in page
    assert "No temperature lies in the 90% intervals of all situations" in page
    assert "**Initialisation.** Of 2 claims, 1 is decided:" in page
    assert (
        "- *confirmed*: A start wants a lower T; measured a ratio of 0.12, 0.08 to 0.2 (start-small)." in page
    )
    assert "- *not decided*: A start is better; measured 0.2 points, -1.0 to 1.2 (start-small)." in page
    assert "- *the opposite is so*: One T costs a point" in page
    assert "**Objective.** Varied in start-small, where no claim is about it." in page
    assert "**Batch.** No study of it has been run: nothing is known here." in page
    assert "convnet_8_16 under convnet_32_64_128 on digits (200 training images)" in page


def test_few_trials_rule_nothing_out_and_decide_nothing(tmp_path: Path) -> None:
    """A level that has not been run is said to be missing.

    It is one of the study file; 1.0 is the level 1.
    """
    levels = {"setup": {"training.clip_norm": [1, 2.5], "objective.name": ["kd", "dist"]}}
    (tmp_path / "start-small.yaml").write_text(yaml.safe_dump({**STUDY, **levels}))
    rng = np.random.default_rng(1)
    names = ["training.clip_norm", "objective.name", "seed", "objective.temperature", "val_accuracy"]
    rows = [
        [norm, "kd", seed, temperature, 0.8 + 0.05 * rng.normal()]
        for norm in (1, 2.5)
        for seed, temperature in enumerate(np.geomspace(1, 40, 8))
    ]
    write_csv(tmp_path / "start-small-trials.csv", names, rows)
    page = made(tmp_path)
    assert "Of 2 situations, 0 are decided" in page
    assert "Every 90% interval is the whole range that was searched: no temperature is ruled out." in page
    assert "16 trials. 2 setups of its file had not been run." in page
    assert page.count("| not decided, may lose ") == 2
    assert "**Objective.** Varied in start-small, where no claim is about it." in page


def test_a_setup_whose_trials_all_diverged_has_been_run(results: Path) -> None:
    table = results / "start-small-trials.csv"
    with table.open() as lines:
        names, *rows = csv.reader(lines)
    ends = ["failed", "diverged", ""]
    lost = [[*row[:4], *(ends if row[1] == "mse" else ["complete", "", row[5]])] for row in rows]
    write_csv(table, [*names[:5], "reason", names[5]], lost)
    (found,) = evidence_in(results, results)
    counts = {(own.setup["objective.name"], own.diverged, own.failed) for own in found.answers}
    assert counts == {("kd", 0, 0), ("mse", 24, 0)}
    assert found.unrun == 0


def test_results_that_are_not_of_their_study_are_refused(results: Path, tmp_path: Path) -> None:
    other = {**STUDY, "setup": {**STUDY["setup"], "student.init": ["random", {"epochs": 6}]}}
    (results / "start-small.yaml").write_text(yaml.safe_dump(other))
    with pytest.raises(
        RequestError, match=r"`student.init` must be a level of the study start-small, got \{"
    ):
        evidence_in(results, results)
    with pytest.raises(RequestError, match=r"must hold NAME-trials\.csv, got none"):
        evidence_in(tmp_path / "none", results)


def test_the_page_is_made_of_the_results_that_lie_beside_it(tmp_path: Path) -> None:
    """The page is made again word for word.

    A number may differ by the last digits that other releases of NumPy compute.
    """
    out = tmp_path / "guidance.md"
    found = CliRunner().invoke(bench, ["guidance", "--out", str(out)])
    assert found.exit_code == 0, found.output
    number = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
    again, kept = out.read_text(), Path("docs/guidance.md").read_text()
    advice = "Run `python -m kdsearch.bench guidance` and commit what it writes."
    assert number.sub("#", again) == number.sub("#", kept), advice
    pairs = zip(map(float, number.findall(again)), map(float, number.findall(kept)), strict=True)
    assert all(new == pytest.approx(old, rel=0.1, abs=0.15) for new, old in pairs), advice
