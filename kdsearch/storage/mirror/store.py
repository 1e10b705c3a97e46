"""Optuna's side of a database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import select

from kdsearch.errors import RequestError
from kdsearch.storage.rows.queries import study_id
from kdsearch.storage.sql.database import Database, engine_options
from kdsearch.storage.sql.retries import tell_lost_connections
from kdsearch.storage.sql.schema import OPTUNAS_TABLES, await_turn
from kdsearch.storage.sql.tables import StudyTable

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage

STUDY_ATTRIBUTE = "kdsearch_study"
"""The user attribute of an Optuna study that holds our `kd_study.uid`."""

_FITTING: set[str] = set()
"""The version of the installed Optuna's tables, once known: all of their history is loaded to find it."""


def open_optuna_storage(database: Database) -> "RDBStorage":
    """Return Optuna's storage in a database, with the same options as ours.

    Raises:
        RequestError: Optuna's tables are of another version of Optuna; the message says what to do.
    """
    from optuna.storages import RDBStorage

    url = database.engine.url.render_as_string(hide_password=False)
    with _alone(database):
        storage = RDBStorage(url, engine_kwargs=engine_options(database.url), skip_compatibility_check=True)
    tell_lost_connections(storage.engine)
    database.keep(storage.engine)
    _check_version(storage, database)
    return storage


def _check_version(storage: "RDBStorage", database: Database) -> None:
    """Refuse tables that are not this Optuna's, as it does itself, but look up its own version only once."""
    version = storage.get_current_version()
    if version in _FITTING:
        return
    newest = storage.get_head_version()
    if version != newest:
        is_older = version in storage.get_all_versions()
        advice = (
            "Upgrade them with `optuna storage upgrade --storage URL`"
            if is_older
            else "Upgrade Optuna with `pip install -U optuna`"
        )
        raise RequestError(
            f"Optuna's tables in {database.name} must be of its version {newest}, got {version}. {advice}."
        )
    _FITTING.add(version)


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Let others wait: Optuna makes its tables when it is opened, and of two at once one would fail."""
    if database.engine.dialect.name != "postgresql":
        yield
        return
    with database.engine.begin() as connection:
        await_turn(connection, OPTUNAS_TABLES)
        yield


def load_optuna_study(database: Database, study: str) -> "Study":
    """Return the plain Optuna study of a study.

    Raises:
        RequestError: There is no such study, or its Optuna study was deleted.
    """
    import optuna

    with database.read() as connection:
        row = study_id(connection, study)
        uid = connection.scalars(select(StudyTable.uid).where(StudyTable.id == row)).one()
    storage = open_optuna_storage(database)
    name = optuna_name(storage, uid)
    if name is None:
        raise RequestError(
            f"`study` must have its trials in Optuna too, got {study!r}, whose Optuna study was deleted. "
            "Launch it again: that restores them."
        )
    return optuna.load_study(study_name=name, storage=storage)


def optuna_name(storage: "RDBStorage", uid: str) -> str | None:
    """Return the name of the Optuna study that is ours. A dashboard may have renamed it."""
    for study in storage.get_all_studies():
        if study.user_attrs.get(STUDY_ATTRIBUTE) == uid:
            return study.study_name
    return None


def ensure_optuna_study(
    storage: "RDBStorage", name: str, uid: str, sampler: "BaseSampler | None" = None
) -> "Study":
    """Return the Optuna study that is ours, made where there is none.

    Raises:
        RequestError: Another Optuna study has the name.
    """
    import optuna

    found = optuna_name(storage, uid)
    if found is not None:
        return optuna.load_study(study_name=found, storage=storage, sampler=sampler)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        pruner=optuna.pruners.NopPruner(),
        direction="maximize",
        load_if_exists=True,
    )
    owner = study.user_attrs.get(STUDY_ATTRIBUTE)
    if owner == uid:  # another process was quicker
        return study
    if owner is not None or study.get_trials(deepcopy=False):
        raise RequestError(
            f"`name` must not be that of another Optuna study in this database, got {name!r}. "
            "Choose another name, or another database."
        )
    study.set_user_attr(STUDY_ATTRIBUTE, uid)
    return study
