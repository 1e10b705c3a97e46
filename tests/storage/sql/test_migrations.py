"""Our schema's history: fresh databases, older ones, newer ones, beside Optuna's."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from kdsearch.errors import LiveDriverError, RequestError
from kdsearch.spec import StudySpec, setup_key, spec_document
from kdsearch.storage import (
    Database,
    Hours,
    StudyRecord,
    connect_database,
    hold_lease,
    list_studies,
    load_epochs,
    load_hours,
    load_teachers,
    load_trials,
    open_database,
    schema_status,
    upgrade,
)
from kdsearch.storage.sql.schema import MIGRATIONS, alembic_config, known_revisions
from kdsearch.trial import TrialResult


@pytest.fixture
def url(empty_url: str) -> str:
    """A database of its own, whose tables may be damaged."""
    open_database(empty_url, create=True).close()
    return empty_url


def our_tables(url: str) -> set[str]:
    with connect_database(url) as database, database.read() as connection:
        return {name for name in sa.inspect(connection).get_table_names() if name.startswith("kd_")}


class TestFresh:
    def test_a_fresh_database_gets_every_table(self, empty_url: str) -> None:
        with open_database(empty_url, create=True) as database:
            status = schema_status(database)
        assert (status.state, status.revision) == ("current", known_revisions()[-1])
        assert our_tables(empty_url) == {
            *("kd_study", "kd_setup", "kd_trial", "kd_epoch", "kd_teacher", "kd_study_teacher", "kd_lease"),
            *("kd_pack", "kd_widening", "kd_alembic_version"),
        }

    def test_tables_and_history_agree(self, database: Database) -> None:
        with database.write() as connection:
            command.check(alembic_config(connection))

    def test_history_is_one_line_and_known(self) -> None:
        scripts = ScriptDirectory(str(MIGRATIONS))
        line = [script.revision for script in scripts.walk_revisions()]
        assert line[::-1] == known_revisions()
        assert len(scripts.get_heads()) == 1

    def test_revisions_never_import_the_live_tables(self) -> None:
        for path in (MIGRATIONS / "versions").glob("r*.py"):
            assert "kdsearch" not in path.read_text().replace("kdsearch's", "")

    def test_those_that_create_at_once_agree(self, empty_url: str) -> None:
        code = (
            "import sys; from kdsearch.storage import open_database; print(flush=True); sys.stdin.readline(); "
            f"open_database({empty_url!r}, create=True).close()"
        )
        both = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen([sys.executable, "-c", code], **both) for _ in range(3)]
        for process in processes:
            process.stdout.readline()  # all have loaded what they need
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            process.communicate(timeout=60)
        assert [process.returncode for process in processes] == [0, 0, 0]
        with connect_database(empty_url) as database:
            assert schema_status(database).state == "current"


class TestOtherVersions:
    def test_a_newer_database_is_named_and_left_alone(self, database: Database, url: str) -> None:
        with database.write() as connection:
            connection.execute(sa.text("UPDATE kd_alembic_version SET version_num = 'r9999'"))
            connection.execute(sa.text("DROP TABLE kd_lease"))
        before = our_tables(url)
        for create in (False, True):
            with pytest.raises(
                RequestError, match=r"newer kdsearch: its schema is r9999.*nothing was written"
            ):
                open_database(url, create=create)
        with pytest.raises(RequestError, match="newer kdsearch"):
            upgrade(database)
        assert our_tables(url) == before
        assert schema_status(database).state == "newer"

    def test_an_older_database_is_named_and_upgraded(
        self, database: Database, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = known_revisions()[-1]
        monkeypatch.setattr("kdsearch.storage.sql.schema.known_revisions", lambda: [head, "r9998"])
        with pytest.raises(RequestError, match=rf"older kdsearch: its schema is {head}.*db upgrade"):
            open_database(url, create=True)
        monkeypatch.undo()
        assert upgrade(database).state == "current"

    def test_tables_stay_while_a_study_runs(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        revisions = [*known_revisions(), "r9998"]
        monkeypatch.setattr("kdsearch.storage.sql.schema.known_revisions", lambda: revisions)
        with hold_lease(database, "tiny"), pytest.raises(LiveDriverError, match="'tiny' is being run"):
            upgrade(database)
        assert schema_status(database).state == "older"

    def test_a_database_of_optuna_alone_gets_our_tables_beside(self, empty_url: str) -> None:
        with connect_database(empty_url, create=True) as database:
            storage = optuna.storages.RDBStorage(database.url.render_as_string(hide_password=False))
            study = optuna.create_study(study_name="mine", storage=storage)
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        with pytest.raises(RequestError, match="holds no kdsearch studies"):
            open_database(empty_url)
        open_database(empty_url, create=True).close()
        assert len(study.get_trials()) == 3
        assert optuna.get_all_study_names(storage) == ["mine"]
        storage.engine.dispose()

    def test_upgrading_beside_a_live_optuna_study_leaves_it_alone(
        self, database: Database, spec: StudySpec
    ) -> None:
        record = StudyRecord.open(database, spec)
        record.start(spec.setups()[0], [{"objective.temperature": 2.0, "optimizer.lr": 0.1}], "p1")
        before = record.optuna.get_trials()
        with database.write() as connection:
            command.stamp(alembic_config(connection), "base")
            connection.execute(sa.text("DROP VIEW kd_best_temperature"))
            children = ("lease", "study_teacher", "teacher", "epoch", "trial", "setup", "pack", "widening")
            for table in (*children, "study"):
                connection.execute(sa.text(f"DROP TABLE kd_{table}"))
        assert upgrade(database).state == "current"
        assert record.optuna.get_trials() == before


START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = {"since": START.isoformat(), "versions": {"python": "3.11.0"}, "git_commit": None}
POINT = {"objective.temperature": 4.0, "optimizer.lr": 0.1}


@pytest.fixture
def old_spec(make_spec: Callable[..., StudySpec]) -> StudySpec:
    return make_spec(name="old", resources={"cpus_per_pack": 2, "gpus_per_pack": 0.25})


def make_old_study(database: Database, spec: StudySpec, revision: str) -> None:
    """Make the tables of a revision and a study in them: two packs, of which one ended, and a free trial."""
    study = {"id": 7, "name": "old", "uid": "u", "spec_hash": "h", "state": "finished", "trials": 12}
    study |= {"spec": spec_document(spec), "versions": [RUN], "created": START, "updated": START}
    with database.write() as connection:
        command.upgrade(alembic_config(connection), revision)
        old = sa.MetaData()
        old.reflect(connection)

        def insert(table: str, **values: Any) -> None:
            connection.execute(old.tables[f"kd_{table}"].insert(), values)

        insert("study", **study, **({"seconds": 1800} if revision >= "r0004" else {}))
        for number, setup in enumerate(spec.setups()):
            insert("setup", study_id=7, number=number, levels=setup, key=setup_key(setup))
        for number, (state, pack, *seconds) in enumerate(
            [("complete", "p1", 0, 3600), ("pruned", "p1", 0, 1800.5), ("running", "p2", 60, None)]
        ):
            trial = {
                "study_id": 7,
                "number": number,
                "setup": 0,
                "params": POINT,
                "temperature": 4,
                "seed": 1,
            }
            trial |= {"state": state, "attempt": 1, "epochs": 1, "pack": pack, "val_accuracy": 0.5}
            moments = [None if s is None else START + timedelta(seconds=s) for s in seconds]
            insert("trial", **trial, **dict(zip(("started", "finished"), moments, strict=True)))
            insert("epoch", study_id=7, number=number, epoch=1, val_accuracy=0.5)
        insert("teacher", digest="d", recipe={"a": 1}, path="p", details={}, created=START)
        insert("study_teacher", study_id=7, digest="d")
        if revision != "r0001":
            held = {"cpus": 2, "gpus": 0.25, "started": START, "seconds": 3600, "running": False}
            insert("pack", study_id=7, name="p1", **held)


def wall_of(revision: str) -> float:
    """Return how many hours of the old study are known: before r0004 those of its packs."""
    return 1.0 if revision < "r0004" else 0.5


@pytest.mark.parametrize("revision", known_revisions()[:-1])
def test_what_an_older_kdsearch_wrote_stays_and_its_study_goes_on(
    empty_url: str, old_spec: StudySpec, revision: str
) -> None:
    with connect_database(empty_url, create=True) as database:
        make_old_study(database, old_spec, revision)
        assert upgrade(database).state == "current"
        assert load_hours(database, "old") == Hours(cpu=2.0, gpu=0.25, wall=wall_of(revision))
        assert [row.state for row in load_trials(database, "old")] == ["complete", "pruned", "running"]
        assert [(row.number, row.val_accuracy) for row in load_epochs(database, "old")] == [
            (number, 0.5) for number in range(3)
        ]
        assert [(row.digest, row.studies) for row in load_teachers(database)] == [("d", ("old",))]
        (study,) = list_studies(database)
        assert study.hours.gpu == 0.25
        assert (study.state, study.reason, study.stopped, study.widened) == ("finished", None, (), ())
        with database.write() as connection:
            command.check(alembic_config(connection))
        with hold_lease(database, "old") as lease:
            record = StudyRecord.open(database, old_spec, lease=lease)
            record.recover()
            (again,) = record.take_waiting(4, "p3")
            record.finish(TrialResult(again.number, "complete", 20, {"val_accuracy": 0.6}))
            assert record.finished_count() == 3


def test_the_migrations_are_in_the_package() -> None:
    assert (Path(MIGRATIONS) / "env.py").is_file()
    assert known_revisions()[0] == "r0001"
