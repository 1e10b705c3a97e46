"""SIGKILL at any point: no finished trial is lost or counted twice, none is left running."""

import subprocess
import sys
from pathlib import Path

import pytest

from kdsearch.storage import (
    Database,
    list_studies,
    load_epochs,
    load_optuna_study,
    load_trials,
    open_database,
)

TRIALS = 12  # by hand: work for several drivers, at most three trials at once
EPOCHS = 3  # the fewest with a first, a middle and a last
DRIVER = Path(__file__).parent / "kill_driver.py"
PAIRS = {"complete": "COMPLETE", "failed": "FAIL"}


@pytest.mark.long
@pytest.mark.parametrize("seeds", [(0,), pytest.param((1, 2, 3, 4, 5), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("mode", ["commit", "moment"])
def test_a_killed_driver_loses_nothing(url: str, tmp_path: Path, mode: str, seeds: tuple[int, ...]) -> None:
    each = ",".join(map(str, seeds))
    done = subprocess.run(  # noqa: PLW1510 - the code is looked at below
        [sys.executable, str(DRIVER), url, str(tmp_path), each, mode, str(TRIALS), str(EPOCHS)],
        capture_output=True,
        text=True,
        timeout=300 * len(seeds),
    )
    assert done.returncode == 0, done.stderr
    print(f"{done.stdout.split()} drivers died")
    with open_database(url) as database:
        for seed in seeds:
            name = f"killed-{seed}"
            assert_whole(database, name, [int(line) for line in (tmp_path / name).read_text().split()])


def assert_whole(database: Database, name: str, logged: list[int]) -> None:
    """Each trial is finished once, as the log has it.

    Optuna's half says the same.
    """
    (study,) = [study for study in list_studies(database) if study.name == name]
    assert (study.state, study.progress.finished, study.driver) == ("finished", TRIALS, None)
    assert (study.progress.running, study.progress.waiting) == (0, 0)
    rows = load_trials(database, name)
    finished = {row.number: row for row in rows if row.state == "complete" or row.reason == "diverged"}
    assert len(finished) == TRIALS
    assert set(logged) <= set(finished)
    assert len(logged) == len(set(logged))
    temperatures = [row.params["objective.temperature"] for row in finished.values()]
    assert len(set(temperatures)) == TRIALS
    for row in finished.values():
        diverges = row.params["objective.temperature"] % 7 == 0
        assert row.val_accuracy == (None if diverges else row.params["objective.temperature"] / 1000)
    curves = load_epochs(database, name, list(finished))
    assert len(curves) == TRIALS * EPOCHS
    mirrored = load_optuna_study(database, name).get_trials()
    assert [t.number for t in mirrored] == [row.number for row in rows]
    assert [(t.state.name, t.value) for t in mirrored] == [
        (PAIRS[row.state], row.val_accuracy if row.state == "complete" else None) for row in rows
    ]
    for trial, row in zip(mirrored, rows, strict=True):
        assert trial.params == {**row.setup, **row.params}
