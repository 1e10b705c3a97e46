"""What is kept of a trained teacher, and how it is read back."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.distill.models import build_model
from kdsearch.errors import RequestError, RunError

WEIGHTS_FILE = "weights.pt"
RECORD_FILE = "record.json"


@dataclass(frozen=True)
class TeacherRecord:
    """A trained teacher: where it is, what it is and how good it is.

    Accuracies are fractions, on images as they are. `calibration_error` is the expected calibration
    error on the validation split; `entropy` is the mean entropy of its soft targets on the training
    split, in nats by temperature, and `relative_entropy` the same divided by log C.
    """

    digest: str
    recipe: dict[str, Any]
    path: str
    seconds: float
    num_classes: int
    in_channels: int
    image_size: int
    n_parameters: int
    train_accuracy: float
    val_accuracy: float
    test_accuracy: float
    calibration_error: float
    entropy: dict[str, float]
    relative_entropy: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return dict(self.__dict__)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TeacherRecord":
        """Return the record that `to_dict` described."""
        return cls(**values)


def teacher_folder(artifacts: Path, digest: str) -> Path:
    """Return where the teacher of a digest is kept."""
    return Path(artifacts) / "teachers" / digest


def load_record(folder: Path) -> TeacherRecord | None:
    """Return the record of a teacher's folder, or None where there is no teacher.

    Raises:
        RunError: The record is damaged.
    """
    file = folder / RECORD_FILE
    try:
        document = json.loads(file.read_text())
        return TeacherRecord.from_dict({**document, "path": str(folder)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"The teacher's record {file} can't be read ({error}). Delete its folder.") from error


def load_weights_of(record: TeacherRecord) -> dict[str, Tensor]:
    """Return a trained teacher's weights, on the CPU.

    Raises:
        RunError: The file is missing or damaged.
    """
    file = Path(record.path) / WEIGHTS_FILE
    try:
        weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RunError(f"The teacher's weights {file} can't be read. Delete its folder.") from error
    return weights


def load_teacher(
    teacher: TeacherRecord | str, artifacts: Path | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """Return a trained teacher, frozen and in evaluation mode.

    Args:
        teacher: Its record, or its digest.
        artifacts: The folder of the artifact store; a digest needs it.
        device: Where the network is put.

    Raises:
        RequestError: There is no such teacher.
        RunError: Its files are damaged.
    """
    record = _record_of(teacher, artifacts) if isinstance(teacher, str) else teacher
    recipe = record.recipe["teacher"]
    model = build_model(
        recipe["arch"],
        record.num_classes,
        record.in_channels,
        image_size=record.image_size,
        stem=recipe["stem"],
    )
    model.load_state_dict(load_weights_of(record))
    return model.requires_grad_(False).eval().to(device)


def _record_of(digest: str, artifacts: Path | None) -> TeacherRecord:
    record = None if artifacts is None else load_record(teacher_folder(artifacts, digest))
    if record is None:
        raise RequestError(
            f"`teacher` must be the digest of a teacher in the artifact store, got {digest!r} and "
            f"{str(artifacts)!r}. Train it with `ensure_teacher`."
        )
    return record
