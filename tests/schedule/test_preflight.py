"""What a dry run says a study costs."""

import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from kdsearch.cli.tables import print_plan
from kdsearch.distill.preflight.trainings import Cost, Preflight
from kdsearch.errors import RequestError
from kdsearch.schedule.cluster.resources import with_gpus
from kdsearch.schedule.launch import launch_study
from kdsearch.schedule.preflight import code_fingerprints, costs, data_fingerprints, preflight
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import StudyRecord, open_database
from kdsearch.trial import TrialResult

N_TRAIN = 1000


class Measured(Preflight):
    """Knows what a step takes: a millisecond an example of a student, ten of a teacher."""

    def cost(self, training: Any, pack: int, threads: int) -> Cost:
        teacher = 0.01 if training.objective.alpha > 0 else 0.0
        return Cost(student_s=0.001, teacher_s=teacher, data_bytes=64 * N_TRAIN)

    def epoch_s(self, training: Any, pack: int, threads: int) -> None:
        """Measure no pack."""

    def data_of(self, dataset: Any) -> Any:
        return SimpleNamespace(train=range(N_TRAIN))


def study(**sections: Any) -> StudySpec:
    document = {
        "name": "s",
        "dataset": {"name": "digits", "train_size": 100, "validation_size": 50},
        "student": {"arch": "convnet_8"},
        "teacher": {"arch": "mlp_32", "finetune": {"epochs": 20}},
        "training": {"epochs": 30},
        "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
        "search": {"trials": 80, "pack": 8},
    }
    return load_spec(document | sections)


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))


def test_hours_are_those_of_all_students_and_each_teacher_over_the_packs_at_once() -> None:
    students_s = 80 * 30 * N_TRAIN * 0.001
    teacher_s = N_TRAIN * (20 + 30 / 3) * 0.01  # a forward pass, for soft targets, is a third of a step
    found = costs(study(resources={"cpus_per_pack": 2}), Measured())
    assert found is not None
    assert found["slots"] == 2
    assert found["hours"] == pytest.approx((students_s + teacher_s) / 2 / 3600)
    assert found["teacher_hours"] == pytest.approx(teacher_s / 2 / 3600)
    assert found["data_bytes"] == 64 * N_TRAIN


@pytest.mark.parametrize(
    ("sections", "teachers"),
    [
        ({"setup": {"optimizer.name": ["sgd", "adamw"]}}, 1),  # which share their teacher
        ({"setup": {"teacher.seed": [0, 1]}}, 2),
        ({"training": {"epochs": 30, "vary": ["split"], "splits": 3}}, 3),
        ({"objective": {"alpha": 0.0}}, 0),
    ],
)
def test_each_teacher_is_counted_once(sections: dict[str, Any], teachers: int) -> None:
    found = costs(study(**sections), Measured())
    assert found is not None
    assert found["teacher_hours"] == pytest.approx(teachers * N_TRAIN * 30 * 0.01 / 4 / 3600)


def test_on_gpus_nothing_is_estimated_from_this_machines_cpus() -> None:
    assert costs(study(resources={"gpus_per_pack": 1}), Measured()) is None


@pytest.mark.parametrize(
    ("asked", "gpus", "trainer", "found"),
    [
        ("auto", 0, "distill", 0),
        ("auto", 4, "distill", 1),  # one pack fills a GPU
        ("auto", 1, f"{__name__}:own_trainer", 0),  # which may not use it
        (0.5, 1, "distill", 0.5),
        (0, 1, "distill", 0),
        (2, 1, "distill", 2),
    ],
)
def test_a_pack_has_a_gpu_of_its_own_unless_the_study_says_otherwise(
    asked: float | str, gpus: float, trainer: str, found: float
) -> None:
    spec = study(trainer=trainer, resources={"gpus_per_pack": asked})
    assert with_gpus(spec, gpus).resources.gpus == found
    assert spec.resources.gpus == (0 if asked == "auto" else asked)


def own_trainer(trial: Any, report: Any) -> dict[str, float]:
    """Train nothing."""
    return {"val_accuracy": 0.5}


def test_steps_of_the_studys_own_networks_are_measured() -> None:
    training = study().resolve({}, {})
    found = Preflight().cost(training, 8, 1)
    assert found.student_s > 0
    assert found.teacher_s > 0
    assert found.data_bytes == 1797 * 8 * 8  # the pixels of all digits
    assert Preflight().cost(training.with_values({"objective.alpha": 0.0}), 8, 1).teacher_s == 0


def test_the_whole_takes_as_long_as_its_packs_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = study(objective={"alpha": 0.0}, setup={"training.epochs": [2, 4]}, search={"trials": 32})
    engine = Preflight()
    monkeypatch.setattr("kdsearch.distill.preflight.trainings.expected_seconds", lambda *_: 16.0)
    found = costs(spec, engine)
    assert found is not None
    # Two setups with 16 students each: 2 and 4 epochs, a student's share of each 2 s.
    assert found["hours"] * found["slots"] * 3600 == pytest.approx(16 * (2 + 4) * 2)
    for training in (spec.resolve(setup, {}) for setup in spec.setups()):
        assert engine.student_epoch_s(training, 8, 1) == 2.0


def bounded(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Know no temperature above 5."""
    at = min(temperature, 5.0)
    return F.kl_div(F.log_softmax(student / at, 1), F.softmax(teacher / at, 1), reduction="batchmean")


@pytest.mark.parametrize(
    ("temperatures", "told"),
    [
        ({"low": 1, "high": 40, "log": True}, None),
        ({"low": 6, "high": 40, "log": True}, "at 6 and 40"),
        ({"choices": [4, 8, 16]}, None),
        ({"choices": [8, 16]}, "at 8 and 16"),
        (
            {"by": "optimizer.name", "sgd": {"low": 1, "high": 9}, "adamw": {"low": 7, "high": 9}},
            "at 7 and 9",
        ),
    ],
)
def test_an_objective_must_use_the_temperatures_that_are_searched(
    temperatures: dict[str, Any], told: str | None, tmp_path: Path
) -> None:
    spec = study(
        objective={"name": f"{__name__}:bounded"},
        tune={TEMPERATURE: temperatures},
        setup={"optimizer.name": ["sgd", "adamw"]},
        artifacts=str(tmp_path),
    )
    if told is None:
        assert preflight(spec, None).engine is not None
    else:
        with pytest.raises(RequestError, match=f"`objective.name` .* must use the temperature, .*{told}"):
            preflight(spec, None)


def ignoring(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return F.mse_loss(student, teacher)


def of_three_classes(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return F.mse_loss(student / temperature, teacher / temperature, weight=torch.ones(len(student), 3))


def test_on_a_cluster_an_objective_is_called_where_the_driver_can(tmp_path: Path) -> None:
    def unknown(name: str) -> str:
        spec = study(objective={"name": f"{__name__}:{name}"}, artifacts=str(tmp_path))
        return "; ".join(preflight(spec, "auto").unknown)

    assert unknown("bounded") == "networks and weights, which the cluster's nodes look at"
    with pytest.raises(RequestError, match="must use the temperature, got the same loss"):
        unknown("ignoring")
    told = r"of_three_classes' uses the temperature: called with 10 classes here, .*test_preflight.py:\d+"
    assert re.search(told, unknown("of_three_classes"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (8, 8), 10 * i).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_on_a_cluster_data_are_told_apart_where_the_driver_has_them(photos: Path, tmp_path: Path) -> None:
    here = study(dataset={"name": "imagefolder", "root": str(photos)}, artifacts=str(tmp_path))
    found = preflight(here, "auto")
    assert found.data == data_fingerprints(here) != {}
    assert len(found.unknown) == 1
    elsewhere = study(dataset={"name": "imagefolder", "root": "/of/nodes"}, artifacts=str(tmp_path))
    found = preflight(elsewhere, "auto")
    assert found.data == {}
    assert "whether the data of imagefolder in /of/nodes are those of earlier launches" in found.unknown[1]
    assert (
        len(preflight(study(artifacts=str(tmp_path)), "auto").unknown) == 1
    )  # digits are what their name says


def test_a_launch_on_a_cluster_refuses_data_that_were_edited_and_logs_what_it_did_not_look_at(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec = study(
        dataset={"name": "imagefolder", "root": str(photos)},
        setup={"optimizer.name": ["sgd"]},
        artifacts=str(tmp_path),
    )
    storage = f"sqlite:///{tmp_path / 'k.db'}"
    with open_database(storage, create=True) as database:
        record = StudyRecord.open(database, spec, data=data_fingerprints(spec))
        (trial,) = record.start(spec.setups()[0], [{TEMPERATURE: 4.0}], "p")
        record.finish(TrialResult(trial.number, "complete", 1, {"val_accuracy": 0.5}))
    Image.new("L", (8, 8), 99).save(photos / "a" / "0.png")
    cluster = nullcontext(SimpleNamespace(slots=lambda _: 1, gpus=0.0))
    monkeypatch.setattr("kdsearch.schedule.launch._connect", lambda address, watch: cluster)
    with pytest.raises(
        RequestError, match=f"finished trials of other data: imagefolder in {photos} was edited"
    ):
        launch_study(spec, storage, address="auto")
    assert "Not looked at from here: networks and weights" in caplog.text


@pytest.mark.parametrize(
    ("trainer", "name"),
    [
        ("edited_trainer:train", "edited_trainer:train"),
        ({"command": "python edited_trainer.py {objective.temperature}"}, "edited_trainer.py"),
    ],
    ids=["function", "script"],
)
def test_a_launch_tells_that_code_was_edited_since_trials_finished(
    trainer: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "edited_trainer.py"
    source = "def train(trial, report):\n    return {'val_accuracy': 0.5}\n"
    file.write_text(source)
    spec = study(trainer=trainer, search={"trials": 1, "pack": 1})
    storage = f"sqlite:///{tmp_path / 'k.db'}"
    with open_database(storage, create=True) as database:
        record = StudyRecord.open(database, spec, code=code_fingerprints(spec))
        (trial,) = record.start(spec.setups()[0], [{TEMPERATURE: 4.0}], "p")
        record.finish(TrialResult(trial.number, "complete", 1, {"val_accuracy": 0.5}))
    launch_study(spec, storage)
    assert "edited" not in caplog.text
    file.write_text(source.replace("0.5", "0.25"))
    launch_study(spec, storage)
    assert f"{name} was edited since trials of 's' finished" in caplog.text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"device": "cpu", "why_looped": None, "epoch_s": None}, "a teacher; fused or looped, as measured"),
        (
            {"device": "cpu", "why_looped": "it sorts", "epoch_s": 0.834},
            "looped: it sorts mlp_8: about 0.83 s for an epoch of a pack of 8, by a few steps on this machine's CPU",
        ),
        (
            {"device": "cuda", "why_looped": None, "epoch_s": 1.5},
            "on streams or fused, as measured mlp_8: about 1.5 s for an epoch of a pack of 8, by a few steps on "
            "this machine's GPU",
        ),
        ({"device": "cuda", "why_looped": "it sorts", "epoch_s": None}, "on streams: it sorts"),
    ],
)
def test_a_dry_run_says_how_packs_are_trained_and_how_long_an_epoch_takes(
    kind: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"student": "mlp_8", "n_parameters": 9, "member_bytes": 9, "soft_target_bytes": 9}
    scatter = {"n_validation": 900, "validation_error": 0.01}
    plan = {
        **{"study": "s", "setups": [{}], "tuned": [TEMPERATURE], "trials": 80, "trials_per_setup": 80.0},
        **{"packs": 10, "pack": 8, "student_epochs": 2400, "hours": None, "gpu_hours": None},
        **{"cpu_hours": None, "splits": 1, "teachers": [], "luck": ["initialisation"]},
        **{"packs_take": [{**facts, **scatter, **kind}], "estimate": None, "notes": [], "unknown": []},
    }
    print_plan(plan)
    assert said in " ".join(capsys.readouterr().out.split())


def test_a_dry_run_says_hours_and_memory_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    spec = study()
    teacher = {"pretraining": None, "finetune": {"epochs": 5, "head_epochs": 0}}
    plan = {
        **{"study": "s", "setups": [{}], "tuned": [TEMPERATURE], "trials": 80, "trials_per_setup": 80.0},
        **{"packs": 10, "pack": 8, "student_epochs": 2400, "hours": None, "gpu_hours": None},
        **{
            "cpu_hours": None,
            "splits": 1,
            "teachers": [teacher],
            "luck": ["initialisation"],
            "packs_take": [],
        },
        **{"estimate": costs(spec, Measured()), "notes": [], "unknown": []},
    }
    print_plan(plan)
    shown = " ".join(capsys.readouterr().out.split())
    assert "about 11 min with 4 packs at once on this machine's CPUs, 1.2 min of it for teachers" in shown
    assert "64 kB of data in each pack's process" in shown


def test_a_module_that_changes_the_folder_leaves_the_launch_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its database would lie in the other one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = "import os\nos.chdir('/')\ndef train(trial, report): ...\n"
    (tmp_path / "elsewhere_trainer.py").write_text(text)
    preflight(study(trainer="elsewhere_trainer:train"), None)
    assert Path.cwd() == tmp_path
