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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil  # type: ignore[import-untyped]  # has no stubs of its own

from kdsearch.bench.faults.networks import networks_problem, two_hosts
from kdsearch.bench.faults.study import FaultStudy

PATIENCE_S = 60.0
_SMALL_NODE = ("--num-cpus=1", "--num-gpus=0", "--object-store-memory=134217728", "--disable-usage-stats")
_QUICK_TO_MISS = {  # Ray gives a silent node up within 8 seconds, not a minute
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}
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


def _cut_off(study: FaultStudy, luck: random.Random) -> int:
    """Take one of two hosts off the network while both train."""
    with two_hosts() as (head, other), TemporaryDirectory(prefix="kdn-") as folder:
        address = f"{head.address}:6379"
        first = ("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={folder}")
        for host, options in ((head, first), (other, (f"--address={address}",))):
            own = (*options, f"--node-ip-address={host.address}", *_SMALL_NODE)
            host.run(str(Path(sys.executable).with_name("ray")), "start", *own, environment=_QUICK_TO_MISS)
        process = study.start("--address", address, shell=head.shell)
        study.await_running(process)
        time.sleep(luck.uniform(0.0, 1.0))
        other.cut_off()
        return study.wait(process)


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
_NODE_LOST = "its node was lost"
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
    "node": Kind(_lose_node, _NODE_LOST, settings={"options.epoch_s": "0.5"}),
    "network": Kind(_cut_off, _NODE_LOST, settings={"options.epoch_s": "0.5"}),
    "teacher": Kind(_kill_process("ray::_train"), "never", hits=False, distills=True),
    "pack": Kind(_kill_pack, _LOST, settings=_SAVED, distills=True),
    "disk": Kind(_fill_disk, "never", hits=False, settings=_SAVED, distills=True),
}


def hindrance(kind: str) -> str | None:
    """Return why this machine does not allow a kind of fault; None where it does."""
    if kind == "network":
        return networks_problem()
    if kind == "disk":
        return _small_disk_problem()
    if kind == "monitor" and psutil.virtual_memory().available <= 4 * 2**30:
        return "less than 4 GiB of memory are free"
    return None


def _small_disk_problem() -> str | None:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return "a file system of one's own needs Linux and unshare"
    probe = "unshare --user --map-root-user --mount true 2> /dev/null"
    return "mount namespaces are not allowed" if os.system(probe) else None  # noqa: S605 - ours
