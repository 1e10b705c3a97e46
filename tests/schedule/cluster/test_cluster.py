"""The driver's scratch folder, and the start of Ray."""

import logging
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kdsearch.errors import RequestError, RunError
from kdsearch.schedule.cluster import connection as cluster
from kdsearch.schedule.cluster import scratch
from kdsearch.storage.rows.processes import process_mark


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, short_folder: str) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", short_folder)
    return Path(short_folder)


def test_folders_of_killed_drivers_are_removed_and_all_others_stay(temporary: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ended:
        dead = process_mark(ended.pid)
        ended.communicate()
    marks = {"kds-dead": dead, "kds-live": process_mark(), "kds-elsewhere": "boot/pid:[1]:7:1"}
    for name, mark in marks.items():
        (temporary / name).mkdir()
        (temporary / name / "owner").write_text(mark)
    (temporary / "kds-young").mkdir()
    with scratch.scratch_folder() as folder:
        kept = {"kds-live", "kds-elsewhere", "kds-young", folder.name}
        assert {path.name for path in temporary.iterdir()} == kept
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_temporary_folder_too_long_for_sockets_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with scratch.scratch_folder() as folder:
        deepest = folder / "r" / "session_2026-01-01_00-00-00_000000_4194304" / "sockets" / "plasma_store"
        assert len(str(deepest)) <= 107
    monkeypatch.setattr(scratch, "_SHORT_FOLDERS", ())
    with pytest.raises(RequestError, match="TMPDIR must have at most 28"), scratch.scratch_folder():
        pass


def test_ray_that_starts_too_slowly_is_started_again_and_given_up_in_words(
    monkeypatch: pytest.MonkeyPatch, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def slow(**_options: object) -> None:
        tries.append(1)
        raise Exception("The current node timed out during startup. This could …\nmore")  # noqa: TRY002 - Ray's

    monkeypatch.setattr(cluster.ray, "init", slow)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    told = "Ray could not be started on this machine, tried 3 times: The current node timed out"
    with caplog.at_level(logging.WARNING), pytest.raises(RunError, match=told), cluster.connect(None):
        pass
    assert len(tries) == 3
    assert caplog.text.count("It is started once more.") == 2
    assert list(temporary.iterdir()) == []
