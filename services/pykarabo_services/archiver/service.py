"""The archiver: a device that stores every change of every property of its domain."""

import asyncio
import os
import shutil
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pykarabo.data import (
    AccessLevel,
    Float64,
    State,
    String,
    UInt32,
    UInt64,
    VectorString,
)
from pykarabo.device import Device, command
from pykarabo.errors import BadConfigurationError, BusyError, DatabaseInUseError, PykaraboError
from pykarabo.transport import data_directory
from pykarabo_services.archiver.entries import IMPORT
from pykarabo_services.archiver.following import Choice, Following, only_new
from pykarabo_services.archiver.importing import ImportedSample, Stored, put_new, samples_of
from pykarabo_services.archiver.model import Position
from pykarabo_services.archiver.recorder import Recorder
from pykarabo_services.archiver.registry import Registry
from pykarabo_services.archiver.sharing import Peer, Selection
from pykarabo_services.archiver.sink import RecordingLimits
from pykarabo_services.archiver.spool import SEGMENT_BYTES, Spool, segments_of
from pykarabo_services.archiver.writer_process import WriterProcess, error_of

TICK_S: Final = 0.1
"""How often what waits is looked at."""
SILENT_S: Final = 5.0
"""A database that has not said for so long that it works is degraded."""
POSITIONS_S: Final = 2.0
WRITTEN_NS: Final = 20_000_000_000
"""A database that works is behind for less than a second."""
SEGMENTS: Final = 16
"""A spool has so many segments at least: a whole one is freed at a time."""
SHOWN: Final = 100
"""Entries of a list that is shown; the rest is counted."""
_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_DISK_SHARE: Final = 0.8
OWN_S: Final = 10.0
"""Its own counters change all the time, and are archived only so often."""
SHOW_NS: Final = 1_000_000_000
SYNC: Callable[[int], None] = os.fdatasync
"""How the spool waits for its disk; a test lets it fail."""
_STORE_FILE: Final = "store"
_DATABASE: Final = "database"
_SPOOL: Final = "spool"


class Archiver(Device):
    """Stores every change of every property of the domain's devices, and what is missing.

    It follows each device from the moment it is there, without being told. What it receives goes to
    a spool on the disk at once and from there into the database, so that a database that is away
    loses nothing. Archivers that write to the same database share the devices.
    """

    devices = VectorString(
        default=["*"], description="Shell patterns of the devices that are archived."
    )
    excluded = VectorString(
        default=[], description="Shell patterns of the devices that are not, all the same."
    )
    retention = VectorString(
        default=[],
        description="What is not kept for ever: PATTERN=DAYS, where the pattern is of "
        "DEVICE.property; the first that fits counts.",
    )
    recent = Float64(
        default=120.0,
        minimum=0.1,
        unit="s",
        description="How long samples stay single rows before they are compressed.",
    )
    maximum_rate = Float64(
        default=10_000.0,
        minimum=1.0,
        unit="Hz",
        description="Samples of one device; above it only the latest of each second are stored.",
    )
    maximum_value_size = UInt32(
        default=1024,
        minimum=1,
        unit="KiB",
        description="A larger value is not stored; that it was there is.",
    )
    maximum_spool = Float64(
        default=20.0,
        minimum=0.001,
        unit="GiB",
        init_only=True,
        description="The spool's size; it takes no more than 80 % of the free disk either.",
    )
    spool_directory = String(
        init_only=True, description="Where the spool is; empty for the domain's own place."
    )
    database = String(
        init_only=True,
        secret=True,
        access_level=AccessLevel.ADMINISTRATOR,
        description="URL of the database; empty for the one that the domain's services share.",
    )

    store = String(read_only=True, description="The database, or where it is looked for.")
    store_id = String(
        read_only=True,
        description="What tells the database from any other, once it is open: archivers of the "
        "same share the devices.",
    )
    database_state = String(
        read_only=True, description="'works', or why nothing is written at the moment."
    )
    samples = UInt64(
        read_only=True, archive_interval=OWN_S, description="Samples received since the start."
    )
    sample_rate = Float64(
        read_only=True,
        archive_interval=OWN_S,
        unit="Hz",
        description="Samples received per second.",
    )
    written = UInt64(
        read_only=True,
        archive_interval=OWN_S,
        description="Samples written to the database since the start.",
    )
    compressed = UInt64(
        read_only=True, archive_interval=OWN_S, description="Samples compressed since the start."
    )
    lag = Float64(
        read_only=True,
        archive_interval=OWN_S,
        unit="s",
        description="How long what was received last waits for the database.",
    )
    spool_size = Float64(
        read_only=True, archive_interval=OWN_S, unit="MiB", description="What lies in the spool."
    )
    spool_fill = Float64(
        read_only=True,
        archive_interval=OWN_S,
        unit="%",
        warn_high=50.0,
        alarm_high=80.0,
        hysteresis=2.0,
        limit_info={
            "warn_high": "the database takes less than comes: see database_state",
            "alarm_high": "samples will be lost when the spool is full: see database_state",
        },
        description="How full the spool is.",
    )
    followed = UInt32(
        read_only=True, archive_interval=OWN_S, description="Devices that are archived here."
    )
    away = VectorString(
        read_only=True,
        archive_interval=OWN_S,
        description="Those of them that cannot be followed now.",
    )
    not_archived = VectorString(
        read_only=True,
        archive_interval=OWN_S,
        description="Devices and properties that are not archived, and why.",
    )
    missed = UInt64(
        read_only=True,
        archive_interval=OWN_S,
        description="Messages that were lost on the way; their gaps are in the archive.",
    )
    recovered = UInt64(
        read_only=True, archive_interval=OWN_S, description="Messages that were lost and came late."
    )
    limited = UInt64(
        read_only=True,
        archive_interval=OWN_S,
        description="Samples left out because their device changes too fast.",
    )
    limiting = VectorString(
        read_only=True, description="Devices that change faster than is stored, now."
    )
    rejected = UInt64(
        read_only=True,
        archive_interval=OWN_S,
        description="Values that were not stored: too large, refused by the database, or of those "
        "that recording_errors counts.",
    )
    recording_errors = UInt64(
        read_only=True,
        archive_interval=OWN_S,
        warn_high=0,
        description="Values and messages that could not be recorded; the log says of which device, "
        "and why.",
    )
    spool_errors = UInt32(
        read_only=True,
        archive_interval=OWN_S,
        warn_high=0,
        description="Errors of the spool's disk, and damaged records.",
    )
    damaged_chunks = UInt32(
        read_only=True,
        archive_interval=OWN_S,
        warn_high=0,
        description="Chunks of the archive that cannot be read; the writer's log says which.",
    )
    care_errors = UInt32(
        read_only=True,
        archive_interval=OWN_S,
        warn_high=0,
        description="Errors of compressing and of forgetting; the writer's log says more.",
    )

    _is_ready = False

    # -- what `main` says -----------------------------------------------------------------------

    async def open_store(self) -> str:
        """Return the name of the database; what is written goes there."""
        raise NotImplementedError

    async def read_positions(self, device_ids: Collection[str]) -> dict[str, Position]:
        """Return up to where the database has everything of some devices."""
        raise NotImplementedError

    async def read_samples(self, device_id: str, key: str, times: Collection[int]) -> Stored:
        """Return what the database has of a property at some moments."""
        raise NotImplementedError

    async def close_store(self) -> None:
        """End the connections to the database."""

    # -- life -----------------------------------------------------------------------------------

    async def on_initialize(self) -> None:
        """Take up the spool where it was left."""
        self._check_retention(self.retention)
        place = self.spool_directory or str(
            data_directory(self.client.domain) / "spool" / self.device_id.replace("/", "_")
        )
        self._directory = Path(place)
        self.database_state = "not opened yet"
        self._registry = Registry()
        max_bytes = await asyncio.to_thread(self._spool_bytes)
        self._spool = Spool(
            self._directory,
            self._registry.preamble,
            max_bytes=max_bytes,
            segment_bytes=min(SEGMENT_BYTES, max_bytes // SEGMENTS),
            sync=SYNC,
        )
        await asyncio.to_thread(self._recover)
        self._recorder = Recorder(
            self._spool,
            self._registry,
            self._limits(),
            on_durable=self._durable,
            clock_ns=self.clock.time_ns,
        )
        self._writer = WriterProcess(self._writer_options, self._report)
        self._following = Following(
            self.client,
            self._recorder,
            Choice(self.device_id, self._as_peer, lambda: self._waits),
            read_positions=self.read_positions,
            clock_ns=self.clock.time_ns,
        )
        self._waits = False
        self._told: dict[str, Any] = {}
        self._refusal: PykaraboError | None = None
        self._told_at = self.clock.monotonic_ns()
        self._since_trim = 0
        # What an earlier process has left waits, nobody knows for how long already.
        self._durables = deque([(self._spool.last, self.clock.monotonic_ns() / 1e9)])
        self._limited_before: dict[str, int] = {}
        self._samples_before = 0
        self._is_ready = True
        self.state = State.ON

    async def on_start(self) -> None:
        """Follow what is there, and whatever comes."""
        self.store = await self.open_store()
        self.spawn(self._recorder.run(), name="spooling")
        self._writer.durable(self._spool.last)
        self.spawn(self._writer.run(), name="writer")
        self.spawn(self._tick(), name="looking")
        self.spawn(self._following.run(), name="following")
        async for news in self.client.devices_changed():
            self._following.heard(news)

    async def on_stop(self) -> None:
        """Bring what was received to the disk, and give the writer time for the rest."""
        if self._is_ready:
            await self._following.aclose()
            await self._recorder.aclose()
            await self.close_store()

    async def on_set(self, values: Mapping[str, Any]) -> None:
        """Refuse what is no list of patterns and days."""
        if "retention" in values:
            self._check_retention(values["retention"])

    async def after_set(self, values: Mapping[str, Any]) -> None:
        """Go on with new settings."""
        self._recorder.limits = self._limits()
        self._writer.settings(self._writer_settings())
        self._following.look()

    def _check_retention(self, lines: Collection[str]) -> None:
        for line in lines:
            if days_of(line) is None:
                raise BadConfigurationError(
                    f"'{line}' does not say how long what is kept",
                    device=self.device_id,
                    key="retention",
                    remedy="write PATTERN=DAYS, such as VAC/*=365",
                )

    def _limits(self) -> RecordingLimits:
        return RecordingLimits(
            rate=self.maximum_rate, value_bytes=int(self.maximum_value_size) << 10
        )

    def _spool_bytes(self) -> int:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(self._directory).free
        own = sum(segment.path.stat().st_size for segment in segments_of(self._directory))
        return min(round(self.maximum_spool * _GIB), round((free + own) * _DISK_SHARE))

    def _recover(self) -> None:
        self._registry.recover(self._spool.open())

    # -- the writer -----------------------------------------------------------------------------

    def _writer_options(self) -> dict[str, Any]:
        return {
            "domain": self.client.domain,
            "url": self.database,
            "directory": str(self._directory),
            "archiver": self.device_id,
            "spool_id": self._spool.spool_id,
            "settings": self._writer_settings(),
        }

    def _writer_settings(self) -> str:
        import json

        days = [(line.rpartition("=")[0], days_of(line)) for line in self.retention]
        return json.dumps({"recent_s": self.recent, "retention": dict(days)})

    def _durable(self, record: int) -> None:
        self._durables.append((record, self.clock.monotonic_ns() / 1e9))
        self._writer.durable(record)

    def _report(self, report: Mapping[str, Any]) -> None:
        """Take what the writer tells."""
        error = error_of(report)
        self._told = {**self._told, **report}
        self._told_at = self.clock.monotonic_ns()
        mark = self._told.get("mark", 0)
        while self._durables and self._durables[0][0] <= mark:
            self._durables.popleft()
        self._show_database(error)
        self._belongs(error)
        if error is None and mark - self._since_trim > 0:
            self._since_trim = mark
            self.spawn(self._recorder.in_thread(lambda: self._spool.trim(mark)), name="trimming")

    def _show_database(self, error: PykaraboError | None) -> None:
        text = "works" if error is None else str(error)
        if text == self.database_state:
            return
        self._refusal = error
        self.set_values({"database_state": text})
        if error is None:
            self.clear_alarm(_DATABASE)
            self.status = "archiving"
        else:
            self.raise_alarm("alarm", f"what comes is kept in the spool: {text}", source=_DATABASE)
            self.status = f"what comes is kept in the spool: {text}"

    def _as_peer(self) -> Peer:
        """Return what other archivers know of this one."""
        return Peer(self.store_id, Selection(tuple(self.devices), tuple(self.excluded)))

    def _belongs(self, error: PykaraboError | None) -> None:
        """Say which database is written; where another process has its file, none is."""
        # In PostgreSQL somebody replaces what is there: that is over soon.
        waits = isinstance(error, DatabaseInUseError) and "connections" not in error.details
        store_id = "" if waits else self._told.get("store_id") or self.store_id
        if (waits, store_id) != (self._waits, self.store_id):
            self._waits = waits
            self.set_values({"store_id": store_id})
            self._following.look()
            if store_id:
                self.spawn(self._remember(store_id), name="remembering the database")

    async def _remember(self, store_id: str) -> None:
        """Note beside the spool which database it goes to; another than before knows nothing."""
        path = self._directory / _STORE_FILE
        before = await asyncio.to_thread(lambda: path.read_text() if path.exists() else "")
        if before == store_id:
            return
        if before:
            self.log.warning("writes to another database than before: it is told of all devices")
            self._following.begin_anew()
        await asyncio.to_thread(path.write_text, store_id)

    # -- looking --------------------------------------------------------------------------------

    async def _tick(self) -> None:
        shown = self.clock.monotonic_ns()
        while True:
            await asyncio.sleep(TICK_S)
            self._following.tick()
            now = self.clock.monotonic_ns()
            if now - shown >= SHOW_NS:
                self._show((now - shown) / 1e9)
                shown = now

    def _show(self, elapsed_s: float) -> None:
        totals = self._following.totals()
        now = self.clock.monotonic_ns() / 1e9
        waits_since = self._durables[0][1] if self._durables else now
        values: dict[str, Any] = {
            "samples": totals.stored,
            "sample_rate": (totals.stored - self._samples_before) / elapsed_s,
            "written": self._told.get("written", 0),
            "compressed": self._told.get("chunked", 0),
            "lag": now - waits_since,
            "spool_size": self._spool.size / _MIB,
            "spool_fill": 100.0 * self._spool.fill,
            "followed": len(self._following.recordings),
            "away": shortened(self._following.away()),
            "not_archived": shortened(self._following.not_archived()),
            "missed": self._recorder.lost + totals.missed,
            "recovered": totals.recovered,
            "limited": totals.limited,
            "limiting": self._limited_now(),
            "rejected": self._told.get("rejected", 0) + totals.rejected,
            "recording_errors": totals.errors,
            "damaged_chunks": self._told.get("damaged_chunks", 0),
            "care_errors": self._told.get("care_errors", 0),
            "spool_errors": self._spool.sync_errors + self._told.get("damaged", 0),
        }
        self._samples_before = totals.stored
        self.set_values(
            {key: value for key, value in values.items() if getattr(self, key) != value}
        )
        self._judge()

    def _limited_now(self) -> list[str]:
        before = self._limited_before
        self._limited_before = {
            recording.device_id: recording.limited for recording in self._following.recordings
        }
        return only_new(before, self._limited_before)

    def _judge(self) -> None:
        """Raise or end the alarms that no limit of a property stands for."""
        silent_s = (self.clock.monotonic_ns() - self._told_at) / 1e9
        if self._durables and silent_s > SILENT_S and self.database_state == "works":
            error = PykaraboError(
                f"the writer says nothing for {silent_s:.0f} s", remedy="see what its process does"
            )
            self._show_database(error)
        problem = self._recorder.problem
        if problem is not None:
            self.raise_alarm("alarm", f"the spool takes nothing: {problem}", source=_SPOOL)
        else:
            self.clear_alarm(_SPOOL)
        if self.limiting:
            names = ", ".join(self.limiting)
            text = f"only the latest samples of each second are stored of: {names}"
            self.raise_alarm("alarm", text, source="limiting")
        else:
            self.clear_alarm("limiting")

    @command(access_level=AccessLevel.EXPERT, idempotent=True)
    async def import_samples(
        self, device_id: str, key: str, value_type: str, columns: dict[str, Any]
    ) -> dict[str, int]:
        """Store values that come from elsewhere; the same ones a second time change nothing.

        Returns how many were `new`, how many were `known` already, and of how many the archive has
        a `different` value, which stays.

        Args:
            columns: time_ns and value, and if known train_id, quality (its code), flags, and epoch
                and seq of the message that brought it: without these, values of one time are told
                apart by their order. Values that are no numbers and no texts are given as a map
                with `packed`.
        """
        samples = samples_of(device_id, key, value_type, columns)
        await self._wait_written()

        def put(new: list[ImportedSample]) -> None:
            rows = [list(sample) for sample in new]
            self._recorder.put([IMPORT, device_id, key, value_type, rows], len(rows))

        counts = await put_new(samples, lambda times: self.read_samples(device_id, key, times), put)
        if not await self._recorder.flush():
            raise BusyError(
                f"'{self.device_id}' cannot store it now: {self._recorder.problem}",
                device=self.device_id,
                remedy="try again later: what was stored already is not stored twice",
            )
        return counts

    async def _wait_written(self) -> None:
        """Wait until what was received so far is in the database, where it is looked for."""
        record = self._durables[-1][0] if self._durables else 0
        until = self.clock.monotonic_ns() + WRITTEN_NS
        while self._told.get("mark", 0) < record:
            if self.clock.monotonic_ns() > until:
                raise BusyError(
                    f"'{self.device_id}' cannot tell what is there already: what it has received "
                    f"waits for the database ({self.database_state})",
                    device=self.device_id,
                    remedy="try again when the database takes it; nothing is stored twice",
                )
            await asyncio.sleep(TICK_S)

    @command(access_level=AccessLevel.OBSERVER)
    async def health(self) -> dict[str, Any]:
        """Say at once how archiving goes, whatever the database does."""
        refusal = self._refusal
        return {
            "database": self.database_state if refusal is None else refusal.message,
            "remedy": "" if refusal is None else refusal.remedy or "",
            "lag_s": self.lag,
            "spool_fill": self._spool.fill,
            "waiting_samples": self._recorder.waiting_rows,
            "followed": len(self._following.recordings),
            "away": len(list(self._following.away())),
            "writer_pid": self._writer.pid,
            "problem": str(self._recorder.problem or ""),
        }


def days_of(line: str) -> float | None:
    """Return the days of a line PATTERN=DAYS; None if it is none."""
    pattern, _equals, days = line.rpartition("=")
    try:
        number = float(days)
    except ValueError:
        return None
    return number if pattern and number > 0 else None


def shortened(lines: Iterable[str]) -> list[str]:
    """Return the first lines and how many more there are."""
    found = list(lines)
    more = len(found) - SHOWN
    return found if more <= 0 else [*found[:SHOWN], f"and {more} more"]
