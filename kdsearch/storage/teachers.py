"""The teachers of a study, each recipe once in the database."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from kdsearch.storage.database import database_now
from kdsearch.storage.queries import finite
from kdsearch.storage.tables import StudyTeacherTable, TeacherTable

_NUMBERS = ("train_accuracy", "val_accuracy", "test_accuracy", "calibration_error", "seconds")
_NAMED = frozenset({"digest", "recipe", "path", "entropy", *_NUMBERS})


def save_teacher(connection: Connection, study: int, teacher: Mapping[str, Any]) -> None:
    """Record a trained teacher, told in plain values, and that a study uses it.

    `digest`, `recipe` and `path` are needed; what has no column of its own is kept in `details`.
    """
    digest = teacher["digest"]
    link = {"study_id": study, "digest": digest}
    known = connection.execute(select(TeacherTable.digest).where(TeacherTable.digest == digest)).first()
    if known is None:
        connection.execute(insert(TeacherTable).values(**_values(connection, teacher)))
    connection.execute(delete(StudyTeacherTable).filter_by(**link))
    connection.execute(insert(StudyTeacherTable).values(**link))


def _values(connection: Connection, teacher: Mapping[str, Any]) -> dict[str, Any]:
    entropy = teacher.get("entropy")
    return {
        "digest": teacher["digest"],
        "recipe": dict(teacher["recipe"]),
        "path": str(teacher["path"]),
        "entropy": entropy and {str(temperature): value for temperature, value in entropy.items()},
        **{name: finite(teacher.get(name)) for name in _NUMBERS},
        "details": {name: value for name, value in teacher.items() if name not in _NAMED},
        "created": database_now(connection),
    }
