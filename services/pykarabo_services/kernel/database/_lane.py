"""A thread that works on one connection, and can be given up.

Database libraries block, some of them for ever: a PostgreSQL server that is frozen neither answers
nor closes its connections. So no caller waits longer than the deadline. When it passes, the thread
is abandoned: its socket is shut down, it ends as soon as it wakes, and another one takes its place.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pykarabo.errors import (
    BusyError,
    DatabaseUnansweredError,
    DatabaseUnavailableError,
    PykaraboError,
)

from ._engine import WRITE_OPTION, interrupt
from ._faults import translate
from ._place import Place
from ._sessions import work_together

T = TypeVar("T")
Work = Callable[[Connection], T]

MAX_WAITING: Final = 256
"""Calls that wait for a thread; who comes then is told that the store is busy."""
MAX_ABANDONED: Final = 4
"""Threads that hang. A disk that does not answer would otherwise collect one with every call."""
PATIENCE_S: Final = 3.0
"""A server that restarts is back within so long, and its clients need not know."""
_RETRY_S: Final = 0.1
_INTERRUPTED_S: Final = 0.5
"""A thread whose wait was interrupted ends within so long."""


class _Stage(Enum):
    WAITING = auto()
    RUNNING = auto()
    COMMITTING = auto()
    OVER = auto()


class _Job(Generic[T]):
    """One piece of work and who waits for it."""

    def __init__(
        self, work: Work[T], *, deadline_s: float, in_transaction: bool, patience_s: float
    ) -> None:
        self.work = work
        self.deadline_s = deadline_s
        self.in_transaction = in_transaction
        self.patience_s = patience_s
        self.loop = loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = loop.create_future()
        self.stage = _Stage.WAITING
        self.timer: asyncio.TimerHandle | None = None

    def settle(self, result: T | None, error: BaseException | None) -> None:
        """Give the outcome to the event loop, from the working thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)
            self.future.exception()  # who was cancelled meanwhile does not fetch it


class Lane:
    """Does pieces of work one after the other, each in a transaction of its own.

    Args:
        name: for the thread.
        engine: gives the connections; each thread keeps one.
        writes: whether the work is committed; without, it is rolled back.
        deadline_s: of most of the work: the server ends a statement after so long.
    """

    def __init__(
        self, name: str, engine: Engine, place: Place, *, writes: bool, deadline_s: float
    ) -> None:
        self.name = name
        self.place = place
        self.writes = writes
        self.deadline_s = deadline_s
        self._engine = engine
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._abandoned: list[_Worker] = []
        self._closed = False
        # Before SQLAlchemy itself asks the server for its version, where it may hang already.
        event.listen(engine, "connect", _hand_over, insert=True)

    @property
    def abandoned(self) -> int:
        """How many threads hang."""
        self._abandoned = [worker for worker in self._abandoned if worker.is_alive()]
        return len(self._abandoned)

    async def run(
        self,
        work: Work[T],
        *,
        deadline_s: float,
        in_transaction: bool = True,
        patience_s: float = PATIENCE_S,
    ) -> T:
        """Do a piece of work.

        It may be done again when the connection was lost before the commit.

        Args:
            in_transaction: begin one and end it; else the work does what it needs.
            patience_s: try so long when the server refuses or ends the connection.

        Raises:
            BusyError: too much waits already, or it was not begun in time.
            DatabaseUnavailableError: the database cannot be reached.
            DatabaseUnansweredError: it did not answer in time, and may have written.
        """
        job = _Job(
            work, deadline_s=deadline_s, in_transaction=in_transaction, patience_s=patience_s
        )
        self._submit(job)
        job.timer = job.loop.call_later(deadline_s, self._expire, job)
        return await job.future

    def _submit(self, job: _Job[Any]) -> None:
        if self._closed:
            raise DatabaseUnavailableError(
                f"the database {self.place} is closed", remedy="start the service again"
            )
        if self._jobs.qsize() >= MAX_WAITING:
            raise self._busy(f"{MAX_WAITING} calls wait for it")
        if self._worker is None or not self._worker.is_alive():
            self._start_worker()
        self._jobs.put(job)

    def _busy(self, why: str) -> BusyError:
        return BusyError(
            f"the database {self.place} has too much to do: {why}", remedy="try again in a while"
        )

    def _start_worker(self) -> None:
        if self.abandoned >= MAX_ABANDONED:
            raise DatabaseUnavailableError(
                f"the database {self.place} does not answer: {MAX_ABANDONED} threads wait for it",
                remedy="see what its disk or its server does",
            )
        self._worker = _Worker(self._engine, self._jobs, self._lock, self)
        self._worker.start()

    def _expire(self, job: _Job[Any]) -> None:
        """Tell the caller that it takes too long; in the event loop."""
        deadline_s = job.deadline_s
        with self._lock:
            stage, job.stage = job.stage, _Stage.OVER
        if stage is _Stage.OVER:
            return  # the outcome is on its way
        if stage is _Stage.WAITING:
            error: PykaraboError = self._busy(f"it was not begun within {deadline_s:g} s")
        else:
            self._abandon()
            error = self._unanswered(stage, deadline_s)
        if not job.future.done():
            job.future.set_exception(error)
            job.future.exception()

    def _unanswered(self, stage: _Stage, deadline_s: float) -> PykaraboError:
        message = f"the database {self.place} did not answer within {deadline_s:g} s"
        remedy = "see whether it runs, and is not blocked"
        if stage is _Stage.COMMITTING:
            return DatabaseUnansweredError(
                f"{message}; nobody knows whether it has written", remedy=remedy
            )
        return DatabaseUnavailableError(message, remedy=remedy)

    def _abandon(self) -> None:
        worker = self._worker
        if worker is not None:
            self._worker = None
            self._abandoned.append(worker)
            worker.give_up()

    def close(self, *, timeout_s: float) -> bool:
        """Finish the work that waits and end the threads; blocking. Tells whether all ended.

        What is not done in time is interrupted.
        """
        self._closed = True
        if self._worker is not None:
            self._jobs.put(None)
            self._worker.join(timeout_s)
            if self._worker.is_alive():
                self._abandon()
        until = time.monotonic() + _INTERRUPTED_S
        for worker in self._abandoned:
            worker.join(max(0.0, until - time.monotonic()))
        return self.abandoned == 0


class _Worker(threading.Thread):
    """Takes jobs until it is told to end, or given up."""

    def __init__(
        self,
        engine: Engine,
        jobs: "queue.SimpleQueue[_Job[Any] | None]",
        lock: threading.Lock,
        lane: Lane,
    ) -> None:
        super().__init__(name=f"database {lane.name}", daemon=True)
        self._engine = engine
        self._jobs = jobs
        self._lock = lock
        self._lane = lane
        self._connection: Connection | None = None
        self._raw: object = None
        self._given_up = False

    def give_up(self) -> None:
        """Have the thread end as soon as it wakes, and wake it if that can be done."""
        self._given_up = True
        interrupt(self._raw)

    def take_over(self, raw: object) -> None:
        """Note what this thread waits on from now on; called by itself."""
        self._raw = raw
        if self._given_up:
            interrupt(raw)

    def run(self) -> None:
        """Work; the thread's function."""
        while not self._given_up:
            job = self._jobs.get()
            if job is None:
                break
            with self._lock:
                if job.stage is _Stage.OVER:
                    continue
                job.stage = _Stage.RUNNING
            self._do(job)
        self._disconnect()

    def _do(self, job: _Job[Any]) -> None:
        result, error = None, None
        try:
            result = self._persist(job)
        except BaseException as caught:  # noqa: BLE001 - it belongs to the caller, with its traceback
            error = caught
        with self._lock:
            is_late, job.stage = job.stage is _Stage.OVER, _Stage.OVER
        if not is_late:
            job.settle(result, error)

    def _persist(self, job: _Job[Any]) -> Any:
        """Do the work; again, when the server was restarted meanwhile."""
        until = time.monotonic() + job.patience_s
        while True:
            try:
                return self._attempt(job)
            except SQLAlchemyError as error:
                meaning = translate(error, self._lane.place)
                if meaning is None:
                    raise
                self._disconnect()
                if not self._is_worth_another(job, meaning, until):
                    raise self._outcome(job, meaning) from error
            time.sleep(_RETRY_S)

    def _is_worth_another(self, job: _Job[Any], error: PykaraboError, until: float) -> bool:
        return (
            isinstance(error, DatabaseUnavailableError)
            and self._lane.place.url is not None
            and job.stage is _Stage.RUNNING
            and not self._given_up
            and time.monotonic() < until
        )

    def _outcome(self, job: _Job[Any], error: PykaraboError) -> PykaraboError:
        if job.stage is _Stage.COMMITTING and isinstance(error, DatabaseUnavailableError):
            return DatabaseUnansweredError(
                f"{error.message}; nobody knows whether it has written", remedy=error.remedy
            )
        return error

    def _attempt(self, job: _Job[Any]) -> Any:
        connection = self._connected()
        if not job.in_transaction:
            return job.work(connection)
        try:
            with connection.begin() as transaction:
                self._tell_deadline(connection, job)
                result = job.work(connection)
                if self._lane.writes:
                    self._enter_commit(job)
                    transaction.commit()
                else:
                    transaction.rollback()
                return result
        except BaseException:
            if connection.in_transaction():
                self._disconnect()
            raise

    def _tell_deadline(self, connection: Connection, job: _Job[Any]) -> None:
        """Have PostgreSQL end what nobody waits for any more, and nothing before."""
        if self._lane.place.url is not None and job.deadline_s != self._lane.deadline_s:
            timeout_ms = round(job.deadline_s * 1000)
            connection.exec_driver_sql(f"SET LOCAL statement_timeout TO {timeout_ms}")

    def _enter_commit(self, job: _Job[Any]) -> None:
        """From here on nobody can say that nothing was written; refuse when it is too late."""
        with self._lock:
            if job.stage is _Stage.OVER:
                raise TimeoutError("the caller has given up")
            job.stage = _Stage.COMMITTING

    def _connected(self) -> Connection:
        if self._connection is not None and not self._is_alive():
            self._disconnect()
        if self._connection is None:
            connection = self._engine.connect()
            if self._lane.writes and self._lane.place.url is not None:
                self._join(connection)
            options: dict[str, Any] = {WRITE_OPTION: self._lane.writes}
            if not self._lane.writes and self._lane.place.url is not None:
                options["isolation_level"] = "REPEATABLE READ"  # one state, as in SQLite
            self._connection = connection.execution_options(**options)
        return self._connection

    def _join(self, connection: Connection) -> None:
        """Have nobody replace the store as long as this connection writes to it."""
        try:
            work_together(connection, self._lane.place)
        except BaseException:
            connection.close()
            raise

    def _is_alive(self) -> bool:
        """Ask a server that may have been restarted since; a file needs no asking."""
        if self._lane.place.url is None or self._connection is None:
            return True
        try:
            self._connection.execute(text("SELECT 1"))
            self._connection.rollback()
        except DBAPIError:
            return False
        return True

    def _disconnect(self) -> None:
        connection, self._connection, self._raw = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()
            with contextlib.suppress(SQLAlchemyError):
                connection.close()


def _hand_over(raw: object, _entry: object) -> None:
    """Tell a thread that works on a database of its new connection."""
    worker = threading.current_thread()
    if isinstance(worker, _Worker):
        worker.take_over(raw)
