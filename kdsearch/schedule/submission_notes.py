"""A submitted study in its database, from before its driver writes. A job that dies at its start is seen."""

import logging

from sqlalchemy.exc import DBAPIError

from kdsearch.errors import KDSearchError, RequestError, RunError
from kdsearch.spec import StudySpec
from kdsearch.storage import Database, StudyRecord, load_spec_of, load_study, open_database

_log = logging.getLogger(__name__)


def note_submission(spec: StudySpec, storage: str, how: str) -> None:
    """Make a study's row and note how it was submitted. Skipped where it has a driver.

    A database that only the cluster reaches is left to the job.

    Args:
        spec: The study's.
        storage: The database's URL.
        how: As what job, and how to see its log.

    Raises:
        RequestError: A study of this name exists and asks for something else.
    """
    try:
        database = open_database(storage, create=True)
    except (RequestError, DBAPIError):
        return
    with database:
        try:
            _note(database, spec, how)
        except (RunError, DBAPIError) as error:  # the job runs even so
            _log.warning("The study %r has no note of its job: %s", spec.name, error)


def _note(database: Database, spec: StudySpec, how: str) -> None:
    record = StudyRecord.open(database, spec)
    found = load_study(database, spec.name)
    if found.driver is None:
        record.set_state(found.state, how)


def note_failed_start(study: str, storage: str, reason: str) -> None:
    """Note why a submitted study's driver never came to it. Any other study stays as it is."""
    try:
        with open_database(storage) as database:
            found = load_study(database, study)
            if found.state == "new" and found.driver is None:
                StudyRecord.open(database, load_spec_of(database, study)).set_state("failed", reason)
    except (KDSearchError, DBAPIError):  # there is none, or the driver could not reach the database either
        return
