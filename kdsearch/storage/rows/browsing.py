"""A study for people: trials, packs and losses, each read bounded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, func, select

from kdsearch.errors import RequestError
from kdsearch.spec import Setup
from kdsearch.spec.bounds import LARGEST_COLUMN
from kdsearch.storage.rows.queries import study_id
from kdsearch.storage.rows.read import TrialRow
from kdsearch.storage.rows.reading import read_setups, read_trials
from kdsearch.storage.sql.database import Database
from kdsearch.storage.sql.tables import StudyTable, TrialTable

TrialOrder = Literal["number", "state", "temperature", "accuracy", "epochs", "seconds"]
ORDERS: tuple[str, ...] = get_args(TrialOrder)

_COLUMNS: Mapping[str, Any] = {
    "number": TrialTable.number,
    "state": TrialTable.state,
    "temperature": TrialTable.temperature,
    "accuracy": TrialTable.val_accuracy,
    "epochs": TrialTable.epochs,
    "seconds": TrialTable.seconds,
}
_MOST_REASONS = 1_000
"""By hand: reasons are grouped by their words afterwards."""

_MOST_PACKS = 100
"""By hand: a page shows a few of them."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class TrialQuery:
    """Which trials are asked for, and in which order.

    Attributes:
        state: Only those in this state.
        setup: Only those of the setup at this place in the study.
        reason: Only those whose reason holds this text.
        order: By what they are sorted; trials without a value come last.
        descending: From high to low.
        limit: At most so many; the default is one page of the explorer.
        offset: So many are left out before.
    """

    state: str | None = None
    setup: int | None = None
    reason: str | None = None
    order: TrialOrder = "number"
    descending: bool = False
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True)
class TrialPage:
    """Some trials in the asked order, and the count of all."""

    trials: list[TrialRow]
    total: int
    setups: Mapping[int, Setup]


@dataclass(frozen=True)
class LossReason:
    """Why trials were lost: reasons that differ in numbers only are one.

    Attributes:
        state: The state that the trials are in.
        text: The reason of the first of them.
        count: How many.
        first: The number of the first of them.
        low: Their lowest temperature.
        high: Their highest temperature.
        common: What all their reasons begin with.
    """

    state: str
    text: str
    count: int
    first: int
    low: float
    high: float
    common: str


@dataclass(frozen=True)
class RunningPack:
    """Trials of one setup that are trained together now.

    `epochs` are those of the trial that is farthest.
    """

    pack: str
    setup: Setup
    trials: int
    epochs: int


def load_name(database: Database, uid: str) -> str | None:
    """Return the name of the study with a uid, else None.

    Renaming changes no uid.
    """
    with database.read() as connection:
        return connection.scalar(select(StudyTable.name).where(StudyTable.uid == uid))


def load_trial_page(database: Database, study: str, query: TrialQuery) -> TrialPage:
    """Return some of a study's trials.

    Raises:
        RequestError: There is no such study, or no such order.
    """
    if query.order not in _COLUMNS:
        raise RequestError(f"`sort` must be one of {', '.join(ORDERS)}, got {query.order!r}.")
    with database.read() as connection:
        own = study_id(connection, study)
        which = [TrialTable.study_id == own, *_conditions(query)]
        total = connection.scalar(select(func.count()).select_from(TrialTable).where(*which)) or 0
        column = _COLUMNS[query.order]
        order = (column.is_(None), column.desc() if query.descending else column, TrialTable.number)
        numbers = select(TrialTable.number).where(*which).order_by(*order)
        found = connection.scalars(numbers.limit(query.limit).offset(query.offset)).all()
        setups = read_setups(connection, own)
        rows = read_trials(connection, own, TrialTable.number.in_(found), setups=setups) if found else []
    by_number = {row.number: row for row in rows}
    return TrialPage([by_number[number] for number in found], total, setups)


def load_trial(database: Database, study: str, number: int) -> TrialRow:
    """Return one trial.

    Raises:
        RequestError: There is no such study or trial.
    """
    with database.read() as connection:
        own = study_id(connection, study)
        is_number = number <= LARGEST_COLUMN
        found = read_trials(connection, own, TrialTable.number == number) if is_number else []
    if not found:
        raise RequestError(f"The study {study!r} has no trial {number}.")
    return found[0]


def load_loss_reasons(database: Database, study: str) -> list[LossReason]:
    """Return why trials failed or were pruned, the most frequent reason first.

    Raises:
        RequestError: There is no such study.
    """
    temperature, number = TrialTable.temperature, TrialTable.number
    counted = (func.count().label("n"), func.min(number), func.min(temperature), func.max(temperature))
    with database.read() as connection:
        own = TrialTable.study_id == study_id(connection, study)
        query = select(TrialTable.state, TrialTable.reason, *counted).where(
            own, TrialTable.reason.is_not(None)
        )
        query = query.where(TrialTable.state.in_(("failed", "pruned")))
        query = query.group_by(TrialTable.state, TrialTable.reason).order_by(func.count().desc())
        rows = connection.execute(query.limit(_MOST_REASONS)).all()
    groups: dict[tuple[str, str], LossReason] = {}
    for state, reason, count, first, low, high in rows:
        text = reason or ""
        key = state, _NUMBER.sub("0", text)
        own_reason = LossReason(state, text, count, first, low, high, common=text)
        groups[key] = _joined(groups[key], own_reason) if key in groups else own_reason
    return sorted(groups.values(), key=lambda reason: -reason.count)


def load_running_packs(database: Database, study: str) -> list[RunningPack]:
    """Return the packs that are in training, at most a hundred.

    Raises:
        RequestError: There is no such study.
    """
    with database.read() as connection:
        own = study_id(connection, study)
        return _running(connection, own)


def _running(connection: Connection, study: int) -> list[RunningPack]:
    columns = (TrialTable.pack, TrialTable.setup, func.count(), func.max(TrialTable.epochs))
    is_running = TrialTable.study_id == study, TrialTable.state == "running"
    query = select(*columns).where(*is_running).group_by(TrialTable.pack, TrialTable.setup)
    rows = connection.execute(query.order_by(func.min(TrialTable.number)).limit(_MOST_PACKS)).all()
    setups = read_setups(connection, study) if rows else {}
    return [RunningPack(pack or "", setups[setup], count, epochs) for pack, setup, count, epochs in rows]


def _conditions(query: TrialQuery) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if query.state is not None:
        wanted.append(TrialTable.state == query.state)
    if query.setup is not None:
        wanted.append(TrialTable.setup == query.setup)
    if query.reason is not None:
        wanted.append(TrialTable.reason.contains(query.reason, autoescape=True))
    return wanted


def _joined(one: LossReason, other: LossReason) -> LossReason:
    first = min(one, other, key=lambda reason: reason.first)
    low, high = min(one.low, other.low), max(one.high, other.high)
    pairs = zip(one.common, other.common, strict=False)
    length = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one.common), len(other.common)))
    common = one.common[:length]
    return LossReason(one.state, first.text, one.count + other.count, first.first, low, high, common)
