"""Reading a study's trials: as rows, as columns, or repeatedly."""

import gc
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from typing import Any, get_args

from sqlalchemy import ColumnElement, Connection, Text, cast, select

from kdsearch.spec import TEMPERATURE, Params, Setup
from kdsearch.storage.rows.columns import TrialColumns
from kdsearch.storage.rows.read import TrialRow, TrialState
from kdsearch.storage.sql.tables import SetupTable, TrialTable

NUMBERS_AT_ONCE = 500
"""How many trials a query names, by hand: half of the 999 values that older SQLite takes."""

_MOST_ACCURACY = 10.0
"""Accuracies are fractions; a score of another kind may lie a little outside of 0 to 1, never far."""

_ENDED = ("complete", "pruned", "failed")
_REPEATED = ("state", "reason", "device", "pack", "executor")


def read_setups(connection: Connection, study: int) -> dict[int, Setup]:
    """Return the setups of a study's id by their number."""
    query = select(SetupTable.number, SetupTable.levels).where(SetupTable.study_id == study)
    rows = connection.execute(query.order_by(SetupTable.number))
    return {number: levels for number, levels in rows}  # noqa: C416 - rows are no pairs to mypy


def read_trials(
    connection: Connection,
    study: int,
    *which: ColumnElement[bool],
    setups: Mapping[int, Setup] | None = None,
) -> list[TrialRow]:
    """Return the trials of a study's id by number. Trials of one setup share its mapping.

    Args:
        connection: Where from.
        study: The study's id.
        which: Conditions on `kd_trial`; without any, all trials.
        setups: What `read_setups` returned before.
    """
    names = [field.name for field in fields(TrialRow)]
    columns = _read(connection, study, names, which, setups or read_setups(connection, study))
    return [TrialRow(*values) for values in zip(*columns, strict=True)]


def read_columns(connection: Connection, study: int) -> TrialColumns:
    """Return what answers need of the trials of a study's id."""
    names = [field.name for field in fields(TrialColumns)]
    return TrialColumns(*_read(connection, study, names, (), read_setups(connection, study)))


def in_parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield numbers, few enough at a time for one query."""
    for at in range(0, len(numbers), NUMBERS_AT_ONCE):
        yield numbers[at : at + NUMBERS_AT_ONCE]


class GrowingTrials:
    """A study's trials for who asks repeatedly. One that has ended never changes, and is read once."""

    def __init__(self) -> None:
        self._setups: dict[int, Setup] = {}
        self._rows: dict[int, TrialRow] = {}
        self._newest = -1
        self._awaited: list[int] = []

    def read(self, connection: Connection, study: int) -> list[TrialRow]:
        """Return the trials of a study's id by number, like `read_trials`."""
        self._setups = self._setups or read_setups(connection, study)
        found = read_trials(connection, study, TrialTable.number > self._newest, setups=self._setups)
        for part in in_parts(self._awaited):
            found += read_trials(connection, study, TrialTable.number.in_(part), setups=self._setups)
        is_late = any(row.number < self._newest and row.number not in self._rows for row in found)
        self._rows.update((row.number, row) for row in found)
        if is_late:
            self._rows = dict(sorted(self._rows.items()))
        first, self._newest = self._newest + 1, max((self._newest, *(row.number for row in found)))
        # A number that Optuna gave may get its row later than higher ones: one that was enqueued by hand.
        known = (*self._awaited, *range(first, self._newest + 1))
        self._awaited = [number for number in known if not self._has_ended(number)]
        return list(self._rows.values())

    def _has_ended(self, number: int) -> bool:
        row = self._rows.get(number)
        return row is not None and row.state in _ENDED


def _read(
    connection: Connection,
    study: int,
    names: Sequence[str],
    which: Sequence[ColumnElement[bool]],
    setups: Mapping[int, Setup],
) -> list[Sequence[Any]]:
    """Return columns of a study's trials, by name.

    Setups and parameters are mappings.
    """
    query = select(*map(_column, names)).where(TrialTable.study_id == study, *which)
    with closing(connection.execute(query.order_by(TrialTable.number))) as found, _uncollected():
        # The driver's own tuples: to make SQLAlchemy's rows of them takes as long again as to fetch them.
        rows = found.cursor.fetchall()
        columns = dict(zip(names, _transposed(rows, len(names)), strict=True))
        columns["setup"] = [setups[number] for number in columns["setup"]]
        columns["params"] = _decoded(columns["params"])
        _check(columns)
        for name in columns.keys() & set(_REPEATED):  # a driver keeps its rows: equal texts are one
            columns[name] = [text and sys.intern(text) for text in columns[name]]
    return list(columns.values())


def _check(columns: Mapping[str, Sequence[Any]]) -> None:
    """Refuse what kdsearch never writes, before an answer is made of it.

    Raises:
        ValueError: A state, an accuracy or a temperature can't be one.
    """
    if odd := set(columns["state"]) - set(get_args(TrialState)):
        raise ValueError(f"a trial has the state {min(odd, key=str)!r}")
    for name in columns.keys() & {"val_accuracy", "test_accuracy"}:
        for value in columns[name]:
            if value is not None and not -_MOST_ACCURACY <= value <= _MOST_ACCURACY:
                raise ValueError(f"a trial has the {name} {value!r}, which is no fraction")
    points = {id(point): point for name in ("params", "setup") for point in columns[name]}
    for point in points.values():
        temperature = point.get(TEMPERATURE, 1.0)
        if not 0 < temperature < math.inf:
            raise ValueError(f"a trial has the temperature {temperature!r}, which must be above 0")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let objects be made that live on. The collector would look through them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _column(name: str) -> Any:
    column = getattr(TrialTable, name)
    return cast(column, Text).label(name) if name == "params" else column


def _transposed(rows: Sequence[tuple[Any, ...]], n_columns: int) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * n_columns


def _decoded(texts: Sequence[str]) -> list[Params]:
    """Return trials' parameters, given as JSON; equal ones share a mapping."""
    distinct = list(dict.fromkeys(texts))
    # Decoding them at once takes a third of the time.
    known = dict(zip(distinct, json.loads(f"[{','.join(distinct)}]"), strict=True))
    return [known[text] for text in texts]
