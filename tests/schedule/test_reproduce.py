"""A trial trained again from its row: what is told the same, near, or another."""

import json
import math
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from kdsearch.analysis.response.noise import seed_noise
from kdsearch.cli.main import run
from kdsearch.distill import build_model, train_trials
from kdsearch.distill.randomness import stream
from kdsearch.errors import RequestError
from kdsearch.schedule.preflight import data_fingerprints
from kdsearch.schedule.workers.trainers import load_trainer
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import StudyRecord, load_trials, open_database
from kdsearch.storage.sql.tables import StudyTable, TrialTable
from kdsearch.trial import TrialResult

TRAINER = """
import math
from pathlib import Path

def train(trial, report):
    off = float(Path("off").read_text())
    T = trial.params["objective.temperature"]
    top = 0.9 - 0.02 * math.log(T / 6) ** 2 + 0.002 * math.sin(1000 * trial.seed)
    for epoch in range(1, trial.epochs + 1):
        accuracy = top - 0.2 / epoch + (off if epoch > 2 else 0)
        if report(epoch, {"val_accuracy": accuracy, "val_loss": 1 - accuracy}):
            return {"val_accuracy": accuracy}
    if trial.seed == 9:
        return {"val_accuracy": math.nan}
    return {"val_accuracy": accuracy, "val_loss": 1 - accuracy, "test_accuracy": accuracy - 0.01}
"""
SPEC = {
    "name": "again",
    "trainer": "again_trainer:train",
    "training": {"epochs": 4},
    "setup": {"optimizer.name": ["sgd"]},
    "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
    "search": {"trials": 18},
}
DIGITS = {
    "dataset": {"name": "digits", "train_size": 200, "validation_size": 100},
    "augment": {"crop_padding": 1},
    "student": {"arch": "mlp_16"},
    "teacher": {"arch": "mlp_32", "finetune": {"epochs": 2}},
    "training": {"epochs": 3},
    "setup": {"optimizer.name": ["adamw"]},
}
TINY = {
    "student": {"arch": "mlp_8"},
    "teacher": {"arch": "mlp_8", "finetune": {"epochs": 1}},
    "training": {"epochs": 1},
    "setup": {"optimizer.name": ["sgd"]},
}
PRUNED, DIVERGED, FAILED, RUNNING = 16, 17, 18, 19


def of_trainer(seed: int, temperature: float, epoch: int) -> float:
    """The accuracy that the trainer gives, written out a second time."""
    top = 0.9 - 0.02 * math.log(temperature / 6) ** 2 + 0.002 * math.sin(1000 * seed)
    return top - 0.2 / epoch


def distilled(name: str, artifacts: Path, study: Mapping[str, Any], **changes: Any) -> StudySpec:
    """A study that searches the temperature of one setup."""
    own = {"name": name, "tune": SPEC["tune"], "artifacts": str(artifacts)}
    return load_spec({**study, **own, **changes})


def noted_in(record: StudyRecord) -> Callable[[int, Any], tuple[int, ...]]:
    """What a training reports to, that stops no trial."""

    def report(epoch: int, metrics: Any) -> tuple[int, ...]:
        record.report(epoch, metrics)
        return ()

    return report


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "again_trainer", raising=False)
    monkeypatch.setenv("KDSEARCH_ARTIFACTS", str(tmp_path / "artifacts"))
    (tmp_path / "again_trainer.py").write_text(TRAINER)
    (tmp_path / "off").write_text("0")
    url = f"sqlite:///{tmp_path / 'again.db'}"
    temperatures = [*np.geomspace(1, 40, 16), 3.0, 5.0, 7.0, 9.0]
    seeds = [100 + number for number in range(16)] + [7, 9, 10, 11]
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, load_spec(SPEC))
        points = [{TEMPERATURE: float(t)} for t in temperatures]
        trials = record.start({"optimizer.name": "sgd"}, points, "p1", seeds=seeds)
        for trial in trials:
            last = 2 if trial.number == PRUNED else 4
            curve = [of_trainer(trial.seed, trial.params[TEMPERATURE], e) for e in range(1, last + 1)]
            for epoch, accuracy in enumerate(curve, start=1):
                record.report(epoch, {trial.number: {"val_accuracy": accuracy, "val_loss": 1 - accuracy}})
            if trial.number < PRUNED:
                metrics = {
                    "val_accuracy": curve[-1],
                    "val_loss": 1 - curve[-1],
                    "test_accuracy": curve[-1] - 0.01,
                }
                record.finish(TrialResult(trial.number, "complete", 4, metrics))
        record.finish(TrialResult(PRUNED, "pruned", 2, {"val_accuracy": of_trainer(7, 3.0, 2)}, "hopeless"))
        record.finish(TrialResult(DIVERGED, "failed", 4, reason="diverged"))
        record.finish(TrialResult(FAILED, "failed", 4, reason="ValueError: once"))
    return url


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As Ray trains a pack that holds one CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def again(storage: str, capsys: pytest.CaptureFixture[str]) -> Callable[[int], tuple[int, Any]]:
    def reproduce(number: int) -> tuple[int, Any]:
        code = run(["reproduce", "again", str(number), "--storage", storage, "--format", "json"])
        return code, json.loads(capsys.readouterr().out)

    return reproduce


@pytest.mark.parametrize("number", [0, 7, PRUNED, DIVERGED])
def test_what_comes_out_alike_is_the_same(again: Callable[[int], Any], number: int) -> None:
    code, document = again(number)
    assert (code, document["verdict"]) == (0, "same")
    assert document["deviation"] < 1e-12
    assert document["agrees_to"] == (2 if number == PRUNED else 4)
    assert document["differences"] == []


@pytest.mark.parametrize(
    ("off", "verdict", "code"),
    [
        (5e-5, "same", 0),
        (0.002, "within the seeds' spread", 0),
        (-0.002, "within the seeds' spread", 0),
        (0.05, "different", 1),
        (-0.05, "different", 1),
    ],
)
def test_another_result_is_held_against_the_seeds_spread(
    again: Callable[[int], Any], off: float, verdict: str, code: int
) -> None:
    Path("off").write_text(str(off))
    found, document = again(7)
    assert (found, document["verdict"]) == (code, verdict)
    assert document["deviation"] == pytest.approx(abs(off), rel=1e-6)
    assert document["agrees_to"] == (4 if verdict == "same" else 2)
    assert document["again"]["val_accuracy"] - document["recorded"]["val_accuracy"] == pytest.approx(off)


def test_without_enough_trials_another_result_is_not_judged(
    again: Callable[[int], Any], storage: str
) -> None:
    Path("off").write_text("0.002")
    with open_database(storage) as database, database.write() as connection:
        change = sa.update(TrialTable).where(TrialTable.number.not_in([7, PRUNED]))
        connection.execute(change.values(state="failed", reason="lost"))
    code, document = again(7)
    assert (code, document["verdict"], document["seed_sd"]) == (1, "of unknown distance", None)
    assert "the setup has too few trials to know its seeds' spread" in document["statement"]


def test_a_trial_that_no_longer_diverges_is_different(again: Callable[[int], Any]) -> None:
    trainer = Path("again_trainer.py")
    trainer.write_text(trainer.read_text().replace("== 9", "== -1"))
    code, document = again(DIVERGED)
    assert (code, document["verdict"], document["deviation"]) == (1, "different", None)


def test_a_metric_that_is_no_longer_measured_is_not_the_same(again: Callable[[int], Any]) -> None:
    trainer = Path("again_trainer.py")
    trainer.write_text(trainer.read_text().replace(', "test_accuracy": accuracy - 0.01', ""))
    _, document = again(7)
    assert document["verdict"] != "same"
    assert document["deviation"] is None


def test_what_a_trainer_prints_is_not_in_the_answer(again: Callable[[int], Any]) -> None:
    trainer = Path("again_trainer.py")
    body = trainer.read_text().replace("for epoch in", "print('training')\n    for epoch in", 1)
    trainer.write_text(f"print('loading')\n{body}")
    code, document = again(3)
    assert (code, document["verdict"]) == (0, "same")


def test_nothing_is_written(again: Callable[[int], Any], tmp_path: Path) -> None:
    def content() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "again.db")) as connection:
            return list(connection.iterdump())

    before = content()
    again(3)
    assert content() == before
    assert not (tmp_path / "artifacts").exists()


def test_what_is_otherwise_is_named_by_the_run_that_the_trial_belongs_to(
    again: Callable[[int], Any], storage: str
) -> None:
    with open_database(storage) as database, database.write() as connection:
        (run_of_trials,) = connection.scalars(sa.select(StudyTable.versions)).one()
        old = {**run_of_trials["versions"], "torch": "0.1", "forgotten": "3"}
        runs = [
            {**run_of_trials, "since": "2020-01-01T00:00:00+00:00", "versions": {"torch": "0.0"}},
            {**run_of_trials, "versions": old, "git_commit": "abc", "code": {"again_trainer:train": "other"}},
            {**run_of_trials, "since": "2999-01-01T00:00:00+00:00"},
        ]
        connection.execute(sa.update(StudyTable).values(versions=runs))
    code, document = again(0)
    assert code == 0
    assert document["differences"] == [
        "forgotten was 3, is absent",
        f"torch was 0.1, is {version('torch')}",
        "the git commit was abc, is none",
        "again_trainer:train was edited since",
    ]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (FAILED, "which is failed: ValueError: once"),
        (RUNNING, "which is running"),
        (99, "must be a trial of again, got 99"),
    ],
)
def test_a_trial_without_a_result_is_refused(
    storage: str, capsys: pytest.CaptureFixture[str], number: int, told: str
) -> None:
    assert run(["reproduce", "again", str(number), "--storage", storage]) == 2
    assert told in capsys.readouterr().err


def test_a_trial_that_fails_now_is_told(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("off").write_text("no number")
    assert run(["reproduce", "again", "0", "--storage", storage]) == 1
    assert "The trial 0 fails now: ValueError" in capsys.readouterr().err


def test_a_distilled_student_comes_out_exactly(
    one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    artifacts = tmp_path / "artifacts"
    spec = distilled("digits", artifacts, DIGITS)
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        (trial,) = record.start({"optimizer.name": "adamw"}, [{TEMPERATURE: 4.5}], "p1")

        (result,) = train_trials([trial], artifacts=artifacts, report=noted_in(record))
        record.finish(result)
        row = load_trials(database, "digits")[0]
    arguments = ["reproduce", "digits", "0", "--storage", url]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "The result is the same, exactly." in out
    assert f"{row.val_accuracy:.6g} → {row.val_accuracy:.6g}" in out
    assert not (artifacts / "checkpoints").exists()
    for teacher in (artifacts / "teachers").iterdir():
        teacher.rename(artifacts / f"moved-{teacher.name}")
    assert run([*arguments, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"] == [
        f"its teacher was not in {artifacts} and was trained anew"
    ]


def test_weights_that_were_edited_since_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(seed: int) -> None:
        torch.save(build_model("mlp_8", 10, 1, image_size=8, generator=stream(seed)).state_dict(), weights)

    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "net.pt"
    write(1)
    dataset = {"name": "digits", "train_size": 50, "validation_size": 50}
    student = {"arch": "mlp_8", "init": {"checkpoint": str(weights)}}
    spec = distilled("edited", tmp_path / "artifacts", TINY, dataset=dataset, student=student)
    url = f"sqlite:///{tmp_path / 'edited.db'}"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec, data=data_fingerprints(spec))
        (trial,) = record.start({"optimizer.name": "sgd"}, [{TEMPERATURE: 4.5}], "p1")
        record.finish(*train_trials([trial], artifacts=tmp_path / "artifacts"))
        arguments = ["reproduce", "edited", "0", "--storage", url, "--format", "json"]
        for seed, differences in ((1, []), (2, [f"{weights} was edited since"])):
            write(seed)
            run(arguments)
            assert json.loads(capsys.readouterr().out)["differences"] == differences
        with pytest.raises(RequestError, match=f"finished trials of other data: {weights} was edited"):
            StudyRecord.open(database, spec, data=data_fingerprints(spec))


def test_own_data_are_found_in_the_folder_of_the_command(
    one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "again_data.py").write_text(
        "import numpy as np\ndef data():\n"
        "    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)\n"
        "    return (pixels, np.arange(60) % 3), None\n"
    )
    dataset = {"name": "again_data:data", "validation_size": 15}
    spec = distilled("own", tmp_path / "artifacts", TINY, dataset=dataset)
    url = f"sqlite:///{tmp_path / 'own.db'}"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        (trial,) = record.start({"optimizer.name": "sgd"}, [{TEMPERATURE: 4.5}], "p1")
        sys.path.insert(0, str(tmp_path))

        record.finish(*train_trials([trial], artifacts=tmp_path / "artifacts", report=noted_in(record)))
        sys.path.remove(str(tmp_path))
    sys.modules.pop("again_data")  # as in another process
    assert run(["reproduce", "own", "0", "--storage", url]) == 0
    out = capsys.readouterr().out
    assert "trained anew" not in out
    assert "The result is the same, exactly." in out


def test_a_student_comes_out_exactly_under_the_luck_that_its_pack_drew(
    one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    training = {"epochs": 3, "vary": ["views", "order", "split"]}
    spec = distilled("varied", tmp_path / "artifacts", DIGITS, training=training)
    url = f"sqlite:///{tmp_path / 'varied.db'}"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        for pack in ("p1", "p2"):
            (trial,) = record.start({"optimizer.name": "adamw"}, [{TEMPERATURE: 4.5}], pack, seeds=[7])
            train = load_trainer(spec.trainer, tmp_path / "artifacts")
            record.finish(*train([trial], noted_in(record)))
        first, second = load_trials(database, "varied")
    assert first.val_loss != second.val_loss  # the same seed in another draw
    for number in (0, 1):
        assert run(["reproduce", "varied", str(number), "--storage", url]) == 0
        assert "The result is the same, exactly." in capsys.readouterr().out


@pytest.mark.parametrize("way", ["looped", "fused"])
def test_a_student_of_a_pack_comes_out_exactly_as_its_neighbours_ended(
    way: str,
    one_thread: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {"student": {"arch": "convnet_4_8"}, "training": {"epochs": 4}}
    spec = distilled("digits", tmp_path / "artifacts", DIGITS, **changes)
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        points = [{TEMPERATURE: 1.5 * 2**k} for k in range(4)]
        trials = record.start({"optimizer.name": "adamw"}, points, "p1")

        def report(epoch: int, metrics: Any) -> set[int]:
            record.report(epoch, metrics)
            return {3} if epoch == 2 else set()

        places = {"artifacts": tmp_path / "artifacts", "report": report}
        for result in train_trials(trials, **places, way=way):
            record.finish(result)
    for number in (0, 3):
        assert run(["reproduce", "digits", str(number), "--storage", url]) == 0
        assert "The result is the same, exactly." in capsys.readouterr().out


class TestSeedNoise:
    def rows(self, spec: Any, sd: float, tmp_path: Path, count: int = 32) -> Any:
        rng = np.random.default_rng(1)
        with open_database(f"sqlite:///{tmp_path / 'noise.db'}", create=True) as database:
            record = StudyRecord.open(database, spec)
            points = [{TEMPERATURE: float(t)} for t in np.repeat(np.geomspace(1, 40, count // 4), 4)]
            for trial in record.start({"optimizer.name": "sgd"}, points, "p"):
                accuracy = 0.9 - 0.004 * math.log(trial.params[TEMPERATURE] / 6) ** 2 + rng.normal(0, sd)
                record.finish(TrialResult(trial.number, "complete", 4, {"val_accuracy": accuracy}))
            return record.trials()

    @pytest.mark.parametrize("sd", [0.001, 0.004])
    def test_it_is_the_scatter_of_replicates(self, sd: float, tmp_path: Path) -> None:
        spec = load_spec({**SPEC, "trainer": "distill"})
        found = seed_noise(spec, self.rows(spec, sd, tmp_path), {"optimizer.name": "sgd"})
        assert found == pytest.approx(sd, rel=0.35)

    def test_few_trials_say_nothing(self, tmp_path: Path) -> None:
        spec = load_spec({**SPEC, "trainer": "distill"})
        rows = self.rows(spec, 0.001, tmp_path)[:3]
        assert seed_noise(spec, rows, {"optimizer.name": "sgd"}) is None

    def test_setups_that_differ_in_temperature_alone_share_it(self, tmp_path: Path) -> None:
        sd_of = {"sgd": 0.001, "adamw": 0.02}
        temperatures = (2.0, 6.0, 20.0)
        spec = load_spec(
            {
                **SPEC,
                "trainer": "distill",
                "setup": {"optimizer.name": list(sd_of), TEMPERATURE: list(temperatures)},
                "tune": {"optimizer.lr": {"low": 0.01, "high": 1, "log": True}},
            }
        )
        rng = np.random.default_rng(2)
        with open_database(f"sqlite:///{tmp_path / 'factor.db'}", create=True) as database:
            record = StudyRecord.open(database, spec)
            for setup in spec.setups():
                points = [{"optimizer.lr": float(lr)} for lr in np.repeat(np.geomspace(0.02, 0.5, 4), 4)]
                for trial in record.start(setup, points, str(setup)):
                    accuracy = 0.8 + rng.normal(0, sd_of[setup["optimizer.name"]])
                    record.finish(TrialResult(trial.number, "complete", 4, {"val_accuracy": accuracy}))
            rows = record.trials()
        for name, sd in sd_of.items():
            found = {seed_noise(spec, rows, {"optimizer.name": name, TEMPERATURE: t}) for t in temperatures}
            assert len(found) == 1
            assert found.pop() == pytest.approx(sd, rel=0.5)
