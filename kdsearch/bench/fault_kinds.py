"""The kinds of faults: what a study is launched with, what is done to it, and which words it must find."""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]  # has no stubs of its own

from kdsearch.bench.fault_study import FaultStudy

PATIENCE_S = 60.0
_MONITOR_ROOM = 0.08  # of the node's memory, above what is used now


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Args:
        run: Launches the study as often as it takes and returns the last exit code.
        reason: What the reason of each lost or failed trial begins with; several by `|`.
        hits: Whether at least one trial must have that reason.
        settings: Beside those of the study.
        distills: Whether the study trains students on digits, not the waiting trainer.
    """

    run: Callable[[FaultStudy, random.Random], int]
    reason: str
    hits: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    distills: bool = False


def _by_itself(study: FaultStudy, _luck: random.Random) -> int:
    return study.launch()


def _monitored(study: FaultStudy, _luck: random.Random) -> int:
    used = psutil.virtual_memory().percent / 100
    return study.launch(environment={"RAY_memory_usage_threshold": f"{used + _MONITOR_ROOM:.3f}"})


def _kill_driver(study: FaultStudy, luck: random.Random) -> int:
    for _ in range(2):
        process = study.start()
        time.sleep(luck.uniform(1.0, 10.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        study.note_finished()
    return study.launch()


def _kill_process(title: str) -> Callable[[FaultStudy, random.Random], int]:
    """Kill the first process of a title below the driver, at a random moment of its life."""

    def run(study: FaultStudy, luck: random.Random) -> int:
        process = study.start()
        victim = _await_descendant(process.pid, title)
        time.sleep(luck.uniform(0.0, 0.8))
        if victim is not None and victim.is_running():
            victim.send_signal(signal.SIGKILL)
        return study.wait(process)

    return run


def _await_descendant(pid: int, title: str) -> psutil.Process | None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and psutil.pid_exists(pid):
        try:
            for process in psutil.Process(pid).children(recursive=True):
                if " ".join(process.cmdline()).startswith(title):
                    return process
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)
    return None


def _kill_pack(study: FaultStudy, luck: random.Random) -> int:
    """Kill a worker once its pack has left a checkpoint."""
    process = study.start()
    deadline = time.monotonic() + PATIENCE_S
    while not list(study.artifacts.glob("checkpoints/*.pt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(luck.uniform(0.0, 0.3))
    victim = _await_descendant(process.pid, "ray::ImplicitFunc.train")
    if victim is not None:
        victim.send_signal(signal.SIGKILL)
    return study.wait(process)


def _lose_node(study: FaultStudy, luck: random.Random) -> int:
    """Kill the raylet of one of two nodes while both train."""
    with _two_nodes() as (address, raylet):
        process = study.start("--address", address)
        study.await_running(process)
        time.sleep(luck.uniform(0.0, 1.0))
        os.kill(raylet, signal.SIGKILL)
        return study.wait(process)


@contextmanager
def _two_nodes() -> Iterator[tuple[str, int]]:
    """Start a cluster of two raylets; give its address and the second one's process."""
    from ray.cluster_utils import Cluster

    quiet: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 128 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**quiet, "include_dashboard": False})
    try:
        node = cluster.add_node(**quiet)
        yield cluster.address, node.all_processes["raylet"][0].process.pid
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's own lack


def _fill_disk(study: FaultStudy, luck: random.Random) -> int:
    """Keep the artifacts on a small disk: too small for the teacher at times, then for the soft targets."""
    room = luck.choice((8, 64, 128))
    code = study.launch(shell=_on_small_disk(study, room))
    if code == 1 and "Free space there" in study.log():
        code = study.launch(shell=_on_small_disk(study, 512))
    return code


def _on_small_disk(study: FaultStudy, size_kib: int) -> list[str]:
    mount = f'mount -t tmpfs -o size={size_kib}k tmpfs "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(study.artifacts)]


_LOST = "its worker was killed"
_AGAIN = "interrupted: its driver ended"
_SAVED = {"resources.checkpoint_minutes": "0"}

KINDS = {
    "worker": Kind(_by_itself, _LOST),
    "raise": Kind(_by_itself, "ValueError: a fault of the trainer"),
    "hang": Kind(_by_itself, "hung: no epoch within", settings={"resources.stall_minutes": "0.05"}),
    "memory": Kind(_by_itself, "out of memory: MemoryError"),
    "monitor": Kind(_monitored, "out of memory: Ray killed its worker"),
    "diverge": Kind(_by_itself, "diverged"),
    "driver": Kind(_kill_driver, _AGAIN, hits=False),
    "node": Kind(_lose_node, f"its node was lost|{_LOST}", settings={"options.epoch_s": "0.5"}),
    "teacher": Kind(_kill_process("ray::_train"), "never", hits=False, distills=True),
    "pack": Kind(_kill_pack, _LOST, settings=_SAVED, distills=True),
    "disk": Kind(_fill_disk, "never", hits=False, settings=_SAVED, distills=True),
}


def possible(kind: str) -> bool:
    """Return whether this machine allows a kind of fault."""
    if kind == "disk":
        probe = "unshare --user --map-root-user --mount true 2> /dev/null"
        return sys.platform == "linux" and shutil.which("unshare") is not None and os.system(probe) == 0  # noqa: S605 - ours
    return kind != "monitor" or psutil.virtual_memory().available > 4 * 2**30
