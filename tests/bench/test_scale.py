"""The scale benchmark: what it writes is a study like any other, and it asks and drives."""

import io
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdsearch.analysis import best
from kdsearch.bench.__main__ import bench
from kdsearch.bench.scale import ask, drive
from kdsearch.bench.scale.ask import Asked
from kdsearch.bench.scale.drive import Load
from kdsearch.bench.scale.fill import fill_study
from kdsearch.cli.main import run as run_command
from kdsearch.storage import (
    load_columns,
    load_epochs,
    load_hours,
    load_optuna_study,
    load_trials,
    open_database,
)

WORKERS = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def test_a_study_that_is_written_in_bulk_is_one_like_any_other(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/study.db", create=True) as database:
        spec = fill_study(database, 200, epochs=3)
        rows = load_trials(database, spec.name)
        assert [row.number for row in rows] == list(range(200))
        assert len(load_epochs(database, spec.name)) == 600
        assert load_hours(database, spec.name).cpu == pytest.approx(200 * 30 / 3600)
        trials = load_optuna_study(database, spec.name).trials
        assert [trial.value for trial in trials] == [row.val_accuracy for row in rows]
        assert [trial.params for trial in trials] == [{**row.setup, **row.params} for row in rows]
        assert all(answer.reason is None for answer in best(spec, load_columns(database, spec.name)).setups)


@pytest.fixture
def one_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ask for all pages of a database in turn: a service for each would take most of the test's time."""
    serving = ask._serving
    with ExitStack() as stack:
        started = cache(lambda storage: stack.enter_context(serving(storage)))

        @contextmanager
        def shared(storage: str) -> Iterator[tuple[str, int]]:
            yield started(storage)

        monkeypatch.setattr(ask, "_serving", shared)
        yield


IN_PROCESSES = {"sqlite": ("studies", "the next pack"), "postgresql": ()}
"""Which questions have processes of their own: one of a command, and the one that is none."""


@pytest.fixture
def most_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask by commands in this process: to load all that they import for each takes most of the test's time."""
    in_a_process = ask.run

    def run(question: str, command: Sequence[str], storage: str) -> Asked:
        if question in IN_PROCESSES[storage.partition(":")[0]]:
            return in_a_process(question, command, storage)
        wall, cpu = time.perf_counter(), time.process_time()
        module, *words = command
        if module == "kdsearch":
            with redirect_stdout(io.StringIO()):
                assert run_command([*words, "--storage", storage]) == 0
        else:
            assert module == ask.__name__
            ask._propose(*words, storage)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return Asked(question, time.perf_counter() - wall, time.process_time() - cpu, peak_mib)

    monkeypatch.setattr(ask, "run", run)


@pytest.mark.slow
@pytest.mark.usefixtures("one_service", "most_in_this_process")
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_every_question_is_asked(database: str) -> None:
    options = ["--part", "ask", "--database", database, "--trials", "200", "--format", "json"]
    result = CliRunner().invoke(bench, ["scale", *options], catch_exceptions=False)
    asked = json.loads(result.stdout)[database]["ask"]
    questions = [answer["question"] for answer in asked]
    assert {"best", "studies", "the next pack", "dashboard: its first page"} <= set(questions)
    assert all(answer["wall_s"] > 0 and answer["peak_mib"] > 10 for answer in asked)


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_is_driven_to_its_end() -> None:
    options = ["--part", "drive", "--database", "sqlite", "--driven", "48", "--packs", "2", "--pack", "4"]
    options += ["--forked", "--format", "json"]
    result = CliRunner().invoke(bench, ["scale", *options], catch_exceptions=False)
    driven = json.loads(result.stdout)["sqlite"]["drive"]
    assert driven["moments"][-1]["finished"] == 48
    assert len(driven["per_s"]) == 4
    assert driven["rss_mib"] > 50
    assert driven["database_kib"] > 1


def test_workers_start_as_everyones_where_they_are_not_to_be_forked() -> None:
    load = Load(trials=48, packs=2, pack=4, seconds=0.0, epochs=1, sampler="random")
    with drive._environment(load) as environment:
        assert environment == os.environ
    with drive._environment(replace(load, forked=True)) as environment:
        assert {**environment, WORKERS: None} == {**os.environ, WORKERS: None}
        assert json.loads(environment[WORKERS])["runtime_env"]["py_executable"].startswith(sys.executable)
