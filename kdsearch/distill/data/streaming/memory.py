"""How much memory is free: the machine's, within the limits of this process's control groups, and a GPU's."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# What is kept is committed as it is allocated, so that the next process sees less: these shares are left
# free by all of a machine's packs together.
_LEFT_OF_HOST = 1 / 2  # for training, other programs and the files that the system keeps at hand
_LEFT_OF_DEVICE = 2 / 3  # for networks and activations, which gain more by it


@dataclass(frozen=True)
class Memory:
    """Bytes that a place has in all, and those that are free."""

    total: int
    free: int

    def room(self, left: float) -> int:
        """Return how many bytes may be taken while a share stays free."""
        return max(0, self.free - int(left * self.total))


@dataclass(frozen=True)
class _Version:
    """What a version of control groups calls its files."""

    folder: str
    limit: str
    used: str
    reclaimable: str


_VERSIONS = {
    "": _Version("", "memory.max", "memory.current", "inactive_file"),
    "memory": _Version("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def memory_of(device: torch.device) -> Memory:
    """Return a device's memory; a CPU's is the machine's."""
    if device.type != "cuda":
        return host_memory()
    from kdsearch.distill.data.streaming.cuda import cuda_memory

    return Memory(*cuda_memory(device))


def room_on(device: torch.device) -> int:
    """Return how many bytes decoded images may take on a device."""
    return memory_of(device).room(_LEFT_OF_DEVICE if device.type == "cuda" else _LEFT_OF_HOST)


def host_memory(proc: Path = _PROC, groups: Path = _GROUPS) -> Memory:
    """Return the memory of the machine or of its narrowest control group.

    It is 0 where it is unknown.

    Args:
        proc: Where the kernel tells of the machine and of this process.
        groups: Where it tells of control groups.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        values = {
            name: 1024 * int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
        }
        machine = Memory(values["MemTotal"], values["MemAvailable"])
    except (OSError, KeyError, ValueError, IndexError):
        return Memory(0, 0)
    every = [machine, *_limits(proc, groups)]
    return Memory(min(own.total for own in every), min(own.free for own in every))


def _limits(proc: Path, groups: Path) -> Iterator[Memory]:
    """Yield what this process's control groups allow, and those above them."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version = next((_VERSIONS[name] for name in controllers.split(",") if name in _VERSIONS), None)
        if version is None:
            continue
        root = groups / version.folder
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):  # a container may see its own group as the root
            if (found := _limit(place, version)) is not None:
                yield found
            if place == root:
                break


def _limit(place: Path, version: _Version) -> Memory | None:
    try:
        limit = int((place / version.limit).read_text())
        used = int((place / version.used).read_text())
        lines = (place / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # there is none, or it is "max"
        return None
    cached = next((int(line.split()[1]) for line in lines if line.split()[0] == version.reclaimable), 0)
    return Memory(limit, max(0, limit - used + cached))


def shared_memory_bytes(folder: Path = Path("/dev/shm")) -> int:  # noqa: S108 - it is asked for its size
    """Return how many more bytes processes can share. Containers often have 64 MB."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):  # another system, with other ways
        return 2**30
    return status.f_bavail * status.f_frsize
