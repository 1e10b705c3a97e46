"""A folder and a URL behave alike.

Two nodes, each with a folder of its own, share one URL.
"""

import hashlib
import json
import time
import uuid

import fsspec
import pytest

from kdsearch.artifacts import remote
from kdsearch.artifacts.files import exclusive
from kdsearch.artifacts.store import FolderStore, UrlStore, folder_of, place_below, store_at
from kdsearch.errors import RequestError, RunError

FILES = {"weights.pt": b"w" * 1000, "record.json": b"{}"}
ENTRY = "teachers/abc"


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def objects(url):
    """Return what reads every object at the URL, by its path.

    The path is the one below the URL.
    """
    files = fsspec.filesystem("memory")
    root = "/" + url.removeprefix("memory://")
    return lambda: {path.removeprefix(root): files.cat_file(path) for path in files.find(root)}


@pytest.fixture(params=["folder", "url"])
def store(request, tmp_path, url):
    return FolderStore(tmp_path / "node") if request.param == "folder" else UrlStore(url, tmp_path / "node")


def keep(store, entry=ENTRY, files=FILES):
    with exclusive(store.root / entry):
        store.keep(entry, files)


def content(file):
    return None if file is None else file.read_bytes() if hasattr(file, "read_bytes") else file.read()


class TestEveryStore:
    def test_an_entry_is_found_with_its_files(self, store):
        assert store.find(ENTRY, *FILES) is None
        assert store.entries("teachers") == set()
        keep(store)
        folder = store.find(ENTRY, *FILES)
        assert {name: (folder / name).read_bytes() for name in FILES} == FILES
        assert "abc" in store.entries("teachers")
        assert not store.recover(ENTRY)

    def test_a_file_it_does_not_have_is_not_there(self, store):
        keep(store)
        assert not (store.find(ENTRY, "record.json", "resume.pt") / "resume.pt").exists()

    def test_a_file_is_replaced_and_removed(self, store):
        assert store.open("pack.pt") is None
        for version in (b"first", b"second", b"third"):
            store.replace("pack.pt", version)
            assert content(store.open("pack.pt")) == version
        store.replace("other.pt", b"other")
        store.remove("pack.pt")
        store.remove("pack.pt")
        assert store.open("pack.pt") is None
        assert content(store.open("other.pt")) == b"other"

    def test_what_is_old_is_forgotten(self, store):
        store.replace("old.pt", b"1")
        store.forget(3600)
        assert content(store.open("old.pt")) == b"1"
        time.sleep(0.05)
        store.forget(0.04)
        assert store.open("old.pt") is None

    def test_it_can_be_checked(self, store):
        store.check()
        assert store.open("probe") is None

    def test_what_changed_since_it_was_written_is_told_and_not_given(self, store, caplog):
        keep(store)
        file = store.find(ENTRY, *FILES) / "weights.pt"
        file.write_bytes(b"v" + FILES["weights.pt"][1:])
        found = store.find(ENTRY, *FILES)
        if isinstance(store, UrlStore):  # it has another copy
            assert (found / "weights.pt").read_bytes() == FILES["weights.pt"]
        else:
            assert found is None
            store.replace("pack.pt", b"first")
            (store.root / "pack.pt").write_bytes(b"e" + (store.root / "pack.pt").read_bytes()[1:])
            assert store.open("pack.pt") is None
            keep(store)
            assert store.find(ENTRY, *FILES) is not None
        assert "is damaged, and is made again" in caplog.text


class TestTwoNodes:
    @pytest.fixture
    def nodes(self, tmp_path, url):
        return UrlStore(url, tmp_path / "a"), UrlStore(url, tmp_path / "b")

    def test_one_finds_what_the_other_kept_and_reads_each_file_once(self, nodes, monkeypatch, objects):
        keep(nodes[0])
        folder = nodes[1].find(ENTRY, "record.json")
        assert {path.name for path in folder.iterdir() if path.suffix != ".lock"} == {"record.json"}
        assert (nodes[1].find(ENTRY, *FILES) / "weights.pt").read_bytes() == FILES["weights.pt"]
        (weights,) = (path for path in objects() if "/weights.pt." in path)
        fsspec.filesystem("memory").rm_file("/" + nodes[0].address(ENTRY).split("/")[2] + weights)
        for node in nodes:  # from its own folder
            assert (node.find(ENTRY, *FILES) / "weights.pt").read_bytes() == FILES["weights.pt"]

    def test_the_first_to_write_an_entry_is_right(self, nodes):
        keep(nodes[0])
        keep(nodes[1], files={"weights.pt": b"later"})
        assert (nodes[1].find(ENTRY, "weights.pt") / "weights.pt").read_bytes() == FILES["weights.pt"]

    def test_two_that_write_at_once_agree(self, nodes, monkeypatch, objects):
        entries = [f"teachers/{name}" for name in range(8)]
        monkeypatch.setattr(UrlStore, "_index", lambda *_: None)  # neither has seen the other's
        for entry in entries:
            keep(nodes[0], entry, {"weights.pt": f"{entry} of one".encode()})
            keep(nodes[1], entry, {"weights.pt": f"{entry} of two".encode()})
        monkeypatch.undo()
        for entry in entries:
            indices = sorted(path for path in objects() if path.startswith(f"/{entry}/index."))
            assert len(indices) == 2
            chosen = json.loads(objects()[indices[0]])["weights.pt"]
            for node in nodes:
                weights = (node.find(entry, "weights.pt") / "weights.pt").read_bytes()
                assert chosen == f"weights.pt.{hashlib.sha256(weights).hexdigest()}"

    def test_a_copy_is_never_older_than_the_entry(self, nodes, objects):
        keep(nodes[0])
        nodes[1].find(ENTRY, *FILES)
        fsspec.filesystem("memory").rm(
            "/" + nodes[0].address(ENTRY).removeprefix("memory://"), recursive=True
        )
        assert nodes[1].find(ENTRY, *FILES) is None
        keep(nodes[0], files={"weights.pt": b"new"})
        assert (nodes[1].find(ENTRY, "weights.pt") / "weights.pt").read_bytes() == b"new"

    def test_a_replaced_file_is_read_from_the_url_by_both(self, nodes):
        nodes[0].replace("pack.pt", b"first")
        assert content(nodes[1].open("pack.pt")) == b"first"
        nodes[1].replace("pack.pt", b"second")
        assert content(nodes[0].open("pack.pt")) == b"second"


class TestHalfWritten:
    """A killed process leaves half-written files at a URL.

    The URL's file system shows files as they are written.
    """

    def test_an_entry_is_there_only_with_its_whole_index(self, tmp_path, url, objects):
        keep(UrlStore(url, tmp_path / "a"))
        whole = objects()
        other = UrlStore(url + "-other", tmp_path / "b")
        files = fsspec.filesystem("memory")
        for path, value in sorted(whole.items(), key=lambda item: "/index." in item[0]):
            for part in (value[:-1], value):
                assert other.find(ENTRY, *FILES) is None
                files.pipe_file("/" + url.removeprefix("memory://") + "-other" + path, part)
        folder = other.find(ENTRY, *FILES)
        assert {name: (folder / name).read_bytes() for name in FILES} == FILES

    def test_the_version_before_counts_until_the_new_one_is_whole(self, tmp_path, url, objects):
        store = UrlStore(url, tmp_path / "a")
        store.replace("pack.pt", b"first")
        (name,) = objects()
        stem, stamp, digest = name.rsplit(".", 2)
        newer = f"{stem}.{int(stamp) + 1:020d}.{digest[::-1]}"
        fsspec.filesystem("memory").pipe_file("/" + url.removeprefix("memory://") + newer, b"fir")
        assert content(store.open("pack.pt")) == b"first"
        store.replace("pack.pt", b"second")
        assert content(store.open("pack.pt")) == b"second"
        assert len(objects()) == 1

    def test_a_damaged_file_is_told(self, tmp_path, url, objects):
        keep(UrlStore(url, tmp_path / "a"))
        (weights,) = (path for path in objects() if "/weights.pt." in path)
        fsspec.filesystem("memory").pipe_file("/" + url.removeprefix("memory://") + weights, b"other")
        with pytest.raises(RunError, match=rf"weights\.pt\.\w+ is missing or damaged\. Remove {url}/{ENTRY}"):
            UrlStore(url, tmp_path / "b").find(ENTRY, "weights.pt")


class Outage:
    """Every call fails while it lasts, as where a network is down."""

    def __init__(self, monkeypatch):
        self._patch = monkeypatch

    def __enter__(self):
        def refuse(*_, **__):
            raise ConnectionError("Network is unreachable")

        for name in ("ls", "cat_file", "pipe_file", "rm_file"):
            self._patch.setattr(fsspec.get_filesystem_class("memory"), name, refuse)

    def __exit__(self, *_):
        self._patch.undo()


def test_what_could_not_be_sent_is_sent_later(tmp_path, url, monkeypatch):
    store = UrlStore(url, tmp_path / "a")
    with Outage(monkeypatch), pytest.raises(RunError, match=rf"can't read {url}/{ENTRY}: .*unreachable\."):
        keep(store)
    assert UrlStore(url, tmp_path / "b").find(ENTRY) is None
    assert UrlStore(url, tmp_path / "a").recover(ENTRY)  # another process of the node
    folder = UrlStore(url, tmp_path / "b").find(ENTRY, *FILES)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert not UrlStore(url, tmp_path / "a").recover(ENTRY)


def test_a_connection_that_was_closed_is_opened_again(tmp_path, url, monkeypatch):
    store = UrlStore(url, tmp_path / "a")
    kind = fsspec.get_filesystem_class("memory")
    original, calls = kind.pipe_file, []

    def once(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise EOFError
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, "pipe_file", once)
    store.replace("pack.pt", b"first")
    assert content(store.open("pack.pt")) == b"first"
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nowhere://bucket/path", "Protocol not known: nowhere"),
        ("dropbox://path", "requires"),  # a package that no test environment has
        ("ftp://127.0.0.1:9/path", "Connection refused"),
        ("ftp://name:secret@host/path", "must hold no password"),
        ("ftp://name:p@secret@host/path", "must hold no password"),
        ("ftp://name:secret/p@host/path", "must hold no password"),
        ("ftp://name:secret/path", "and no password, got 'ftp://name:…'"),
        ("ftp://name:p/secret/path", "must have a port behind its host's colon"),
        ("ftp://name:1234567/path", "in full where a port follows, such as nas.lan:2121, got 'ftp://name:…'"),
        ("sftp://name:1234567", "in full where a port follows"),
        ("ftp://localhost:9/path", "Connection refused"),
        ("memory://path?sig=secret", "must have no `?`"),
        ("simplecache::memory://path", "without `::`"),
    ],
)
def test_a_url_that_does_not_work_is_told_with_its_reason(url, reason):
    with pytest.raises(RequestError) as raised:
        store_at(url).check()
    message = str(raised.value)
    assert message.startswith("`artifacts` must")
    assert reason in message
    assert url.partition(":")[0] in message
    assert "secret" not in message
    assert "1234567" not in message


def test_a_url_that_can_only_be_read_is_told_over_one_connection(url, tmp_path, monkeypatch):
    opened = []
    connect = remote.url_to_fs

    def refuse(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", refuse)
    monkeypatch.setattr(remote, "url_to_fs", lambda *asked, **how: opened.append(1) or connect(*asked, **how))
    with pytest.raises(RequestError, match=rf"can't write {url}: PermissionError: Access Denied\. Check"):
        UrlStore(url, tmp_path).check()
    assert len(opened) == 1


def test_a_file_url_is_a_folder(tmp_path):
    assert folder_of(f"file://{tmp_path}") == folder_of(str(tmp_path)) == folder_of(tmp_path) == tmp_path
    assert folder_of("s3://bucket/path") is None
    assert store_at(f"file://{tmp_path}").root == tmp_path
    assert place_below("s3://bucket/path/", "checkpoints") == "s3://bucket/path/checkpoints"
    assert place_below(tmp_path, "checkpoints") == tmp_path / "checkpoints"
    assert store_at(place_below(f"file://{tmp_path}", "checkpoints")).root == tmp_path / "checkpoints"


def test_each_url_has_a_folder_of_its_own_below_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path))
    roots = {store_at(url).root for url in ("memory://a/b", "memory://a-b", "memory://a/b/")}
    assert len(roots) == 2
    assert all(root.is_relative_to(tmp_path) for root in roots)
