"""How a driver fares on a long study: trials that take no time or wait, many packs at once, real Ray."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil  # type: ignore[import-untyped]  # has no stubs of its own
from sqlalchemy import func, select, text

from kdsearch.bench.scale.forking import forking_python
from kdsearch.errors import RunError
from kdsearch.storage import Database, list_studies, open_database
from kdsearch.storage.sql.tables import PackTable

NAME = "driven"
SAMPLE_S = 2.0  # fine beside a study of minutes, and takes little CPU time itself
TRAINER = "kdsearch.bench.scale.trainer"
_WORKER_NEEDS = ("ray.tune", "kdsearch.schedule.workers.trainable", TRAINER)


@dataclass(frozen=True)
class Moment:
    """A study's progress and its driver's use at one moment.

    `seconds` is since the launch, `cpu_s` what the driver has taken since.

    `packs` are those whose worker has begun and that have not ended.
    """

    seconds: float
    finished: int
    packs: int
    cpu_s: float
    rss_mib: float


@dataclass(frozen=True)
class Load:
    """What a driver is to do: trials, packs at once, trials in a pack, seconds and epochs of a pack.

    With `forked`, Ray's workers are forked from one process, as no real cluster does it, so that many fit.
    """

    trials: int
    packs: int
    pack: int
    seconds: float
    epochs: int
    sampler: str
    forked: bool = False


@dataclass(frozen=True)
class Driven:
    """What a driver did.

    Attributes:
        load: What was asked of it.
        per_s: Finished trials a second, in each quarter of the study.
        cpu_ms: CPU time of the driver's process for each finished trial, in each quarter, in milliseconds.
        packs: The most packs that ran at once.
        rss_mib: The memory that the driver held in the end.
        growth_kib: By how much that grew with each finished trial, after the first quarter.
        database_kib: What a trial takes of the database on its disk.
        moments: All that was seen.
    """

    load: Load
    per_s: list[float]
    cpu_ms: list[float]
    packs: int
    rss_mib: float
    growth_kib: float
    database_kib: float
    moments: list[Moment]


def drive(load: Load, storage: str, folder: Path) -> Driven:
    """Launch the study, watch it to its end, return its cost.

    It runs in a process of its own.

    Args:
        load: What is to be done.
        storage: The database's URL.
        folder: Where the study file and the log go.

    Raises:
        RunError: The study did not end well.
    """
    (folder / "study.yaml").write_text(json.dumps(_document(load, folder)))
    with open_database(storage, create=True) as database:
        with _environment(load) as environment, _launched(storage, folder, environment) as driver:
            moments = list(_watch(driver, database))
            if driver.wait() != 0:
                raise RunError(f"The study failed: {(folder / 'log').read_text()[-2000:]}")
        size = _size_bytes(database)
    return _summary(load, moments, size)


@contextmanager
def _environment(load: Load) -> Iterator[dict[str, str]]:
    """Give the environment of the driver. It tells Ray how to start workers."""
    with ExitStack() as stack:
        environment = dict(os.environ)
        if load.forked:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="kdf-")))
            python = stack.enter_context(forking_python(folder, _WORKER_NEEDS))
            environment["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps(
                {"runtime_env": {"py_executable": python}}
            )
        yield environment


@contextmanager
def _launched(storage: str, folder: Path, environment: Mapping[str, str]) -> Iterator[psutil.Popen]:
    """Launch the folder's study; whatever happens, its driver ends with the block."""
    command = [sys.executable, "-m", "kdsearch", "launch", "study.yaml", "--storage", storage]
    with (folder / "log").open("wb") as log:
        command += ["--format", "json"]
        driver = psutil.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            yield driver
        finally:
            if driver.poll() is None:
                driver.terminate()
                driver.wait()


def _document(load: Load, folder: Path) -> dict[str, object]:
    return {
        "name": NAME,
        "trainer": f"{TRAINER}:train",
        "options": {"seconds": load.seconds},
        "training": {"epochs": load.epochs},
        "setup": {
            "optimizer.name": ["sgd", "adamw"],
            "teacher.finetune.epochs": [2, 5, 20],
            "teacher.arch": ["mlp_32", "mlp_64"],
        },
        "tune": {
            "objective.temperature": {"low": 1, "high": 40, "log": True},
            "optimizer.lr": {"low": 0.01, "high": 1.0, "log": True},
        },
        "search": {"trials": load.trials, "pack": load.pack, "sampler": load.sampler},
        "resources": {"cpus_per_pack": len(os.sched_getaffinity(0)) / load.packs},
        "artifacts": str(folder / "artifacts"),
    }


def _watch(driver: psutil.Popen, database: Database) -> Iterator[Moment]:
    """Yield moments of the study until it or its driver ends.

    The first is before its first trial.
    """
    start = time.monotonic()
    moment = Moment(seconds=0.0, finished=0, packs=0, cpu_s=0.0, rss_mib=0.0)
    yield moment
    alive = True
    while alive:
        time.sleep(SAMPLE_S)
        alive = driver.poll() is None
        cpu_s, rss_mib = _taken(driver) if alive else (moment.cpu_s, moment.rss_mib)
        study = next((study for study in list_studies(database) if study.name == NAME), None)
        if study is not None:
            progress = study.progress
            seconds = time.monotonic() - start
            moment = Moment(seconds, progress.finished, _running_packs(database), cpu_s, rss_mib)
            yield moment
            alive = alive and progress.finished < progress.target


def _running_packs(database: Database) -> int:
    """Return how many packs of the database's one study run."""
    with database.read() as connection:
        return connection.scalar(select(func.count()).where(PackTable.running)) or 0


def _taken(driver: psutil.Popen) -> tuple[float, float]:
    """Return the driver's CPU seconds and the MiB it holds."""
    times = driver.cpu_times()
    return times.user + times.system, driver.memory_info().rss / 2**20


def _summary(load: Load, moments: list[Moment], size: int) -> Driven:
    begun = max(i for i, moment in enumerate(moments) if not moment.finished)
    seen = np.array([(m.finished, m.seconds, m.cpu_s, m.rss_mib) for m in moments[begun:]])
    finished, seconds, cpu_s, rss_mib = seen.T
    quarters = np.linspace(0, finished[-1], 5)
    n_trials = np.diff(quarters)
    first = int((finished >= quarters[1]).argmax())  # until then the driver loads what it needs
    growth = (rss_mib[-1] - rss_mib[first]) / max(finished[-1] - finished[first], 1)
    return Driven(
        load=load,
        per_s=(n_trials / np.diff(np.interp(quarters, finished, seconds))).tolist(),
        cpu_ms=(1e3 * np.diff(np.interp(quarters, finished, cpu_s)) / n_trials).tolist(),
        packs=max(moment.packs for moment in moments),
        rss_mib=float(rss_mib[-1]),
        growth_kib=float(1024 * growth),
        database_kib=size / 1024 / load.trials,
        moments=moments,
    )


def _size_bytes(database: Database) -> int:
    """Return the bytes of a database on its disk."""
    with database.read() as connection:
        if connection.dialect.name == "postgresql":
            return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    path = Path(database.url.database or "")
    return sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))
