"""Emptying a spool into the database, and tending what is there.

It runs in a process of its own beside the archiver's: what comes in is received and spooled while
rows are made of it, and a database that hangs holds up nobody. The archiver tells which records are
on the disk, and hears which are in the database.
"""

import asyncio
import gc
import json
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from pykarabo.data import Timestamp
from pykarabo.errors import (
    BusyError,
    DatabaseDamagedError,
    DatabaseError,
    DatabaseRevisionError,
    DiskFullError,
    PykaraboError,
)
from pykarabo_services.archiver import compaction, retention, store, tables
from pykarabo_services.archiver.compaction import Crowded, DamagedChunk, OnDamage
from pykarabo_services.archiver.intake import Intake
from pykarabo_services.archiver.model import DeviceEvent, EventKind
from pykarabo_services.archiver.spool_reader import SpoolReader
from pykarabo_services.archiver.store import Batch, SeriesNumbers
from pykarabo_services.kernel.database import Database

BATCH_ROWS: Final = 5_000
"""One transaction: it takes some 50 ms, and a killed process repeats no more."""
BATCH_S: Final = 0.1
"""A slow stream is written ten times a second, and no more often."""
RECENT_S: Final = 120.0
"""Samples are rows as long as others may come in between them."""
CARE_S: Final = 15.0
RETENTION_S: Final = 600.0
CARE_AGAIN_S: Final = 60.0
"""After an error that nobody foresaw, care begins again."""
CARE_DEADLINE_S: Final = 60.0
"""To look through all rows may take longer than a call that somebody waits for."""
FINISH_S: Final = 3.0
"""When it is told to end, it writes for so long what is there; the rest stays in the spool."""
_RETRY_S: Final = 0.5
_PASSING: Final = (DatabaseError, DiskFullError, BusyError)
_DAY_NS: Final = 86_400 * 10**9
_INT64: Final = 2**63
_YOUNG: Final = 200_000
"""Objects after which Python looks for cycles: those of some batches."""
_YOUNGER: Final = 1
"""Of Python's generations of objects, the youngest two."""
_Work: TypeAlias = Callable[[Connection, OnDamage], int]
_log = logging.getLogger(__name__)


def collect_seldom() -> None:
    """Let Python look for cycles seldom; for a process that does nothing but write.

    A batch is tens of thousands of lists and tuples that live for a moment and have no cycles. To
    look through them again and again takes half of the time in which rows are made.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSettings:
    """What the archiver wants of its writer.

    Attributes:
        recent_s: how long samples stay rows.
        retention: how many days are kept, by shell pattern of ``DEVICE.key``; the first that fits.
    """

    recent_s: float = RECENT_S
    retention: Mapping[str, float] = field(default_factory=dict[str, float])

    def to_json(self) -> str:
        """Return the settings as text."""
        return json.dumps({"recent_s": self.recent_s, "retention": dict(self.retention)})

    @classmethod
    def from_json(cls, content: str) -> "WriterSettings":
        """Return what `to_json` told."""
        return cls(**json.loads(content))


class ArchiveWriter:
    """Writes the records of one spool.

    Args:
        report: told what has become of the records, as a plain map.
    """

    def __init__(
        self,
        database: Database,
        directory: Path,
        *,
        archiver: str,
        spool_id: str,
        settings: WriterSettings,
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        self._database = database
        self._directory = directory
        self._archiver = archiver
        self._spool_id = spool_id
        self.settings = settings
        self._report = report
        self._numbers = SeriesNumbers()
        self._store_id = ""
        self._durable = 0
        self._news = asyncio.Event()
        self._ends_at: float | None = None
        self.mark = 0
        self.written = 0
        self.chunked = 0
        self.forgotten = 0
        self.rejected = 0
        self.damaged = 0
        self.care_errors = 0
        self._damaged_chunks: set[compaction.StoredChunk] = set()
        self._failing: set[int] = set()
        self._forget_at = 0.0

    def durable(self, record: int) -> None:
        """All records up to this one are on the disk."""
        self._durable = record
        self._news.set()

    def finish(self) -> None:
        """Write what is there, if it does not take long, and end."""
        self._ends_at = time.monotonic() + FINISH_S
        self._news.set()

    async def run(self) -> None:
        """Write until `finish`."""
        care = asyncio.create_task(self._care())
        try:
            await self._drain()
        finally:
            care.cancel()
            await asyncio.gather(care, return_exceptions=True)

    @property
    def _is_over(self) -> bool:
        return self._ends_at is not None and (
            time.monotonic() >= self._ends_at or self.mark >= self._durable
        )

    # -- the spool ------------------------------------------------------------------------------

    async def _drain(self) -> None:
        while not self._is_over:
            store_id = await self._try(self._begin)
            if store_id is not None:
                self._store_id = self._identity(store_id)
                break
            await asyncio.sleep(_RETRY_S)
        self._tell()
        intake = Intake(self._archiver, self._spool_id, after=self.mark)
        reader = SpoolReader(self._directory, after=self.mark)
        while not self._is_over:
            begun = time.monotonic()
            self._news.clear()
            while intake.size < BATCH_ROWS and (found := reader.read(self._durable)):
                for item in found:
                    intake.take(item)
            batch = intake.give()
            self.damaged = intake.damaged_records
            if batch.spool is None and not batch.events:
                await self._wait()
                continue
            await self._write(batch)
            if batch.size < BATCH_ROWS and self._ends_at is None:
                await asyncio.sleep(max(0.0, begun + BATCH_S - time.monotonic()))

    async def _wait(self) -> None:
        """Wait until there are records, or it ends."""
        try:
            async with asyncio.timeout(FINISH_S):
                await self._news.wait()
        except TimeoutError:
            return

    def _identity(self, store_id: str) -> str:
        """Return what tells the database from any other: of a file, its copies too."""
        path = self._database.place.path
        return store_id if path is None else f"{store_id}:{socket.gethostname()}:{path.resolve()}"

    def _begin(self, connection: Connection) -> str:
        self.mark = store.spool_mark(connection, self._spool_id)
        return store.store_id(connection)

    async def _write(self, batch: Batch) -> None:
        """Write a batch, however long it takes; what cannot be stored is left out and noted."""
        while not self._is_over:
            try:
                written = await self._database.write(
                    lambda connection: store.write(connection, batch, self._numbers)
                )
            except _PASSING as error:
                self._tell(error)
                self._numbers.forget()
                await asyncio.sleep(_RETRY_S)
            except (SQLAlchemyError, ValueError, TypeError, OverflowError) as error:
                self._numbers.forget()
                await self._write_in_parts(batch, error)
                return
            else:
                self._numbers.remember(written.numbers)
                self._count(batch, written.samples)
                return

    def _count(self, batch: Batch, samples: int) -> None:
        self.written += samples
        if batch.spool is not None:
            self.mark = batch.spool[2]
        self._tell()

    async def _write_in_parts(self, batch: Batch, error: Exception) -> None:
        """Write all but what the database refuses, and note that in its place."""
        parts = batch.parts()
        for part in parts:
            await self._write(part)
        if parts:
            return
        if batch.spool is not None:
            raise error
        self.rejected += 1
        for key, tail in batch.all_samples():
            event = DeviceEvent(
                device_id=key.device_id,
                time_ns=min(max(tail[0], -_INT64), _INT64 - 1),
                kind=EventKind.REJECTED,
                epoch=tail[1],
                key=key.key,
                lost=1,
                reason=f"the database refuses it: {error}"[:500],
            )
            await self._write(Batch(events=[event]))
        if not batch.size:
            refused = [*batch.events, *batch.descriptions, *batch.marks.items()]
            _log.error("the database refuses %.500s: %s", refused, error)

    async def _try(self, work: Callable[[Connection], Any]) -> Any:
        """Return what `work` returns; None while the database does not work."""
        try:
            return await self._database.write(work)
        except DatabaseRevisionError:
            raise
        except _PASSING as error:
            self._tell(error)
            return None

    def _tell(self, error: PykaraboError | None = None) -> None:
        self._report(
            {
                "store_id": self._store_id,
                "mark": self.mark,
                "written": self.written,
                "chunked": self.chunked,
                "forgotten": self.forgotten,
                "rejected": self.rejected,
                "damaged": self.damaged,
                "damaged_chunks": len(self._damaged_chunks),
                "care_errors": self.care_errors,
                "error": None if error is None else error.to_wire(),
            }
        )

    # -- care -----------------------------------------------------------------------------------

    async def _care(self) -> None:
        """Tend what is there, for ever: what ends one round is told, and another one begins."""
        self._forget_at = time.monotonic() + CARE_S
        while True:
            await asyncio.sleep(min(CARE_S, self.settings.recent_s))
            try:
                await self._tend()
            except _PASSING as error:
                self._tell(error)
            except Exception:  # noqa: BLE001 - the end of a round
                _log.exception(
                    "compressing and forgetting has failed, and begins again in %g s; if it does "
                    "not mend: pykarabo db check archive",
                    CARE_AGAIN_S,
                )
                self.care_errors += 1
                self._tell()
                await asyncio.sleep(CARE_AGAIN_S)

    async def _tend(self) -> None:
        """Make chunks of old rows, and forget what need not be kept."""
        await self._compact()
        if time.monotonic() >= self._forget_at:
            await self._forget()
            self._forget_at = time.monotonic() + RETENTION_S

    async def _compact(self) -> None:
        now_ns = time.time_ns()
        before_ns = now_ns - round(self.settings.recent_s * 1e9)
        found = await self._look(lambda connection: compaction.crowded(connection, before_ns))
        for series in found:
            if not series.is_worth_it(now_ns):
                continue
            work = _compaction(series, before_ns, now_ns)
            while gone := await self._tended(series.series_id, series.name, work):
                self.chunked += gone

    async def _forget(self) -> None:
        if not self.settings.retention:
            return
        query = select(tables.series.c.id, tables.series.c.device_id, tables.series.c.key)
        found = await self._look(lambda connection: connection.execute(query).all())
        now_ns = time.time_ns()
        for series_id, device_id, key in found:
            name = f"{device_id}.{key}"
            days = self._kept_days(name)
            if days is None:
                continue
            work = _forgetting(series_id, now_ns - round(days * _DAY_NS))
            while gone := await self._tended(series_id, name, work):
                self.forgotten += gone

    def _kept_days(self, name: str) -> float | None:
        fitting = (
            days for pattern, days in self.settings.retention.items() if fnmatchcase(name, pattern)
        )
        return next(fitting, None)

    async def _look(self, work: Callable[[Connection], Any]) -> Any:
        return await self._database.read(work, deadline_s=CARE_DEADLINE_S)

    async def _tended(self, series_id: int, name: str, work: _Work) -> int:
        """Return how many samples `work` took from a series; what ails one holds up no other."""
        damaged: list[DamagedChunk] = []
        try:
            gone = await self._database.write(lambda connection: work(connection, damaged.append))
        except _PASSING as error:
            if not isinstance(error, DatabaseDamagedError):
                raise
            self._note_failure(series_id, name, error)
            return 0
        except Exception as error:  # noqa: BLE001 - the end of what is done for one series
            self._note_failure(series_id, name, error)
            return 0
        finally:
            # What a statement was given, as large as arrays are, is freed with the cycles it is in.
            gc.collect(_YOUNGER)
        self._note_damage(name, damaged)
        return gone

    def _note_failure(self, series_id: int, name: str, error: Exception) -> None:
        """Count what cannot be done for a series, and log it once."""
        self.care_errors += 1
        if series_id not in self._failing:
            self._failing.add(series_id)
            _log.error(
                "the samples of %s cannot be compressed or forgotten, and stay as they are: %s; "
                "to mend it: pykarabo db check archive",
                name,
                error,
                exc_info=error,
            )
        self._tell()

    def _note_damage(self, name: str, damaged: list[DamagedChunk]) -> None:
        new = {
            item.chunk: item.reason for item in damaged if item.chunk not in self._damaged_chunks
        }
        for chunk, reason in new.items():
            _log.error(
                "%d samples of %s from %s to %s are missing: %s; to have them again: "
                "pykarabo db restore archive FILE",
                chunk.samples,
                name,
                Timestamp.from_ns(chunk.first_ns).iso(),
                Timestamp.from_ns(chunk.last_ns).iso(),
                reason,
            )
        if new:
            self._damaged_chunks |= new.keys()
            self._tell()


def _compaction(series: Crowded, before_ns: int, now_ns: int) -> _Work:
    return lambda connection, on_damage: compaction.compact(
        connection, series, before_ns, now_ns, on_damage=on_damage
    )


def _forgetting(series_id: int, before_ns: int) -> _Work:
    return lambda connection, on_damage: retention.forget(
        connection, series_id, before_ns, on_damage=on_damage
    )
