"""One live driver for each study: a row with a heartbeat and the owner's token."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from kdsearch.errors import KDSearchError, LiveDriverError, RequestError, RunError
from kdsearch.storage.rows.ledger import close_packs, count_running, count_time, shift_running
from kdsearch.storage.rows.processes import is_dead, process_mark
from kdsearch.storage.rows.read import Driver
from kdsearch.storage.sql.database import Database, database_now
from kdsearch.storage.sql.failures import first_line
from kdsearch.storage.sql.retries import with_retries
from kdsearch.storage.sql.schema import LEASES, await_turn
from kdsearch.storage.sql.tables import LeaseTable, table_of

HEARTBEAT_S = 3.0
"""By hand: such a small write is nothing to a database, and ten of them fit before the lease expires."""

EXPIRY_S = 30.0
"""Ten missed heartbeats: a driver that a disk or a network holds up for some seconds keeps its study."""

_JUMP_S = 30.0
"""As long as a lease lives: where the two clocks differ by more, one was set or this machine slept."""

_log = logging.getLogger(__name__)


class Lease:
    """A study that this process drives. `lost` once another driver has it, or its database is gone."""

    def __init__(self, database: Database, study: str, *, takeover: bool = False) -> None:
        self.study = study
        self._takeover = takeover
        self.owner = uuid.uuid4().hex
        self._database = database
        self._ended = threading.Event()
        self._loss: KDSearchError | None = None
        self._beaten = 0.0
        self._stop_requested = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease of {study}", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether the study is another driver's now, or its database is gone."""
        return self._loss is not None

    def check_held(self) -> None:
        """Raise what ended the lease, if something did.

        The last heartbeat or writing has found it.

        Raises:
            LiveDriverError: Another driver has the study.
            RunError: The database was deleted or replaced.
        """
        if self._loss is not None:
            raise self._loss

    @property
    def stop_requested(self) -> bool:
        """Whether someone asked this driver to finish its packs and stop."""
        return self._stop_requested.is_set()

    def check(self, connection: Connection) -> None:
        """Hold the lease until the connection's transaction ends.

        Raises:
            LiveDriverError: Another driver has the study; nothing of this transaction holds.
        """
        query = select(LeaseTable.owner).where(LeaseTable.study == self.study).with_for_update(read=True)
        if connection.scalar(query) != self.owner:
            raise self._taken_over()

    def _taken_over(self) -> LiveDriverError:
        self._loss = LiveDriverError(
            f"The study {self.study!r} was taken over by another driver; this one stops. "
            "Nothing that the other needs was lost."
        )
        return self._loss

    def __enter__(self) -> "Lease":
        with_retries(self._take)
        self._beaten = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            with_retries(self._give_back, limit_s=EXPIRY_S)
        except (DBAPIError, RunError) as failure:  # it expires by itself, and a cause must not be hidden
            if not self.lost:
                _log.warning("The lease of %r could not be given back: %s", self.study, first_line(failure))

    def _take(self) -> None:
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":  # of two that come at once, one waits
                await_turn(connection, LEASES)
            owner = select(LeaseTable.owner).where(LeaseTable.study == self.study)
            if connection.scalar(owner) == self.owner:  # by a try whose answer was lost
                return
            if not self._takeover:
                _refuse_second_driver(connection, self.study)
            now = database_now(connection)
            connection.execute(delete(LeaseTable).where(LeaseTable.study == self.study))
            # Or this lease's first beat would count a dead driver's packs up to now.
            close_packs(connection, self.study)
            connection.execute(
                insert(LeaseTable).values(
                    study=self.study,
                    owner=self.owner,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    process=process_mark(),
                    since=now,
                    heartbeat=now,
                    stop_requested=False,
                )
            )

    def _give_back(self) -> None:
        with self._database.write() as connection:
            self._count_time(connection, time.monotonic())
            connection.execute(delete(LeaseTable).where(LeaseTable.owner == self.owner))

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            try:
                self._renew()
            except DBAPIError as error:  # nobody can take the study over while the database is away
                _log.warning("The heartbeat of %r failed: %s", self.study, error.orig)
            except RunError as gone:
                self._loss = gone
                return

    def _renew(self) -> None:
        mine, beaten = LeaseTable.owner == self.owner, time.monotonic()
        with self._database.write() as connection:
            if not self._count_time(connection, beaten):
                self._taken_over()
                self._ended.set()
                return
            count_running(connection, self.study)
            if connection.scalar(select(LeaseTable.stop_requested).where(mine)):
                self._stop_requested.set()
        self._beaten = beaten

    def _count_time(self, connection: Connection, beaten: float) -> bool:
        """Count the time since the last beat, and beat. Return whether the lease is still held."""
        mine, now = LeaseTable.owner == self.owner, database_now(connection)
        last = connection.scalar(select(LeaseTable.heartbeat).where(mine).with_for_update())
        if last is None:
            return False
        connection.execute(update(LeaseTable).where(mine).values(heartbeat=now))
        seconds, own = (now - last).total_seconds(), beaten - self._beaten
        if abs(seconds - own) > _JUMP_S:
            shift_running(connection, self.study, seconds - own)
            seconds = own
        count_time(connection, self.study, max(0.0, seconds))
        return True


@contextmanager
def hold_lease(database: Database, study: str, *, takeover: bool = False) -> Iterator[Lease]:
    """Drive a study alone, until the block ends.

    A lease whose process is dead, or that was not renewed for half a minute, is free. A database that is
    away for a while is waited for.

    Args:
        database: Where the study is, or will be.
        study: Its name.
        takeover: Take it from a driver that seems alive; that one notices and stops.

    Raises:
        LiveDriverError: Another process drives it.
    """
    with Lease(database, study, takeover=takeover) as lease:
        yield lease


def request_stop(database: Database, study: str) -> Driver:
    """Ask a study's live driver to finish its running packs and stop. Return who was asked.

    Raises:
        RequestError: The study has no live driver.
    """
    with database.write() as connection:
        driver = live_drivers(connection, study).get(study)
        if driver is None:
            raise RequestError(f"`study` must have a live driver, got {study!r}, which has none to stop.")
        connection.execute(update(LeaseTable).where(LeaseTable.study == study).values(stop_requested=True))
    return driver


def live_drivers(connection: Connection, study: str | None = None) -> dict[str, Driver]:
    """Return the live driver by study, of every study or of one."""
    query = select(table_of(LeaseTable))
    if study is not None:
        query = query.where(LeaseTable.study == study)
    oldest = database_now(connection) - timedelta(seconds=EXPIRY_S)
    return {
        row.study: Driver(row.host, row.pid, row.since, row.heartbeat, row.stop_requested)
        for row in connection.execute(query)
        if row.heartbeat > oldest and not is_dead(row.process)
    }


def _refuse_second_driver(connection: Connection, study: str) -> None:
    if driver := live_drivers(connection, study).get(study):
        raise LiveDriverError(
            f"The study {study!r} has a live driver: {driver}. "
            f"Stop it with `kdsearch stop {study}`, or take the study over with --takeover."
        )
