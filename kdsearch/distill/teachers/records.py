"""What is known of a trained teacher, and where it is kept. Imports no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdsearch.artifacts.store import ArtifactStore
from kdsearch.errors import RunError

TEACHERS = "teachers"
WEIGHTS_FILE = "weights.pt"
RECORD_FILE = "record.json"


@dataclass(frozen=True)
class TeacherRecord:
    """A trained teacher: where it is on this node, what it is and how good it is.

    Accuracies are fractions, on images as they are. `calibration_error` is the expected calibration
    error on the validation split; `entropy` is the mean entropy of its soft targets on the training
    split, in nats by temperature, and `relative_entropy` the same divided by log C. `preparation` is what its
    images are made of, beside the mean and deviation of the data; None where they are the data's own.
    Of a teacher for texts `in_channels` and `image_size` are their rows and length, and `vocabulary` is the
    number of tokens.
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
    preparation: dict[str, Any] | None = None
    vocabulary: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return dict(self.__dict__)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TeacherRecord":
        """Return the record that `to_dict` described."""
        return cls(**values)


def teacher_entry(digest: str) -> str:
    """Return the name of a teacher's entry in an artifact store."""
    return f"{TEACHERS}/{digest}"


def find_record(store: ArtifactStore, digest: str, *files: str) -> TeacherRecord | None:
    """Return a teacher's record in the store, or None without one.

    Args:
        store: The artifact store.
        digest: The teacher recipe's.
        files: Which others of its files are needed beside the record.

    Raises:
        RunError: The record is damaged, or the store can't be read.
    """
    folder = store.find(teacher_entry(digest), RECORD_FILE, *files)
    return None if folder is None else load_record(folder)


def load_record(folder: Path) -> TeacherRecord | None:
    """Return the record in a teacher's folder, or None without a teacher.

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
