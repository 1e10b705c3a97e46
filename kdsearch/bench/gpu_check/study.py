"""A whole study by `kdsearch launch` in its own process.

The start of Ray and its teacher are part of it.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kdsearch.bench.engine.images import PATTERNED
from kdsearch.errors import RunError

TARGET_S = 60.0
"""The most that the study may take on one H100 or H200."""
_LIMIT_S = 540.0  # below what an unattended command may be given
_PATIENCE_S = 30.0  # for an orderly end
_NAME = "gpu_check"
_SHOWN = 1000  # characters of a failed launch's last words

_STUDY: dict[str, Any] = {
    "name": _NAME,
    "dataset": {"name": PATTERNED, "image_size": 32, "train_size": 18_000, "validation_size": 2_000},
    "augment": {"crop_padding": 4, "flip": True},
    "student": {"arch": "resnet8x4"},
    "teacher": {"arch": "resnet32x4", "finetune": {"epochs": 5, "batch_size": 128}},
    "optimizer": {"lr": 0.05},
    "training": {"epochs": 5, "batch_size": 128},
    "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
    "search": {"trials": 48, "pruner": "none"},
}
_SMALL: dict[str, Any] = {
    **_STUDY,
    "dataset": {"name": PATTERNED, "image_size": 8, "train_size": 60, "validation_size": 20},
    "augment": {},
    "student": {"arch": "convnet_4"},
    "teacher": {"arch": "convnet_4", "finetune": {"epochs": 1}},
    "training": {"epochs": 1, "batch_size": 20},
    "search": {"trials": 4, "pack": 4, "pruner": "none"},
}


@dataclass(frozen=True)
class StudyTimes:
    """Where a study's wall time went, and its trials' devices.

    Times are in seconds.

    Args:
        wall_s: From the command's start to its end.
        start_s: Until the first teacher's training began: Python, the preflight, Ray.
        teachers_s: Until the last teacher's training ended.
        first_pack_s: From then until the first pack began.
        trials_s: From then until the last pack ended.
        end_s: From then until the command ended.
        trials: The number of complete trials.
        ways: How many trials were trained in each way, and in packs of which size.
        devices: The devices that trained them.
    """

    wall_s: float
    start_s: float
    teachers_s: float
    first_pack_s: float
    trials_s: float
    end_s: float
    trials: int
    ways: dict[str, int]
    devices: list[str]

    @property
    def is_met(self) -> bool:
        """Whether the study took no longer than its target."""
        return self.wall_s <= TARGET_S


def study_times(device: str, *, small: bool) -> StudyTimes:
    """Run the study and return where its time went.

    Nothing of it is left.

    Args:
        device: cpu keeps it from GPUs; else it takes what is there, as any study does.
        small: A tiny one, for a CPU.

    Raises:
        RunError: It failed, or took far too long.
    """
    document = _SMALL if small else _STUDY
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    with TemporaryDirectory(prefix="kdsearch-check-") as folder:
        place = Path(folder)
        database = place / "study.db"
        file = place / "study.yaml"  # JSON is YAML
        file.write_text(json.dumps({**document, "artifacts": str(place / "artifacts")}))
        started = datetime.now(UTC)
        _launch([str(file), "--storage", f"sqlite:///{database}"], place, os.environ | hidden)
        return _read(database, started, datetime.now(UTC))


def _launch(words: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    log = folder / "launch.log"
    command = [sys.executable, "-m", "kdsearch", "launch", *words]
    with (
        log.open("w") as sink,
        subprocess.Popen(  # noqa: S603 - ours
            command, cwd=folder, env=environment, stdout=sink, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            code = process.wait(_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise RunError(f"The study took more than {_LIMIT_S:g} s: {_last_words(log)}") from error
        except BaseException:
            _end(process)
            raise
    if code:
        raise RunError(f"The study ended with exit code {code}: {_last_words(log)}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a launch and its Ray, as a user would.

    It is killed where it does not end.
    """
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _last_words(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").split())[-_SHOWN:]


def _read(database: Path, started: datetime, ended: datetime) -> StudyTimes:
    """Return a study's times and ways, read from its database.

    `started` and `ended` are those of the command.
    """
    with sqlite3.connect(database) as connection:
        held = connection.execute("select name, started, seconds from kd_pack").fetchall()
        trials = connection.execute(
            "select executor, pack_size, device from kd_trial where state = 'complete'"
        ).fetchall()
    spans = [(name, _seconds(begun, started), seconds) for name, begun, seconds in held]
    taught = [(begun, begun + length) for name, begun, length in spans if name.startswith("teacher ")]
    packs = [(begun, begun + length) for name, begun, length in spans if not name.startswith("teacher ")]
    wall = (ended - started).total_seconds()
    teachers = (min(begun for begun, _ in taught), max(end for _, end in taught))
    searched = (min(begun for begun, _ in packs), max(end for _, end in packs))
    ways = Counter(f"{executor}, packs of {size}" for executor, size, _ in trials)
    return StudyTimes(
        wall_s=wall,
        start_s=teachers[0],
        teachers_s=teachers[1] - teachers[0],
        first_pack_s=searched[0] - teachers[1],
        trials_s=searched[1] - searched[0],
        end_s=wall - searched[1],
        trials=len(trials),
        ways=dict(ways),
        devices=sorted({device for _, _, device in trials}),
    )


def _seconds(text: str, since: datetime) -> float:
    """Return the seconds from `since` to a time of the database.

    SQLite keeps UTC without a zone.
    """
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - since).total_seconds()
