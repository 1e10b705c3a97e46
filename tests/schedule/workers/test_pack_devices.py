"""Where a worker trains: a pack without a GPU leaves those of its machine alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdsearch.distill.devices import chosen_device
from kdsearch.schedule import teachers
from kdsearch.schedule.workers import trainable
from kdsearch.search import Pack
from kdsearch.spec import StudySpec, load_spec
from kdsearch.trial import Trial, TrialResult

GPUS = [(0, "cpu"), (1, "cuda"), (0.5, "cuda")]


def study(gpus: float) -> StudySpec:
    temperature = {"objective.temperature": {"low": 1, "high": 40, "log": True}}
    return load_spec({"name": "s", "tune": temperature, "resources": {"gpus_per_pack": gpus}})


@pytest.mark.parametrize(("gpus", "expected"), GPUS)
def test_a_pack_without_a_gpu_trains_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, gpus: float, expected: str
) -> None:
    used = []

    def train_trials(trials: list[Trial], *, device: Any, **_: Any) -> list[TrialResult]:
        used.append(chosen_device(device).type)
        return [TrialResult(trial.number, "complete", 1, {"val_accuracy": 0.5}) for trial in trials]

    context = SimpleNamespace(get_node_id=lambda: "node")
    monkeypatch.setattr(trainable.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(trainable.tune, "report", lambda news: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("kdsearch.distill.train_trials", train_trials)
    spec = study(gpus)
    pack = Pack("p", [Trial(0, 0, {}, {"objective.temperature": 2.0}, spec.resolve({}, {}))])
    trainable.run_pack(
        {"pack": pack.to_dict()},
        document=spec.model_dump(mode="json"),
        artifacts="artifacts",
        folder=str(Path.cwd()),
    )
    assert used == [expected]


@pytest.mark.parametrize(("gpus", "expected"), GPUS)
def test_its_teacher_is_trained_there_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: float, expected: str
) -> None:
    used = []

    def ensure_teacher(recipe: Any, artifacts: Any, device: Any = None) -> None:
        used.append(chosen_device(device).type)
        raise InterruptedError

    def remote(**_: Any) -> Any:
        return lambda task: SimpleNamespace(remote=lambda *values: list(task(*values)))

    monkeypatch.setattr(teachers, "ray", SimpleNamespace(remote=remote))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("kdsearch.distill.teachers.made.ensure_teacher", ensure_teacher)
    with pytest.raises(InterruptedError):
        teachers.train_teachers(study(gpus), SimpleNamespace(), tmp_path)  # type: ignore[arg-type]  # unused
    assert used == [expected]
