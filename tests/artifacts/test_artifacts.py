import subprocess
import sys

import pytest

from kdsearch.artifacts.files import exclusive, published, write_whole


def test_a_folder_appears_only_when_it_is_whole(tmp_path):
    folder = tmp_path / "store" / "abc"
    with exclusive(folder), published(folder) as temporary:
        (temporary / "part").write_text("1")
        assert not folder.exists()
    assert (folder / "part").read_text() == "1"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["abc", "abc.lock"]


def test_a_failure_leaves_nothing(tmp_path):
    folder = tmp_path / "abc"
    with pytest.raises(FileNotFoundError), published(folder) as temporary:
        (temporary / "nowhere" / "part").write_text("1")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    leftover = tmp_path / ".abc.99999"
    leftover.mkdir()
    (leftover / "part").write_text("half")
    other = tmp_path / ".abcdef.99999"
    other.mkdir()
    with published(tmp_path / "abc"):
        assert not leftover.exists()
    assert other.exists()


def test_a_file_that_finds_no_room_leaves_nothing(tmp_path, small_files):
    path = tmp_path / "folder" / "file"
    write_whole(path, b"1")
    with small_files(100), pytest.raises(OSError, match="File too large"):
        write_whole(path, bytes(101))
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("file", b"1")]


def test_the_next_file_removes_what_a_killed_process_left(tmp_path):
    script = (
        "import os, pathlib, signal, sys; from kdsearch.artifacts.files import write_whole;"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "write_whole(pathlib.Path(sys.argv[1]), b'half')"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "one")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".part"
    write_whole(tmp_path / "two", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["two"]
