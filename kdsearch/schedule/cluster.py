"""The Ray cluster that a study runs on: embedded and ours alone, or one that is running already."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError

from kdsearch.errors import RequestError
from kdsearch.schedule.resources import check_resources, local_gpus
from kdsearch.spec import StudySpec
from kdsearch.storage.processes import is_alive

OBJECT_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Cluster:
    """What a cluster offers; `scratch` is a folder on the driver's machine, gone after the study."""

    cpus: float
    gpus: float
    scratch: Path

    def slots(self, spec: StudySpec) -> int:
        """Return how many packs run at once.

        Raises:
            RequestError: A pack needs more than the cluster has.
        """
        needs = spec.resources
        check_resources(spec, self.cpus, self.gpus)
        by_cpu = int(self.cpus / needs.cpus_per_pack)
        by_gpu = int(self.gpus / needs.gpus_per_pack) if needs.gpus_per_pack else by_cpu
        return max(1, min(by_cpu, by_gpu))


@contextmanager
def connect(address: str | None) -> Iterator[Cluster]:
    """Join the cluster at an address, or start one for this study and stop it again.

    Raises:
        RequestError: There is no cluster at the address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    scratch = _make_scratch()
    try:
        _start(address, scratch)
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own lack
        yield Cluster(resources.get("CPU", 0.0), resources.get("GPU", 0.0), scratch)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _make_scratch() -> Path:
    """Make a folder of this process, and remove those of processes that were killed.

    Its path is short: Ray's sockets lie below it, and a socket's path has at most 107 bytes.
    """
    for left in Path(tempfile.gettempdir()).glob("kds-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"kds-{os.getpid()}-"))


def _start(address: str | None, scratch: Path) -> None:
    if address is None:
        ray.init(
            address="local",
            num_gpus=local_gpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(scratch),
        )
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (AuthenticationError, ConnectionError, RuntimeError, ValueError) as error:
        raise RequestError(
            f"`--address` must be a running Ray cluster, got {address!r}: {error}. "
            "Start one with `ray start --head`, or leave --address out."
        ) from error
