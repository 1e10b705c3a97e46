"""About how long a pack's epoch takes: a part of the data, scaled to the whole."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdsearch.distill.preflight import expected, trainings
from kdsearch.distill.preflight.expected import expected_seconds
from kdsearch.distill.preflight.trainings import Cost, Preflight
from kdsearch.spec import TrainingSpec

CPU = torch.device("cpu")
SPEC = TrainingSpec.model_validate(
    {
        "dataset": {"name": "digits", "train_size": 1000, "validation_size": 250},
        "student": {"arch": "mlp_8"},
        "training": {"epochs": 50, "batch_size": 20, "warmup_epochs": 5},
    }
)


class Packs:
    """Stands for the engine: an epoch takes 3 seconds, the first one 100."""

    def __init__(self, *, fits: int) -> None:
        self.asked: list[TrainingSpec] = []
        self._fits = fits
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def train(self, spec: TrainingSpec, members: Any, *, report: Any, **_: Any) -> None:
        self.asked.append(spec)
        for epoch, seconds in ((1, 100.0), (2, 3.0), (3, 3.0)):
            self._now += seconds
            report(epoch, {member["seed"]: {} for member in members[: self._fits]})


@pytest.mark.parametrize(("fits", "seconds"), [(8, 3.0), (4, 6.0)])
def test_a_part_is_scaled_to_the_whole_and_a_halved_pack_counts_twice(
    fits: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = Packs(fits=fits)
    monkeypatch.setattr(expected, "train_pack", packs.train)
    monkeypatch.setattr(expected, "time", SimpleNamespace(perf_counter=packs.now))
    assert expected_seconds(SPEC, 8, CPU) == pytest.approx(seconds * 1000 / 120)
    (asked,) = packs.asked
    assert (asked.dataset.train_size, asked.dataset.validation_size) == (120, 30)
    assert asked.objective.alpha == 0  # no teacher


def test_packs_of_the_engine_are_measured() -> None:
    seconds = expected_seconds(SPEC, 2, CPU)
    assert seconds is not None
    assert seconds > 0


def test_on_a_cpu_only_what_is_cheap_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measure(spec: Any, size: int, device: Any, data: Any) -> float:
        asked.append((size, device.type, torch.get_num_threads()))
        return 7.0

    monkeypatch.setattr(trainings, "expected_seconds", measure)
    before = torch.get_num_threads()
    for student_s, seconds in ((1e-6, 7.0), (1.0, None)):
        preflight = Preflight()
        monkeypatch.setattr(preflight, "cost", lambda *_, cost=student_s: Cost(cost, 0.0, 0))
        longer = SPEC.with_values({"training.epochs": 90})
        assert [preflight.epoch_s(own, 8, 3) for own in (SPEC, longer)] == [seconds, seconds]
    assert asked == [(8, "cpu", 3)]
    assert torch.get_num_threads() == before
