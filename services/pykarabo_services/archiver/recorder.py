"""Bringing what the recordings tell into the spool: together, often, and within limits."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pykarabo.errors import DiskFullError
from pykarabo_services.archiver import entries
from pykarabo_services.archiver.entries import event_entry, in_records
from pykarabo_services.archiver.model import DeviceEvent, EventKind
from pykarabo_services.archiver.registry import DeviceState, Registry
from pykarabo_services.archiver.sink import RecordingLimits
from pykarabo_services.archiver.spool import Spool

FLUSH_S: Final = 0.05
"""What was received is on the disk so much later; a disk takes some milliseconds for it."""
RETRY_S: Final = 0.5
MAX_WAITING_ROWS: Final = 20_000
"""Rows that wait in memory for a spool that is full: a second or more of them, and 20 MB."""
T = TypeVar("T")


@dataclass(slots=True)
class _Hole:
    """Messages of a device that were not spooled."""

    state: DeviceState
    epoch: int
    first_ns: int
    last_ns: int
    last_seq: int = 0
    messages: int = 0


class Recorder:
    """Collects entries and writes them to the spool.

    Args:
        on_durable: told the number of the last record that is on the disk.

    Attributes:
        problem: why the spool takes nothing; None while it does.
        lost: messages that were neither spooled nor can be.
    """

    def __init__(
        self,
        spool: Spool,
        registry: Registry,
        limits: RecordingLimits,
        *,
        on_durable: Callable[[int], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self.registry = registry
        self.limits = limits
        self.spool = spool
        self.problem: DiskFullError | OSError | None = None
        self.lost = 0
        self.rows = 0
        self._on_durable = on_durable
        self._clock_ns = clock_ns
        self._pending: list[list[Any]] = []
        self._waiting_rows = 0
        self._explained_before: list[list[Any]] = []
        self._holes: dict[tuple[str, int], _Hole] = {}
        self._news = asyncio.Event()
        self._flushing = asyncio.Lock()
        # One thread: what it does to the spool never overlaps.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    @property
    def waiting_rows(self) -> int:
        """How many rows are in memory only."""
        return self._waiting_rows

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do something with the spool in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def put(self, entry: list[Any], rows: int = 0) -> None:
        """Take an entry for the spool."""
        self._pending.append(entry)
        self._waiting_rows += rows
        self._news.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(FLUSH_S if self.problem is None else RETRY_S)
            await self.flush()

    async def flush(self) -> bool:
        """Write what is there; returns whether it is on the disk."""
        async with self._flushing:
            return await self._flush()

    async def _flush(self) -> bool:
        self._news.clear()
        pending, self._pending = self._pending, []
        rows, self._waiting_rows = self._waiting_rows, 0
        holes = [self._gap(hole) for hole in self._holes.values()]
        batch = [*self._explained_before, *holes, *pending]
        if not batch:
            return True
        try:
            payloads = list(in_records(batch))
            last = await self.in_thread(lambda: self.spool.write(payloads))
        except (DiskFullError, OSError) as error:
            self._put_back(pending, rows, error)
            return False
        self.problem = None
        self.rows += rows
        self._holes.clear()
        # A record that explains may be damaged one day: what it says is said again in another one.
        self._explained_before = [
            entry for entry in pending if entry[0] in (entries.DEVICE, entries.SERIES)
        ]
        self._note_durable(pending)
        self._on_durable(last)
        return True

    def _note_durable(self, written: list[list[Any]]) -> None:
        """Note up to which message of each device all is in the spool."""
        places = {
            entries.VALUES: 2,
            entries.SEEN: 2,
            entries.SCHEMA: 3,
        }
        latest: dict[int, int] = {}
        for entry in written:
            place = places.get(entry[0])
            if place is not None:
                latest[entry[1]] = entry[place]
        devices = self.registry.devices()
        for number, seq in latest.items():
            devices[number].durable = max(seq, devices[number].durable)

    # -- a spool that takes nothing -------------------------------------------------------------

    def _put_back(
        self, pending: list[list[Any]], rows: int, error: DiskFullError | OSError
    ) -> None:
        self.problem = error
        self._pending[:0] = pending
        self._waiting_rows += rows
        self._news.set()
        if self._waiting_rows > MAX_WAITING_ROWS:
            self._give_up()

    def _give_up(self) -> None:
        """Forget the values that wait, and count their messages."""
        kept: list[list[Any]] = []
        devices = self.registry.devices()
        for entry in self._pending:
            if entry[0] == entries.VALUES:
                self._count_lost(devices[entry[1]], entry)
            elif entry[0] != entries.SEEN:
                kept.append(entry)
        self._pending, self._waiting_rows = kept, 0

    def _count_lost(self, state: DeviceState, entry: list[Any]) -> None:
        now_ns = self._clock_ns()
        name = (state.device_id, state.epoch)
        hole = self._holes.get(name)
        if hole is None:
            row = entry[3][0]
            first_ns = row[2] * 10**9 + row[3] // 10**9
            hole = self._holes[name] = _Hole(state, state.epoch, first_ns, now_ns)
        hole.last_ns = now_ns
        if entry[2] > hole.last_seq:
            hole.last_seq = entry[2]
            hole.messages += 1
            self.lost += 1

    def _gap(self, hole: _Hole) -> list[Any]:
        return event_entry(
            DeviceEvent(
                device_id=hole.state.device_id,
                time_ns=hole.first_ns,
                until_ns=hole.last_ns,
                kind=EventKind.GAP,
                epoch=hole.epoch,
                lost=hole.messages,
                reason=f"the archiver's spool took nothing: {self.problem}",
            )
        )

    async def aclose(self) -> None:
        """Write what is left and end."""
        await self.flush()
        await self.in_thread(self.spool.close)
        self._thread.shutdown()
