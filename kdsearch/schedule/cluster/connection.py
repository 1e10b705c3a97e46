"""The Ray cluster of a study: embedded, or one that is running."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError

from kdsearch.errors import RequestError, RunError
from kdsearch.schedule.cluster.authentication import give_token
from kdsearch.schedule.cluster.ray_internals import (
    apart_from_signals,
    at_any_port,
    kept_on_loopback,
    started_patiently,
    without_bystanders,
)
from kdsearch.schedule.cluster.resources import check_resources, local_gpus
from kdsearch.schedule.cluster.scratch import RAY, scratch_folder
from kdsearch.spec import StudySpec

_TRIES = 3
"""By hand: Ray's start may fail by chance on a busy machine, hardly three times."""

START_S = 150.0
"""How long a process of Ray may take to start: some 3 s of CPU time, on a machine that others keep busy."""
OBJECT_STORE_BYTES = 256 * 2**20
"""Results are small: the store holds a few messages, and Ray would take 30% of the memory."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """What a cluster offers to a study.

    `scratch` is a folder on the driver's machine that is removed after the study.
    """

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
        by_gpu = int(self.gpus / needs.gpus) if needs.gpus else by_cpu
        return max(1, min(by_cpu, by_gpu))


@contextmanager
def connect(address: str | None) -> Iterator[Cluster]:
    """Join the cluster at an address, or start one.

    One that was started for this study is stopped again.

    Raises:
        RequestError: There is no cluster at the address, or no folder for temporary files.
        RunError: Ray does not start on this machine.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with scratch_folder() as scratch:
        try:
            if address is None:
                _start(scratch / RAY)
            else:
                _join(address)
            resources = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own lack
            yield Cluster(resources.get("CPU", 0.0), resources.get("GPU", 0.0), scratch)
        finally:
            ray.shutdown()


def _start(folder: Path) -> None:
    """Start Ray on this machine alone; retry where that fails."""
    give_token()
    for attempt in range(1, _TRIES + 1):
        try:
            _start_once(folder)
        except Exception as error:  # Ray raises plain `Exception` where a process of its own does not answer
            why = _first_line(error)
            if attempt == _TRIES or isinstance(error, ValueError):
                raise RunError(
                    f"Ray could not be started on this machine, tried {attempt} times: {why}. Launch again "
                    "when the machine is less busy, or join a cluster that runs with --address."
                ) from error
            _log.warning("Ray did not start: %s. It is started once more.", why)
        else:
            return


def _start_once(folder: Path) -> None:
    with (
        apart_from_signals() as processes,
        started_patiently(START_S, processes),
        kept_on_loopback(),
        at_any_port(),
        without_bystanders(),
    ):
        try:
            ray.init(
                address="local",
                num_gpus=local_gpus(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",  # nobody else on the network needs to see it
                _temp_dir=str(folder),
            )
        except BaseException:
            ray.shutdown()
            for process in processes:  # Ray leaves them where its start breaks off
                process.kill()
            raise


def _join(address: str) -> None:
    try:
        with apart_from_signals():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (AuthenticationError, ConnectionError, RuntimeError, ValueError) as error:
        raise RequestError(
            f"`--address` must be a running Ray cluster, got {address!r}: {error}. "
            "Start one with `ray start --head`, or leave --address out."
        ) from error


def _first_line(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
