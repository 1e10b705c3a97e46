"""Taking a study's name away: deleting, renaming, replacing."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, select, update

from kdsearch.errors import LiveDriverError, RequestError
from kdsearch.spec import StudySpec, load_stored_spec
from kdsearch.storage.both_halves import write
from kdsearch.storage.mirror.documents import read_optuna, write_optuna
from kdsearch.storage.mirror.store import STUDY_ATTRIBUTE, open_optuna_storage, optuna_name
from kdsearch.storage.rows.distributions import OptunaSpace
from kdsearch.storage.rows.lease import Lease, live_drivers
from kdsearch.storage.rows.queries import read_progress, study_id
from kdsearch.storage.rows.study import check_name, differences, spec_hash
from kdsearch.storage.sql.database import Database
from kdsearch.storage.sql.retries import with_retries
from kdsearch.storage.sql.tables import (
    EpochTable,
    LeaseTable,
    PackTable,
    SetupTable,
    StudyTable,
    StudyTeacherTable,
    TrialTable,
    WideningTable,
    table_of,
)

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

_PARTS = (EpochTable, TrialTable, PackTable, WideningTable, StudyTeacherTable, SetupTable)

_log = logging.getLogger(__name__)


def delete_study(database: Database, study: str) -> None:
    """Delete a study with its trials, here and in Optuna. Its teachers stay, which others may use.

    Raises:
        RequestError: There is no such study, or another one starts from it.
        LiveDriverError: It is being run.
    """
    with database.read() as connection:
        row = _idle_study(connection, study)
        users = [name for name, spec in _specs(connection) if study in _warm_start(spec)]
    if users:
        raise RequestError(
            f"`study` must be one that no other starts from, got {study!r}, which {users[0]!r} names in "
            f"`search.warm_start`. Delete {users[0]!r} first."
        )
    _delete_in_optuna(database, row.uid)
    with database.write() as connection:
        _delete_rows(connection, row.id)
        connection.execute(delete(LeaseTable).where(LeaseTable.study == study))


def rename_study(database: Database, study: str, name: str) -> None:
    """Give a study another name, here and in Optuna.

    Specs of studies that start from it get the new name too.

    Raises:
        RequestError: There is no such study, or the name is taken or none.
        LiveDriverError: It is being run.
    """
    check_name(name)
    storage = open_optuna_storage(database)
    with database.read() as connection:
        row = _idle_study(connection, study)
        taken = connection.scalar(select(StudyTable.name).where(StudyTable.name == name))
    owners = {found.study_name: found.user_attrs.get(STUDY_ATTRIBUTE) for found in storage.get_all_studies()}
    if taken or owners.get(name, row.uid) != row.uid:
        raise RequestError(f"`name` must be free in this database, got {name!r}. Choose another.")
    if name not in owners:  # else a rename that was cut has brought it there
        about, trials = read_optuna(storage, row.uid)
        _replace_in_optuna(storage, row.uid, {**about, "name": name}, trials)
    with database.write() as connection:
        for other, spec in list(_specs(connection)):
            if other == study or study in _warm_start(spec):
                _write_spec(connection, other, _renamed(spec, study, name))
        connection.execute(update(StudyTable).where(StudyTable.name == study).values(name=name))
        connection.execute(delete(LeaseTable).where(LeaseTable.study == study))


def make_way(database: Database, spec: StudySpec, lease: Lease | None) -> None:
    """Let a new spec replace or extend a study of its name.

    Nothing is lost by it: a study without a finished trial begins anew where the spec asks for something
    else; any other may get new levels. Optuna wants all trials to name the same levels, so it gets the new
    ones too.

    Args:
        database: Where the study may be.
        spec: What is asked for.
        lease: With it, nothing is deleted once another driver has the study.
    """
    with database.read() as connection:
        stored = connection.execute(select(table_of(StudyTable)).where(StudyTable.name == spec.name)).first()
        if stored is None:
            return
        finished = read_progress(connection, stored.id).finished
    known = load_stored_spec(stored.spec)
    if differences(spec, known):
        if not finished:
            _log.warning("The study %r had no finished trial; it begins anew with its new spec.", spec.name)
            _delete_in_optuna(database, stored.uid)
            write(database, lambda connection: _delete_rows(connection, stored.id), lease)
    elif spec.setup != known.setup:
        _grow_in_optuna(database, spec, stored.uid)


def _grow_in_optuna(database: Database, spec: StudySpec, uid: str) -> None:
    """Tell Optuna of the levels that a study's factors have now. Its trials must all name the same."""
    from optuna.distributions import distribution_to_json

    storage = open_optuna_storage(database)
    if optuna_name(storage, uid) is None:
        return
    about, trials = read_optuna(storage, uid)
    space = OptunaSpace(spec).distributions(spec.setups()[0])
    levels = {path: distribution_to_json(space[path]) for path in spec.setup}
    if all(_has_levels(trial["distributions"], levels) for trial in trials):
        return
    _replace_in_optuna(storage, uid, about, [_with_levels(trial, levels) for trial in trials])


def _replace_in_optuna(
    storage: "RDBStorage", uid: str, about: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]
) -> None:
    """Write a study of Optuna's anew. A database that is away is waited for: what was read is here alone."""
    with_retries(lambda: write_optuna(storage, uid, about, trials))


def _has_levels(known: Mapping[str, str], levels: Mapping[str, str]) -> bool:
    return all(json.loads(known[path]) == json.loads(levels[path]) for path in known.keys() & levels.keys())


def _with_levels(trial: Mapping[str, Any], levels: Mapping[str, str]) -> dict[str, Any]:
    known = trial["distributions"]
    return {**trial, "distributions": {path: levels.get(path, own) for path, own in known.items()}}


def _idle_study(connection: Connection, study: str) -> Any:
    row = study_id(connection, study)
    if driver := live_drivers(connection, study).get(study):
        raise LiveDriverError(
            f"The study {study!r} is being run ({driver}). Stop it first: kdsearch stop {study}"
        )
    return connection.execute(select(table_of(StudyTable)).where(StudyTable.id == row)).one()


def _specs(connection: Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, spec) for name, spec in connection.execute(select(StudyTable.name, StudyTable.spec)))


def _warm_start(spec: Mapping[str, Any]) -> list[str]:
    return list(spec.get("search", {}).get("warm_start", ()))


def _renamed(spec: Mapping[str, Any], study: str, name: str) -> dict[str, Any]:
    earlier = [name if other == study else other for other in _warm_start(spec)]
    search = {**spec.get("search", {}), "warm_start": earlier}
    return {**spec, "search": search, "name": name if spec["name"] == study else spec["name"]}


def _write_spec(connection: Connection, study: str, spec: dict[str, Any]) -> None:
    change = update(StudyTable).where(StudyTable.name == study)
    connection.execute(change.values(spec=spec, spec_hash=spec_hash(spec)))


def _delete_in_optuna(database: Database, uid: str) -> None:
    storage = open_optuna_storage(database)
    if name := optuna_name(storage, uid):
        storage.delete_study(storage.get_study_id_from_name(name))


def _delete_rows(connection: Connection, study: int) -> None:
    for part in _PARTS:
        table = table_of(part)
        connection.execute(delete(table).where(table.c.study_id == study))
    connection.execute(delete(StudyTable).where(StudyTable.id == study))
