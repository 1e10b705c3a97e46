"""What a pack needs against what there is."""

import os
from pathlib import Path

from kdsearch.errors import RequestError
from kdsearch.spec import StudySpec


def check_resources(spec: StudySpec, cpus: float, gpus: float) -> None:
    """Raise RequestError where one pack needs more than there is."""
    for name, needed, there in (
        ("gpus_per_pack", spec.resources.gpus, gpus),
        ("cpus_per_pack", spec.resources.cpus_per_pack, cpus),
    ):
        if needed > there:
            raise RequestError(
                f"`resources.{name}` must be at most what the cluster has, {there:g}, got {needed:g}. "
                "Lower it, or launch on a larger cluster with --address."
            )


def with_gpus(spec: StudySpec, gpus: float) -> StudySpec:
    """Return a spec with the number that `gpus_per_pack: auto` stands for.

    That is one pack a GPU: our engine fills it with one, and packs that share one only slow each other.
    Whether another trainer uses a GPU at all is not known, so it gets none.

    Args:
        spec: The study's.
        gpus: How many there are.
    """
    if spec.resources.gpus_per_pack != "auto":
        return spec
    own = 1.0 if gpus >= 1 and spec.trainer == "distill" else 0.0
    resources = spec.resources.model_copy(update={"gpus_per_pack": own})
    return spec.model_copy(update={"resources": resources})


def check_local_resources(spec: StudySpec) -> None:
    """Raise RequestError where one pack needs more than this machine has."""
    check_resources(spec, len(os.sched_getaffinity(0)), local_gpus())


def local_gpus() -> int:
    """Return the number of NVIDIA GPUs that this machine shows.

    Neither torch nor Ray is imported.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
