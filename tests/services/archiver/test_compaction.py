"""Rows become chunks and are read back the same, on either database."""

import asyncio
import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, func, select

from pykarabo.data import ValueType
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.codec import decode_chunk
from pykarabo_services.archiver.compaction import MAX_BYTES, compact, crowded, forget
from pykarabo_services.archiver.model import CHUNK_SAMPLES, Sample, packed
from pykarabo_services.archiver.outages import outages_of
from pykarabo_services.archiver.store import (
    STORE,
    Batch,
    SeriesKey,
    SeriesNumbers,
    sample_of,
    tail_of,
    write,
)
from pykarabo_services.kernel.database import Database
from tests.harness.databases import Databases

T = TypeVar("T")
KEY = SeriesKey("VAC/PUMP/1", "pressure", "float64")
SECOND = 10**9
DAY = 86_400 * SECOND


class _Archive:
    """An archive on a database of a test, with one series in it."""

    def __init__(self, databases: Databases, key: SeriesKey = KEY) -> None:
        self._databases = databases
        self.key = key
        self.value_type = ValueType(key.value_type)

    def run(self, *works: Callable[[Connection], Any]) -> list[Any]:
        async def all_of_them() -> list[Any]:
            database = Database(STORE, self._databases.place("archive"))
            await database.open()
            try:
                return [await database.write(work) for work in works]
            finally:
                await database.aclose()

        return asyncio.run(all_of_them())

    def insert(self, samples: list[Sample]) -> Callable[[Connection], Any]:
        batch = Batch([(self.key, tail_of(self.value_type, item)) for item in samples])
        return lambda connection: write(connection, batch, SeriesNumbers())

    def compact(self, now_ns: int = DAY) -> Callable[[Connection], int]:
        def work(connection: Connection) -> int:
            return sum(
                compact(connection, item, now_ns, now_ns) for item in crowded(connection, now_ns)
            )

        return work

    def read(self, connection: Connection) -> list[Sample]:
        """Return all samples, those of chunks first."""
        chunks = select(tables.chunk_data.c.data).order_by(tables.chunk_data.c.first_ns)
        found = [
            sample
            for content in connection.execute(chunks).scalars()
            for sample in decode_chunk(content).samples()
        ]
        rows = tables.sample
        columns = [column for column in rows.columns if column.name != "series_id"]
        query = select(*columns).order_by(rows.c.time_ns, rows.c.seq)
        return found + [sample_of(self.value_type, row) for row in connection.execute(query)]


def _samples(start: int, number: int, *, every_ns: int = SECOND) -> list[Sample]:
    return [
        Sample(i * every_ns, math.sin(i), 7, 100 + i, i % 5, 0, 1_000, i)
        for i in range(start, start + number)
    ]


def _rows(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(tables.sample)).scalar_one())


def test_rows_become_chunks_and_the_rest_stays(databases: Databases) -> None:
    archive = _Archive(databases)
    samples = _samples(0, 2 * CHUNK_SAMPLES + 100)
    _written, gone, left, found = archive.run(
        archive.insert(samples), archive.compact(3_000 * SECOND), _rows, archive.read
    )

    assert (gone, left) == (2 * CHUNK_SAMPLES, 100)
    assert found == samples


def test_a_sample_that_is_written_twice_is_there_once(databases: Databases) -> None:
    archive = _Archive(databases)
    samples = _samples(0, 50)
    found = archive.run(
        archive.insert(samples), archive.insert(samples[20:] + _samples(50, 5)), archive.read
    )[-1]
    assert found == _samples(0, 55)


def test_rows_that_come_late_are_merged_into_the_chunks_of_their_time(
    databases: Databases,
) -> None:
    archive = _Archive(databases)
    everything = _samples(0, 3 * CHUNK_SAMPLES)
    shuffled = list(range(len(everything)))
    random.Random(3).shuffle(shuffled)
    late = [everything[i] for i in sorted(shuffled[:1500])]
    early = [everything[i] for i in sorted(shuffled[1200:])]  # some are in both

    results = archive.run(
        archive.insert(early),
        archive.compact(),
        archive.insert(late),
        archive.compact(),
        archive.compact(),
        archive.read,
        lambda connection: connection.execute(
            select(tables.chunk.c.first_ns, tables.chunk.c.last_ns).order_by("first_ns")
        ).all(),
    )
    spans = results[-1]
    assert sorted(results[-2], key=lambda item: item.time_ns) == everything
    assert all(this[1] < after[0] for this, after in pairwise(spans))


def test_a_summary_says_what_is_in_its_chunk(databases: Databases) -> None:
    archive = _Archive(databases)
    values = [1.0, -4.0, math.nan, 10.0, math.inf, 3.0, None] * 40
    samples = [Sample(i * SECOND, value, quality=i % 2) for i, value in enumerate(values)]
    chunk = archive.run(
        archive.insert(samples),
        archive.compact(),
        lambda connection: connection.execute(select(tables.chunk)).one(),
    )[-1]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    mean = sum(finite) / len(finite)

    assert (chunk.count, chunk.numbers, chunk.worst_quality) == (280, 160, 1)
    assert (chunk.minimum, chunk.maximum, chunk.first_value, chunk.last_value) == (-4, 10, 1, 3)
    assert (chunk.min_ns, chunk.max_ns) == (1 * SECOND, 3 * SECOND)
    assert chunk.total == pytest.approx(sum(finite))
    assert chunk.m2 == pytest.approx(sum((value - mean) ** 2 for value in finite))


def test_large_values_do_not_share_a_chunk(databases: Databases) -> None:
    archive = _Archive(databases, SeriesKey("CAM/1", "names", "vector_string"))
    samples = [Sample(i * SECOND, [f"{i}" * 40] * 10_000) for i in range(40)]
    chunks, found = archive.run(
        archive.insert(samples),
        archive.compact(2 * DAY),
        lambda connection: connection.execute(select(tables.chunk.c.count)).scalars().all(),
        archive.read,
    )[-2:]

    assert sum(chunks) == 40
    assert max(chunks) <= MAX_BYTES // 160_000 + 1
    assert [packed(sample.value) for sample in found] == [packed(item.value) for item in samples]


def test_retention_keeps_the_value_that_was_true_then(databases: Databases) -> None:
    archive = _Archive(databases)
    samples = _samples(0, 4 * CHUNK_SAMPLES + 10)
    cut_ns = 2_000 * SECOND + 1
    series = 1
    _w, _c, gone, again, found = archive.run(
        archive.insert(samples),
        archive.compact(5_000 * SECOND),
        lambda connection: forget(connection, series, cut_ns),
        lambda connection: forget(connection, series, cut_ns),
        archive.read,
    )

    assert (gone, again) == (0, 0)
    assert found == samples
    gone, found = archive.run(
        lambda connection: forget(connection, series, 3_000 * SECOND), archive.read
    )
    assert gone == CHUNK_SAMPLES
    assert found == samples[CHUNK_SAMPLES:]
    more, found, outages = archive.run(
        lambda connection: forget(connection, series, DAY),
        archive.read,
        lambda connection: outages_of(connection, KEY.device_id, 0, DAY, key=KEY.key),
    )
    assert found == samples[-1:]
    [told] = outages
    assert (told.kind, told.lost) == ("forgotten", gone + more)
    assert (told.from_ns, told.to_ns) == (samples[0].time_ns, samples[-1].time_ns)
