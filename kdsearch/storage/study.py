"""A study's own rows: made once, and gone on with under a spec that asks for the same."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from kdsearch.errors import RequestError
from kdsearch.spec import StudySpec, load_stored_spec, setup_key, spec_document
from kdsearch.storage.database import database_now
from kdsearch.storage.provenance import git_commit, package_versions
from kdsearch.storage.tables import SetupTable, StudyTable, table_of

CHANGEABLE = (
    *("search.trials", "search.hours", "search.gpu_hours", "search.cpu_hours", "search.stop.regret"),
    *("search.sampler", "search.pruner", "search.pack", "search.warm_start", "search.widen"),
    *("resources", "artifacts"),
)
"""What of a spec may change while its study goes on: nothing that decides a trial's result."""


def ensure_study(connection: Connection, spec: StudySpec, source: Path) -> tuple[int, str]:
    """Create a study, or go on with it; return its id and its uid.

    Args:
        connection: A writing connection.
        spec: What is asked for.
        source: The folder whose git commit is recorded.

    Raises:
        RequestError: A study of this name asks for something else; the message names the paths.
    """
    stored = connection.execute(select(table_of(StudyTable)).where(StudyTable.name == spec.name)).first()
    now = database_now(connection)
    document = spec_document(spec)
    run = {"since": now.isoformat(), "versions": package_versions(), "git_commit": git_commit(source)}
    values: dict[str, Any] = {
        "spec": document,
        "spec_hash": spec_hash(document),
        "git_commit": run["git_commit"],
        "trials": spec.search.trials,
        "updated": now,
    }
    if stored is None:
        return _create(connection, spec, {**values, "versions": [run], "created": now})
    _refuse_other_spec(spec, load_stored_spec(stored.spec))
    runs = stored.versions
    if any(run[key] != runs[-1][key] for key in ("versions", "git_commit")):
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
    """Record why setups, by their keys, get no more trials; all others do."""
    of_study = update(table_of(SetupTable)).where(SetupTable.study_id == study)
    connection.execute(of_study.values(stopped=None))
    if reasons:
        change = of_study.where(SetupTable.key == bindparam("of_key")).values(stopped=bindparam("why"))
        connection.execute(change, [{"of_key": key, "why": reason} for key, reason in reasons.items()])


def _create(connection: Connection, spec: StudySpec, values: Mapping[str, Any]) -> tuple[int, str]:
    uid = uuid.uuid4().hex
    connection.execute(insert(StudyTable).values(name=spec.name, uid=uid, state="new", **values))
    study = connection.scalars(select(StudyTable.id).where(StudyTable.uid == uid)).one()
    connection.execute(
        insert(SetupTable),
        [
            {"study_id": study, "number": number, "levels": setup, "key": setup_key(setup)}
            for number, setup in enumerate(spec.setups())
        ],
    )
    return study, uid


def _refuse_other_spec(asked: StudySpec, stored: StudySpec) -> None:
    before, after = _leaves(spec_document(stored)), _leaves(spec_document(asked))
    differing = [
        f"`{path}` was {_shown(before.get(path))}, is {_shown(after.get(path))}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path) and not _may_change(path)
    ]
    if differing:
        raise RequestError(
            f"The study {asked.name!r} exists with another spec: {'; '.join(differing)}. Choose another "
            f"`name`, or ask for the same. While a study goes on, only {', '.join(CHANGEABLE)} may change."
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
