"""Opening databases: what is refused, in words, and what is never written."""

import sqlite3
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from kdsearch.errors import RequestError
from kdsearch.storage import Database, hold_lease, open_database, parse_url
from kdsearch.storage.mirror.store import open_optuna_storage
from kdsearch.storage.sql.filesystems import network_filesystem
from kdsearch.storage.sql.tables import LeaseTable


class TestRefusal:
    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("nonsense", "must be a database URL"),
            ("sqlite:///", "must name a file"),
            ("sqlite://", "must name a file"),
            ("mysql://me:secret@host/name", "SQLite or PostgreSQL, got 'mysql'"),
            ("postgresql+nosuch://me:secret@host/name", "unknown driver"),
            ("sqlite:////no/such/folder/studies.db", "Create /no/such/folder"),
            ("postgresql://me:p@secret@host/name", "Write each other one as %40"),
            ("postgresql://me:p@secret/x@host/name", "Write each other one as %40"),
            ("postgresql://me:p@secret?x@host/name", "Write each other one as %40"),
            ("postgresql://me:p@secret:x@host/name", "can't be read"),
            ("postgresql:///me:secret@host/name", "Write each other one as %40"),
            ("postgresql://me:secret/name", "can't be read"),
            ("postgresql://me@127.0.0.1:1/name?password=secret&sslpassword=secret", "can't be opened"),
            ("postgresql://me@127.0.0.1:1/name?pasword=secret", "can't be opened"),
        ],
    )
    def test_a_wrong_url_is_named_without_its_password(self, url: str, says: str) -> None:
        with pytest.raises(RequestError, match=says) as caught:
            open_database(url, create=True)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("mark", ["?", "#", "%"])
    def test_a_file_that_a_url_would_name_otherwise_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
    ) -> None:
        with pytest.raises(RequestError, match=f"without `?`, `#` and `%`.*got '{mark}'".replace("?", r"\?")):
            open_database(f"sqlite:///{tmp_path}/a{mark}41.db", create=True)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("mark", ["#", "%"])
    def test_a_file_in_a_folder_of_such_a_name_is_read_from_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
    ) -> None:
        folder = tmp_path / f"in{mark}41"
        folder.mkdir()
        monkeypatch.chdir(folder)
        with open_database("sqlite:///a.db", create=True) as database:
            assert database.name == f"sqlite:///{folder}/a.db"
            open_optuna_storage(database)
        assert (folder / "a.db").exists()
        assert list(tmp_path.iterdir()) == [folder]

    def test_a_missing_driver_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(RequestError, match=r"pip install 'kdsearch-hpo\[postgres\]'") as caught:
            parse_url("postgresql://me:secret@host/name")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
    def test_postgres_means_psycopg_3(self, scheme: str) -> None:
        assert parse_url(f"{scheme}://me@host/name").drivername == "postgresql+psycopg"

    def test_a_relative_file_stays_where_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert parse_url("sqlite:///studies.db").database == f"{tmp_path}/studies.db"
        monkeypatch.setenv("HOME", "/home/me")
        assert parse_url("sqlite:///~/studies.db").database == "/home/me/studies.db"

    def test_a_server_that_is_not_there_is_told_without_the_password(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="can't be opened") as caught:
            open_database(f"postgresql://me:secret@/name?host={tmp_path}")
        assert "secret" not in str(caught.value)

    def test_reading_creates_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match=r"There is no database .*studies\.db"):
            open_database(f"sqlite:///{tmp_path}/studies.db")
        assert list(tmp_path.iterdir()) == []

    def test_what_is_no_database_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "studies.db"
        path.write_text("this is text, and long enough to be taken for a page " * 20)
        with pytest.raises(RequestError, match="file is not a database"):
            open_database(f"sqlite:///{path}")

    def test_a_database_without_studies_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        sqlite3.connect(path).close()
        with pytest.raises(RequestError, match="holds no kdsearch studies"):
            open_database(f"sqlite:///{path}")


class TestNetworkFilesystems:
    MOUNTS = "\n".join(
        [
            "rootfs / ext4 rw 0 0",
            "server:/home /home nfs4 rw 0 0",
            "local /home/scratch xfs rw 0 0",
            "me@host: /mnt/my\\040files fuse.sshfs rw 0 0",
            "first /data ext4 rw 0 0",
            "second /data cifs rw 0 0",
        ]
    )

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/var/studies.db", None),
            ("/home/me/studies.db", "nfs4"),
            ("/home/scratch/studies.db", None),
            ("/homes/studies.db", None),
            ("/mnt/my files/studies.db", "fuse.sshfs"),
            ("/data/studies.db", "cifs"),
        ],
    )
    def test_the_innermost_mount_decides(self, tmp_path: Path, path: str, kind: str | None) -> None:
        table = tmp_path / "mounts"
        table.write_text(self.MOUNTS + "\n")
        assert network_filesystem(Path(path), table) == kind

    def test_without_a_table_nothing_is_refused(self, tmp_path: Path) -> None:
        assert network_filesystem(Path("/home/me/x.db"), tmp_path / "none") is None

    def test_sqlite_there_is_refused_with_the_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kdsearch.storage.sql.database.network_filesystem", lambda path: "nfs4")
        with pytest.raises(RequestError, match=r"nfs4.*Use PostgreSQL"):
            open_database(f"sqlite:///{tmp_path}/studies.db", create=True)
        assert list(tmp_path.iterdir()) == []


class TestSqlite:
    def test_both_halves_write_with_the_same_settings(self, tmp_path: Path) -> None:
        with open_database(f"sqlite:///{tmp_path}/studies.db", create=True) as database:
            for engine in (database.engine, open_optuna_storage(database).engine):
                with engine.connect() as connection:
                    found = [
                        connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
                    ]
                assert found == ["wal", 1, 1, 60_000]

    def test_a_failed_change_leaves_nothing(self, tmp_path: Path) -> None:
        with open_database(f"sqlite:///{tmp_path}/studies.db", create=True) as database:
            with pytest.raises(RequestError):
                create_and_fail(database)
            with database.read() as connection:
                query = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'kd_other'"
                assert connection.exec_driver_sql(query).scalar() == 0

    def test_of_two_that_read_then_write_none_is_locked_out(self, tmp_path: Path) -> None:
        with open_database(f"sqlite:///{tmp_path}/studies.db", create=True) as database:
            with database.write() as connection:
                connection.exec_driver_sql("CREATE TABLE kd_count (n INTEGER)")
                connection.exec_driver_sql("INSERT INTO kd_count VALUES (0)")

            def count() -> None:
                for _ in range(50):
                    with database.write() as connection:
                        now = connection.exec_driver_sql("SELECT n FROM kd_count").scalar_one()
                        connection.exec_driver_sql(f"UPDATE kd_count SET n = {now + 1}")

            threads = [threading.Thread(target=count) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with database.read() as connection:
                assert connection.exec_driver_sql("SELECT n FROM kd_count").scalar() == 200


def create_and_fail(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE kd_other (id INTEGER)")
        parse_url("nonsense")


def test_a_reading_sees_one_state_whatever_others_write(database: Database) -> None:
    def count(connection: sa.Connection) -> int:
        found = connection.scalar(sa.select(sa.func.count()).select_from(LeaseTable))
        assert found is not None
        return int(found)

    with database.read() as connection:
        assert count(connection) == 0
        other = open_database(database.url.render_as_string(hide_password=False))
        with hold_lease(other, "tiny"):
            assert count(connection) == 0
            with database.read() as later:
                assert count(later) == 1
        other.close()
