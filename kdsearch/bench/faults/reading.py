"""Reads what a database holds of the study.

It is read with SQL of its own: none of the code that wrote it is asked.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool


@dataclass(frozen=True)
class TrialLine:
    """One row of `kd_trial` with its curve: the validation accuracy by epoch."""

    number: int
    setup: dict[str, Any]
    params: dict[str, Any]
    seed: int
    state: str
    reason: str | None
    retry_of: int | None
    epochs: int
    val_accuracy: float | None
    pack: str | None
    curve: dict[int, float | None]

    @property
    def counts(self) -> bool:
        """Whether the trial counts against the budget, as the README says."""
        return self.state in ("complete", "pruned") or self.is_diverged

    @property
    def is_diverged(self) -> bool:
        """Whether it failed because its accuracy was no number."""
        return self.state == "failed" and self.reason == "diverged"


@dataclass(frozen=True)
class Reading:
    """The study at one moment.

    `mirrored` has Optuna's state and value by number.
    """

    state: str
    reason: str | None
    trials: Sequence[TrialLine]
    running_packs: int
    drivers: int
    mirrored: dict[int, tuple[str, float | None]]

    def count(self, state: str) -> int:
        """Return how many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def finished(self) -> dict[int, TrialLine]:
        """The trials that count, by number."""
        return {trial.number: trial for trial in self.trials if trial.counts}


def read_study(storage: str, name: str) -> Reading | None:
    """Return what a database holds of a study. None while there is none, or it is away."""
    engine = create_engine(_reading_only(make_url(storage)), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return _read(connection, name)
    except DBAPIError:  # no such file, table or server now
        return None
    finally:
        engine.dispose()


def _reading_only(url: URL) -> URL:
    if url.get_backend_name() != "sqlite":
        return url.set(drivername="postgresql+psycopg")
    return url.set(database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})


def _read(connection: Connection, name: str) -> Reading | None:
    study = connection.execute(
        text("SELECT id, uid, state, reason FROM kd_study WHERE name = :name"), {"name": name}
    ).one_or_none()
    if study is None:
        return None
    own = {"study": study.id}
    columns = "t.number, s.levels AS setup, params, seed, state, reason, retry_of, epochs, val_accuracy, pack"
    query = text(
        f"SELECT {columns} FROM kd_trial t "  # noqa: S608 - ours
        "JOIN kd_setup s ON s.study_id = t.study_id AND s.number = t.setup "
        "WHERE t.study_id = :study ORDER BY t.number"
    )
    rows = connection.execute(query, own).mappings().all()
    curves = _curves(connection, own)  # after the rows: what had finished then has its whole curve
    trials = [
        TrialLine(
            **{**row, "setup": _plain(row["setup"]), "params": _plain(row["params"])},
            curve=curves.get(row["number"], {}),
        )
        for row in rows
    ]
    packs = text("SELECT count(*) FROM kd_pack WHERE study_id = :study AND running")
    leases = text("SELECT count(*) FROM kd_lease WHERE study = :name")
    return Reading(
        *(study.state, study.reason, trials),
        running_packs=int(connection.scalar(packs, own) or 0),
        drivers=int(connection.scalar(leases, {"name": name}) or 0),
        mirrored=_mirrored(connection, study.uid),
    )


def _curves(connection: Connection, own: dict[str, Any]) -> dict[int, dict[int, float | None]]:
    curves: dict[int, dict[int, float | None]] = {}
    query = text("SELECT number, epoch, val_accuracy FROM kd_epoch WHERE study_id = :study")
    for row in connection.execute(query, own):
        curves.setdefault(row.number, {})[row.epoch] = row.val_accuracy
    return curves


def _mirrored(connection: Connection, uid: str) -> dict[int, tuple[str, float | None]]:
    query = text(
        "SELECT t.number, t.state, v.value FROM trials t "
        "JOIN study_user_attributes a ON a.study_id = t.study_id "
        "LEFT JOIN trial_values v ON v.trial_id = t.trial_id "
        "WHERE a.key = 'kdsearch_study' AND a.value_json = :uid"
    )
    rows = connection.execute(query, {"uid": json.dumps(uid)})
    return {row.number: (str(row.state), row.value) for row in rows}


def _plain(value: Any) -> dict[str, Any]:
    return dict(json.loads(value) if isinstance(value, str) else value)
