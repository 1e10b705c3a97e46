"""`kdsearch import` of runs that exist: the study they make can be asked, drawn, joined, and gone on with."""

import json
import math
from pathlib import Path
from typing import Any

import click
import numpy as np
import optuna
import pytest
from click.core import ParameterSource

import kdsearch
from kdsearch.cli.import_ import import_
from kdsearch.cli.main import run
from kdsearch.cli.options import again_with
from kdsearch.errors import RequestError
from kdsearch.schedule.preflight import preflight
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import load_spec_of, open_database

TRUTH = {"sgd": 6.0, "adamw": 2.5, "lion": 2.5}  # best temperatures, none of them the usual 4
RATES = {"sgd": 0.1, "adamw": 0.001, "lion": 0.0001}  # usual rates of each, so that no range fits all


def table(path: Path, *optimizers: str, seed: int = 0) -> Path:
    rng = np.random.default_rng(1)
    rows = []
    for optimizer in optimizers:
        for temperature in (1, 4, 8, 32):
            for shift in (0.3, 1.0, 3.0):
                off = math.log(temperature / TRUTH[optimizer]), math.log10(shift)
                accuracy = 0.9 - 0.01 * off[0] ** 2 - 0.02 * off[1] ** 2 + rng.normal(0, 0.002)
                rows.append([optimizer, temperature, shift * RATES[optimizer], seed, 100 * accuracy])
    path.write_text("\n".join(["optimizer,T,lr,seed,acc", *(",".join(map(str, row)) for row in rows)]))
    return path


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'kd.db'}"


def imported(storage: str, *arguments: Any) -> int:
    return run(["import", *map(str, arguments), "--storage", storage])


def test_imported_runs_are_asked_drawn_and_compared(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = table(tmp_path / "runs.csv", "sgd", "adamw")
    assert imported(storage, file, "--setup", "optimizer", "--name", "old") == 0
    capsys.readouterr()
    study = kdsearch.open_study("old", storage=storage)
    assert run(["answer", str(file), "--setup", "optimizer", "--format", "json"]) == 0
    answered = json.loads(capsys.readouterr().out)["setups"]
    for found, other in zip(study.best().setups, answered, strict=True):
        optimizer = found.setup["optimizer.name"]
        assert found.interval is not None
        assert found.interval[0] < TRUTH[optimizer] < found.interval[1]
        assert (found.temperature, found.trials) == (other["temperature"], 12)
        assert found.params is not None
        assert found.params["optimizer.lr"] == other["params"]["lr"]
    assert study.compare("optimizer.name").pairs
    assert study.plot_response({"optimizer.name": "sgd"}).data
    assert len(study.optuna.trials) == 24
    warm = {**study.spec.model_dump(mode="json"), "name": "next", "search": {"warm_start": ["old"]}}
    assert load_spec(warm).search.warm_start == ("old",)
    assert kdsearch.recommend({"optimizer.name": "adamw"}, storage=storage).temperature is not None
    written = load_spec(tmp_path / "old.yaml")
    assert written == study.spec


def test_imports_that_agree_are_one_study(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(storage, table(tmp_path / "a.csv", "sgd"), "--setup", "optimizer", "--name", "all") == 0
    other = table(tmp_path / "b.csv", "sgd", "adamw", seed=1)
    assert imported(storage, other, "--setup", "optimizer", "--name", "all") == 2
    assert "in the ranges of the study 'all'" in capsys.readouterr().err
    assert len(kdsearch.open_study("all", storage=storage).trials()) == 12
    again = table(tmp_path / "c.csv", "sgd", seed=2)
    assert imported(storage, again, "--setup", "optimizer", "--name", "all") == 0
    assert imported(storage, again, "--setup", "optimizer", "--name", "all") == 0
    assert len(kdsearch.open_study("all", storage=storage).trials()) == 24
    assert len(kdsearch.open_study("all", storage=storage).optuna.trials) == 24


@pytest.mark.parametrize("seed", [None, "first"])
def test_the_same_runs_in_another_order_are_no_new_ones(
    storage: str, tmp_path: Path, seed: str | None
) -> None:
    header, *lines = table(tmp_path / "a.csv", "sgd").read_text().splitlines()
    rows = [line.split(",") for line in (header, *lines)]
    written = [
        ",".join([*row[:3], *([] if seed is None else [row[3].replace("0", seed)]), row[4]]) for row in rows
    ]
    for name, own in (("b.csv", [*written[1:5], *written[6:]]), ("c.csv", written[:0:-1])):
        (tmp_path / name).write_text("\n".join([written[0], *own]))
        assert imported(storage, tmp_path / name, "--setup", "optimizer", "--name", "all") == 0
    assert len(kdsearch.open_study("all", storage=storage).trials()) == 12


def test_a_study_grows_by_levels_with_ranges_of_their_own(storage: str, tmp_path: Path) -> None:
    both = table(tmp_path / "a.csv", "sgd", "adamw")
    three = table(tmp_path / "b.csv", "sgd", "adamw", "lion", seed=1)
    for file in (both, three):
        assert imported(storage, file, "--setup", "optimizer", "--name", "all") == 0
    with open_database(storage) as database:
        spec = load_spec_of(database, "all")
    assert spec.setup["optimizer.name"] == ("sgd", "adamw", "lion")
    assert spec.dimensions({"optimizer.name": "lion"})["optimizer.lr"].high == pytest.approx(0.0003)
    assert len(kdsearch.open_study("all", storage=storage).optuna.trials) == 24 + 36
    assert load_spec(tmp_path / "all.yaml") == spec


def test_an_optuna_study_is_imported_with_its_ranges(storage: str, tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float:
        optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
        rate = RATES[optimizer]
        found = trial.suggest_float(f"lr_{optimizer}", rate / 10, rate * 10, log=True)
        off = math.log(trial.suggest_float("T", 1, 40, log=True) / TRUTH[optimizer]), math.log10(found / rate)
        return 0.9 - 0.01 * off[0] ** 2 - 0.02 * off[1] ** 2

    url = f"sqlite:///{tmp_path / 'plain.db'}"
    plain = optuna.create_study(
        storage=url, study_name="plain", direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    plain.optimize(objective, n_trials=14)
    assert imported(storage, "--optuna", url, "--study", "plain", "--setup", "optimizer") == 0
    study = kdsearch.open_study("plain", storage=storage)
    sgd = study.spec.dimensions({"optimizer.name": "sgd"})
    assert (sgd[TEMPERATURE].low, sgd[TEMPERATURE].high) == (1, 40)
    assert (sgd["optimizer.lr"].low, sgd["optimizer.lr"].high) == pytest.approx((0.01, 1))
    accuracies = study.trials()["val_accuracy"]
    assert sorted(accuracies) == pytest.approx(sorted(t.value for t in plain.trials))


def test_what_cannot_be_kept_leaves_nothing(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = table(tmp_path / "runs.csv", "sgd")
    before = set(tmp_path.iterdir())
    for wrong in (("--name", "no name"), ("--trainer", "nothing"), ("--ignore", "lrr")):
        assert imported(storage, file, "--setup", "optimizer", *wrong) == 2
    assert set(tmp_path.iterdir()) == before
    assert "letters, digits" in capsys.readouterr().err


def test_a_study_of_runs_goes_on_once_it_has_a_trainer(storage: str, tmp_path: Path) -> None:
    file = table(tmp_path / "runs.csv", "sgd", "adamw")
    assert imported(storage, file, "--setup", "optimizer", "--name", "old") == 0
    spec = kdsearch.open_study("old", storage=storage).spec
    with pytest.raises(RequestError, match="`trainer` must be named to go on with 'old'"):
        preflight(spec, None)
    from kdsearch.storage import StudyRecord

    named = load_spec(tmp_path / "old.yaml", overrides=["trainer=my.module:train"])
    with open_database(storage) as database:
        record = StudyRecord.open(database, named)
        record.recover()
        (trial,) = record.start(
            {"optimizer.name": "sgd"}, [{TEMPERATURE: 4.0, "optimizer.lr": 0.1}], "pack-1"
        )
    assert trial.number == 24


def test_the_next_command_names_the_database_where_that_is_needed_and_no_password(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = table(tmp_path / "runs.csv", "sgd")
    assert imported(storage, file, "--name", "old") == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == f"See it: kdsearch best old --storage {storage}"
    assert run(told.removeprefix("See it: kdsearch ").split()) == 0
    monkeypatch.setenv("KDSEARCH_STORAGE", storage)
    assert run(["import", str(file), "--name", "again", "--spec", "again.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "See it: kdsearch best again"


def test_a_password_is_not_named_in_the_next_command() -> None:
    with click.Context(import_) as context:
        context.set_parameter_source("storage", ParameterSource.COMMANDLINE)
        assert again_with("postgresql://me:secret@host/db") == " --storage URL"
        assert again_with("postgresql://me@host/db") == " --storage postgresql+psycopg://me@host/db"
