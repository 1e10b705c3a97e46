"""Users' dotted paths in the errors of shared code."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, TypeAlias

from kdsearch.errors import RequestError, RunError

Role: TypeAlias = Literal["teacher", "student", "pretraining"]
"""What a network is made for: a teacher, a student's start, or the body that one of them starts from."""

_SETTING = re.compile(r"`([a-z_.]+)(?=[`:])")


def _network(section: str, pretraining: str, finetune: str) -> Mapping[str, str]:
    return {
        "arch": f"{section}.arch",
        "stem": f"{section}.stem",
        "pretraining": f"{section}.{pretraining}",
        "finetune": f"{section}.{finetune}",
        "optimizer.name": f"{section}.{finetune}.optimizer",
        "training.schedule": f"{section}.{finetune}.schedule",
    }


_PATHS: Mapping[Role, Mapping[str, str]] = {
    "teacher": _network("teacher", "pretraining", "finetune"),
    "student": _network("student", "init", "init"),
    # The paths below `pretraining` are those of the network around it.
    "pretraining": {
        "dataset.name": "pretraining.dataset",
        "dataset.root": "pretraining.root",
        "finetune": "pretraining",
        "optimizer.name": "pretraining.optimizer",
        "training.schedule": "pretraining.schedule",
    },
}


@contextmanager
def errors_about(role: Role) -> Iterator[None]:
    """Let errors name a network's settings by their paths in the spec.

    The code inside names them as if there were one network: `arch`, `stem`, `pretraining`, `finetune`,
    `optimizer.name`, `training.schedule`; for a pretraining its `dataset.name` and `dataset.root` too.
    """
    try:
        yield
    except (RequestError, RunError) as error:
        message = _SETTING.sub(lambda found: f"`{_path_of(found[1], _PATHS[role])}", str(error))
        if message == str(error):
            raise
        kind = RequestError if isinstance(error, RequestError) else RunError
        raise kind(message) from error


def _path_of(setting: str, paths: Mapping[str, str]) -> str:
    for name, path in paths.items():
        if setting == name or setting.startswith(f"{name}."):
            return path + setting[len(name) :]
    return setting
