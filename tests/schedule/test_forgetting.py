"""What a driver holds of packs that have ended."""

import gc
import os
from pathlib import Path

import pytest

from kdsearch.schedule.launch import launch_study
from kdsearch.spec import load_spec
from kdsearch.storage import load_trials, open_database

PACKS = 24
CPUS_PER_PACK = len(os.sched_getaffinity(0)) / 2
TRAINER = """
import os

def train(trials, report):
    if trials[0].number == 3:
        os._exit(1)
    return [{"val_accuracy": 0.5} for _ in trials]
"""


def ray_trials() -> list[object]:
    """Return this process's Ray trials."""
    from ray.tune.experiment import Trial

    gc.collect()
    return [found for found in gc.get_objects() if issubclass(type(found), Trial)]


class Counting:
    """Counts the study's Ray trials whenever it has changed."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self._others = ray_trials()  # of other tests, in the same process

    def phase(self, text: str) -> None:
        """Ignore it."""

    def update(self, *_asked: object) -> None:
        self.held.append(len(ray_trials()) - len(self._others))


@pytest.mark.ray
@pytest.mark.slow
def test_a_driver_holds_only_the_packs_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ending_trainer.py").write_text(TRAINER)
    spec = load_spec(
        {
            "name": "ended",
            "trainer": "ending_trainer:train",
            "setup": {"optimizer.name": ["sgd"]},
            "tune": {"objective.temperature": {"low": 1, "high": 40}},
            "search": {"trials": PACKS, "pack": 1, "sampler": "random"},
            "resources": {"cpus_per_pack": CPUS_PER_PACK},
            "artifacts": str(tmp_path / "artifacts"),
        }
    )
    counting = Counting()
    assert launch_study(spec, "sqlite:///study.db", watch=counting) == "finished"
    with open_database("sqlite:///study.db") as database:
        states = [row.state for row in load_trials(database, "ended")]
    assert (states.count("complete"), states.count("failed")) == (PACKS, 1)
    assert 0 < max(counting.held) < PACKS / 2  # two run, one waits, and those of the step under way
