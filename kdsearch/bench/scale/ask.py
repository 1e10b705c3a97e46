"""What it takes to ask a database of very many trials: each question in a process of its own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from kdsearch.errors import RunError
from kdsearch.search import build_proposer
from kdsearch.storage import load_optuna_study, load_spec_of, load_trials, open_database

_FORMATS = ("json", "csv")
_TELL_USE = """
import os, sys
if not (child := os.fork()):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, use = os.wait4(child, 0)
print(use.ru_utime + use.ru_stime, use.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""
"""Runs a command from a process that is small: a child's peak of memory is never told below its parent's."""


@dataclass(frozen=True)
class Asked:
    """What one question took in a fresh process: seconds, and the most memory that the process had."""

    question: str
    wall_s: float
    cpu_s: float
    peak_mib: float


def ask_commands(study: str, storage: str) -> Iterator[Asked]:
    """Ask by the commands, and for the next pack."""
    yield run("studies", ["kdsearch", "studies"], storage)
    for question in ("best", "best, asked again"):
        yield run(question, ["kdsearch", "best", study, "--format", "json"], storage)
    for output in _FORMATS:
        yield run(f"trials --format {output}", ["kdsearch", "trials", study, "--format", output], storage)
    yield run("the next pack", ["kdsearch.bench.scale.ask", study], storage)


def ask_pages(study: str, storage: str) -> Iterator[Asked]:
    """Ask for the service's pages, each of a service just started."""
    with open_database(storage) as database:
        number = load_optuna_study(database, study)._study_id
    pages = {
        "service: /": "",
        "service: /studies/STUDY": f"studies/{study}",
        "service: …/best": f"kdsearch/v1/studies/{study}/best",
        "dashboard: its first page": "api/studies",
        "dashboard: the study's page": f"api/studies/{number}?after=0",
    }
    for question, path in pages.items():
        with _serving(storage) as (address, process):
            before = _cpu_s(process)
            start = time.perf_counter()
            while b"being computed" in urlopen(f"{address}{path}").read():  # noqa: S310 - ours
                if question.startswith("dashboard"):  # its page is whole, but for our note
                    break
                time.sleep(0.1)
            wall_s = time.perf_counter() - start
            yield Asked(question, wall_s, _cpu_s(process) - before, _peak_mib(process))


def run(question: str, command: Sequence[str], storage: str) -> Asked:
    """Run a module over a database and return what it took.

    Its start is included.

    Raises:
        RunError: It failed.
    """
    variables = {**os.environ, "KDSEARCH_STORAGE": storage}
    start = time.perf_counter()
    whole = [sys.executable, "-m", *command]
    found = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-S", "-c", _TELL_USE, *whole], env=variables, stdout=subprocess.PIPE, check=False
    )
    wall_s = time.perf_counter() - start
    if found.returncode:
        raise RunError(f"{' '.join(command)} ended with exit code {found.returncode}.")
    cpu_s, peak_kib = map(float, found.stdout.split())
    return Asked(question, wall_s, cpu_s, peak_kib / 1024)


@contextmanager
def _serving(storage: str) -> Iterator[tuple[str, int]]:
    """Run the service; give its address and its process."""
    command = [sys.executable, "-m", "kdsearch", "serve", "--port", "0", "--storage", storage]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            assert process.stdout is not None  # noqa: S101 - as asked for
            address = re.search(r"http://\S+/", process.stdout.readline())
            if address is None:
                raise RunError("The service did not tell its address.")
            yield address[0], process.pid
        finally:
            process.terminate()


def _cpu_s(process: int) -> float:
    """Return the CPU seconds that a process has taken so far."""
    fields = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(process: int) -> float:
    status = Path("/proc", str(process), "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _propose(study: str, storage: str) -> None:
    """Choose the next pack, as a driver that resumes would."""
    with open_database(storage) as database:
        spec, trials = load_spec_of(database, study), load_trials(database, study)
    build_proposer(spec).propose(trials, spec.search.pack)


if __name__ == "__main__":
    _propose(sys.argv[1], os.environ["KDSEARCH_STORAGE"])
