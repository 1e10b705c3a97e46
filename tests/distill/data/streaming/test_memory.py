"""Free memory: the machine's, within control groups of both versions."""

from pathlib import Path

import pytest
import torch

from kdsearch.distill.data.streaming import memory
from kdsearch.distill.data.streaming.memory import Memory, host_memory, room_on

GIB = 2**30  # bytes


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Give a machine of 64 GiB, 40 of them free.

    The kernel's files tell of it.
    """
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(
        f"MemTotal: {64 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {40 * 2**20} kB\nHugePages_Total: 0\n"
    )
    (tmp_path / "proc/self/cgroup").write_text("")
    (tmp_path / "groups").mkdir()
    return tmp_path


def found(machine: Path) -> Memory:
    return host_memory(machine / "proc", machine / "groups")


def write_group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_without_limits_it_is_the_machines(machine: Path) -> None:
    assert found(machine) == Memory(64 * GIB, 40 * GIB)


def test_it_is_known_on_this_machine() -> None:
    here = host_memory()
    assert 0 < here.free <= here.total


@pytest.mark.parametrize("inside", [False, True], ids=["whole tree", "own group as the root"])
def test_a_group_of_the_second_version_narrows_it(machine: Path, inside: bool) -> None:
    (machine / "proc/self/cgroup").write_text("0::/pods/mine\n")
    folder = machine / "groups" / ("" if inside else "pods")  # the limit is that of a group above
    stat = f"anon 5\ninactive_file {2 * GIB}\n"
    write_group(folder, memory__max=f"{16 * GIB}\n", memory__current=f"{7 * GIB}\n", memory__stat=stat)
    write_group(machine / "groups/pods/mine", memory__max="max\n", memory__current="1\n", memory__stat=stat)
    assert found(machine) == Memory(16 * GIB, 11 * GIB)


def test_a_group_of_the_first_version_narrows_it(machine: Path) -> None:
    (machine / "proc/self/cgroup").write_text("5:cpu,cpuacct:/\n4:memory:/docker/a:b\n")
    write_group(
        machine / "groups/memory/docker/a:b",
        memory__limit_in_bytes=str(8 * GIB),
        memory__usage_in_bytes=str(9 * GIB),
        memory__stat=f"inactive_file 7\ntotal_inactive_file {GIB // 2}\n",
    )
    assert found(machine) == Memory(8 * GIB, 0)


def test_where_nothing_is_known_nothing_is_free(tmp_path: Path) -> None:
    assert found(tmp_path) == Memory(0, 0)


@pytest.mark.parametrize(
    ("device", "free", "room"),
    [("cpu", 100, 50), ("cpu", 50, 0), ("cpu", 20, 0), ("cuda", 90, 24), ("cuda", 60, 0)],
)
def test_half_of_a_machine_and_two_thirds_of_a_gpu_stay_free(
    monkeypatch: pytest.MonkeyPatch, device: str, free: int, room: int
) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda _: Memory(100, free))
    assert room_on(torch.device(device)) == room
