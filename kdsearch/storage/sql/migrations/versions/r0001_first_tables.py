"""Create the first tables, and the view of best temperatures."""

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)
NUMBER = sa.Float(53)

BEST_TEMPERATURE = """
CREATE VIEW kd_best_temperature AS
SELECT study, setup, temperature, val_accuracy, test_accuracy, epochs, number, trials
FROM (
    SELECT kd_study.name AS study,
           kd_setup.key AS setup,
           kd_trial.temperature,
           kd_trial.val_accuracy,
           kd_trial.test_accuracy,
           kd_trial.epochs,
           kd_trial.number,
           COUNT(*) OVER (PARTITION BY kd_trial.study_id, kd_trial.setup) AS trials,
           ROW_NUMBER() OVER (
               PARTITION BY kd_trial.study_id, kd_trial.setup
               ORDER BY kd_trial.val_accuracy DESC, kd_trial.number
           ) AS place
    FROM kd_trial
    JOIN kd_study ON kd_study.id = kd_trial.study_id
    JOIN kd_setup ON kd_setup.study_id = kd_trial.study_id AND kd_setup.number = kd_trial.setup
    WHERE kd_trial.state = 'complete' AND kd_trial.val_accuracy IS NOT NULL
) AS ranked
WHERE place = 1
"""


def upgrade() -> None:
    """Create everything."""
    _studies()
    _trials()
    _teachers()
    _leases()
    op.execute(BEST_TEMPERATURE)


def _studies() -> None:
    op.create_table(
        "kd_study",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(100), nullable=False, unique=True),
        sa.Column("uid", sa.String(32), nullable=False, unique=True),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("spec_hash", sa.String(64), nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("git_commit", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("updated", MOMENT, nullable=False),
    )
    op.create_table(
        "kd_setup",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("kd_study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("levels", sa.JSON, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
    )


def _trials() -> None:
    op.create_table(
        "kd_trial",
        sa.Column("study_id", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("setup", sa.Integer, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("temperature", NUMBER, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("retry_of", sa.Integer),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("val_accuracy", NUMBER),
        sa.Column("test_accuracy", NUMBER),
        sa.Column("val_loss", NUMBER),
        sa.Column("test_loss", NUMBER),
        sa.Column("train_loss", NUMBER),
        sa.Column("teacher_entropy", NUMBER),
        sa.Column("student_entropy", NUMBER),
        sa.Column("teacher_agreement", NUMBER),
        sa.Column("metrics", sa.JSON),
        sa.Column("seconds", NUMBER),
        sa.Column("device", sa.String(100)),
        sa.Column("pack", sa.String(100)),
        sa.Column("started", MOMENT),
        sa.Column("finished", MOMENT),
        sa.ForeignKeyConstraint(
            ["study_id", "setup"], ["kd_setup.study_id", "kd_setup.number"], ondelete="CASCADE"
        ),
    )
    op.create_index("kd_trial_state", "kd_trial", ["study_id", "state"])
    op.create_table(
        "kd_epoch",
        sa.Column("study_id", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("val_accuracy", NUMBER),
        sa.Column("val_loss", NUMBER),
        sa.Column("train_loss", NUMBER),
        sa.ForeignKeyConstraint(
            ["study_id", "number"], ["kd_trial.study_id", "kd_trial.number"], ondelete="CASCADE"
        ),
    )


def _teachers() -> None:
    op.create_table(
        "kd_teacher",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("train_accuracy", NUMBER),
        sa.Column("val_accuracy", NUMBER),
        sa.Column("test_accuracy", NUMBER),
        sa.Column("calibration_error", NUMBER),
        sa.Column("entropy", sa.JSON),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("seconds", NUMBER),
        sa.Column("created", MOMENT, nullable=False),
    )
    op.create_table(
        "kd_study_teacher",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("kd_study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("digest", sa.String(64), sa.ForeignKey("kd_teacher.digest"), primary_key=True),
    )


def _leases() -> None:
    op.create_table(
        "kd_lease",
        sa.Column("study", sa.String(100), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process", sa.String(255), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("heartbeat", MOMENT, nullable=False),
        sa.Column("stop_requested", sa.Boolean, nullable=False),
    )
