"""Our tables, beside Optuna's. Every `kd_*` row belongs to a study by the study's id.

A trial's number is its number in the Optuna study whose user attribute `kdsearch_study` holds our
`kd_study.uid`. No foreign key leads into Optuna's tables, which Optuna alone touches.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: with its zone in Python and PostgreSQL, without in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Base of our tables. JSON is plain `json`: it keeps the order of keys, which `jsonb` does not."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(),
        float: Float(53),
    }


def table_of(kind: type[Table]) -> SqlTable:
    """Return the plain SQL table of one of ours."""
    return kind.metadata.tables[kind.__tablename__]


class StudyTable(Table):
    """One study: its spec, its state and who ran it.

    `seconds` is how long drivers have run it, idle or not.
    """

    __tablename__ = "kd_study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    spec: Mapped[dict[str, Any]]
    spec_hash: Mapped[str] = mapped_column(String(64))
    versions: Mapped[list[Any]]
    git_commit: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    seconds: Mapped[float] = mapped_column(default=0.0)
    trials: Mapped[int]
    created: Mapped[datetime]
    updated: Mapped[datetime]


class SetupTable(Table):
    """One combination of a study's factor levels; `key` is their canonical JSON.

    `stopped` is why the search gives it no more trials; null where it does.
    """

    __tablename__ = "kd_setup"

    study_id: Mapped[int] = mapped_column(ForeignKey("kd_study.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    levels: Mapped[dict[str, Any]]
    key: Mapped[str] = mapped_column(Text)
    stopped: Mapped[str | None] = mapped_column(Text)


class WideningTable(Table):
    """A range that a study's search widened, after so many complete trials.

    `level` tells which range of a `by:` it is. The spec in `kd_study` has the ranges of the study file.
    """

    __tablename__ = "kd_widening"

    study_id: Mapped[int] = mapped_column(ForeignKey("kd_study.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str] = mapped_column(Text)
    level: Mapped[str | None] = mapped_column(Text)
    was_low: Mapped[float]
    was_high: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    reason: Mapped[str] = mapped_column(Text)
    trials: Mapped[int]
    created: Mapped[datetime]


class TrialTable(Table):
    """One student. `retry_of` is the number of the lost trial that this one runs again.

    `attempt` counts from 1 those in a row that came no further. `draw` is the draw of luck that its pack
    shares, by `training.vary`; null where nothing varies.
    """

    __tablename__ = "kd_trial"
    __table_args__ = (
        ForeignKeyConstraint(
            ["study_id", "setup"], ["kd_setup.study_id", "kd_setup.number"], ondelete="CASCADE"
        ),
        Index("kd_trial_state", "study_id", "state"),
    )

    study_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    setup: Mapped[int]
    params: Mapped[dict[str, Any]]
    temperature: Mapped[float]
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    retry_of: Mapped[int | None]
    attempt: Mapped[int]
    epochs: Mapped[int]
    val_accuracy: Mapped[float | None]
    test_accuracy: Mapped[float | None]
    val_loss: Mapped[float | None]
    test_loss: Mapped[float | None]
    train_loss: Mapped[float | None]
    teacher_entropy: Mapped[float | None]
    student_entropy: Mapped[float | None]
    teacher_agreement: Mapped[float | None]
    metrics: Mapped[dict[str, Any] | None]
    seconds: Mapped[float | None]
    device: Mapped[str | None] = mapped_column(String(100))
    pack: Mapped[str | None] = mapped_column(String(100))
    executor: Mapped[str | None] = mapped_column(String(32))
    pack_size: Mapped[int | None]
    draw: Mapped[int | None]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]


class EpochTable(Table):
    """What a trial reported after one epoch; epochs count from 1."""

    __tablename__ = "kd_epoch"
    __table_args__ = (
        ForeignKeyConstraint(
            ["study_id", "number"], ["kd_trial.study_id", "kd_trial.number"], ondelete="CASCADE"
        ),
    )

    study_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    val_accuracy: Mapped[float | None]
    val_loss: Mapped[float | None]
    train_loss: Mapped[float | None]


class PackTable(Table):
    """What a pack held, and for how many seconds.

    A teacher's training counts as one. While `running`, it still holds it.
    """

    __tablename__ = "kd_pack"

    study_id: Mapped[int] = mapped_column(ForeignKey("kd_study.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    cpus: Mapped[float]
    gpus: Mapped[float]
    started: Mapped[datetime]
    seconds: Mapped[float]
    running: Mapped[bool]


class TeacherTable(Table):
    """One teacher recipe that was trained: what it can do, and where its weights are."""

    __tablename__ = "kd_teacher"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    recipe: Mapped[dict[str, Any]]
    path: Mapped[str] = mapped_column(Text)
    train_accuracy: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    test_accuracy: Mapped[float | None]
    calibration_error: Mapped[float | None]
    entropy: Mapped[dict[str, Any] | None]
    details: Mapped[dict[str, Any]]
    seconds: Mapped[float | None]
    created: Mapped[datetime]


class StudyTeacherTable(Table):
    """Which study used which teacher."""

    __tablename__ = "kd_study_teacher"

    study_id: Mapped[int] = mapped_column(ForeignKey("kd_study.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("kd_teacher.digest"), primary_key=True)


class LeaseTable(Table):
    """The live driver of a study, by the study's name. The lease may be older than the study."""

    __tablename__ = "kd_lease"

    study: Mapped[str] = mapped_column(String(100), primary_key=True)
    owner: Mapped[str] = mapped_column(String(32))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    process: Mapped[str] = mapped_column(String(255))
    since: Mapped[datetime]
    heartbeat: Mapped[datetime]
    stop_requested: Mapped[bool]
