"""The commands, as a user types them: documents, exit codes, and what they import."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

import kdsearch
from kdsearch.cli.main import run
from kdsearch.distill.models import build_model
from kdsearch.errors import RequestError
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import StudyRecord, open_database
from kdsearch.trial import TrialResult

QUICKSTART = ("studies/quickstart.yaml", "--set", "student.arch=mlp_8", "--set", "teacher.arch=mlp_16")
"""With networks whose steps, which a dry run measures, take no time."""


def answer(capsys: pytest.CaptureFixture[str], storage: str, *arguments: str) -> Any:
    assert run([*arguments, "--storage", storage, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_best_answers_every_setup_in_the_documented_form(
    capsys: pytest.CaptureFixture[str], storage: str
) -> None:
    document = answer(capsys, storage, "best", "made")
    assert (document["study"], document["metric"], document["level"]) == ("made", "val_accuracy", 0.9)
    assert [setup["setup"]["optimizer.name"] for setup in document["setups"]] == ["sgd", "adamw"]
    for setup, truth in zip(document["setups"], (6.0, 3.0), strict=True):
        low, high = setup["interval"]
        assert low <= truth <= high
        assert setup["near_optimal"][0] <= setup["temperature"] <= setup["near_optimal"][1]
        assert setup["trials"] == 16
        assert set(setup["regret_of"]) == {"1", "4"}
        assert set(setup["params"]) == {"optimizer.lr"}


def test_best_and_studies_tell_why_a_study_ended(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    why = "all 32 trials are done; 1 of 2 setups were stopped early"
    document = answer(capsys, storage, "best", "made")
    assert (document["state"], document["state_reason"]) == ("finished", why)
    assert [setup["stopped"] for setup in document["setups"]] == ["expected to lose little", None]
    (study,) = answer(capsys, storage, "studies")
    assert study["reason"] == "all 32 trials are done"
    assert study["stopped"] == [
        {"setup": {"optimizer.name": "sgd"}, "reason": "expected to lose little"},
    ]
    assert run(["best", "made", "--storage", storage]) == 0
    shown = capsys.readouterr().out
    assert f"The study is finished: {why}." in shown
    assert "sgd: Stopped early: expected to lose little." in shown
    assert run(["studies", "--storage", storage]) == 0
    assert why in " ".join(capsys.readouterr().out.split())


def test_forecasts_are_told_with_what_is_spent(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    document = answer(capsys, storage, "forecast", "made", "--regret", "0.00001")
    assert document["budgets"] == {"trials": {"spent": 32, "limit": 32}}
    assert document["slots"] == 1.0
    by_setup = {str(found["setup"]): found for found in document["setups"]}
    assert all(found["more_trials"][1] > 0 and found["hours"] > 0 for found in by_setup.values())
    assert run(["forecast", "made", "--regret", "0.00001", "--storage", storage]) == 0
    shown = capsys.readouterr().out
    assert "spent: 32 of 32 trials" in shown
    assert "with 1 packs at once" in shown
    assert [found["stopped"] for found in document["setups"]] == ["expected to lose little", None]
    assert run(["best", "made", "--storage", storage]) == 0
    shown = capsys.readouterr().out
    assert "to go" in shown
    assert "until at most 0.2 points are expected to be lost" in shown
    sgd, adamw = answer(capsys, storage, "best", "made")["setups"]
    assert sgd["forecast"]["decided"] == (not sgd["forecast"]["missing"])
    assert adamw["forecast"].keys() == {
        "regret",
        "decided",
        "missing",
        "more_trials",
        "hours",
        "reason",
    }


def test_best_and_forecast_go_by_the_regret_at_which_the_study_stops(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'stops.db'}"
    tune = {"objective.temperature": {"low": 1, "high": 40, "log": True}}
    search = {"trials": 8, "stop": {"regret": 0.0005}}
    with open_database(url, create=True) as database:
        StudyRecord.open(database, load_spec({"name": "stops", "tune": tune, "search": search}))
    for command in ("best", "forecast"):
        assert answer(capsys, url, command, "stops")["target"] == 0.0005
    assert kdsearch.open_study("stops", storage=url).forecast().target == 0.0005
    assert answer(capsys, url, "forecast", "stops", "--regret", "0.01")["target"] == 0.01


def test_python_says_what_the_commands_say(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    study = kdsearch.open_study("made", storage=storage)
    assert answer(capsys, storage, "best", "made", "--level", "0.8") == study.best(level=0.8).to_dict()
    assert (
        answer(capsys, storage, "compare", "made", "--factor", "optimizer.name")
        == study.compare("optimizer.name").to_dict()
    )
    assert answer(capsys, storage, "forecast", "made") == study.forecast().to_dict()
    assert answer(capsys, storage, "importance", "made") == study.importance().to_dict()
    frame = study.trials()
    assert len(frame) == 32
    assert {"optimizer.name", "objective.temperature", "val_accuracy"} <= set(frame.columns)
    assert len(study.optuna.trials) == 32
    assert study.plot_response({"optimizer.name": "sgd"}).data


def test_recommend_tells_a_setup_that_was_not_run(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    document = answer(capsys, storage, "recommend", "--set", "optimizer.name=adam", "--level", "0.8")
    asked = {"optimizer.name": "adam"}
    assert document == kdsearch.recommend(asked, storage=storage, level=0.8).to_dict()
    assert document["setup"] == asked
    assert {source["study"] for source in document["sources"]} == {"made"}
    assert run(["recommend", "--set", "optimizer.name=adam", "--study", "made", "--storage", storage]) == 0
    shown = capsys.readouterr().out
    assert "all else as in made" in shown
    assert "was never run" in shown
    for wrong in (["--study", "unknown"], ["--set", "optimizer.nam=adam"]):
        assert run(["recommend", "--set", "optimizer.name=adam", *wrong, "--storage", storage]) == 2
        assert "unknown" in (told := capsys.readouterr().err) or "optimizer.name" in told


def test_an_unknown_study_to_start_from_is_told_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], storage: str
) -> None:
    spec = [*QUICKSTART, "--set", "name=new", "--set", "search.warm_start=[unknown]"]
    assert run(["launch", *spec, "--storage", storage]) == 2
    assert "`search.warm_start` must name other studies of this database, got 'unknown'. Known: made." in (
        capsys.readouterr().err
    )
    assert [study["study"] for study in answer(capsys, storage, "studies")] == ["made"]


def test_where_and_by_narrow_and_pool(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    narrowed = answer(capsys, storage, "best", "made", "--where", "optimizer.name=adamw")
    assert [setup["setup"] for setup in narrowed["setups"]] == [{"optimizer.name": "adamw"}]
    pooled = answer(capsys, storage, "best", "made", "--by", "optimizer.name")
    assert len(pooled["setups"]) == 2


def test_trials_come_in_every_format(
    capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path
) -> None:
    documents = answer(capsys, storage, "trials", "made")
    assert set(documents[0]) == {
        *("number", "state", "reason", "setup", "params", "seed", "epochs", "val_accuracy", "test_accuracy"),
        *("val_loss", "train_loss", "teacher_entropy", "student_entropy", "teacher_agreement"),
        *("seconds", "device", "pack", "pack_size", "executor", "draw"),
    }
    assert run(["trials", "made", "--storage", storage, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["val_accuracy"]) for row in rows] == [d["val_accuracy"] for d in documents]
    command = [
        sys.executable,
        "-m",
        "kdsearch",
        "trials",
        "made",
        "--storage",
        storage,
        "--format",
        "parquet",
    ]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(pd.read_parquet(io.BytesIO(output))) == 32


def test_tables_show_the_answer_to_a_person(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    for arguments, shown in (
        (["best", "made"], "adamw"),
        (["studies"], "finished"),
        (["trials", "made"], "complete"),
        (["teachers"], "digest"),
        (["compare", "made", "--factor", "optimizer.name"], "sgd → adamw"),
        (["forecast", "made"], "sgd"),
        (["importance", "made"], "temperature × optimizer lr"),
        (["db", "status"], "this kdsearch's own"),
    ):
        assert run([*arguments, "--storage", storage]) == 0
        assert shown in capsys.readouterr().out


@pytest.mark.parametrize("output", ["table", "csv", "json", "parquet"])
def test_a_reader_that_has_seen_enough_is_no_failure(storage: str, output: str) -> None:
    command = [sys.executable, "-m", "kdsearch", "trials", "made", "--storage", storage, "--format", output]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.close()
        assert program.stderr is not None
        told = program.stderr.read()
    assert (program.returncode, told) == (0, "")


def test_answers_are_told_where_the_locale_has_few_letters(storage: str) -> None:
    command = [sys.executable, "-m", "kdsearch", "best", "made", "--storage", storage]
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    assert (done.returncode, done.stderr) == (0, "")
    assert "adamw" in done.stdout


def test_reasons_are_shown_to_the_letter(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'failed.db'}"
    spec = load_spec({"name": "failed", "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}}})
    reason = "ValueError: [cuda:0] holds no [/] :skull:"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        (trial,) = record.start({}, [{TEMPERATURE: 4.0}], "p")
        record.finish(TrialResult(trial.number, "failed", 0, reason=reason))
        record.set_state("failed", reason)
    for command in (["trials", "failed"], ["studies"]):
        assert run([*command, "--storage", url]) == 0
        assert reason in " ".join(capsys.readouterr().out.split())


def test_trials_that_diverged_are_shown_beside_those_that_finished(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'high.db'}"
    spec = load_spec({"name": "high", "tune": {TEMPERATURE: {"low": 1, "high": 40}}})
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        for trial in record.start({}, [{TEMPERATURE: 4.0}, {TEMPERATURE: 5.0}], "p"):
            record.finish(TrialResult(trial.number, "failed", 1, reason="diverged"))
    assert run(["studies", "--storage", url]) == 0
    heads, row = (line.split() for line in capsys.readouterr().out.splitlines() if line.strip("─- "))
    assert heads[2:7] == ["finished", "of", "running", "diverged", "failed"]
    assert row[2:7] == ["2", str(spec.search.trials), "0", "2", "0"]


def test_a_report_is_written(capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path) -> None:
    out = tmp_path / "made.html"
    assert run(["report", "made", "--storage", storage, "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert "made" in out.read_text()


def test_a_study_moves_to_another_database(
    capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path
) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert run(["export", "made", str(tmp_path / "out"), "--storage", storage]) == 0
    assert run(["import", str(tmp_path / "out"), "--storage", other]) == 0
    capsys.readouterr()
    assert answer(capsys, other, "trials", "made") == answer(capsys, storage, "trials", "made")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["best", "mad"], "Known: made"),
        (["best", "made", "--where", "optimizer.nam=sgd"], "optimizer.nam"),
        (["best", "made", "--where", "optimizer.name"], "must be PATH=VALUE"),
        (["best", "made", "--by", "optimizer.lr"], "optimizer.lr"),
        (["best", "made", "--level", "2"], "--level"),
        (["best", "made", "--level", "nan"], "--level"),
        (["best", "made", "--tolerance", "nan"], "--tolerance"),
        (["best", "made", "--tolerance", "0.5"], "--tolerance"),
        (["forecast", "made", "--regret", "0.2"], "--regret"),
        (["forecast", "made", "--regret", "nan"], "--regret"),
        (["compare", "made", "--factor", "nope"], "nope"),
        (["stop", "made"], "live driver"),
        (["stop", "mad"], "Known: made"),
        (["report", "made", "--out", "/nowhere/x.html"], "can't be written"),
        (
            ["best", "made", "--by", "optimizer.name", "--by", "optimizer.lr"],
            "`--by` must be given once, got it 2 t",
        ),
        (["db", "status", "--format", "json", "--format", "csv"], "`--format` must be given once"),
        (
            ["launch", *QUICKSTART, "--dry-run", "--trials", "9", "--set", "search.trials=8"],
            "`--set search.trials` must not",
        ),
        (["best"], "Missing argument"),
        (["bset"], "No such command"),
        (["launch", "nowhere.yaml"], "can't be read"),
    ],
)
def test_a_wrong_request_is_told_and_exits_with_2(
    capsys: pytest.CaptureFixture[str], storage: str, arguments: list[str], message: str
) -> None:
    assert run([*arguments, "--storage", storage] if len(arguments) > 1 else arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_reading_makes_no_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["studies", "--storage", f"sqlite:///{tmp_path / 'none.db'}"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_the_work_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    options = ["launch", *QUICKSTART, "--dry-run", "--trials", "64", "--set", "search.hours=2"]
    plan = answer(capsys, url, *options)
    assert (plan["hours"], plan["cpu_hours"]) == (2, None)
    assert run([*options, "--storage", url]) == 0
    told = capsys.readouterr().out
    assert "once the study has taken 2 hours, earlier runs included" in told
    assert "the luck of the initialisation and the validation images." in told  # as its answers say later
    assert (len(plan["setups"]), plan["trials"], plan["packs"], len(plan["teachers"])) == (4, 64, 8, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_which_teachers_are_trained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(build_model("convnet_4", 10, 1).state_dict(), tmp_path / "teacher.pth")
    study = {
        "name": "kept",
        "dataset": {"name": "digits", "train_size": 300, "validation_size": 900},
        "student": {"arch": "convnet_4"},
        "teacher": {
            "arch": "convnet_4",
            "pretraining": {"checkpoint": str(tmp_path / "teacher.pth")},
            "preprocessing": "data",
        },
        "setup": {"teacher.finetune.epochs": [0, 3]},
        "tune": {"objective.temperature": {"low": 1, "high": 9}},
    }
    file = tmp_path / "kept.yaml"
    file.write_text(yaml.safe_dump(study))
    assert run(["launch", str(file), "--dry-run", "--storage", f"sqlite:///{tmp_path / 'none.db'}"]) == 0
    told = capsys.readouterr().out
    assert "1 teacher is trained first" in told
    assert "1 teacher is used as its weights are" in told


def test_a_dry_run_tells_the_teachers_of_every_split(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    luck = ["--set", "training.vary=[split, views]", "--set", "training.splits=3"]
    options = ["launch", *QUICKSTART, "--dry-run", *luck]
    plan = answer(capsys, url, *options)
    assert (plan["luck"], plan["splits"], len(plan["teachers"])) == (
        ["initialisation", "views", "split", "images"],
        3,
        2 * 3,
    )
    assert run([*options, "--storage", url]) == 0
    told = capsys.readouterr().out
    assert "6 teachers are trained first, each once, on 3 splits" in told
    assert "kB of soft targets a teacher, and as much for each draw of views" in told
    assert "Answers hold in this batch order; their doubt includes the luck of the initialisation" in told


def test_a_dry_run_tells_of_a_baseline_that_is_trained_for_each_teacher(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    study = {
        "name": "twice",
        "dataset": {"name": "digits", "train_size": 300, "validation_size": 900},
        "student": {"arch": "mlp_8"},
        "teacher": {"arch": "mlp_8"},
        "setup": {"objective.alpha": [0, 0.9], "teacher.finetune.epochs": [2, 3]},
        "tune": {"objective.temperature": {"low": 1, "high": 9}},
    }
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(study))
    url = f"sqlite:///{tmp_path / 'none.db'}"
    assert run(["launch", str(tmp_path / "twice.yaml"), "--dry-run", "--storage", url]) == 0
    assert "note: 2 setups have `objective.alpha: 0`, which uses no teacher" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("trainer=no.such:train", "`trainer` must be importable, got 'no.such:train'"),
        ("objective.name=os:nothing", "`objective.name` must be importable, got 'os:nothing'"),
        ("student.arch=os:nothing", "`student.arch` must be importable, got 'os:nothing'"),
        ("artifacts=README.md/below", "README.md is no folder"),
        ("student.init={weights: DEFAULT}", "`student.init.weights` must go with torchvision:NAME"),
        (
            "student={arch: torchvision:resnet18, init: {weights: V9}}",
            "`student.init.weights` must be one of torchvision's for resnet18, got 'V9'. Choose one of IMAGENET1K_V1",
        ),
        (
            "teacher.pretraining={weights: DEFAULT}",
            "`teacher.pretraining.weights` must go with torchvision:NAME",
        ),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_what_a_spec_names_is_looked_for_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, override: str, told: str, more: list[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    assert run(["launch", "studies/quickstart.yaml", "--set", override, "--storage", url, *more]) == 2
    assert told in (shown := capsys.readouterr()).err
    assert "starting Ray" not in shown.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_one_that_may_not_be_searched_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, stat = tmp_path / "closed", os.stat
    closed.mkdir()

    def stat_outside(path: Any, **options: Any) -> os.stat_result:
        if closed in Path(os.fsdecode(path) if not isinstance(path, int) else "/").parents:
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", stat_outside)  # as it is for who is not root
    monkeypatch.setattr(os, "access", lambda path, _mode: path != closed)
    options = ["--set", f"artifacts={closed}/below", "--dry-run"]
    assert run(["launch", "studies/quickstart.yaml", *options]) == 2
    assert f"{closed} can't be written" in capsys.readouterr().err


def test_a_trainer_that_keeps_no_artifacts_needs_no_folder_for_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = [
        "--set",
        "trainer=kdsearch.bench.search.trainer:train",
        "--set",
        "artifacts=README.md/below",
        "--dry-run",
    ]
    plan = answer(capsys, f"sqlite:///{tmp_path / 'none.db'}", "launch", "studies/quickstart.yaml", *options)
    assert plan["teachers"] == []


LIGHT = (
    "import kdsearch",
    "from kdsearch.cli.main import run; run(['--help'])",
    "from kdsearch.cli.main import run; run(['launch', 'studies/quickstart.yaml', '--set', 'student.arch=x'])",
    "from kdsearch.cli.main import run; run(['launch', 'studies/quickstart.yaml', '--set', 'resources.gpus_per_pack=99'])",
    "import kdsearch.analysis, kdsearch.storage, kdsearch.api",
)


def test_light_commands_import_neither_torch_nor_ray() -> None:
    """One after the other in one process: what none of them has loaded, none loads alone."""
    code = f"""
import sys
for statement in {LIGHT!r}:
    exec(statement)
    if heavy := {{"torch", "ray"}} & set(sys.modules):
        sys.exit(f"{{statement}} imports {{heavy}}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_exits_with_2_on_a_missing_database(storage: str, tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path / 'none.db'}"
    for arguments in (["best", "made"], ["trials", "made"], ["teachers"], ["stop", "made"], ["studies"]):
        assert run([*arguments, "--storage", missing]) == 2


def test_a_parquet_file_of_recipes_is_read_by_pandas(
    capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    recipes = ["none", {"weights": "DEFAULT"}, {"dataset": "digits", "epochs": 3}]
    spec = load_spec(
        {
            "name": "recipes",
            "trainer": "mine:train",
            "setup": {"teacher.pretraining": recipes},
            "tune": {TEMPERATURE: {"low": 1, "high": 40}, "options.wide": {"choices": [1, "all"]}},
        }
    )
    url = f"sqlite:///{tmp_path / 'recipes.db'}"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        for setup in spec.setups():
            for wide in (1, "all"):
                record.start(setup, [{TEMPERATURE: 4.0, "options.wide": wide}], "p")
    assert run(["trials", "recipes", "--storage", url, "--format", "parquet"]) == 0
    found = pd.read_parquet(io.BytesIO(capfdbinary.readouterr().out))
    expected = [setup["teacher.pretraining"] for setup in spec.setups() for _ in range(2)]
    texts = [text if text == "none" else json.loads(text) for text in found["teacher.pretraining"]]
    assert texts == expected
    assert list(found["options.wide"])[:2] == ["1", "all"]
    assert list(found[TEMPERATURE]) == [4.0] * 6


def test_a_rename_says_what_it_did_and_nothing_of_optunas(storage: str, tmp_path: Path) -> None:
    copy = shutil.copy(storage.removeprefix("sqlite:///"), tmp_path / "copy.db")
    command = [sys.executable, "-m", "kdsearch", "rename", "made", "other", "--storage", f"sqlite:///{copy}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.split(".")[0], done.stderr) == ("Renamed made to other", "")


def test_a_figure_of_a_setup_that_is_not_there_is_refused(storage: str) -> None:
    study = kdsearch.open_study("made", storage=storage)
    assert study.plot_response({"optimizer.name": "sgd"}).data
    with pytest.raises(
        RequestError, match=r"`setup` must be a setup of the study, got \{'optimizer.name': 'x'\}"
    ):
        study.plot_response({"optimizer.name": "x"})
