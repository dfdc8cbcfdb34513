"""What a writer makes of a spool when the database refuses a sample, on either database."""

from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from pykarabo.data import ValueType
from pykarabo.testing import async_test
from pykarabo_services.archiver import entries, tables
from pykarabo_services.archiver.model import Sample, SampleFlag
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
from pykarabo_services.kernel.database import Database
from tests.harness.databases import Databases

DEVICE: Final = "MOTOR/1"
START_S: Final = 1_790_000_000
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
        writer = ArchiveWriter(
            database,
            tmp_path / "spool",
            archiver="ARCHIVER/1",
            spool_id=spool.spool_id,
            settings=WriterSettings(),
            report=reports.append,
        )
        writer.durable(spool.last)
        writer.finish()
        await writer.run()
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
