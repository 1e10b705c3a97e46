"""Bringing a study to order after something was lost halfway."""

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
"""By hand: what ends its worker three times at the same place does so by itself; two may be bad luck."""
"""So often in a row a trial may end its own worker without coming further than it ever came."""

_log = logging.getLogger(__name__)


def recover(halves: BothHalves) -> None:
    """Leave no trial running. Each is finished as its results say, or waits again as if it had never begun.

    Their driver's end says nothing about trials: it is no attempt of theirs.
    """
    _restore_lost(halves)
    _adopt_strays(halves)
    halves.write(lambda c: close_packs(c, halves.spec.name))
    halves.write(lambda c: await_again(c, halves.study))
    waiting = halves.read(lambda c: read_stored(c, halves.study, state="waiting"))
    halves.mirror.await_again({trial.number for trial in waiting})
    halves.complete_pairs(*halves.mirror.open_trials())


def lose(halves: BothHalves, numbers: Collection[int], reason: str) -> list[int]:
    """Fail running trials that lost their worker; most wait again.

    A trial that has ended its worker too often without coming further waits no more; the numbers of those are
    returned. Where a trial never began, or its node was lost, it is no attempt.
    """
    stored = halves.read(lambda c: read_stored(c, halves.study, numbers=numbers, state="running"))
    before = halves.read(lambda c: furthest_epochs(c, halves.study, [trial.seed for trial in stored]))
    later = {
        t.number: t.once_more(
            halves.spec, counts=reason != NODE_LOST, came_further=t.epochs > before.get(t.seed, 0)
        )
        for t in stored
    }
    given_up = [number for number, trial in later.items() if trial.attempt > MAX_ATTEMPTS]
    again = [trial for number, trial in later.items() if number not in given_up]
    made = dict(zip(halves.mirror.add(again, state="waiting"), again, strict=True))
    reasons = {number: _reason(trial, reason) for number, trial in later.items()}

    def change(connection: Connection) -> None:
        fail_trials(connection, halves.study, reasons)
        insert_trials(connection, halves.study, halves.spec, made, "waiting")

    halves.write(change)
    halves.complete_pairs(*reasons)
    return given_up


def adopt_enqueued(halves: BothHalves) -> None:
    """Take trials into our rows that someone enqueued through Optuna."""
    for number, trial in _without_row(halves, halves.mirror.waiting_trials()).items():
        if TRIAL_ATTRIBUTE not in trial.user_attrs:
            _adopt_enqueued(halves, number, trial)


def _reason(again: NewTrial, reason: str) -> str:
    if again.attempt <= MAX_ATTEMPTS:
        return reason
    return f"lost {MAX_ATTEMPTS} times without coming further; the last time: {reason}"


def _restore_lost(halves: BothHalves) -> None:
    """Make the trials again that someone deleted with the Optuna study."""
    last = halves.read(lambda c: last_number(c, halves.study))
    if last is None or halves.mirror.has(last):
        return
    stored = {trial.number: trial for trial in halves.read(lambda c: read_stored(c, halves.study))}
    _log.warning("The Optuna study was deleted; it is restored from kdsearch's own tables.")
    for number in range(last + 1):
        if not halves.mirror.has(number):
            curve = curves_of(halves.read(lambda c, n=number: read_epochs(c, halves.study, [n])))  # type: ignore[misc]
            halves.mirror.restore(number, stored.get(number), curve.get(number, {}))


def _adopt_strays(halves: BothHalves) -> None:
    """Take trials into our rows that a kill left in Optuna alone."""
    for number, trial in _without_row(halves, halves.mirror.open_trials()).items():
        attribute = trial.user_attrs.get(TRIAL_ATTRIBUTE)
        if attribute is not None:
            point, waits = halves.mirror.point_of(trial), trial.state.name == "WAITING"
            _adopt_stray(halves, number, point, attribute, waits=waits)
        elif trial.state.name == "WAITING":
            _adopt_enqueued(halves, number, trial)
        else:
            halves.mirror.finish(number, Ending("failed", "not started by kdsearch"))


def _adopt_stray(
    halves: BothHalves, number: int, point: Point, attribute: Mapping[str, Any], *, waits: bool
) -> None:
    """Do what was left undone: insert the row, and fail the trial that it runs again."""
    try:
        trial = NewTrial.from_attribute(halves.spec, point, attribute)
    except ValueError as error:
        reason = f"can't be trained: {' '.join(str(error).split())}"
        _log.warning("Trial %d %s", number, reason)
        halves.mirror.finish(number, Ending("failed", reason))
        return

    def change(connection: Connection) -> None:
        if waits and trial.retry_of is not None:
            fail_trials(connection, halves.study, {trial.retry_of: INTERRUPTED})
        insert_trials(
            connection, halves.study, halves.spec, {number: trial}, "waiting" if waits else "running"
        )

    halves.write(change)


def _adopt_enqueued(halves: BothHalves, number: int, trial: "FrozenTrial") -> None:
    try:
        point = halves.mirror.point_of(trial)
        new = NewTrial.of(halves.spec, *point)
        halves.mirror.complete_params(number, point)
    except ValueError as error:
        reason = f"enqueued by hand {' '.join(str(error).split())}"
        _log.warning("Trial %d can't be run: %s", number, reason)
        halves.mirror.finish(number, Ending("failed", reason))
        return
    halves.write(lambda c: insert_trials(c, halves.study, halves.spec, {number: new}, "waiting"))


def _without_row(halves: BothHalves, trials: dict[int, "FrozenTrial"]) -> dict[int, "FrozenTrial"]:
    known = halves.read(lambda c: known_numbers(c, halves.study, trials))
    return {number: trial for number, trial in trials.items() if number not in known}
