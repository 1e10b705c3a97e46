"""Faults of workers, of nodes and of shared files."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil  # type: ignore[import-untyped]  # has no stubs of its own

from kdsearch.bench.faults.networks import two_hosts
from kdsearch.bench.faults.shared_services import NODE_OPTIONS, SharedServices
from kdsearch.bench.faults.study import PACK, TRIALS, Driver, FaultStudy, MissedError
from kdsearch.bench.faults.trainer import has_happened

_PACK, _TEACHER = "ray::ImplicitFunc", "ray::_train"
"""How the titles of Ray's processes begin that train them."""
_QUICK_TO_MISS = {  # Ray gives a silent node up within 8 seconds, not a minute
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}
_MONITOR_ROOM = 0.08  # of the node's memory, above what is used now
_TURNED = 8  # bytes, by hand: damage in several places of a file

Files = Callable[[Path], Iterator[Path]]
Verify = Callable[[], None]
"""Looks once the study has ended. Raises MissedError where the fault hit nobody."""


def by_itself(fault: str) -> Callable[[FaultStudy, random.Random, SharedServices], Verify]:
    """Return what leaves a fault to the trainer."""

    def strike(study: FaultStudy, _luck: random.Random, _: SharedServices) -> Verify:
        def verify() -> None:
            if not has_happened(study.folder, fault):
                raise MissedError("no trial came to the fault")

        return verify

    return strike


def monitored(study: FaultStudy, luck: random.Random, services: SharedServices) -> Verify:
    """Launch where Ray's memory monitor is near its limit."""
    used = psutil.virtual_memory().percent / 100
    study.start(environment={"RAY_memory_usage_threshold": f"{used + _MONITOR_ROOM:.3f}"})
    return by_itself("monitor")(study, luck, services)


def kill_teacher(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Kill the process that trains the teacher.

    The moment is a random one of its life.
    """
    hit = study.until(study.running(), lambda: study.worker(_TEACHER) is not None)
    time.sleep(luck.uniform(0.0, 0.8))
    worker = study.worker(_TEACHER)
    if worker is not None:
        worker.kill()
    if not hit or worker is None:
        raise MissedError("the teacher was trained before it was found")


def kill_pack(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Kill a worker once its pack has left a checkpoint."""
    worker = _suspended_pack(study, luck)
    before = study.read()
    worker.kill()
    lost = 0 if before is None else before.count("failed")
    if not study.until(
        study.running(), lambda: (now := study.read()) is not None and now.count("failed") > lost
    ):
        study.wrong.append("the killed worker's pack was not lost")


def damage(files: Files, folder: str) -> Callable[[FaultStudy, random.Random, SharedServices], Verify]:
    """Return what damages files in the middle of a pack.

    Bits are turned; then the pack's worker is killed, or the driver, too.

    Args:
        files: The files of a folder of artifacts.
        folder: Theirs, as the log is to name it.
    """

    def strike(study: FaultStudy, luck: random.Random, _: SharedServices) -> Verify:
        worker = _suspended_pack(study, luck)
        turned = {file: _turn_bits(file, luck) for file in files(study.artifacts)}
        study.read()
        if luck.random() < 0.5:
            worker.kill()
        else:
            driver = study.running()
            driver.kill()
            worker.kill()
            driver.wait()
            study.driver = None
        return lambda: _verify_made_again(study, turned, folder)

    return strike


def _verify_made_again(study: FaultStudy, turned: Mapping[Path, bytes], folder: str) -> None:
    left = [file for file, content in turned.items() if file.exists() and file.read_bytes() == content]
    if left:
        raise MissedError(f"nobody read {len(left)} of {len(turned)} files again")
    lines = study.log().splitlines()
    if not any(f"/{folder}/" in line and "is damaged, and is made again" in line for line in lines):
        study.wrong.append(f"the log does not tell of the damage in {folder}")


def _turn_bits(file: Path, luck: random.Random) -> bytes:
    """Turn a bit in some bytes of a file, as disks may.

    Returns what the file then holds.
    """
    content = bytearray(file.read_bytes())
    for place in luck.sample(range(len(content)), min(_TURNED, len(content))):
        content[place] ^= 1 << luck.randrange(8)
    file.write_bytes(content)
    return bytes(content)


def _suspended_pack(study: FaultStudy, luck: random.Random) -> psutil.Process:
    """Suspend and return a worker in the middle of its pack.

    The pack has left a checkpoint by then and has not reported its end. It is one that trains alone. Some
    packs at the beginning are let go, and those that a fault has met.
    """
    spare = TRIALS // PACK - study.n_faults
    skipped = study.first_pack + luck.randrange(max(1, spare))
    study.first_pack = skipped + 1
    found: list[psutil.Process] = []

    def stops() -> bool:
        done = study.read()
        if done is None or len(done.finished) < PACK * skipped or not _checkpoints(study):
            return False
        worker = study.worker(_PACK)
        if worker is None:
            return False
        with suppress(psutil.Error):
            worker.suspend()
            if _checkpoints(study):
                found.append(worker)
                return True
            worker.resume()
        return False

    if not study.until(study.running(), stops):
        raise MissedError("no pack was met in the middle of its training")
    return found[0]


def _checkpoints(study: FaultStudy) -> list[Path]:
    return list(study.artifacts.glob("checkpoints/*.pt"))


def lose_node(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Kill the raylet of one of two nodes.

    A pack trains on each of them then.
    """
    address, raylet = study.surroundings.enter_context(_two_nodes())
    driver = study.start("--address", address)
    study.until_at_gate(driver, 2)
    time.sleep(luck.uniform(0.0, 1.0))
    os.kill(raylet, signal.SIGKILL)
    _await_loss(study, driver)


@contextmanager
def _two_nodes() -> Iterator[tuple[str, int]]:
    """Start a cluster of two raylets. Give its address and the second one's process."""
    from ray.cluster_utils import Cluster

    quiet: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 128 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**quiet, "include_dashboard": False})
    try:
        node = cluster.add_node(**quiet)
        yield cluster.address, node.all_processes["raylet"][0].process.pid
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's own lack


def cut_off(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Cut one of two hosts off the network.

    A pack trains on each of them then.
    """
    head, other = study.surroundings.enter_context(two_hosts())
    folder = study.surroundings.enter_context(TemporaryDirectory(prefix="kdn-"))
    address = f"{head.address}:6379"
    first = ("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={folder}")
    for host, options in ((head, first), (other, (f"--address={address}",))):
        own = (*options, f"--node-ip-address={host.address}", "--num-cpus=1", *NODE_OPTIONS)
        host.run(str(Path(sys.executable).with_name("ray")), "start", *own, environment=_QUICK_TO_MISS)
    driver = study.start("--address", address, shell=head.shell)
    study.until_at_gate(driver, 2)
    time.sleep(luck.uniform(0.0, 1.0))
    other.cut_off()
    _await_loss(study, driver)


def _await_loss(study: FaultStudy, driver: Driver) -> None:
    """Wait until the database has the loss of a node, whose worker may outlive it for a moment."""
    study.until(driver, lambda: (found := study.read()) is not None and found.count("failed") > 0)
