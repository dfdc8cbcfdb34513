"""A store's database as a service sees it: asynchronous, with deadlines, and mending itself."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, text

from pykarabo.errors import (
    DatabaseReadOnlyError,
    DatabaseUnansweredError,
    DatabaseUnavailableError,
    DiskFullError,
    PykaraboError,
)
from pykarabo.transport import TaskOwner

from ._declaration import StoreDeclaration
from ._engine import create_file, make_engine, sync_log
from ._faults import may_pass
from ._lane import Lane
from ._lock import WriterLock
from ._migrating import RevisionKind, create_tables, look_at_revision, require_newest
from ._place import Place, place_of

T = TypeVar("T")

DEADLINE_S: Final = 10.0
"""As long as a person waits for an answer; a healthy database needs milliseconds."""
_PROBE_S: Final = 0.5
_PROBE_MAX_S: Final = 4.0
"""A database that is well again is noticed within 5 s."""
_PROBE_DEADLINE_S: Final = 4.0
"""A connection is given up after 3 s."""
_CREATE_DEADLINE_S: Final = 30.0
_CLOSE_S: Final = 1.5
"""For each of two threads: a device has 5 s to stop."""
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a database does its work, and since when (ns since 1970) and why not.

    Args:
        readable: a database that only cannot be written to is still read from.
    """

    error: PykaraboError | None = None
    since_ns: int = 0
    readable: bool = True

    @property
    def good(self) -> bool:
        """Whether it can be read from and written to."""
        return self.error is None


class Database:
    """Reads and writes one store, on threads of its own.

    Work is a function of a connection. It runs in one transaction: all of it is in the database or
    nothing. It may run twice, when the connection was lost before the commit. While the database is
    degraded, calls fail at once with the error that it had, and it is tried again by itself.

    Args:
        place: by default where the domain's databases are.
        read_only: do not become the writer of a SQLite file; the tables must be there.
        deadline_s: of each call, unless it names its own.
        on_health: told in the event loop whenever the health changes.
    """

    def __init__(
        self,
        store: StoreDeclaration,
        place: Place | None = None,
        *,
        read_only: bool = False,
        deadline_s: float = DEADLINE_S,
        on_health: Callable[[Health], None] | None = None,
    ) -> None:
        self.store = store
        self.place = place if place is not None else place_of(store.name)
        self.read_only = read_only
        self.health = Health(_not_open(self.place))
        self._deadline_s = deadline_s
        self._on_health = on_health
        self._lock = None if self.place.path is None or read_only else WriterLock(self.place.path)
        self._engine = self._new_engine()
        self._reader = self._new_lane("reader", writes=False)
        self._writer = self._new_lane("writer", writes=True)
        self._tasks = TaskOwner(f"database {store.name}")
        self._recovered = asyncio.Event()
        self._is_prepared = False
        self._is_mending = False

    def _new_engine(self) -> Engine:
        return make_engine(
            self.place,
            read_only=self.read_only,
            synchronous=self.store.synchronous,
            statement_timeout_s=self._deadline_s,
        )

    def _new_lane(self, role: str, *, writes: bool) -> Lane:
        return Lane(
            f"{self.store.name} {role}",
            self._engine,
            self.place,
            writes=writes,
            deadline_s=self._deadline_s,
        )

    async def open(self, *, required: bool = True) -> None:
        """Connect, and create the tables in an empty database.

        Args:
            required: raise when the database cannot be reached; else go on trying.

        Raises:
            DatabaseInUseError: another process writes to the file, or replaces the store.
            DatabaseRevisionError: the tables are of another version.
            DatabaseUnavailableError: the database cannot be reached, and is required.
        """
        try:
            await self._prepare()
        except PykaraboError as error:
            if required or not may_pass(error):
                await self.aclose()
                raise
            self._degrade(error)
            return
        self._set_health(Health())

    async def _prepare(self) -> None:
        """Find the tables that are needed, or make them."""
        if self._is_prepared:
            return
        if self._lock is not None:
            await asyncio.to_thread(self._claim, self._lock)
        if self.place.url is not None and not self.read_only:
            await self._writer.run(_connect, deadline_s=self._deadline_s, patience_s=0.0)
        revision = await self._reader.run(
            lambda connection: look_at_revision(connection, self.store),
            deadline_s=self._deadline_s,
            patience_s=0.0,
        )
        if revision.kind is RevisionKind.EMPTY:
            await self._create()
        else:
            require_newest(revision, self.store, self.place)
        self._is_prepared = True

    async def _create(self) -> None:
        if self.read_only:
            raise DatabaseUnavailableError(
                f"there is nothing yet in the database {self.place}",
                remedy="start the service that writes it",
            )
        await self._writer.run(
            lambda connection: create_tables(connection, self.store, self.place),
            deadline_s=_CREATE_DEADLINE_S,
        )

    def _claim(self, lock: WriterLock) -> None:
        create_file(self.place)
        lock.take()

    async def read(self, work: Callable[[Connection], T], *, deadline_s: float | None = None) -> T:
        """Return what `work` reads; it sees one state of the database.

        Raises:
            DatabaseUnavailableError: the database cannot be reached, or did not answer in time.
        """
        if self.health.error is not None and not self.health.readable:
            raise _refusal(self.health.error)
        return await self._run(self._reader, work, deadline_s)

    async def write(self, work: Callable[[Connection], T], *, deadline_s: float | None = None) -> T:
        """Do what `work` does, in one transaction; it is on the disk when this returns.

        With a store that is not synchronous it is only safe from the end of the process.

        Raises:
            DatabaseUnavailableError: the database cannot be reached; nothing was written.
            DatabaseUnansweredError: the commit was not answered; it may have been written.
            DatabaseReadOnlyError, DiskFullError: nothing was written.
        """
        if self.health.error is not None:
            raise _refusal(self.health.error)
        return await self._run(self._writer, work, deadline_s)

    async def make_durable(self) -> None:
        """Bring to the disk what a store that is not synchronous has written so far.

        Raises:
            DatabaseUnavailableError, DiskFullError: it is not certain to be there.
        """
        path = self.place.path
        if path is not None and not self.store.synchronous:
            await self._run(self._writer, lambda _: sync_log(path), None, in_transaction=False)

    async def wait_well(self) -> None:
        """Wait until the database does its work."""
        await self._recovered.wait()

    async def _run(
        self,
        lane: Lane,
        work: Callable[[Connection], T],
        deadline_s: float | None,
        *,
        in_transaction: bool = True,
    ) -> T:
        deadline = self._deadline_s if deadline_s is None else deadline_s
        try:
            return await lane.run(work, deadline_s=deadline, in_transaction=in_transaction)
        except PykaraboError as error:
            if may_pass(error):
                self._degrade(error)
            raise

    def _degrade(self, error: PykaraboError) -> None:
        if self.health.good:
            _log.error("store %s is degraded: %s", self.store.name, error)
        readable = isinstance(error, DatabaseReadOnlyError | DiskFullError)
        self._set_health(Health(error, self.health.since_ns or time.time_ns(), readable))
        if not self._is_mending:
            self._is_mending = True
            self._tasks.spawn(self._mend(), name="mending")

    async def _mend(self) -> None:
        """Try again until it works."""
        pause_s = _PROBE_S
        try:
            while not await self._is_well():
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _PROBE_MAX_S)
        finally:
            self._is_mending = False
        _log.warning("store %s works again", self.store.name)
        self._set_health(Health())

    async def _is_well(self) -> bool:
        lane = self._reader if self.read_only else self._writer
        try:
            await self._prepare()
            await lane.run(
                _read_probe if self.read_only else _write_probe,
                deadline_s=_PROBE_DEADLINE_S,
                patience_s=0.0,
            )
        except PykaraboError as error:
            readable = isinstance(error, DatabaseReadOnlyError | DiskFullError)
            self._set_health(Health(error, self.health.since_ns or time.time_ns(), readable))
            return False
        return True

    def _set_health(self, health: Health) -> None:
        before, self.health = self.health, health
        if health.good:
            self._recovered.set()
        else:
            self._recovered.clear()
        if self._on_health is not None and before != health:
            self._on_health(health)

    def _close_lanes(self) -> bool:
        ended = [lane.close(timeout_s=_CLOSE_S) for lane in (self._writer, self._reader)]
        return all(ended)

    async def aclose(self) -> None:
        """Finish what was begun, and let another process write."""
        await self._tasks.aclose()
        ended = await asyncio.to_thread(self._close_lanes)
        if not ended:
            _log.error("a thread still waits for the database %s", self.place)
        if self._lock is not None:
            self._lock.give_back()
        self._engine.dispose()


def _not_open(place: Place) -> PykaraboError:
    return DatabaseUnavailableError(
        f"the database {place} is not open yet", remedy="try again in a while"
    )


def _refusal(error: PykaraboError) -> PykaraboError:
    """Return the error of a call that was not tried, because the last one has failed."""
    kind = type(error)
    if isinstance(error, DatabaseUnansweredError):
        kind = DatabaseUnavailableError  # of this call it is certain
    return kind(error.message, remedy=error.remedy, details=error.details)


def _connect(_connection: Connection) -> None:
    """Do nothing: who writes has joined the others by now, and nobody replaces the store."""


def _read_probe(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


def _write_probe(connection: Connection) -> None:
    """Write something that changes nothing."""
    connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
