"""What a writer does when the database refuses something, on either database."""

import asyncio
import contextlib
import gc
import logging
import time
import tracemalloc
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from sqlalchemy import Connection, func, select, update

from pykarabo.data import ValueType
from pykarabo.errors import DatabaseDamagedError
from pykarabo.testing import async_test, until
from pykarabo_services.archiver import compaction, entries, tables, writer
from pykarabo_services.archiver.model import CHUNK_SAMPLES, Sample, SampleFlag
from pykarabo_services.archiver.spool import Spool
from pykarabo_services.archiver.store import (
    STORE,
    Batch,
    SeriesKey,
    SeriesNumbers,
    tail_of,
    write,
)
from pykarabo_services.archiver.writer import ArchiveWriter, WriterSettings
from pykarabo_services.kernel.database import Database, make_engine
from tests.harness.databases import Databases

DEVICE: Final = "MOTOR/1"
START_S: Final = 1_790_000_000
_DAY_NS: Final = 86_400 * 10**9
_EVENT: Final = ("kind", "key", "lost", "reason")
_PREAMBLE: Final = (
    [entries.DEVICE, 0, DEVICE, b"i" * 16, 1_000, 0, 0],
    [entries.SERIES, 0, 0, "position", "float64"],
    [entries.SERIES, 1, 0, "speed", "float64"],
    [entries.READY],
)


def _told(seq: int, seconds: int, *series: int, flags: int = 0) -> list[Any]:
    rows = [[number, 0.5 * seq, seconds, 0, 0, "valid", flags, 0] for number in series]
    return [entries.VALUES, 0, seq, rows]


def _spooled(folder: Path, *found: list[Any]) -> Spool:
    spool = Spool(folder, lambda: [entries.encode_entries(list(_PREAMBLE))], max_bytes=1 << 24)
    list(spool.open())
    spool.write([entries.encode_entries([entry]) for entry in found])
    spool.close()
    return spool


def _stored(connection: Connection) -> list[tuple[str, int, int]]:
    sample, series = tables.sample.c, tables.series.c
    query = select(series.key, sample.time_ns, sample.seq).where(series.id == sample.series_id)
    return sorted(
        (key, time_ns // 10**9 - START_S, seq) for key, time_ns, seq in connection.execute(query)
    )


def _events(connection: Connection) -> list[Any]:
    return list(connection.execute(select(*(tables.event.c[name] for name in _EVENT))))


@async_test
async def test_a7_a_sample_that_the_database_refuses_is_noted_and_all_others_are_stored(
    databases: Databases, tmp_path: Path
) -> None:
    never = 10**11  # seconds: more ns than 64 bits hold
    spool = _spooled(
        tmp_path / "spool",
        _told(1, START_S + 1, 0, 1),
        _told(2, never, 1),
        _told(3, START_S + 3, 0),
        _told(4, START_S + 3, 0, flags=SampleFlag.PRESENT),  # the same value, read once more
        _told(5, START_S + 5, 1, flags=SampleFlag.PRESENT),
    )
    database = Database(STORE, databases.place("archive"))
    await database.open()
    reports: list[dict[str, Any]] = []
    try:
        emptying = ArchiveWriter(
            database,
            tmp_path / "spool",
            archiver="ARCHIVER/1",
            spool_id=spool.spool_id,
            settings=WriterSettings(),
            report=reports.append,
        )
        emptying.durable(spool.last)
        emptying.finish()
        await emptying.run()
        stored = await database.read(_stored)
        events = await database.read(_events)
    finally:
        await database.aclose()

    assert stored == [("position", 1, 1), ("position", 3, 3), ("speed", 1, 1), ("speed", 5, 5)]
    assert [tuple(event[:3]) for event in events] == [("rejected", "speed", 1)]
    assert events[0].reason.startswith("the database refuses it: ")
    assert (reports[-1]["mark"], reports[-1]["rejected"]) == (spool.last, 1)


@async_test
async def test_a_value_that_was_told_and_read_in_one_batch_is_stored_once(
    databases: Databases,
) -> None:
    key = SeriesKey(DEVICE, "position", "float64")
    told, read = (
        tail_of(ValueType.FLOAT64, Sample(START_S * 10**9, 0.5, epoch=1_000, seq=seq))
        for seq in (3, 4)
    )
    database = Database(STORE, databases.place("archive"))
    await database.open()
    try:
        batch = Batch(by_series={key: [told]}, present=[(key, read)])
        await database.write(lambda connection: write(connection, batch, SeriesNumbers()))
        stored = await database.read(_stored)
    finally:
        await database.aclose()
    assert stored == [("position", 0, 3)]


# -- care -----------------------------------------------------------------------------------------


class _Tended:
    """An archive that a writer tends, whose spool is empty."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.database = database
        self.numbers = SeriesNumbers()
        self.reports: list[dict[str, Any]] = []
        self.writer = ArchiveWriter(
            database,
            directory,
            archiver="ARCHIVER/1",
            spool_id="00" * 16,
            settings=WriterSettings(recent_s=0.05),
            report=self.reports.append,
        )

    async def insert(self, key: str, start: int, number: int, *, off_ns: int = 0) -> None:
        """Write samples of a second each, of five days ago."""
        start_ns = time.time_ns() // _DAY_NS * _DAY_NS - 5 * _DAY_NS + off_ns
        tails = [
            tail_of(ValueType.FLOAT64, Sample(start_ns + i * 10**9, 0.5 * i, epoch=1, seq=i))
            for i in range(start, start + number)
        ]
        batch = Batch(by_series={SeriesKey(DEVICE, key, "float64"): tails})
        await self.database.write(lambda connection: write(connection, batch, self.numbers))

    def told(self, name: str) -> int:
        """Return a count as the writer told it last."""
        return int(self.reports[-1][name]) if self.reports else 0

    def rows(self) -> int:
        """Return how many samples are rows."""
        query = select(func.count()).select_from(tables.sample)
        with make_engine(self.database.place, read_only=True).connect() as connection:
            return int(connection.execute(query).scalar_one())

    async def until_rows(self, number: int) -> None:
        """Wait until so many samples are rows."""
        await until(lambda: self.rows() == number, timeout_s=20)


@contextlib.asynccontextmanager
async def _tended(databases: Databases, directory: Path) -> AsyncGenerator[_Tended]:
    _spooled(directory).close()
    database = Database(STORE, databases.place("archive"))
    await database.open()
    tended = _Tended(database, directory)
    running = asyncio.create_task(tended.writer.run())
    try:
        yield tended
    finally:
        tended.writer.finish()
        await running
        await database.aclose()


@async_test
async def test_a_damaged_chunk_is_told_once_and_all_others_are_compressed(
    databases: Databases, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with _tended(databases, tmp_path / "spool") as tended:
        await tended.insert("position", 0, CHUNK_SAMPLES)
        await tended.until_rows(0)
        damaging = update(tables.chunk_data).values(data=b"\1\2")
        await tended.database.write(lambda connection: connection.execute(damaging))
        await tended.insert("position", 10, 40, off_ns=5)
        await until(lambda: tended.told("damaged_chunks") == 1, timeout_s=20)
        await tended.insert("position", CHUNK_SAMPLES, CHUNK_SAMPLES)
        await tended.insert("speed", 0, 2 * CHUNK_SAMPLES)
        await tended.until_rows(40)

    told = [item.getMessage() for item in caplog.records if item.levelno >= logging.ERROR]
    assert len(told) == 1
    assert told[0].startswith(f"{CHUNK_SAMPLES} samples of {DEVICE}.position from 20")
    assert "its checksum does not fit" in told[0]
    assert told[0].endswith("pykarabo db restore archive FILE")
    assert tended.writer.care_errors == 0


@async_test
async def test_what_ails_one_series_holds_up_no_other(
    databases: Databases, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Data of a chunk without their summary are in the way of a new one."""
    async with _tended(databases, tmp_path / "spool") as tended:
        await tended.insert("position", 0, CHUNK_SAMPLES)
        await tended.until_rows(0)
        await tended.database.write(lambda connection: connection.execute(tables.chunk.delete()))
        await tended.insert("position", 0, 2 * CHUNK_SAMPLES)
        await tended.insert("speed", 0, CHUNK_SAMPLES)
        await tended.until_rows(2 * CHUNK_SAMPLES)
        await until(lambda: tended.told("care_errors") > 1, timeout_s=20)

    told = [item.getMessage() for item in caplog.records if item.levelno >= logging.ERROR]
    assert len(told) == 1
    assert f"the samples of {DEVICE}.position cannot be compressed or forgotten" in told[0]
    assert told[0].endswith("pykarabo db check archive")


@async_test
async def test_care_begins_again_after_an_error_that_nobody_foresaw(
    databases: Databases,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "CARE_S", 0.05)
    monkeypatch.setattr(writer, "RETENTION_S", 0.05)
    monkeypatch.setattr(writer, "CARE_AGAIN_S", 0.05)
    async with _tended(databases, tmp_path / "spool") as tended:
        await tended.insert("position", 0, 10)
        tended.writer.settings = WriterSettings.from_json(
            '{"recent_s": 0.05, "retention": {"*": {}}}'
        )
        await until(lambda: tended.told("care_errors") > 1, timeout_s=20)
        tended.writer.settings = WriterSettings(recent_s=0.05, retention={"*": 1.0})
        await until(lambda: tended.writer.forgotten == 9, timeout_s=20)
        assert tended.rows() == 1

    assert "compressing and forgetting has failed" in caplog.text


@async_test
async def test_care_that_meets_a_damaged_place_of_the_database_writes_on(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database says so itself, of the pages of one series."""
    refused = DatabaseDamagedError("a page is damaged", remedy="restore a backup")
    whole = compaction.compact

    def compact(connection: Connection, series: compaction.Crowded, *rest: Any, **more: Any) -> int:
        if series.name.endswith("position"):
            raise refused
        return whole(connection, series, *rest, **more)

    monkeypatch.setattr(compaction, "compact", compact)
    async with _tended(databases, tmp_path / "spool") as tended:
        await tended.insert("position", 0, 2 * CHUNK_SAMPLES)
        await tended.insert("speed", 0, CHUNK_SAMPLES)
        await tended.until_rows(2 * CHUNK_SAMPLES)
    assert {report["error"] for report in tended.reports} == {None}


@async_test
async def test_compressing_arrays_takes_the_memory_of_a_few_of_them(
    databases: Databases, tmp_path: Path
) -> None:
    """As in the writer's own process, where Python looks for cycles seldom."""
    count, elements = 100, 50_000
    key = SeriesKey(DEVICE, "spectrum", "vector_float64")
    samples = [
        Sample(START_S * 10**9 + i, np.full(elements, float(i)), epoch=1, seq=i)
        for i in range(count)
    ]
    tails = [tail_of(ValueType.VECTOR_FLOAT64, item) for item in samples]
    async with _tended(databases, tmp_path / "spool") as tended:
        work = partial(write, batch=Batch(by_series={key: tails}), numbers=tended.numbers)
        await tended.database.write(work)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            await until(lambda: tended.writer.chunked > count - 3, timeout_s=60)
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert peak < count * elements * 8 / 2
