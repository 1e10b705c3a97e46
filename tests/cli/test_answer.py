"""`kdsearch answer`: from a file of runs to an answer, without torch, Ray and a database."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kdsearch.cli.main import run
from kdsearch.spec import load_spec
from kdsearch.storage import StudyRecord, open_database

TABLES = "studies/public_tables.csv"


def test_an_answer_needs_neither_torch_nor_ray_nor_a_database(tmp_path: Path) -> None:
    code = (
        "import sys, time; from kdsearch.cli.main import run; "
        f"code = run(['answer', {str(Path(TABLES).resolve())!r}, '--setup', 'table']); "
        "print(code, [m for m in ('torch', 'ray', 'optuna', 'pandas', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "temperature temperature (guessed); metric accuracy_percent (guessed)" in done.stdout
    assert "accuracies are percentages" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_format_has_the_same_answers(capsys: pytest.CaptureFixture[str]) -> None:
    out = {}
    for output in ("json", "csv", "markdown", "latex"):
        assert run(["answer", TABLES, "--setup", "table", "--format", output]) == 0
        out[output] = capsys.readouterr().out
    document = json.loads(out["json"])
    assert document["read"]["guessed"] == ["temperature", "metric", "seed"]
    rows = list(csv.DictReader(io.StringIO(out["csv"])))
    assert [row["table"] for row in rows] == [setup["setup"]["table"] for setup in document["setups"]]
    for row, setup in zip(rows, document["setups"], strict=True):
        assert row["temperature"] == ("" if setup["temperature"] is None else str(setup["temperature"]))
        assert row["decided"] == "False"
    assert "| cifar10-adam |" in out["markdown"]
    assert "- table cifar10-alpha07-10epochs: too few trials" in out["markdown"]
    assert r"\begin{tabular}{lrrrrrrrr}" in out["latex"]
    assert "0.27--2.0 &" in out["latex"]
    for form in ("markdown", "latex"):  # a paper's table says what its intervals promise, and whose luck
        assert "interval: holds with this probability a T that loses at most" in out[form]
        assert "oubt includes the luck of" in out[form]
    lost = next(row for row in csv.DictReader(io.StringIO(out["csv"])) if row["lost_at_4"])
    assert float(lost["lost_at_4_low"]) <= float(lost["lost_at_4"]) <= float(lost["lost_at_4_high"])


def test_runs_of_an_objective_without_temperature_have_no_best_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A file says its objective by the name that studies have.

    What its other columns hold does not matter.
    """
    rows = [
        f"{name},{share},{ratio},{temperature},{0.9 - 0.02 * (temperature - 4) ** 2 + 0.001 * seed}"
        for name, share, ratio in (("kd", "half", "slow"), ("mse", "half", "slow"))
        for temperature in (1, 2, 4, 6, 8)
        for seed in range(4)
    ]
    columns = "objective.name,objective.alpha,objective.temperature_ratio,temperature,accuracy"
    (tmp_path / "runs.csv").write_text("\n".join([columns, *rows]))
    told = ["answer", str(tmp_path / "runs.csv"), "--setup", columns.rpartition(",temperature")[0]]
    assert run([*told, "--format", "json"]) == 0
    found = {one["setup"]["objective.name"]: one for one in json.loads(capsys.readouterr().out)["setups"]}
    assert 3 < found["kd"]["temperature"] < 5
    assert found["mse"]["temperature"] is None
    assert "no effect with `objective.name: mse`" in found["mse"]["reason"]


def test_a_figure_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    assert run(["answer", TABLES, "--setup", "table", "--plot", str(path)]) == 0
    assert "cifar10-adam" in path.read_text()
    assert run(["answer", TABLES, "--setup", "table", "--plot", str(tmp_path / "out.doc")]) == 2
    assert "`--plot` must end with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "must have a FILE of runs, or --optuna"),
        ([TABLES, "--study", "a"], "go with --optuna"),
        (["none.csv"], "none.csv can't be read: No such file"),
        ([TABLES], "which they do in table (voc-segmentation-miou, "),
        (["--optuna", "sqlite:///none.db"], "no such file"),
        (["--optuna", "mysql://me:secret@host/name"], "got 'mysql://me:***@host/name'"),
        (["--optuna", "mysql://me:p@secret@host/name"], "Write each other one as %40"),
        (["--optuna", "mysql://me:secret"], "can't be read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], says: str
) -> None:
    assert run(["answer", *arguments]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert "secret" not in told


def test_stored_studies_are_told_in_every_format(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    def told(output: str, *command: str) -> str:
        assert run([*command, "--storage", storage, "--format", output]) == 0
        return capsys.readouterr().out

    best = json.loads(told("json", "best", "made"))
    rows = list(csv.DictReader(io.StringIO(told("csv", "best", "made"))))
    assert [float(row["temperature"]) for row in rows] == [s["temperature"] for s in best["setups"]]
    assert [float(row["optimizer.lr"]) for row in rows] == [
        s["params"]["optimizer.lr"] for s in best["setups"]
    ]
    (pair,) = csv.DictReader(io.StringIO(told("csv", "compare", "made", "--factor", "optimizer.name")))
    assert (pair["from"], pair["to"]) == ("sgd", "adamw")
    found = json.loads(told("json", "forecast", "made"))
    rows = list(csv.DictReader(io.StringIO(told("csv", "forecast", "made"))))
    assert [row["decided"] for row in rows] == [str(s["decided"]) for s in found["setups"]]
    compared = told("latex", "compare", "made", "--factor", "optimizer.name")
    assert r"sgd $\to$ adamw &" in compared
    assert "| sgd |" in told("markdown", "forecast", "made")
    assert told("markdown", "best", "made").splitlines()[0].startswith("| optimizer name | best T |")


@pytest.mark.parametrize("output", ["csv", "markdown", "latex"])
@pytest.mark.parametrize("question", [["compare", "--factor", "optimizer.name"], ["importance"]])
def test_a_question_without_an_answer_is_told_why_in_every_format(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, question: list[str], output: str
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    with open_database(url, create=True) as database:
        tune = {"objective.temperature": {"low": 1, "high": 40}}
        setup = {"optimizer.name": ["sgd", "adamw"]}
        StudyRecord.open(database, load_spec({"name": "empty", "setup": setup, "tune": tune}))
    assert run([question[0], "empty", *question[1:], "--storage", url, "--format", output]) == 0
    told = capsys.readouterr()
    assert "too few trials" in (told.err if output == "csv" else told.out)


def test_the_schema_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "kdsearch study"
