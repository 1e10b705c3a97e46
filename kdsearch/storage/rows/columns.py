"""Trials column by column, for answers of very many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from kdsearch.spec import Params, Setup
from kdsearch.storage.rows.read import TrialRow, TrialState


@dataclass(frozen=True)
class TrialColumns:
    """What answers need of trials. Each column has one entry a trial, by number.

    Trials of one setup share its mapping, and trials at one point share their parameters'.
    """

    number: Sequence[int]
    state: Sequence[TrialState]
    reason: Sequence[str | None]
    setup: Sequence[Setup]
    params: Sequence[Params]
    epochs: Sequence[int]
    val_accuracy: Sequence[float | None]
    test_accuracy: Sequence[float | None]
    seconds: Sequence[float | None]

    def __len__(self) -> int:
        return len(self.number)


Trials: TypeAlias = Sequence[TrialRow] | TrialColumns
"""A study's trials, as whoever has them has them."""


def columns_of(trials: Trials) -> TrialColumns:
    """Return trials column by column."""
    if isinstance(trials, TrialColumns):
        return trials
    rows = sorted(trials, key=lambda trial: trial.number)
    return TrialColumns(*(_column(rows, field.name) for field in fields(TrialColumns)))


def _column(rows: Iterable[TrialRow], name: str) -> list[Any]:
    return [getattr(row, name) for row in rows]
