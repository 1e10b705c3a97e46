"""Trials that others ran, into a study: all or none."""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection

from kdsearch.spec import StudySpec
from kdsearch.storage.mirror.trials import OptunaMirror
from kdsearch.storage.removal import make_way
from kdsearch.storage.rows.entries import NewTrial
from kdsearch.storage.rows.lease import Lease, hold_lease
from kdsearch.storage.rows.read import TrialRow
from kdsearch.storage.rows.study import ensure_study, set_study_state
from kdsearch.storage.rows.trials import finish_trials, insert_trials, last_number, read_stored
from kdsearch.storage.sql.database import Database, database_now
from kdsearch.trial import TrialResult

PACK = "imported"
"""What stands for the pack of a trial that was run elsewhere."""


def add_trials(database: Database, spec: StudySpec, trials: Sequence[TrialRow], reason: str) -> None:
    """Add finished trials to a study.

    A study that is not there is made. Our rows are written in one transaction; Optuna's follow, and the next
    launch completes them where this was interrupted.

    Args:
        database: An open database.
        spec: The study's spec, with which the trials agree.
        trials: Their numbers count for nothing.
        reason: Why the study is finished, in words.

    Raises:
        RequestError: A study of this name asks for something else.
        LiveDriverError: The study is being run.
    """
    with hold_lease(database, spec.name) as lease:
        make_way(database, spec, lease)
        study, uid = _write(database, spec, trials, reason, lease)
        mirror = OptunaMirror(database, spec, uid)
        with database.read() as connection:
            stored = read_stored(connection, study)
        numbers = range(stored[-1].number + 1 if stored else 0)  # Optuna's have no gaps
        known = {trial.number: trial for trial in stored}
        for number in numbers[bisect_left(numbers, True, key=lambda n: not mirror.has(n)) :]:
            mirror.restore(number, known.get(number), {})


def _write(
    database: Database, spec: StudySpec, trials: Sequence[TrialRow], reason: str, lease: Lease
) -> tuple[int, str]:
    with database.write() as connection:
        lease.check(connection)
        study, uid = ensure_study(connection, spec, Path.cwd(), data={}, code={})
        _insert(connection, study, spec, trials)
        set_study_state(connection, study, "finished", reason, database_now(connection))
    return study, uid


def _insert(connection: Connection, study: int, spec: StudySpec, trials: Sequence[TrialRow]) -> None:
    last = last_number(connection, study)
    numbered = dict(enumerate(trials, start=0 if last is None else last + 1))
    made = {n: NewTrial.of(spec, t.setup, t.params, seed=t.seed, pack=PACK) for n, t in numbered.items()}
    insert_trials(connection, study, spec, made, "running")
    finish_trials(
        connection, study, [_result(made[number], number, trial) for number, trial in numbered.items()]
    )


def _result(made: NewTrial, number: int, trial: TrialRow) -> TrialResult:
    measured = {"val_accuracy": trial.val_accuracy, "test_accuracy": trial.test_accuracy}
    state = trial.state if trial.state in ("complete", "pruned") else "failed"
    return TrialResult(
        number=number,
        state=state,
        epochs=made.spec.training.epochs if state == "complete" else 0,
        metrics={name: value for name, value in measured.items() if value is not None},
        reason=trial.reason or (None if state == "complete" else f"imported as {state}"),
        device="unknown",
    )
