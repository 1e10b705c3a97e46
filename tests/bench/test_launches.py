"""The benchmarks that launch studies: each launches one, in this process and on one Ray.

A process and a Ray for each would take most of their time; benchmarks that watch a driver have theirs.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdsearch.bench.gpu_check import study
from kdsearch.bench.gpu_check.command import study_lines
from kdsearch.bench.gpu_check.study import StudyTimes
from kdsearch.bench.search import campaign
from kdsearch.bench.search.campaign import Case, run_case
from kdsearch.bench.study import overhead, waiting
from kdsearch.bench.study.overhead import measured
from kdsearch.bench.study.spending import Spending
from kdsearch.cli.main import run
from tests.one_ray import one_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def _on_one_ray() -> Iterator[None]:
    """Launch on one Ray, without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        with one_ray():
            yield


def run_here(command: Sequence[str]) -> int | str:
    """Run a command of this Python's in this process, and return what it ends with."""
    python, option, module, *words = command
    assert (python, option) == (sys.executable, "-m")
    return {"kdsearch": run, waiting.__name__: waiting.main}[module](words)


def test_a_study_says_where_its_time_went(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(words: list[str], folder: Path, environment: dict[str, str]) -> None:
        assert environment["CUDA_VISIBLE_DEVICES"] == ""
        with chdir(folder):
            assert run(["launch", *words]) == 0

    monkeypatch.setattr(study, "_launch", launch)
    times = study.study_times("cpu", small=True)
    assert isinstance(times, StudyTimes)
    parts = (times.start_s, times.teachers_s, times.first_pack_s, times.trials_s, times.end_s)
    assert min(times.start_s, times.teachers_s, times.trials_s, times.end_s) > 0
    assert sum(parts) == pytest.approx(times.wall_s)
    assert times.trials == sum(times.ways.values()) == 4
    assert times.devices == ["cpu"]
    assert "4 trials in" in next(study_lines(times))


@pytest.mark.parametrize("way", ["plain", "kdsearch"])
@pytest.mark.filterwarnings("default")  # what Tune and Optuna warn a plain study of
def test_both_ways_run_their_trials(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def spending_of(command: list[str]) -> Spending:
        wall, cpu = time.perf_counter(), time.process_time()
        ended.append(run_here(command))
        return Spending(time.perf_counter() - wall, time.process_time() - cpu)

    monkeypatch.setattr(overhead, "spending_of", spending_of)
    found = measured(way, Path("studies/quickstart.yaml"), trials=4, seconds=0.0)
    assert ended == [0]
    assert found.cpu_s > 0
    assert found.wall_s > 0


def test_a_launched_study_is_answered_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def launch(command: list[str], cwd: str, **_: Any) -> SimpleNamespace:
        with chdir(cwd):
            code = run_here(command)
        return SimpleNamespace(returncode=code, stderr=capsys.readouterr().err)

    monkeypatch.setattr(campaign, "subprocess", SimpleNamespace(run=launch))
    launched = run_case(Case("shared", "profile", 0, (24, 48), (2, 1, 1), through="launch"))
    assert [(one.by, one.trials) for one in launched.answers[::2]] == [("model", 24), ("model", 48)]
    for score in launched.answers[2].scores:
        assert score is not None
        assert score.covered
        assert score.regret < 0.3
