"""Two machines as far as the network goes: network namespaces of Linux, joined by a cable that can be cut.

They need no rights but those to make namespaces, and nothing of them is left on the machine.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kdsearch.errors import RunError

_CABLE = "kd0"
_ADDRESSES = ("10.213.77.1", "10.213.77.2")
_PATIENCE_S = 10.0  # a namespace takes milliseconds; a loaded machine must not fail
_USER = ("--user", "--map-root-user")


@dataclass(frozen=True)
class Host:
    """One end of the cable: its address, and the process that holds its namespaces."""

    address: str
    pid: int

    @property
    def shell(self) -> list[str]:
        """What starts a command on this host, as `env` would."""
        return ["nsenter", "--preserve-credentials", "--user", "--net", f"--target={self.pid}"]

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Run a command to its end. What it leaves in the background goes on.

        Raises:
            RunError: It failed.
        """
        done = _run([*self.shell, *command], environment)
        if done.returncode:
            raise RunError(f"{' '.join(command)} failed: {done.stderr.strip()}")

    def cut_off(self) -> None:
        """Take this end of the cable down. From now on nothing arrives and nothing leaves."""
        self.run("ip", "link", "set", _CABLE, "down")

    def end(self) -> None:
        """Kill every process on this host."""
        network = os.readlink(f"/proc/{self.pid}/ns/net")
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(FileNotFoundError, PermissionError, ProcessLookupError):
                if os.readlink(folder / "ns/net") == network:
                    os.kill(int(folder.name), signal.SIGKILL)


def networks_problem() -> str | None:
    """Return why this machine can't have such hosts; None where it can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if missing := [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]:
        return f"{missing[0]} is not installed"
    done = _run(["unshare", *_USER, "--net", "ip", "link", "add", _CABLE, "type", "veth"])
    return f"network namespaces are not allowed: {done.stderr.strip()}" if done.returncode else None


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Give two hosts that reach only each other.

    They last for the block.

    Raises:
        RunError: This machine can't have them; `networks_problem` tells why.
    """
    with ExitStack() as stack:
        first = stack.enter_context(_host(_ADDRESSES[0], [], _USER))
        second = stack.enter_context(_host(_ADDRESSES[1], first.shell, ()))
        ends = ("type", "veth", "peer", "name", _CABLE, "netns", str(second.pid))
        first.run("ip", "link", "add", _CABLE, *ends)
        for host in (first, second):
            host.run("ip", "address", "add", f"{host.address}/24", "dev", _CABLE)
            for device in ("lo", _CABLE):
                host.run("ip", "link", "set", device, "up")
        yield first, second


@contextmanager
def _host(address: str, shell: Sequence[str], more: Sequence[str]) -> Iterator[Host]:
    """Give a host whose namespaces are held by a waiting process."""
    command = [*shell, "unshare", *more, "--net", "sleep", "infinity"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as holder:  # noqa: S603 - ours
        try:
            _await_sleep(holder)
            host = Host(address, holder.pid)
            try:
                yield host
            finally:
                host.end()
        finally:
            holder.kill()


def _await_sleep(holder: "subprocess.Popen[bytes]") -> None:
    """Wait until a process has become `sleep`. It is in its namespaces then."""
    deadline = time.monotonic() + _PATIENCE_S
    while holder.poll() is None and time.monotonic() < deadline:
        if Path(f"/proc/{holder.pid}/comm").read_text().strip() == "sleep":
            return
        time.sleep(0.01)
    raise RunError("The namespaces of a host could not be made.")


def _run(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, **(environment or {})}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)  # noqa: S603 - ours
