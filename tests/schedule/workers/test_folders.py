"""Relative paths of users mean the folder of the launch.

They do so in whatever folder the users' code is run.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.weights.starts import load_checkpoint
from kdsearch.errors import RequestError
from kdsearch.schedule.workers.folders import enter_launch_folder, relative_paths
from kdsearch.schedule.workers.trainers import load_trainer
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import CommandTrainer
from kdsearch.trial import Trial

OPENING = """
def train(trial, report):
    with open("notes/accuracy.txt") as file:
        return {"val_accuracy": float(file.read())}
"""
PRINTING = "import json; print(json.dumps({'val_accuracy': float(open('notes/accuracy.txt').read())}))"


def spec_of(**sections: Any) -> TrainingSpec:
    return TrainingSpec.model_validate(sections)


@pytest.fixture
def launch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a user's files.

    The process is elsewhere, where files of the same names say otherwise.
    """
    (tmp_path / "launch").mkdir()
    (tmp_path / "worker").mkdir()
    for folder, value in ((tmp_path / "launch", 200), (tmp_path / "worker", 20)):
        (folder / "notes").mkdir()
        (folder / "notes" / "accuracy.txt").write_text(str(value / 400))
        for name in ("a", "b"):
            (folder / "photos" / name).mkdir(parents=True)
            for i in range(10):
                pixels = np.full((8, 8), value, np.uint8)
                pixels[0, 0] = i
                Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
        generator = torch.Generator().manual_seed(value)
        torch.save(
            build_model("mlp_4", 2, 1, image_size=8, generator=generator).state_dict(), folder / "n.pt"
        )
    (tmp_path / "launch" / "opening_trainer.py").write_text(OPENING)
    (tmp_path / "launch" / "printing.py").write_text(PRINTING)
    monkeypatch.syspath_prepend(tmp_path / "launch")
    monkeypatch.chdir(tmp_path / "worker")
    return tmp_path / "launch"


def test_data_and_checkpoints_are_those_of_the_launch(launch_folder: Path) -> None:
    spec = spec_of(dataset={"name": "imagefolder", "root": "photos"})
    enter_launch_folder(str(launch_folder), spec.model_dump(mode="json"))
    assert load_dataset(spec.dataset).mean[0] == pytest.approx(200 / 255, abs=0.02)
    model = build_model("mlp_4", 2, 1, image_size=8)
    load_checkpoint(model, "n.pt")
    expected = torch.load(launch_folder / "n.pt", weights_only=True)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "trainer", ["opening_trainer:train", CommandTrainer(command="python printing.py")], ids=["own", "command"]
)
def test_what_a_trainer_opens_is_of_the_launch(
    launch_folder: Path, tmp_path: Path, trainer: str | CommandTrainer
) -> None:
    spec = spec_of()
    enter_launch_folder(str(launch_folder), spec.model_dump(mode="json"))
    train: Callable[..., Any] = load_trainer(trainer, tmp_path / "artifacts")
    (result,) = train([Trial(0, 0, {}, {"objective.temperature": 2.0}, spec)], lambda epoch, metrics: ())
    assert result.metrics["val_accuracy"] == 0.5


def test_a_node_without_the_folder_names_the_setting_that_needs_it(
    launch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = spec_of(dataset={"name": "imagefolder", "root": "photos"}).model_dump(mode="json")
    monkeypatch.setenv("TUNE_ORIG_WORKING_DIR", str(launch_folder.parent / "worker"))
    with pytest.raises(
        RequestError, match=r"`dataset.root` must be a path that this node has, got one below"
    ):
        enter_launch_folder("/not/on/this/node", document)


@pytest.mark.parametrize(
    ("sections", "relative"),
    [
        ({"dataset": {"name": "imagefolder", "root": "photos"}}, ["dataset.root"]),
        ({"dataset": {"name": "imagefolder", "root": "/data/photos"}}, []),
        ({"dataset": {"name": "imagefolder", "root": "~/photos"}}, []),
        ({"dataset": {"name": "CIFAR100", "labels": "coarse"}}, []),
        ({"dataset": {"name": "digits", "labels": "coarse.yaml"}}, ["dataset.labels"]),
        ({"teacher": {"pretraining": {"checkpoint": "n.pt"}}}, ["teacher.pretraining.checkpoint"]),
        ({"student": {"init": {"checkpoint": "n.pt"}}}, ["student.init.checkpoint"]),
    ],
)
def test_settings_with_relative_paths_are_known(sections: Mapping[str, Any], relative: list[str]) -> None:
    assert list(relative_paths(spec_of(**sections).model_dump(mode="json"))) == relative
