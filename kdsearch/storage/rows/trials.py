"""The SQL of a study's trials. Each function is one step inside its caller's transaction."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kdsearch.seeds import trial_seed
from kdsearch.spec import Setup, StudySpec, setup_key
from kdsearch.storage.rows.entries import NewTrial, StoredTrial
from kdsearch.storage.rows.queries import finite
from kdsearch.storage.rows.read import TrialState
from kdsearch.storage.rows.reading import read_setups
from kdsearch.storage.sql.database import database_now
from kdsearch.storage.sql.tables import EpochTable, SetupTable, Table, TrialTable, table_of
from kdsearch.trial import DIVERGED, Metrics, TrialResult

Epochs: TypeAlias = Sequence[tuple[int, Mapping[int, Metrics]]]
"""What trials reported: an epoch, and each trial's metrics by its number."""

METRIC_COLUMNS = (
    *("val_accuracy", "test_accuracy", "val_loss", "test_loss", "train_loss"),
    *("teacher_entropy", "student_entropy", "teacher_agreement"),
)


def insert_trials(
    connection: Connection, study: int, spec: StudySpec, made: Mapping[int, NewTrial], state: TrialState
) -> None:
    """Add trials under the numbers that Optuna gave them. Those that are there stay as they are.

    Args:
        connection: An open transaction.
        study: The id of the study's row.
        spec: Its spec.
        made: The trials by the numbers that Optuna gave them.
        state: `running` or `waiting`.
    """
    setups = {setup_key(setup): number for number, setup in read_setups(connection, study).items()}
    started = database_now(connection) if state == "running" else None
    rows = [
        {
            "study_id": study,
            "number": number,
            "setup": setups[setup_key(trial.setup)],
            "params": trial.params,
            "temperature": trial.spec.objective.temperature,
            "seed": seed_of(spec, number, trial),
            "state": state,
            "retry_of": trial.retry_of,
            "attempt": trial.attempt,
            "epochs": 0,
            "pack": trial.pack,
            "draw": trial.draw,
            "started": started,
        }
        for number, trial in made.items()
    ]
    insert_new(connection, TrialTable, rows)


def seed_of(spec: StudySpec, number: int, trial: NewTrial) -> int:
    """Return a trial's seed: its own, or the one that follows from the search's and its number."""
    return trial.seed if trial.seed is not None else trial_seed(spec.search.seed, number)


def next_draw(connection: Connection, study: int, spec: StudySpec, setup: Setup) -> int | None:
    """Return the draw of luck for a setup's next pack. Draws follow one another, so that splits take turns.

    None where the study varies nothing.
    """
    if not spec.training.vary:
        return None
    own = (SetupTable.study_id == study) & (SetupTable.key == setup_key(setup))
    number = select(SetupTable.number).where(own).scalar_subquery()
    query = select(func.max(TrialTable.draw)).where(TrialTable.study_id == study, TrialTable.setup == number)
    last = connection.scalar(query)
    return 0 if last is None else last + 1


def read_stored(
    connection: Connection,
    study: int,
    *,
    numbers: Collection[int] | None = None,
    state: TrialState | None = None,
    pack: str | None = None,
) -> list[StoredTrial]:
    """Return trials by number: those with these numbers, in this state, of this pack."""
    columns = [getattr(TrialTable, column.name) for column in fields(StoredTrial)]
    query = select(*columns).where(TrialTable.study_id == study).order_by(TrialTable.number)
    if numbers is not None:
        query = query.where(TrialTable.number.in_(numbers))
    if state is not None:
        query = query.where(TrialTable.state == state)
    if pack is not None:
        query = query.where(TrialTable.pack == pack)
    setups = read_setups(connection, study)
    return [StoredTrial(**{**row._mapping, "setup": setups[row.setup]}) for row in connection.execute(query)]


def take_waiting(
    connection: Connection,
    study: int,
    spec: StudySpec,
    size: int,
    pack: str,
    aside: Collection[str] = (),
) -> list[StoredTrial]:
    """Let the trials run that wait longest, and return them. Up to `size` of one setup, none of those aside.

    Those that were lost together run together again, under their draw of luck, so that their pack's
    checkpoint holds; those that were enqueued by hand get a draw now. Those that run in the pack already
    were taken by a try whose answer was lost.

    Args:
        connection: An open transaction.
        study: The id of the study's row.
        spec: Its spec.
        size: At most so many trials.
        pack: The name of the pack that they make.
        aside: The keys of setups that are set aside.
    """
    if taken := read_stored(connection, study, state="running", pack=pack):
        return taken
    waiting = [
        trial
        for trial in read_stored(connection, study, state="waiting")
        if not aside or setup_key(trial.setup) not in aside
    ]
    if not waiting:
        return []
    together = [(trial.setup, trial.pack, trial.draw) for trial in waiting]
    taken = [trial for trial, own in zip(waiting, together, strict=True) if own == together[0]][:size]
    draw = taken[0].draw
    if draw is None:
        draw = next_draw(connection, study, spec, taken[0].setup)
    change = update(TrialTable).where(TrialTable.study_id == study)
    connection.execute(
        change.where(TrialTable.number.in_([trial.number for trial in taken])).values(
            state="running", pack=pack, draw=draw, started=database_now(connection)
        )
    )
    return [replace(trial, draw=draw) for trial in taken]


def await_again(connection: Connection, study: int) -> None:
    """Let all running trials wait, without what they reported. Their pack's checkpoint still holds."""
    running = (TrialTable.study_id == study) & (TrialTable.state == "running")
    numbers = select(TrialTable.number).where(running)
    connection.execute(delete(EpochTable).where(EpochTable.study_id == study, EpochTable.number.in_(numbers)))
    connection.execute(update(TrialTable).where(running).values(state="waiting", epochs=0, started=None))


def insert_epochs(connection: Connection, study: int, epochs: Epochs) -> set[int]:
    """Add what running trials reported of some epochs. Return the numbers of those that run."""
    last = {number: epoch for epoch, metrics in sorted(epochs, key=itemgetter(0)) for number in metrics}
    reporting = (TrialTable.study_id == study) & TrialTable.number.in_(list(last))
    query = select(TrialTable.number).where(reporting, TrialTable.state == "running")
    running = set(connection.scalars(query))
    names = ("val_accuracy", "val_loss", "train_loss")
    rows = [
        {
            "study_id": study,
            "number": number,
            "epoch": epoch,
            **{name: finite(own.get(name)) for name in names},
        }
        for epoch, metrics in epochs
        for number, own in metrics.items()
        if number in running
    ]
    insert_new(connection, EpochTable, rows)
    if running:
        change = update(table_of(TrialTable)).where(
            TrialTable.study_id == study,
            TrialTable.number == bindparam("of_number"),
            TrialTable.epochs < bindparam("epoch"),
        )
        reached = [{"of_number": number, "epoch": last[number]} for number in sorted(running)]
        connection.execute(change.values(epochs=bindparam("epoch")), reached)
    return running


def as_recorded(result: TrialResult) -> TrialResult:
    """Return a result as it is recorded: one that claims success needs a finite accuracy."""
    accuracy = result.metrics.get("val_accuracy")
    if result.state == "failed" or (accuracy is not None and math.isfinite(accuracy)):
        return result
    if accuracy is not None:
        return replace(result, state="failed", reason=DIVERGED)
    if result.state == "complete":
        return replace(result, state="failed", reason="its trainer gave no val_accuracy")
    return result


def finish_trials(connection: Connection, study: int, results: Iterable[TrialResult]) -> set[int]:
    """End running trials; return the numbers of those that ran."""
    return {result.number for result in results if _finish_trial(connection, study, result)}


def _finish_trial(connection: Connection, study: int, result: TrialResult) -> bool:
    others = {name: finite(v) for name, v in result.metrics.items() if name not in METRIC_COLUMNS}
    running = TrialTable.state == "running"
    change = update(TrialTable).where(
        TrialTable.study_id == study, TrialTable.number == result.number, running
    )
    done = connection.execute(
        change.values(
            state=result.state,
            reason=result.reason,
            epochs=result.epochs,
            **{name: finite(result.metrics.get(name)) for name in METRIC_COLUMNS},
            metrics=others or None,
            seconds=finite(result.seconds),
            device=result.device,
            executor=result.executor,
            pack_size=result.pack_size,
            finished=database_now(connection),
        )
    )
    return done.rowcount == 1


def fail_trials(connection: Connection, study: int, reasons: Mapping[int, str]) -> None:
    """End running trials that were lost, each for its reason."""
    if reasons:
        change = update(table_of(TrialTable)).where(
            TrialTable.study_id == study,
            TrialTable.number == bindparam("of_number"),
            TrialTable.state == "running",
        )
        connection.execute(
            change.values(state="failed", reason=bindparam("why"), finished=database_now(connection)),
            [{"of_number": number, "why": reason} for number, reason in reasons.items()],
        )


def furthest_epochs(connection: Connection, study: int, seeds: Collection[int]) -> dict[int, int]:
    """Return how many epochs lost trials reached, by their seeds. Those that run them again share these."""
    lost = (TrialTable.study_id == study) & (TrialTable.state == "failed") & TrialTable.seed.in_(seeds)
    query = select(TrialTable.seed, func.max(TrialTable.epochs)).where(lost).group_by(TrialTable.seed)
    return {seed: epochs for seed, epochs in connection.execute(query)}  # noqa: C416 - rows are no pairs to mypy


def known_numbers(connection: Connection, study: int, numbers: Iterable[int]) -> set[int]:
    """Return those of these numbers that trials have."""
    query = select(TrialTable.number).where(TrialTable.study_id == study)
    return set(connection.scalars(query.where(TrialTable.number.in_(list(numbers)))))


def last_number(connection: Connection, study: int) -> int | None:
    """Return the highest number of a trial, None without trials."""
    return connection.scalar(select(func.max(TrialTable.number)).where(TrialTable.study_id == study))


def insert_new(connection: Connection, table: type[Table], rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose keys are not there yet."""
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)
