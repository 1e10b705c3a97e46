"""The teachers of a study, each recipe once in the database."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from kdsearch.storage.rows.queries import finite
from kdsearch.storage.rows.trials import insert_new
from kdsearch.storage.sql.database import database_now
from kdsearch.storage.sql.tables import StudyTeacherTable, TeacherTable

_NUMBERS = ("train_accuracy", "val_accuracy", "test_accuracy", "calibration_error", "seconds")
_NAMED = frozenset({"digest", "recipe", "path", "entropy", *_NUMBERS})


def save_teacher(connection: Connection, study: int, teacher: Mapping[str, Any]) -> None:
    """Record a trained teacher, and that a study uses it.

    `digest`, `recipe` and `path` are needed; what has no column of its own is kept in `details`. A
    teacher that is recorded already gets the new values: it may lie elsewhere now.
    """
    values = _values(teacher)
    mine = TeacherTable.digest == teacher["digest"]
    if connection.execute(select(TeacherTable.digest).where(mine)).first():
        connection.execute(update(TeacherTable).where(mine).values(**values))
    else:
        created = database_now(connection)
        connection.execute(insert(TeacherTable).values(digest=teacher["digest"], created=created, **values))
    insert_new(connection, StudyTeacherTable, [{"study_id": study, "digest": teacher["digest"]}])


def _values(teacher: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recipe": dict(teacher["recipe"]),
        "path": str(teacher["path"]),
        "entropy": _plain(teacher.get("entropy")),
        **{name: finite(teacher.get(name)) for name in _NUMBERS},
        "details": {name: _plain(value) for name, value in teacher.items() if name not in _NAMED},
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it. Keys are texts, and there is no NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    return finite(value) if isinstance(value, float) else value
