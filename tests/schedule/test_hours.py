"""A budget of hours on an embedded Ray: kept, told and survived."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kdsearch.storage import list_studies, load_hours, load_teachers, open_database
from kdsearch.storage.sql.tables import PackTable

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIAL_S = 0.5
MORE_S = 4  # some packs
PACK_S = 4 * TRIAL_S  # four trials, one after the other
MANY = ("--trials", "200")


def test_spent_hours_end_a_study_and_leave_nothing_to_a_second_launch(launches: Any) -> None:
    launches.pace(TRIAL_S)
    budget = 3 * PACK_S / 3600
    code, out, err = launches.run(*MANY, "--set", f"search.cpu_hours={budget}")
    assert code == 0, err
    assert "The study is finished: " in out
    assert "CPU-hours are spent" in out
    with open_database(launches.storage) as database:
        (study,) = list_studies(database)
        assert study.state == "finished"
        assert (study.reason or "").endswith("CPU-hours are spent")
        assert study.progress.running == study.progress.waiting == 0
        slots = len(os.sched_getaffinity(0))  # so many packs run at once, each goes on to its end
        assert budget <= study.hours.cpu < budget + slots * 5 * PACK_S / 3600
        assert study.hours.cpu * 3600 >= study.progress.complete * TRIAL_S
        assert study.hours.gpu == 0
        before = study.progress.complete
    code, _, err = launches.run(*MANY, "--set", f"search.cpu_hours={budget}")  # nothing is left to spend
    assert code == 0, err
    assert "starting Ray" not in err
    assert len(launches.rows()) == before


def test_hours_of_all_launches_end_a_study_and_are_told(launches: Any) -> None:
    launches.pace(TRIAL_S)
    process = launches.start(*MANY)
    launches.await_finished(5, process)
    process.send_signal(signal.SIGINT)
    process.communicate()
    with open_database(launches.storage) as database:
        (study,) = list_studies(database)
        before, done = study.hours.wall, study.progress.complete
    assert 3600 * before > 5 * TRIAL_S / len(os.sched_getaffinity(0))
    code, out, err = launches.run(*MANY, "--set", f"search.hours={before / 2}")
    assert code == 0, err
    assert "hours are spent" in out
    assert sum(row.state == "complete" for row in launches.rows()) == done
    code, out, err = launches.run(*MANY, "--set", f"search.hours={before + MORE_S / 3600}")
    assert code == 0, err
    with open_database(launches.storage) as database:
        (study,) = list_studies(database)
    assert study.reason is not None
    assert study.reason.endswith(" hours are spent")
    assert study.hours.wall >= before + MORE_S / 3600


def test_a_killed_drivers_packs_stay_counted(launches: Any) -> None:
    launches.pace(TRIAL_S)
    process = launches.start(*MANY)
    launches.await_finished(5, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with open_database(launches.storage) as database:
        counted = load_hours(database, "waiting")
        done = list_studies(database)[0].progress.complete
    assert counted.cpu * 3600 >= PACK_S  # at least the pack that ended
    spent = f"search.cpu_hours={counted.cpu / 2}"
    code, out, err = launches.run(*MANY, "--set", spent)
    assert code == 0, err
    assert "CPU-hours are spent" in out
    assert sum(row.state == "complete" for row in launches.rows()) == done


DISTILLING = """
name: waiting
dataset: {name: digits, train_size: 100, validation_size: 100}
student: {arch: mlp_8}
teacher: {arch: mlp_32}
training: {epochs: 1}
setup: {teacher.finetune.epochs: [2, 3]}
tune: {objective.temperature: {low: 1, high: 40, log: true}}
search: {trials: 4, cpu_hours: 1.0e-6}
"""


def test_teachers_count_and_may_spend_the_budget(launches: Any, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(DISTILLING)
    kept = ("--set", f"artifacts={tmp_path / 'artifacts'}")
    code, out, err = launches.run(*kept)
    assert code == 0, err
    assert "CPU-hours are spent" in out
    assert launches.rows() == []
    with open_database(launches.storage) as database, database.read() as connection:
        teachers = load_teachers(database, "waiting")
        names, seconds = zip(*connection.execute(sa.select(PackTable.name, PackTable.seconds)), strict=True)
        assert {name.split()[1] for name in names} == {teacher.digest[:12] for teacher in teachers}
        assert sum(seconds) >= sum(teacher.seconds for teacher in teachers) > 0
        assert load_hours(database, "waiting").cpu == pytest.approx(sum(seconds) / 3600)
    code, _, err = launches.run(*kept, "--set", "search.cpu_hours=1")  # the teachers are there
    assert code == 0, err
    assert len(launches.rows()) == 4
    with open_database(launches.storage) as database, database.read() as connection:
        assert sum(name.startswith("teacher") for name in connection.scalars(sa.select(PackTable.name))) == 2
