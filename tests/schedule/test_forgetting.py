"""What a driver holds of packs that have ended."""

import gc
import os
import weakref
from pathlib import Path
from typing import Any

import pytest

from kdsearch.schedule.launch import launch_study
from kdsearch.spec import load_spec
from kdsearch.storage import load_trials, open_database

PACKS = 24  # far more than run at once, so that forgetting shows
CPUS_PER_PACK = len(os.sched_getaffinity(0)) / 2
TRAINER = """
import os

def train(trials, report):
    if trials[0].number == 3:
        os._exit(1)
    return [{"val_accuracy": 0.5} for _ in trials]
"""


class Counting:
    """Counts the Ray trials that are held whenever the study has changed.

    It knows each from its making, weakly: looking through all objects of the process would take most of the
    test's time. Those that only wait for the garbage collector are not held.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ray.tune.experiment import Trial

        self.most = 0
        self._alive: weakref.WeakSet[Trial] = weakref.WeakSet()
        make = Trial.__init__

        def made(trial: Trial, *args: Any, **options: Any) -> None:
            make(trial, *args, **options)
            self._alive.add(trial)

        monkeypatch.setattr(Trial, "__init__", made)

    def phase(self, text: str) -> None:
        """Ignore it."""

    def update(self, *_asked: object) -> None:
        if len(self._alive) > self.most:
            gc.collect()
            self.most = max(self.most, len(self._alive))


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
    counting = Counting(monkeypatch)
    assert launch_study(spec, "sqlite:///study.db", watch=counting) == "finished"
    with open_database("sqlite:///study.db") as database:
        states = [row.state for row in load_trials(database, "ended")]
    assert (states.count("complete"), states.count("failed")) == (PACKS, 1)
    assert 0 < counting.most < PACKS / 2  # two run, one waits, and those of the step under way
