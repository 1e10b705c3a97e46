"""The whole way on an embedded Ray: budgets, faults, interruptions and kills.

Where a driver's start, end or death is looked at, it has a process and a Ray of its own.
"""

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kdsearch.errors import RequestError
from kdsearch.storage import TrialRow, list_studies, open_database, request_stop

pytestmark = pytest.mark.ray

GONE_S = 120.0
"""So long a Ray whose driver was killed may take to end by itself, on a busy machine."""
FOREVER_S = 8000.0
"""What ends before a trial of such a length is done has not waited for it."""


def assert_clean(rows: Sequence[TrialRow], budget: int) -> None:
    """Nothing runs or waits, and the budget is filled exactly.

    No seed was counted twice.
    """
    states = Counter(row.state for row in rows)
    assert states["running"] == states["waiting"] == 0
    finished = [r for r in rows if r.state in ("complete", "pruned") or r.reason == "diverged"]
    assert len(finished) == budget
    assert len({row.seed for row in finished}) == budget


def gone(find: Callable[[int], list[str]], pid: int) -> bool:
    deadline = time.monotonic() + GONE_S
    while find(pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not find(pid)


def test_a_study_runs_to_its_budget_and_leaves_nothing_behind(
    launches: Any, ray_processes: Callable[[int], list[str]]
) -> None:
    process = launches.start("--format", "json")
    out, err = process.communicate(timeout=launches.patience_s)
    assert process.returncode == 0, err
    rows = launches.rows()
    assert_clean(rows, 16)
    assert err.count("a worker's disk is slow") == 1
    assert Counter(row.setup["optimizer.name"] for row in rows) == {"sgd": 8, "adamw": 8}
    assert {row.epochs for row in rows} == {4}
    assert out.startswith("{")
    assert ray_processes(process.pid) == []
    code, _, _ = launches.run("--trials", "20")  # the same study goes on to a larger budget
    assert code == 0
    assert_clean(launches.rows(), 20)


def test_points_that_lost_over_their_replicates_are_given_up_after_an_epoch(launches: Any) -> None:
    study = launches.folder / "study.yaml"
    text = study.read_text().replace("{low: 1, high: 40, log: true}", "{choices: [6, 40]}")
    study.write_text(text.replace("sampler: random", "sampler: grid, pruner: wilcoxon"))
    code, _, err = launches.run("--trials", "40")
    assert code == 0, err
    rows = launches.rows()
    assert_clean(rows, 40)
    pruned = [row for row in rows if row.state == "pruned"]
    assert pruned
    assert {row.params["objective.temperature"] for row in pruned} == {40}
    assert {(row.epochs, row.reason) for row in pruned} == {(1, "wilcoxon at epoch 1")}
    assert all(row.epochs == 4 for row in rows if row not in pruned)


def test_diverged_trials_are_results(launches: Any) -> None:
    code, _, err = launches.run("--set", "options.fault=diverge")
    assert code == 0, err
    rows = launches.rows()
    assert_clean(rows, 16)
    for row in rows:
        diverged = row.params["objective.temperature"] > 20
        assert (row.state, row.reason) == (("failed", "diverged") if diverged else ("complete", None))


def test_a_broken_trainer_ends_the_study_with_its_reason(launches: Any) -> None:
    code, _, err = launches.run("--set", "options.fault=raise")
    assert code == 1
    assert "ValueError: the trainer is broken (waiting_trainer.py:" in err
    assert not [row for row in launches.rows() if row.state == "running"]
    with open_database(launches.storage) as database:
        (study,) = list_studies(database)
    assert study.state == "failed"
    assert "ValueError: the trainer is broken" in (study.reason or "")


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(
    launches: Any, ray_processes: Callable[[int], list[str]]
) -> None:
    launches.pace(1.5)
    process = launches.start()
    launches.await_finished(2, process)
    launches.pace(FOREVER_S)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=launches.patience_s)  # long before the packs are done
    assert process.returncode == 130
    assert gone(ray_processes, process.pid)
    before = {row.number for row in launches.rows() if row.state == "complete"}
    assert not [row for row in launches.rows() if row.state == "running"]
    with open_database(launches.storage) as database:
        (study,) = list_studies(database)
    assert study.state == "interrupted"
    assert "Ctrl-C" in (study.reason or "")
    launches.pace(0)
    code, _, err = launches.run()
    assert code == 0, err
    assert_clean(launches.rows(), 16)
    assert before <= {row.number for row in launches.rows() if row.state == "complete"}


def test_sigterm_to_the_group_is_ctrl_c_and_then_no_surroundings_end_the_study(
    launches: Any, ray_processes: Callable[[int], list[str]], tmp_path: Path
) -> None:
    launches.pace(1.5)
    process = launches.start()
    launches.await_finished(2, process)
    launches.pace(FOREVER_S)
    assert ray_processes(process.pid)
    assert not beyond_loopback(process.pid)
    for _ in range(2):  # `timeout` sends it twice
        os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=launches.patience_s)
    assert process.returncode == 130, err
    assert "Interrupted." in err
    assert "***" not in err
    assert "SIGTERM" not in err
    assert gone(ray_processes, process.pid)
    assert {row.state for row in launches.rows()} == {"complete", "waiting"}
    with open_database(launches.storage) as database:
        (study,) = list_studies(database)
    assert study.state == "interrupted"

    (tmp_path / "waiting-report.html").mkdir()  # a report that can't be written
    (tmp_path / ("x" * 90)).mkdir()
    read, write = os.pipe()
    os.close(read)  # nobody reads the log
    launches.pace(0)
    process = launches.start(stderr=write, TMPDIR=str(tmp_path / ("x" * 90)), HOME="/dev/null")
    os.close(write)
    out, _ = process.communicate(timeout=launches.patience_s)
    assert (process.returncode, "The study is finished" in out) == (0, True)
    assert_clean(launches.rows(), 16)


def beyond_loopback(pid: int) -> list[str]:
    """Return where a driver's Ray listens for other machines."""
    import psutil

    own = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    listening = [c for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.pid in own]
    assert listening
    return [str(c.laddr) for c in listening if c.laddr.ip not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")]


def test_a_database_deleted_under_its_driver_ends_it_at_once(launches: Any) -> None:
    launches.pace(FOREVER_S)
    process = launches.start()
    launches.await_running(process)
    (launches.folder / "study.db").unlink()
    _, err = process.communicate(timeout=launches.patience_s)  # long before the first trial is done
    assert process.returncode == 1
    assert f"kdsearch: The database {launches.folder}/study.db was deleted while it was in use." in err
    assert "Traceback" not in err


def test_a_second_driver_is_refused_by_name_and_stop_lets_running_packs_finish(launches: Any) -> None:
    launches.pace(1)
    process = launches.start("--trials", "60")
    launches.await_finished(1, process)
    code, _, err = launches.run("--trials", "60")
    assert code == 3
    assert f"process {process.pid} on " in err
    with open_database(launches.storage) as database:
        request_stop(database, "waiting")
        out, _ = process.communicate(timeout=launches.patience_s)
        assert process.returncode == 0
        (study,) = list_studies(database)
        assert (study.state, study.reason) == ("stopped", "`kdsearch stop` asked for it")
    done = f"{study.progress.finished} of 60 trials are finished"
    assert re.search(rf"launch study.yaml --set search.trials=60 +resume the study: {done}", out)
    states = Counter(row.state for row in launches.rows())
    assert set(states) == {"complete"}
    assert states["complete"] < 60


@pytest.mark.slow
def test_kills_while_a_driver_loads_starts_ray_and_searches_lose_nothing(
    launches: Any, ray_processes: Callable[[int], list[str]]
) -> None:
    """At moments that a start passes in this order on any machine, and a random time after each."""
    chance = random.Random(7)
    launches.pace(1)
    finished: set[int] = set()

    def ray_starts(process: Any) -> None:
        deadline = time.monotonic() + launches.patience_s
        while not ray_processes(process.pid):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)

    moments: list[Callable[[Any], None]] = [
        lambda process: None,
        launches.await_database,
        ray_starts,
        launches.await_running,
        lambda process: launches.await_finished(len(finished) + 1, process),
        lambda process: launches.await_finished(len(finished) + 5, process),
    ]
    for moment in moments:
        process = launches.start("--trials", "40")
        moment(process)
        time.sleep(chance.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert gone(ray_processes, process.pid)
        if (launches.folder / "study.db").exists() and process.returncode == -signal.SIGKILL:
            try:
                now = {row.number for row in launches.rows() if row.state == "complete"}
            except RequestError:  # it was killed before it had made its tables
                now = set()
            assert finished <= now
            finished = now
    launches.pace(0)
    code, _, err = launches.run("--trials", "40")
    assert code == 0, err
    rows = launches.rows()
    assert_clean(rows, 40)
    assert finished <= {row.number for row in rows if row.state == "complete"}
