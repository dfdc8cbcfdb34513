"""Rows become chunks and are read back the same, on either database."""

import asyncio
import math
import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pytest
from sqlalchemy import Connection, func, select, update

from pykarabo.data import ValueType
from pykarabo_services.archiver import compaction, retention, tables
from pykarabo_services.archiver.codec import decode_chunk
from pykarabo_services.archiver.compaction import (
    MAX_BYTES,
    Crowded,
    DamagedChunk,
    OnDamage,
    compact,
    crowded,
    unheard,
)
from pykarabo_services.archiver.model import CHUNK_SAMPLES, Sample, Series, packed
from pykarabo_services.archiver.outages import outages_of
from pykarabo_services.archiver.reading import ArchivedProperty
from pykarabo_services.archiver.retention import forget
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

    def compact(
        self, now_ns: int = DAY, on_damage: OnDamage = unheard
    ) -> Callable[[Connection], int]:
        def work(connection: Connection) -> int:
            def rest_of(item: Crowded) -> int:
                again = partial(compact, connection, item, now_ns, now_ns, on_damage=on_damage)
                return sum(iter(again, 0))

            return sum(map(rest_of, crowded(connection, now_ns)))

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

    assert sum(chunks) >= 40 - 1
    assert max(chunks) <= MAX_BYTES // 400_000
    assert [packed(sample.value) for sample in found] == [packed(item.value) for item in samples]


def _chunks(connection: Connection) -> list[Any]:
    chunk = tables.chunk.c
    query = select(chunk.first_ns, chunk.last_ns, chunk.count).order_by(chunk.first_ns)
    return list(connection.execute(query))


def _damage(connection: Connection) -> None:
    """Damage the oldest chunk."""
    data = tables.chunk_data
    oldest = select(func.min(data.c.first_ns)).scalar_subquery()
    connection.execute(update(data).where(data.c.first_ns == oldest).values(data=b"\1\2"))


def test_arrays_become_chunks_a_few_at_a_time(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "TRANSACTION_S", 0.0)
    archive = _Archive(databases, SeriesKey("CAM/1", "spectrum", "vector_float64"))
    rng = np.random.default_rng(1)
    samples = [Sample(i * SECOND, rng.normal(size=50_000)) for i in range(40)]

    def once(connection: Connection) -> int:
        [series] = crowded(connection, 2 * DAY)
        return compact(connection, series, 2 * DAY, 2 * DAY)

    results = archive.run(archive.insert(samples), *[once] * 24, _rows, _chunks, archive.read)
    gone, (left, chunks, found) = results[1:-3], results[-3:]

    fitting = MAX_BYTES // 400_000
    assert set(gone[:19]) == {fitting}, "a transaction takes no more than fits into a chunk"
    assert sum(gone) + left == 40
    assert left <= fitting
    assert max(count for *_span, count in chunks) == fitting
    assert [packed(sample.value) for sample in found] == [packed(item.value) for item in samples]


def test_a_late_row_changes_the_chunk_of_its_time_and_no_other(databases: Databases) -> None:
    archive = _Archive(databases)
    everything = _samples(0, 6 * CHUNK_SAMPLES)
    places = (100, 5 * CHUNK_SAMPLES + 200)
    late = [item for item in everything if item.seq in places]
    early = [item for item in everything if item.seq not in places]
    archive.run(archive.insert(early), archive.compact(2 * DAY))
    before, _w, gone, after, left, found = archive.run(
        _chunks, archive.insert(late), archive.compact(2 * DAY), _chunks, _rows, archive.read
    )
    assert (gone, left) == (2, 0)
    assert found == everything
    assert len(set(before) & set(after)) >= len(before) - 2
    assert min(count for *_span, count in after) >= CHUNK_SAMPLES // 2 - 1


def test_few_rows_between_two_chunks_go_into_one_of_them(databases: Databases) -> None:
    archive = _Archive(databases)
    everything = _samples(0, 2 * CHUNK_SAMPLES + 5)
    between = everything[CHUNK_SAMPLES : CHUNK_SAMPLES + 5]
    early = everything[:CHUNK_SAMPLES] + everything[CHUNK_SAMPLES + 5 :]
    archive.run(archive.insert(early), archive.compact())
    _w, gone, left, chunks, found = archive.run(
        archive.insert(between), archive.compact(), _rows, _chunks, archive.read
    )
    assert (gone, left) == (5, 0)
    assert [count for *_span, count in chunks] == [CHUNK_SAMPLES, 515, 514]
    assert found == everything


def test_samples_of_one_time_are_in_one_chunk(databases: Databases) -> None:
    archive = _Archive(databases)
    everything = [
        sample._replace(time_ns=sample.seq // 7 * SECOND)
        for sample in _samples(0, 3 * CHUNK_SAMPLES)
    ]
    late = everything[CHUNK_SAMPLES - 3 : CHUNK_SAMPLES + 3]
    archive.run(archive.insert(everything[: CHUNK_SAMPLES - 3]), archive.compact(DAY))
    archive.run(archive.insert(everything[CHUNK_SAMPLES + 3 :]), archive.compact(DAY))
    spans, found = archive.run(
        archive.insert(late), archive.compact(DAY), archive.compact(2 * DAY), _chunks, archive.read
    )[-2:]
    assert sorted(found, key=lambda item: item.seq) == everything
    assert all(this[1] < after[0] for this, after in pairwise(spans))


def test_a_damaged_chunk_keeps_its_place_and_its_rows_and_holds_up_no_others(
    databases: Databases,
) -> None:
    archive = _Archive(databases)
    samples = _samples(0, CHUNK_SAMPLES)
    inside = [item._replace(time_ns=item.time_ns + 5) for item in samples[10:50]]
    beyond = _samples(CHUNK_SAMPLES, 2 * CHUNK_SAMPLES)
    damaged: list[DamagedChunk] = []
    archive.run(archive.insert(samples), archive.compact(), _damage)
    _w, gone, left, chunks, outages = archive.run(
        archive.insert(inside + beyond),
        archive.compact(2 * DAY, damaged.append),
        _rows,
        _chunks,
        lambda connection: _outages(connection, archive),
    )
    assert (gone, left) == (2 * CHUNK_SAMPLES, len(inside))
    assert [count for *_span, count in chunks] == [CHUNK_SAMPLES] * 3
    assert {item.chunk.first_ns for item in damaged} == {samples[0].time_ns}
    assert "its checksum does not fit" in damaged[0].reason
    assert outages == [("damaged", samples[0].time_ns, samples[-1].time_ns, CHUNK_SAMPLES)]


def test_a_chunk_whose_data_are_gone_is_a_damaged_one(databases: Databases) -> None:
    archive = _Archive(databases)
    samples = _samples(0, CHUNK_SAMPLES)
    damaged: list[DamagedChunk] = []
    archive.run(archive.insert(samples), archive.compact())
    chunks = archive.run(
        lambda connection: connection.execute(tables.chunk_data.delete()),
        archive.insert([item._replace(time_ns=item.time_ns + 5) for item in samples[10:50]]),
        archive.compact(2 * DAY, damaged.append),
        _chunks,
    )[-1]
    assert [tuple(row) for row in chunks] == [(0, samples[-1].time_ns, CHUNK_SAMPLES)]
    assert [item.chunk.samples for item in damaged] == [CHUNK_SAMPLES] * len(damaged) != []


def _outages(
    connection: Connection, archive: _Archive
) -> list[tuple[str, int, int | None, int | None]]:
    """Return what a reader of all samples is told to be missing."""
    series = Series(1, archive.key.device_id, archive.key.key, archive.value_type)
    source = ArchivedProperty(connection, archive.key.device_id, [series])
    source.samples(0, 10 * DAY)
    return [
        (item.kind, item.from_ns, item.to_ns, item.lost) for item in source.outages(0, 10 * DAY)
    ]


# -- retention ------------------------------------------------------------------------------------


def _forgotten(before_ns: int, series_id: int = 1) -> Callable[[Connection], int]:
    """Forget in as many transactions as it takes."""

    def work(connection: Connection) -> int:
        return sum(iter(lambda: forget(connection, series_id, before_ns), 0))

    return work


def _told(connection: Connection) -> tuple[int, int | None, int | None]:
    """Return what the one event says that tells what was forgotten."""
    [gap] = outages_of(connection, KEY.device_id, 0, 1000 * DAY, key=KEY.key)
    assert gap.kind == "forgotten"
    return gap.from_ns, gap.to_ns, gap.lost


def test_retention_keeps_the_value_that_was_true_then(databases: Databases) -> None:
    archive = _Archive(databases)
    samples = _samples(0, 4 * CHUNK_SAMPLES + 10)
    _w, _c, gone, again, found, told = archive.run(
        archive.insert(samples),
        archive.compact(5_000 * SECOND),
        _forgotten(2_000 * SECOND + 1),
        _forgotten(2_000 * SECOND + 1),
        archive.read,
        _told,
    )
    assert (gone, again) == (CHUNK_SAMPLES, 0)
    assert found == samples[CHUNK_SAMPLES:], "the chunk at the border stays as it is for a day"
    assert told == (samples[0].time_ns, samples[CHUNK_SAMPLES].time_ns, gone)

    more, found, told = archive.run(_forgotten(DAY), archive.read, _told)
    assert found == samples[-1:]
    assert told == (samples[0].time_ns, samples[-1].time_ns, gone + more)
    assert gone + more == len(samples) - 1


@pytest.mark.parametrize("every_s", [86, 1800])
def test_retention_leaves_nothing_that_is_a_day_older_than_it_says(
    databases: Databases, every_s: int
) -> None:
    archive = _Archive(databases)
    samples = _samples(0, 3_000, every_ns=every_s * SECOND)
    now_ns = samples[-1].time_ns + SECOND
    border_ns = now_ns - DAY
    at_border = [item for item in samples if item.time_ns < border_ns][-1]
    _w, _c, gone, again, found, told = archive.run(
        archive.insert(samples),
        archive.compact(now_ns),
        _forgotten(border_ns),
        _forgotten(border_ns),
        archive.read,
        _told,
    )
    kept = sorted(found, key=lambda item: item.time_ns)
    assert (gone, again) == (len(samples) - len(kept), 0)
    assert kept == samples[gone:]
    assert at_border in kept
    assert kept[0].time_ns >= border_ns - DAY
    assert told == (samples[0].time_ns, kept[0].time_ns, gone)


def test_a_value_that_has_not_changed_since_is_all_that_stays(databases: Databases) -> None:
    archive = _Archive(databases)
    samples = _samples(0, 2 * CHUNK_SAMPLES, every_ns=86 * SECOND)
    gone, found, told, chunks = archive.run(
        archive.insert(samples),
        archive.compact(100 * DAY),
        _forgotten(50 * DAY),
        archive.read,
        _told,
        _chunks,
    )[-4:]
    assert (gone, found) == (len(samples) - 1, samples[-1:])
    assert told == (samples[0].time_ns, samples[-1].time_ns, gone)
    assert [tuple(row) for row in chunks] == [(samples[-1].time_ns, samples[-1].time_ns, 1)]


def test_retention_counts_a_sample_that_is_a_row_and_in_a_chunk_once(
    databases: Databases,
) -> None:
    archive = _Archive(databases)
    samples = _samples(0, 2 * CHUNK_SAMPLES)
    archive.run(archive.insert(samples), archive.compact())
    late = [item._replace(seq=item.seq + 10**6) for item in samples[5:8]]
    gone, found = archive.run(
        archive.insert(samples[:10] + late), _forgotten(10 * DAY), archive.read
    )[-2:]
    assert (gone, found) == (len(samples) + len(late) - 1, samples[-1:])


def test_retention_takes_a_part_in_each_transaction(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_CHUNKS", 2)
    monkeypatch.setattr(retention, "MAX_ROWS", 300)
    archive = _Archive(databases)
    samples = _samples(0, 4 * CHUNK_SAMPLES + 701)
    archive.run(archive.insert(samples), archive.compact(5_000 * SECOND))
    once = partial(forget, series_id=1, before_ns=10 * DAY)
    steps = archive.run(*[lambda connection: (once(connection), _told(connection))] * 5)
    gone = [number for number, _told_then in steps]
    assert gone == [2 * CHUNK_SAMPLES, 2 * CHUNK_SAMPLES, 300, 300, 100]
    assert [told[2] for _number, told in steps] == np.cumsum(gone).tolist()
    assert archive.run(once, archive.read) == [0, samples[-1:]]


def test_of_a_property_that_had_several_types_the_last_value_stays(databases: Databases) -> None:
    archive = _Archive(databases)
    other = SeriesKey(KEY.device_id, KEY.key, "int32")
    numbers = [Sample(i * SECOND, i, 0, 0, 0, 0, 1_000, i) for i in range(CHUNK_SAMPLES)]
    batch = Batch([(other, tail_of(ValueType.INT32, item)) for item in numbers])
    later = [item._replace(time_ns=item.time_ns + DAY) for item in _samples(0, 10)]
    found, told = archive.run(
        archive.insert(later),
        lambda connection: write(connection, batch, SeriesNumbers()),
        archive.compact(2 * DAY),
        _forgotten(10 * DAY, series_id=1),
        _forgotten(10 * DAY, series_id=2),
        archive.read,
        _told,
    )[-2:]
    assert found == later[-1:]
    assert told == (0, later[-1].time_ns, CHUNK_SAMPLES + len(later) - 1)


def test_a_damaged_chunk_at_the_border_stays_until_all_of_it_is_too_old(
    databases: Databases,
) -> None:
    archive = _Archive(databases)
    samples = _samples(0, 2 * CHUNK_SAMPLES, every_ns=200 * SECOND)
    damaged: list[DamagedChunk] = []
    archive.run(archive.insert(samples), archive.compact(100 * DAY), _damage)
    within_ns = samples[CHUNK_SAMPLES - 10].time_ns
    gone, outages = archive.run(
        lambda connection: forget(connection, 1, within_ns, on_damage=damaged.append),
        lambda connection: _outages(connection, archive),
    )
    assert gone == 0
    assert {item.chunk.samples for item in damaged} == {CHUNK_SAMPLES}
    first_ns, last_ns = samples[0].time_ns, samples[CHUNK_SAMPLES - 1].time_ns
    assert outages == [("damaged", first_ns, last_ns, CHUNK_SAMPLES)]

    gone, outages = archive.run(
        _forgotten(samples[CHUNK_SAMPLES + 5].time_ns),
        lambda connection: _outages(connection, archive),
    )
    assert gone == CHUNK_SAMPLES
    assert outages == [("forgotten", first_ns, samples[CHUNK_SAMPLES].time_ns, CHUNK_SAMPLES)]
