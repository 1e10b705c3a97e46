"""A study's own rows: made once, and continued under a like spec."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from kdsearch.errors import RequestError, SpecError
from kdsearch.spec import (
    TEMPERATURE,
    StudySpec,
    level_label,
    load_spec,
    load_stored_spec,
    setup_key,
    spec_document,
)
from kdsearch.spec.space import ByFactor
from kdsearch.spec.study import NO_TRAINER
from kdsearch.storage.rows.provenance import git_commit, package_versions
from kdsearch.storage.rows.queries import read_progress
from kdsearch.storage.rows.trials import insert_new
from kdsearch.storage.sql.database import database_now
from kdsearch.storage.sql.tables import SetupTable, StudyTable, table_of

CHANGEABLE = (
    *("search.trials", "search.hours", "search.gpu_hours", "search.cpu_hours", "search.stop.regret"),
    *("search.sampler", "search.pruner", "search.pack", "search.warm_start", "search.widen"),
    *("resources", "artifacts"),
)
"""What of a spec may change while its study goes on: nothing that decides a trial's result."""


def ensure_study(
    connection: Connection,
    spec: StudySpec,
    source: Path,
    data: Mapping[str, str],
    code: Mapping[str, str],
) -> tuple[int, str]:
    """Create a study, or go on with it. Return its id and its uid.

    Args:
        connection: A writing connection.
        spec: What is asked for.
        source: The folder whose git commit is recorded.
        data: The fingerprints of its data sets, by their names; of none where they are not at hand.
        code: Those of a user's code, by the names in the spec.

    Raises:
        RequestError: A study of this name asks for something else, or its data were edited; the message
            names the paths.
    """
    stored = connection.execute(select(table_of(StudyTable)).where(StudyTable.name == spec.name)).first()
    now = database_now(connection)
    document = spec_document(spec)
    run = {"since": now.isoformat(), "versions": package_versions(), "git_commit": git_commit(source)}
    run |= {name: dict(found) for name, found in (("data", data), ("code", code)) if found}
    values: dict[str, Any] = {
        "spec": document,
        "spec_hash": spec_hash(document),
        "git_commit": run["git_commit"],
        "trials": spec.search.trials,
        "updated": now,
    }
    if stored is None:
        made = _create(connection, spec, {**values, "versions": [run], "created": now})
        return made or ensure_study(connection, spec, source, data, code)
    _refuse_other_spec(spec, load_stored_spec(stored.spec))
    runs = stored.versions
    if read_progress(connection, stored.id).finished:
        _refuse_other_data(spec, runs, data)
    _add_setups(connection, stored.id, spec)
    if any(run[key] != runs[-1].get(key) for key in run.keys() - {"since"}):
        runs = [*runs, run]
    connection.execute(update(StudyTable).where(StudyTable.id == stored.id).values(**values, versions=runs))
    return stored.id, stored.uid


def spec_hash(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a spec's canonical JSON."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def set_study_state(
    connection: Connection, study: int, state: str, reason: str | None, now: datetime
) -> None:
    """Record how a study is, and why."""
    change = update(StudyTable).where(StudyTable.id == study)
    connection.execute(change.values(state=state, reason=reason, updated=now))


def set_stopped(connection: Connection, study: int, reasons: Mapping[str, str]) -> None:
    """Record why setups, by their keys, get no more trials. All others do."""
    of_study = update(table_of(SetupTable)).where(SetupTable.study_id == study)
    connection.execute(of_study.values(stopped=None))
    if reasons:
        change = of_study.where(SetupTable.key == bindparam("of_key")).values(stopped=bindparam("why"))
        connection.execute(change, [{"of_key": key, "why": reason} for key, reason in reasons.items()])


def _create(connection: Connection, spec: StudySpec, values: Mapping[str, Any]) -> tuple[int, str] | None:
    """Create a study and return its id and its uid. None where another process was quicker."""
    uid = uuid.uuid4().hex
    insert_new(connection, StudyTable, [{"name": spec.name, "uid": uid, "state": "new", **values}])
    study = connection.scalar(select(StudyTable.id).where(StudyTable.uid == uid))
    if study is None:
        return None
    _add_setups(connection, study, spec)
    return study, uid


def _add_setups(connection: Connection, study: int, spec: StudySpec) -> None:
    """Add the setups that are not there yet."""
    known = select(SetupTable.number, SetupTable.key).where(SetupTable.study_id == study)
    numbers = {key: number for number, key in connection.execute(known)}
    new = [setup for setup in spec.setups() if setup_key(setup) not in numbers]
    if new:
        first = max(numbers.values(), default=-1) + 1
        rows = [
            {"study_id": study, "number": first + place, "levels": setup, "key": setup_key(setup)}
            for place, setup in enumerate(new)
        ]
        connection.execute(insert(SetupTable), rows)


def check_name(name: str) -> None:
    """Raise RequestError where a text is no name of a study."""
    try:
        load_spec({"name": name, "tune": {TEMPERATURE: {"low": 1, "high": 2}}})
    except SpecError as error:
        raise RequestError(error.problems[0]) from error


def differences(asked: StudySpec, stored: StudySpec) -> list[str]:
    """Return what a spec changes that may not change in a study."""
    before, after = _leaves(spec_document(stored)), _leaves(spec_document(asked))
    return [
        _difference(path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
        and not (path == "trainer" and before.get(path) == NO_TRAINER)
        and not (
            _may_change(path) or _has_grown(before, after, path) or _is_of_new_level(asked, stored, path)
        )
    ]


def _difference(path: str, was: Any, now: Any) -> str:
    if path == "claims":
        return (
            "`claims` were written before any trial had finished and stay as they are (to judge others: "
            "kdsearch verdict STUDY --claims FILE)"
        )
    return f"`{path}` was {_shown(was)}, is {_shown(now)}"


def _has_grown(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> bool:
    """Return whether a factor has its levels still, and more."""
    was, now = before.get(path), after.get(path)
    if not (path.startswith("setup.") and isinstance(was, list) and isinstance(now, list)):
        return False
    return set(map(_shown, was)) <= set(map(_shown, now))  # as texts: 1 is not true


def _is_of_new_level(asked: StudySpec, stored: StudySpec, path: str) -> bool:
    """Return whether a path belongs to the range of a new level."""
    for name, dimension in asked.tune.items():
        if isinstance(dimension, ByFactor):
            known = {level_label(level) for level in stored.setup.get(dimension.by, ())}
            new = [label for label in dimension.ranges if label not in known]
            if any(path.startswith(f"tune.{name}.ranges.{label}.") for label in new):
                return True
    return False


def _refuse_other_spec(asked: StudySpec, stored: StudySpec) -> None:
    differing = differences(asked, stored)
    if differing:
        raise RequestError(
            f"The study {asked.name!r} exists with another spec: {'; '.join(differing)}. Choose another "
            f"`name`, or ask for the same. While a study goes on, only {', '.join(CHANGEABLE)} may change, "
            "and factors may get more levels."
        )


def _refuse_other_data(spec: StudySpec, runs: Sequence[Mapping[str, Any]], data: Mapping[str, str]) -> None:
    """Refuse to mix trials of several data: a path stands for what lies there."""
    known: dict[str, str] = {}
    for run in runs:
        known |= run.get("data", {})
    edited = [name for name, fingerprint in data.items() if known.get(name, fingerprint) != fingerprint]
    if edited:
        raise RequestError(
            f"The study {spec.name!r} has finished trials of other data: {', '.join(edited)} was edited "
            "since. Choose another `name`, or put the data back as they were."
        )


def _may_change(path: str) -> bool:
    return any(path == allowed or path.startswith(f"{allowed}.") for allowed in CHANGEABLE)


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of a document by dotted path."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, below in value.items():
        leaves |= _leaves(below, f"{prefix}.{key}" if prefix else key)
    return leaves


def _shown(value: Any) -> str:
    return json.dumps(value)
