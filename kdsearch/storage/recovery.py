"""Bringing a study to order after its driver, a worker or a writing was lost halfway."""

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from kdsearch.storage.both_halves import BothHalves
from kdsearch.storage.mirror.frozen import TRIAL_ATTRIBUTE
from kdsearch.storage.rows.distributions import Point
from kdsearch.storage.rows.entries import Ending, NewTrial
from kdsearch.storage.rows.ledger import close_packs
from kdsearch.storage.rows.queries import curves_of, read_epochs
from kdsearch.storage.rows.trials import (
    await_again,
    fail_trials,
    furthest_epochs,
    insert_trials,
    known_numbers,
    last_number,
    read_stored,
)
from kdsearch.trial import NODE_LOST

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

INTERRUPTED = "interrupted: its driver ended"
MAX_ATTEMPTS = 3
"""So often in a row a trial may end its own worker without coming further than it ever came."""

_log = logging.getLogger(__name__)


def recover(books: BothHalves) -> None:
    """Leave no trial running: each is finished as its results say, or waits again as if it had never begun.

    Their driver's end says nothing about trials: it is no attempt of theirs.
    """
    _restore_lost(books)
    _adopt_strays(books)
    books.write(lambda c: close_packs(c, books.spec.name))
    books.write(lambda c: await_again(c, books.study))
    waiting = books.read(lambda c: read_stored(c, books.study, state="waiting"))
    books.mirror.await_again({trial.number for trial in waiting})
    books.complete_pairs(*books.mirror.open_trials())


def lose(books: BothHalves, numbers: Collection[int], reason: str) -> list[int]:
    """Fail running trials that lost their worker, and let them wait to be run again.

    One that has ended its worker too often without coming further waits no more. The numbers of those are
    returned. Of a trial that never began, or whose node was lost, it is no attempt.
    """
    stored = books.read(lambda c: read_stored(c, books.study, numbers=numbers, state="running"))
    before = books.read(lambda c: furthest_epochs(c, books.study, [trial.seed for trial in stored]))
    later = {
        t.number: t.once_more(
            books.spec, counts=reason != NODE_LOST, came_further=t.epochs > before.get(t.seed, 0)
        )
        for t in stored
    }
    given_up = [number for number, trial in later.items() if trial.attempt > MAX_ATTEMPTS]
    again = [trial for number, trial in later.items() if number not in given_up]
    made = dict(zip(books.mirror.add(again, state="waiting"), again, strict=True))
    reasons = {number: _reason(trial, reason) for number, trial in later.items()}

    def change(connection: Connection) -> None:
        fail_trials(connection, books.study, reasons)
        insert_trials(connection, books.study, books.spec, made, "waiting")

    books.write(change)
    books.complete_pairs(*reasons)
    return given_up


def adopt_enqueued(books: BothHalves) -> None:
    """Take trials into our rows that someone enqueued through Optuna."""
    for number, trial in _without_row(books, books.mirror.waiting_trials()).items():
        if TRIAL_ATTRIBUTE not in trial.user_attrs:
            _adopt_enqueued(books, number, trial)


def _reason(again: NewTrial, reason: str) -> str:
    if again.attempt <= MAX_ATTEMPTS:
        return reason
    return f"lost {MAX_ATTEMPTS} times without coming further; the last time: {reason}"


def _restore_lost(books: BothHalves) -> None:
    """Make the trials again that someone deleted with the Optuna study."""
    last = books.read(lambda c: last_number(c, books.study))
    if last is None or books.mirror.has(last):
        return
    stored = {trial.number: trial for trial in books.read(lambda c: read_stored(c, books.study))}
    _log.warning("The Optuna study was deleted; it is restored from kdsearch's own tables.")
    for number in range(last + 1):
        if not books.mirror.has(number):
            curve = curves_of(books.read(lambda c, n=number: read_epochs(c, books.study, [n])))  # type: ignore[misc]
            books.mirror.restore(number, stored.get(number), curve.get(number, {}))


def _adopt_strays(books: BothHalves) -> None:
    """Take trials into our rows that a kill left in Optuna alone, and end what nobody runs."""
    for number, trial in _without_row(books, books.mirror.open_trials()).items():
        attribute = trial.user_attrs.get(TRIAL_ATTRIBUTE)
        if attribute is not None:
            point, waits = books.mirror.point_of(trial), trial.state.name == "WAITING"
            _adopt_stray(books, number, point, attribute, waits=waits)
        elif trial.state.name == "WAITING":
            _adopt_enqueued(books, number, trial)
        else:
            books.mirror.finish(number, Ending("failed", "not started by kdsearch"))


def _adopt_stray(
    books: BothHalves, number: int, point: Point, attribute: Mapping[str, Any], *, waits: bool
) -> None:
    """Do what was left undone: insert the row, and fail the trial that it runs again."""
    try:
        trial = NewTrial.from_attribute(books.spec, point, attribute)
    except ValueError as error:
        reason = f"can't be trained: {' '.join(str(error).split())}"
        _log.warning("Trial %d %s", number, reason)
        books.mirror.finish(number, Ending("failed", reason))
        return

    def change(connection: Connection) -> None:
        if waits and trial.retry_of is not None:
            fail_trials(connection, books.study, {trial.retry_of: INTERRUPTED})
        insert_trials(connection, books.study, books.spec, {number: trial}, "waiting" if waits else "running")

    books.write(change)


def _adopt_enqueued(books: BothHalves, number: int, trial: "FrozenTrial") -> None:
    try:
        point = books.mirror.point_of(trial)
        new = NewTrial.of(books.spec, *point)
        books.mirror.complete_params(number, point)
    except ValueError as error:
        reason = f"enqueued by hand {' '.join(str(error).split())}"
        _log.warning("Trial %d can't be run: %s", number, reason)
        books.mirror.finish(number, Ending("failed", reason))
        return
    books.write(lambda c: insert_trials(c, books.study, books.spec, {number: new}, "waiting"))


def _without_row(books: BothHalves, trials: dict[int, "FrozenTrial"]) -> dict[int, "FrozenTrial"]:
    known = books.read(lambda c: known_numbers(c, books.study, trials))
    return {number: trial for number, trial in trials.items() if number not in known}
