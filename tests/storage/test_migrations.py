"""Our schema's history: fresh databases, older ones, newer ones, beside Optuna's."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from kdsearch.errors import LiveDriverError, RequestError
from kdsearch.spec import StudySpec
from kdsearch.storage import (
    Database,
    Hours,
    StudyRecord,
    connect_database,
    hold_lease,
    list_studies,
    load_hours,
    load_trials,
    open_database,
    schema_status,
    upgrade,
)
from kdsearch.storage.schema import MIGRATIONS, alembic_config, known_revisions


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

    def test_two_that_create_at_once_agree(self, empty_url: str) -> None:
        code = (
            f"from kdsearch.storage import open_database; open_database({empty_url!r}, create=True).close()"
        )
        processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
        assert [process.wait(60) for process in processes] == [0, 0]
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
        monkeypatch.setattr("kdsearch.storage.schema.known_revisions", lambda: [head, "r9998"])
        with pytest.raises(RequestError, match=rf"older kdsearch: its schema is {head}.*db upgrade"):
            open_database(url, create=True)
        monkeypatch.undo()
        assert upgrade(database).state == "current"

    def test_tables_stay_while_a_study_runs(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        revisions = [*known_revisions(), "r9998"]
        monkeypatch.setattr("kdsearch.storage.schema.known_revisions", lambda: revisions)
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


def make_old_study(database: Database, revision: str) -> None:
    """Make the tables of a revision and a study in them: two packs, of which one ended, and a free trial."""
    study = {"id": 7, "name": "old", "uid": "u", "spec_hash": "h", "state": "finished", "trials": 4}
    study |= {"spec": {"name": "old", "resources": {"cpus_per_pack": 2, "gpus_per_pack": 0.25}}}
    study |= {"versions": [], "created": START, "updated": START}
    with database.write() as connection:
        command.upgrade(alembic_config(connection), revision)
        old = sa.MetaData()
        old.reflect(connection)
        tables = {name: old.tables[f"kd_{name}"] for name in ("study", "setup", "trial")}
        connection.execute(
            tables["study"].insert(), study | ({"seconds": 1800} if revision >= "r0004" else {})
        )
        connection.execute(tables["setup"].insert(), {"study_id": 7, "number": 0, "levels": {}, "key": "{}"})
        for number, (pack, *seconds) in enumerate(
            [("p1", 0, 3600), ("p1", 0, 1800.5), ("p2", 60, None), (None, None, None)]
        ):
            trial = {"study_id": 7, "number": number, "setup": 0, "params": {}, "temperature": 4, "seed": 1}
            trial |= {"state": "complete", "attempt": 1, "epochs": 1, "pack": pack}
            moments = [None if s is None else START + timedelta(seconds=s) for s in seconds]
            trial |= dict(zip(("started", "finished"), moments, strict=True))
            connection.execute(tables["trial"].insert(), trial)
        if revision != "r0001":
            pack = {"study_id": 7, "name": "p1", "cpus": 2, "gpus": 0.25, "started": START, "seconds": 3600}
            connection.execute(old.tables["kd_pack"].insert(), {**pack, "running": False})


def wall_of(revision: str) -> float:
    """Return how many hours of the old study are known: before r0004 those of its packs."""
    return 1.0 if revision < "r0004" else 0.5


@pytest.mark.parametrize("revision", known_revisions()[:-1])
def test_what_an_older_kdsearch_wrote_stays(empty_url: str, revision: str) -> None:
    with connect_database(empty_url, create=True) as database:
        make_old_study(database, revision)
        assert upgrade(database).state == "current"
        assert load_hours(database, "old") == Hours(cpu=2.0, gpu=0.25, wall=wall_of(revision))
        assert len(load_trials(database, "old")) == 4
        (study,) = list_studies(database)
        assert study.hours.gpu == 0.25
        assert (study.state, study.reason, study.stopped) == ("finished", None, ())
        with database.write() as connection:
            command.check(alembic_config(connection))


def test_the_migrations_are_in_the_package() -> None:
    assert (Path(MIGRATIONS) / "env.py").is_file()
    assert known_revisions()[0] == "r0001"
