"""The pages of trials: a list, and one trial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from kdsearch.analysis.labels import NOTHING, factor_label, setup_names, temperature_text, value_text
from kdsearch.analysis.questions.outcomes import temperature_of
from kdsearch.analysis.report.drawing import draw
from kdsearch.analysis.report.figures import trial_figure
from kdsearch.errors import RequestError
from kdsearch.service.openapi import STATES
from kdsearch.service.questions import check_names, choice, whole_number
from kdsearch.service.reader import DatabaseReader
from kdsearch.spec import TEMPERATURE, level_label, setup_key
from kdsearch.storage import TrialRow
from kdsearch.storage.rows.browsing import ORDERS, LossReason, TrialQuery

PAGE = 50
"""By hand: some screens, and a quick query."""

_MOST_REASONS = 20
"""By hand: a list that is still read; the rest is counted."""

_ORDER_OF = {
    "trial": "number",
    "state": "state",
    "T": "temperature",
    "accuracy": "accuracy",
    "epochs": "epochs",
}


@dataclass(frozen=True)
class _Heading:
    text: str
    address: str | None = None
    sorted: str | None = None


def trials_context(reader: DatabaseReader, name: str, query: QueryParams) -> dict[str, Any]:
    """Return what the list of trials shows."""
    study = reader.study(name)
    asked, page = _asked(query)
    found = reader.trial_page(name, asked)
    names = setup_names(list(found.setups.values()))
    setups = dict(zip(found.setups, names, strict=True))
    name_of = {setup_key(setup): setups[number] for number, setup in found.setups.items()}
    params = [
        path for path in dict.fromkeys(p for row in found.trials for p in row.params) if path != TEMPERATURE
    ]
    reasons = reader.loss_reasons(name)
    return {
        "study": study,
        "states": STATES,
        "orders": ORDERS,
        "query": asked,
        "setups": setups,
        "total": found.total,
        "first": asked.offset + 1,
        "last": asked.offset + len(found.trials),
        "headings": _headings(query, asked, params),
        "rows": [_row(row, name_of[setup_key(row.setup)], params) for row in found.trials],
        "reasons": [_reason(reason) for reason in reasons[:_MOST_REASONS]],
        "n_more_reasons": max(len(reasons) - _MOST_REASONS, 0),
        "earlier": _address(query, page=page - 1) if page > 1 else None,
        "later": _address(query, page=page + 1) if asked.offset + PAGE < found.total else None,
        "events": f"/studies/{name}/trials/events",
        "mark": reader.trials_mark(name),
    }


def trial_context(reader: DatabaseReader, name: str, number: int) -> dict[str, Any]:
    """Return what the page of one trial shows."""
    study = reader.study(name)
    try:
        trial, curve = reader.trial(name, number)
    except RequestError as error:
        raise HTTPException(404, str(error)) from error
    is_open = trial.state in ("running", "waiting")
    return {
        "study": study,
        "trial": trial,
        "lead": _lead(trial),
        "figure": draw(trial_figure(trial, curve)) if curve else None,
        "fields": [(label, text) for label, text in _fields(trial) if text != NOTHING],
        "events": f"/studies/{name}/trials/events" if is_open else None,
        "mark": reader.trials_mark(name),
    }


def _asked(query: QueryParams) -> tuple[TrialQuery, int]:
    check_names(query, ("state", "setup", "reason", "sort", "order", "page"))
    page = whole_number(query, "page", 1, low=1, high=10**6)
    order: Any = choice(query, "sort", ORDERS, "number")
    asked = TrialQuery(
        state=choice(query, "state", STATES, None),
        setup=whole_number(query, "setup", None, low=0, high=10**6),
        reason=query.get("reason"),
        order=order,
        descending=choice(query, "order", ("up", "down"), "up") == "down",
        limit=PAGE,
        offset=PAGE * (page - 1),
    )
    return asked, page


def _headings(query: QueryParams, asked: TrialQuery, params: Sequence[str]) -> list[_Heading]:
    texts = [
        "trial",
        "setup",
        "state",
        "T",
        *map(factor_label, params),
        "accuracy",
        "test accuracy",
        "epochs",
    ]
    return [*(_heading(query, asked, text) for text in texts), _Heading("reason")]


def _heading(query: QueryParams, asked: TrialQuery, text: str) -> _Heading:
    order = _ORDER_OF.get(text)
    if order is None:
        return _Heading(text)
    is_own = asked.order == order
    turned = "up" if (asked.descending if is_own else order in ("number", "temperature")) else "down"
    direction = ("descending" if asked.descending else "ascending") if is_own else None
    return _Heading(text, _address(query, sort=order, order=turned, page=1), direction)


def _address(query: QueryParams, **changed: Any) -> str:
    return "?" + urlencode({**dict(query), **changed})


def _row(row: TrialRow, setup: str, params: Sequence[str]) -> dict[str, Any]:
    temperature = temperature_of(row)
    return {
        "number": row.number,
        "reason": row.reason or "",
        "cells": [
            setup,
            row.state,
            NOTHING if temperature is None else f"{temperature:.3g}",
            *(value_text(row.params[path]) if path in row.params else NOTHING for path in params),
            _percent(row.val_accuracy),
            _percent(row.test_accuracy),
            row.epochs,
        ],
    }


def _reason(reason: LossReason) -> dict[str, Any]:
    low, high = temperature_text(reason.low), temperature_text(reason.high)
    held = reason.common.strip()[:200]
    address = "?" + urlencode({"state": reason.state, "reason": held}) if held else None
    span = low if low == high else f"{low} to {high}"
    return {**reason.__dict__, "span": span, "address": address}


def _lead(trial: TrialRow) -> str:
    temperature = temperature_of(trial)
    at = "" if temperature is None else f" at T = {temperature:.3g}"
    accuracy = "" if trial.val_accuracy is None else f": {trial.val_accuracy:.2%} on the validation split"
    return f"{trial.state.capitalize()}{at} after {trial.epochs} epochs{accuracy}."


def _fields(trial: TrialRow) -> list[tuple[str, str]]:
    numbers = {
        "validation loss": trial.val_loss,
        "training loss": trial.train_loss,
        "teacher's entropy, nats": trial.teacher_entropy,
        "student's entropy, nats": trial.student_entropy,
    }
    return [
        *((path, level_label(level)) for path, level in trial.setup.items()),
        *((path, value_text(value)) for path, value in trial.params.items()),
        ("validation accuracy", _percent(trial.val_accuracy)),
        ("test accuracy", _percent(trial.test_accuracy)),
        *((label, _number(value)) for label, value in numbers.items()),
        ("agrees with its teacher", _percent(trial.teacher_agreement)),
        ("seed", str(trial.seed)),
        ("seconds", _number(trial.seconds)),
        ("device", trial.device or NOTHING),
        ("pack", trial.pack or NOTHING),
        ("students in the pack", str(trial.pack_size or NOTHING)),
        ("trained by", trial.executor or NOTHING),
    ]


def _percent(value: float | None) -> str:
    return f"{value:.2%}" if value is not None and math.isfinite(value) else NOTHING


def _number(value: float | None) -> str:
    return f"{value:.4g}" if value is not None and math.isfinite(value) else NOTHING
