"""Why a pack was lost, in words.

It is found by real workers that ended, and by the silence before.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RaySystemError

from kdsearch.schedule.cluster.connection import connect
from kdsearch.schedule.loss_reasons import reason_of
from kdsearch.schedule.searcher import PackSearcher
from kdsearch.search import Pack
from kdsearch.spec import TrainingSpec
from kdsearch.trial import Metrics, Trial, TrialResult


class Source:
    """Hands out one pack and remembers why it was lost."""

    finished = False

    def __init__(self) -> None:
        self.lost: list[str] = []

    def next_pack(self) -> Pack:
        return Pack("p", [Trial(0, 0, {}, {}, TrainingSpec())])

    def take_epochs(self, epochs: Sequence[tuple[int, Mapping[int, Metrics]]]) -> None:
        """Ignore it."""

    def take_results(self, results: Sequence[TrialResult]) -> None:
        """Ignore it."""

    def start_pack(self, pack: Pack) -> None:
        """Ignore it."""

    def end_pack(self, pack: Pack, reason: str) -> None:
        self.lost.append(reason)


@pytest.mark.parametrize(
    ("stall_minutes", "told", "reason"),
    [
        (0.0005, None, "hung: no epoch within 0.0005 minutes"),
        (1.0, None, "its worker was killed"),
        (1.0, "its node was lost", "its node was lost"),
    ],
)
def test_a_worker_that_was_silent_too_long_hung(stall_minutes: float, told: str | None, reason: str) -> None:
    source = Source()
    searcher = PackSearcher(source, stall_minutes=stall_minutes)
    searcher.suggest("one")
    searcher.on_trial_result("one", {"epochs": [], "results": []})
    time.sleep(0.05)
    if told:
        searcher.explain("one", told)
    searcher.on_trial_complete("one", error=True)
    assert source.lost == [reason]


def test_a_worker_that_never_began_did_not_hang() -> None:
    source = Source()
    searcher = PackSearcher(source, stall_minutes=0.0001)
    searcher.suggest("one")
    time.sleep(0.05)
    searcher.on_trial_complete("one", error=True)
    assert source.lost == ["its worker was killed"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with connect(None):
        yield


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "its worker was killed"),
        (lambda: os._exit(1), "its worker was killed"),
        (lambda: (_ for _ in ()).throw(SystemExit(3)), "its worker ended with exit code 3"),
        (lambda: int("x"), "its worker failed: ValueError(\"invalid literal for int() with base 10: 'x'\")"),
    ],
    ids=["killed", "exit", "sys.exit", "raise"],
)
def test_a_workers_end_is_told_in_words(cluster: None, how: Any, reason: str) -> None:
    @ray.remote
    class Worker:
        def end(self) -> None:
            how()

    with pytest.raises(Exception) as caught:  # noqa: PT011 - looked at below
        ray.get(Worker.remote().end.remote())
    assert reason_of(caught.value) == reason


def test_memory_kills_are_told_alike_whatever_ray_calls_them() -> None:
    text = "1 worker(s) were killed due to the node running low on memory. Memory on the node …"
    for error in (OutOfMemoryError(text), RayActorError(error_msg=text)):
        assert reason_of(error) == "out of memory: Ray killed its worker"


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Ray's nodes: one that answers, one whose silence Ray has not noticed, and one that it gave up."""
    with socket.socket() as listening, socket.socket() as silent:
        for bound in (listening, silent):
            bound.bind(("127.0.0.1", 0))
        listening.listen()
        ports = {"well": listening, "silent": silent, "gone": silent}
        known = [
            {
                "NodeID": name,
                "Alive": name != "gone",
                "NodeManagerAddress": "127.0.0.1",
                "NodeManagerPort": bound.getsockname()[1],
            }
            for name, bound in ports.items()
        ]
        monkeypatch.setattr(ray, "nodes", lambda: known)
        yield known


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("well", "its worker was killed"),
        ("silent", "its node was lost"),
        ("gone", "its node was lost"),
        (None, "its node was lost"),
    ],
)
def test_a_worker_whose_node_is_silent_was_lost_with_it(
    nodes: list[dict[str, Any]], node: str | None, reason: str
) -> None:
    assert reason_of(RayActorError(error_msg="no answer"), node) == reason


def test_a_worker_of_an_unknown_node_was_killed_where_all_answer(nodes: list[dict[str, Any]]) -> None:
    del nodes[1]
    assert reason_of(RayActorError(error_msg="no answer"), None) == "its worker was killed"


def test_a_head_that_does_not_tell_its_nodes_hides_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise RaySystemError("the head is away")

    monkeypatch.setattr(ray, "nodes", away)
    assert reason_of(RayActorError(error_msg="no answer"), "one") == "its worker was killed"
