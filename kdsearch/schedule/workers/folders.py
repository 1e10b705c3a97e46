"""The folder of the launch, to which a user's paths are relative."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from kdsearch.errors import RequestError
from kdsearch.spec.sections import LABEL_KINDS
from kdsearch.spec.space import value_at

_PATHS = (
    *("dataset.root", "dataset.labels"),
    *("teacher.pretraining.root", "teacher.pretraining.checkpoint"),
    *("student.init.root", "student.init.checkpoint"),
)


def enter_launch_folder(folder: str, document: Mapping[str, Any]) -> None:
    """Go to the folder of the launch. Relative paths mean there what they mean here.

    Of a Ray job it is the job's working directory, which Ray unpacks on every node.

    Args:
        folder: The driver's working directory.
        document: The document of what is trained, whose paths are looked at where there is no such folder.

    Raises:
        RequestError: This node does not have the folder, and the spec names something in it.
    """
    try:
        os.chdir(folder)
    except OSError:
        os.chdir(os.environ.get("TUNE_ORIG_WORKING_DIR") or ".")
        relative = next(relative_paths(document), None)
        if relative is not None and not _in_job():
            raise RequestError(
                f"`{relative}` must be a path that this node has, got one below {folder}, the folder of the "
                "launch. Mount that folder on every node, name an absolute path, or submit the study as a "
                "Ray job: --address http://HEAD:8265."
            ) from None


def relative_paths(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of a training's document that hold a relative path."""
    for path in _PATHS:
        try:
            value = value_at(document, path)
        except KeyError:
            continue
        is_path = isinstance(value, str) and value not in LABEL_KINDS and "://" not in value
        if is_path and not Path(value).expanduser().is_absolute():
            yield path


def _in_job() -> bool:
    environment: Mapping[str, Any] = ray.get_runtime_context().runtime_env or {}
    return "working_dir" in environment
