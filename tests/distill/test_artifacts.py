import pytest

from kdsearch.distill.artifacts import exclusive, published


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
