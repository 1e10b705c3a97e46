"""Teachers and packs of nodes that share nothing but a URL."""

import json
import os
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

import fsspec
import pytest

from kdsearch.artifacts.store import place_below, store_at
from kdsearch.distill import train_pack
from kdsearch.distill.teachers.made import ensure_teacher, load_teacher, load_weights_of, recipe_of
from kdsearch.distill.teachers.supervised import SupervisedTraining
from kdsearch.distill.training import kept as residents
from kdsearch.distill.training import pack as pack_training
from kdsearch.errors import RunError
from kdsearch.spec import TrainingSpec

NODE = Path(__file__).parent / "url_node.py"
SPEC = TrainingSpec.model_validate(
    {
        "dataset": {"name": "digits", "train_size": 80, "validation_size": 50},
        "student": {"arch": "mlp_16"},
        "teacher": {"arch": "mlp_32", "finetune": {"epochs": 3, "schedule": "constant"}},
        "training": {"epochs": 6, "batch_size": 32},
    }
)
MEMBERS = [{"seed": k, "objective.temperature": 2.0 + k} for k in range(2)]


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Become a node: one with a folder of its own and nothing in memory."""

    def become(name):
        monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / name))
        monkeypatch.setattr(residents, "_TEACHER_LOGITS", residents.LruCache(4))

    return become


@pytest.fixture
def trained(monkeypatch):
    """The epochs that teachers and packs trained, in their order."""
    epochs = {"teacher": [], "pack": []}
    for who, kind, name in (
        ("teacher", SupervisedTraining, "_epoch"),
        ("pack", pack_training.PackTraining, "train_epoch"),
    ):
        monkeypatch.setattr(kind, name, _noting(getattr(kind, name), epochs[who]))
    return epochs


def _noting(original, epochs):
    def noted(self, epoch, *others):
        epochs.append(epoch)
        return original(self, epoch, *others)

    return noted


def metrics(results):
    return [result.metrics for result in results]


def test_a_teacher_is_trained_once_for_all_nodes(url, node, trained):
    node("a")
    first = ensure_teacher(recipe_of(SPEC), url)
    node("b")
    second = ensure_teacher(recipe_of(SPEC), url)
    assert trained["teacher"] == [1, 2, 3]
    assert first.path != second.path
    assert {**first.to_dict(), "path": ""} == {**second.to_dict(), "path": ""}
    assert not load_teacher(first.digest, url).training


def test_a_teacher_that_could_not_be_sent_is_not_trained_again(url, node, trained, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("Network is unreachable")

    node("a")
    with monkeypatch.context() as outage:
        outage.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", refuse)
        with pytest.raises(RunError, match=f"can't write {url}/teachers/.*Network is unreachable"):
            ensure_teacher(recipe_of(SPEC), url)
    sent = ensure_teacher(recipe_of(SPEC), url)
    node("b")
    assert {**ensure_teacher(recipe_of(SPEC), url).to_dict(), "path": sent.path} == sent.to_dict()
    assert trained["teacher"] == [1, 2, 3]


def test_a_longer_training_goes_on_from_another_nodes(url, node, trained, tmp_path):
    node("a")
    ensure_teacher(recipe_of(SPEC), url)
    node("b")
    longer = recipe_of(SPEC).with_epochs(5)
    found = load_weights_of(ensure_teacher(longer, url))
    assert trained["teacher"] == [1, 2, 3, 4, 5]
    whole = load_weights_of(ensure_teacher(longer, tmp_path / "folder"))
    assert all(found[name].equal(whole[name]) for name in whole)


def test_a_pack_trains_the_same_from_a_url_and_from_a_folder(url, node, tmp_path):
    node("a")
    expected = metrics(train_pack(SPEC, MEMBERS, way="looped", artifacts=tmp_path / "folder"))
    assert metrics(train_pack(SPEC, MEMBERS, way="looped", artifacts=url)) == expected
    node("b")
    assert metrics(train_pack(SPEC, MEMBERS, way="looped", artifacts=url)) == expected
    files = fsspec.filesystem("memory")
    kinds = {Path(path).parts[2] for path in files.find("/" + url.removeprefix("memory://"))}
    assert kinds == {"teachers"}  # soft targets and measured choices stay with their node


def test_a_pack_goes_on_from_another_nodes_checkpoint(url, node, trained, tmp_path):
    def interrupt(epoch, _):
        if epoch == 4:
            raise KeyboardInterrupt
        return ()

    expected = metrics(train_pack(SPEC, MEMBERS, way="looped", artifacts=tmp_path / "folder"))
    trained["pack"].clear()
    place = place_below(url, "checkpoints")
    node("a")
    with pytest.raises(KeyboardInterrupt):
        train_pack(SPEC, MEMBERS, way="looped", artifacts=url, checkpoint=place, report=interrupt)
    node("b")
    assert metrics(train_pack(SPEC, MEMBERS, way="looped", artifacts=url, checkpoint=place)) == expected
    assert trained["pack"] == [1, 2, 3, 4, 4, 5, 6]
    assert store_at(place).entries("") == set()


def test_a_pack_is_trained_to_its_end_without_its_checkpoints(url, node, monkeypatch, caplog):
    node("a")
    expected = metrics(train_pack(SPEC, MEMBERS, way="looped", artifacts=url))
    kind = fsspec.get_filesystem_class("memory")
    original = kind.ls

    def ls(self, path, **options):
        if "checkpoints" in path:
            raise ConnectionError("Network is unreachable")
        return original(self, path, **options)

    monkeypatch.setattr(kind, "ls", ls)
    place = place_below(url, "checkpoints")
    assert metrics(train_pack(SPEC, MEMBERS, way="looped", artifacts=url, checkpoint=place)) == expected
    assert caplog.text.count("Network is unreachable") >= 3
    assert "The training starts anew" in caplog.text
    assert f"No checkpoint in {place}" in caplog.text


@contextmanager
def process(folder, url, *words):
    """A node in a process of its own."""
    environment = {**os.environ, "KDSEARCH_CACHE": str(folder), "OMP_NUM_THREADS": "1"}
    what, *more = words
    command = [sys.executable, str(NODE), url, what, SPEC.model_dump_json(), *more]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, env=environment, **pipes)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


@pytest.mark.slow
def test_a_pack_whose_process_was_killed_goes_on_on_another_node(file_server, tmp_path):
    url = file_server.url
    with process(tmp_path / "a", url, "pack", "4") as first:
        curve = [json.loads(first.stdout.readline()) for _ in range(8)]
    assert [told[:2] for told in curve] == [
        [what, n] for n in (1, 2, 3, 4) for what in ("trained", "reported")
    ]
    with process(tmp_path / "b", url, "pack", "0") as second:
        again = [json.loads(line) for line in second.stdout]
        assert second.wait(60) == 0
    assert [told[1] for told in again if told[0] == "trained"] == [4, 5, 6]
    reported = [told for told in again if told[0] == "reported"]
    assert reported[:4] == curve[1::2]
    assert [told[1] for told in reported] == [1, 2, 3, 4, 5, 6]
    assert not list((file_server.folder / "artifacts/checkpoints").iterdir())
    assert len(list((file_server.folder / "artifacts/teachers").glob("*/index.*"))) == 1


@pytest.mark.slow
def test_of_nodes_that_ask_at_once_one_is_right_for_all_that_follow(file_server, tmp_path):
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(process(tmp_path / name, file_server.url, "teacher")) for name in ("a", "b")
        ]
        for asking in nodes:
            assert asking.stdout.readline() == "ready\n"
        for asking in nodes:
            asking.stdin.write("go\n")
            asking.stdin.flush()
        found = [json.loads(asking.stdout.readline()) for asking in nodes]
    with process(tmp_path / "c", file_server.url, "teacher") as late:
        late.stdin.write("go\n")
        late.stdin.flush()
        assert late.stdout.readline() == "ready\n"
        assert json.loads(late.stdout.readline()) in found
    assert found[0][-1] == found[1][-1]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["keep", "replace"])
def test_a_killed_upload_leaves_nothing_half_visible(file_server, tmp_path, monkeypatch, what):
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "reader"))
    store = store_at(file_server.url)
    store.replace("pack.pt", b"before")
    with process(tmp_path / "a", file_server.url, what) as writer:
        deadline = time.monotonic() + 60
        while not (part := _upload_in(file_server.folder)) and time.monotonic() < deadline:
            time.sleep(0.001)
        writer.kill()
        writer.wait()
    time.sleep(0.2)  # the server takes what is still under way
    assert 0 < part[0].stat().st_size < 50_000_000
    assert store.find("teachers/large") is None
    assert store.open("pack.pt").read() == b"before"
    with process(tmp_path / "a", file_server.url, what) as writer:
        assert writer.wait(60) == 0
    if what == "keep":  # from the node's folder, where the killed process had put it whole
        assert (store.find("teachers/large", "weights.pt") / "weights.pt").stat().st_size == 50_000_000
    else:
        assert len(store.open("pack.pt").read()) == 50_000_000
        assert len(list((file_server.folder / "artifacts").glob("pack.pt.*"))) == 1


def _upload_in(folder):
    """Return the large objects that have begun to arrive."""
    return [path for path in folder.rglob("*.pt.*") if path.stat().st_size > 10_000]
