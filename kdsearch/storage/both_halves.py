"""Both halves of a study's record, our rows and Optuna's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from kdsearch.spec import StudySpec
from kdsearch.storage.mirror.trials import OptunaMirror
from kdsearch.storage.rows.lease import Lease
from kdsearch.storage.rows.trials import read_stored
from kdsearch.storage.sql.database import Database
from kdsearch.storage.sql.retries import with_retries

_Result = TypeVar("_Result")


def write(database: Database, change: Callable[[Connection], _Result], lease: Lease | None) -> _Result:
    """Do a change in one transaction. With a lease, only while it holds.

    Raises:
        LiveDriverError: Another driver has the study; the change was not made.
    """

    def once() -> _Result:
        with database.write() as connection:
            if lease is not None:
                lease.check(connection)
            return change(connection)

    return with_retries(once)


@dataclass(frozen=True)
class BothHalves:
    """A study's rows (`study` is their id) and its mirror in Optuna."""

    database: Database
    spec: StudySpec
    study: int
    mirror: OptunaMirror
    lease: Lease | None

    def write(self, change: Callable[[Connection], _Result]) -> _Result:
        """Do a change of our rows in one transaction."""
        return write(self.database, change, self.lease)

    def read(self, query: Callable[[Connection], _Result]) -> _Result:
        """Return what a query finds."""

        def once() -> _Result:
            with self.database.read() as connection:
                return query(connection)

        return with_retries(once)

    def complete_pairs(self, *numbers: int) -> None:
        """End trials in Optuna too that have ended in our rows."""
        for trial in self.read(lambda c: read_stored(c, self.study, numbers=numbers)):
            if trial.ending is not None:
                self.mirror.finish(trial.number, trial.ending)
