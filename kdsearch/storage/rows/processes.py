"""Which process holds a lease, told from later ones with its pid."""

import os
from pathlib import Path


def process_mark(pid: int | None = None) -> str:
    """Return a text that no other process has.

    It differs between machines, containers and boots too.
    """
    number = os.getpid() if pid is None else pid
    return f"{_namespace()}:{number}:{_start_ticks(number)}"


def is_dead(mark: str) -> bool:
    """Return whether the process of a mark is known to be gone. One elsewhere is never known."""
    namespace, _, rest = mark.rpartition(":")[0].rpartition(":")
    if namespace != _namespace() or not rest.isdigit():
        return False
    return process_mark(int(rest)) != mark


def _namespace() -> str:
    """Return what pids are counted in: this boot of this machine, and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{os.uname().nodename}"


def _start_ticks(pid: int) -> str:
    """Return when a process started. Empty for none, and for one that ended and waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return "alive" if not Path("/proc/self").exists() and is_alive(pid) else ""
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine exists.

    One that ended and waits to be reaped counts.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the latter for what is no process's number
        return False
    except PermissionError:
        return True
    return True
