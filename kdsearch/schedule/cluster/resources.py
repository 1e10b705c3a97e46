"""What a pack needs against what there is."""

import os
from pathlib import Path

from kdsearch.errors import RequestError
from kdsearch.spec import StudySpec


def check_resources(spec: StudySpec, cpus: float, gpus: float) -> None:
    """Raise RequestError where one pack needs more than there is."""
    for name, needed, there in (
        ("gpus_per_pack", spec.resources.gpus_per_pack, gpus),
        ("cpus_per_pack", spec.resources.cpus_per_pack, cpus),
    ):
        if needed > there:
            raise RequestError(
                f"`resources.{name}` must be at most what the cluster has, {there:g}, got {needed:g}. "
                "Lower it, or launch on a larger cluster with --address."
            )


def check_local_resources(spec: StudySpec) -> None:
    """Raise RequestError where one pack needs more than this machine has."""
    check_resources(spec, len(os.sched_getaffinity(0)), local_gpus())


def local_gpus() -> int:
    """Return how many NVIDIA GPUs this machine shows, without importing torch or Ray."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
