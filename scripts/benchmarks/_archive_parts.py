"""The archive's writer and its chunks alone, against the database's own driver."""

import asyncio
import cProfile
import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, text

from pykarabo.data import ValueType
from pykarabo_services.archiver import entries
from pykarabo_services.archiver.compaction import Crowded, compact
from pykarabo_services.archiver.intake import Intake
from pykarabo_services.archiver.model import CHUNK_SAMPLES, Sample
from pykarabo_services.archiver.spool import Record
from pykarabo_services.archiver.store import (
    STORE,
    Batch,
    SeriesKey,
    SeriesNumbers,
    Written,
    insert_samples,
    tail_of,
    write,
)
from pykarabo_services.archiver.writer import BATCH_ROWS, collect_seldom
from pykarabo_services.kernel.database import Database, Place, place_of
from scripts.benchmarks._processes import duration_s, interleaved
from scripts.benchmarks._profile import shares
from scripts.benchmarks._report import Reach, Row

SERIES: Final = 100
_BATCHES: Final = 20
_ROUNDS: Final = 5
_DEVICE: Final = "BENCH/SOURCE/1"
_START_NS: Final = 1_790_000_000_000_000_000
_EPOCH: Final = 1_789_999_999_123_456_789
_NS: Final = 10**9


def _run(place: Place, work: Callable[[Database], Any]) -> Any:
    async def with_database() -> Any:
        database = Database(STORE, place)
        await database.open()
        try:
            return await work(database)
        finally:
            await database.aclose()

    return asyncio.run(with_database())


def _writing(
    batch: Batch, numbers: SeriesNumbers, profile: cProfile.Profile | None = None
) -> Callable[[Connection], Written]:
    if profile is None:
        return lambda connection: write(connection, batch, numbers)
    return lambda connection: profile.runcall(write, connection, batch, numbers)


def _inserting(
    insert: Callable[[Connection, list[tuple[Any, ...]]], None], rows: list[tuple[Any, ...]]
) -> Callable[[Connection], None]:
    return lambda connection: insert(connection, rows)


def _compacting(series: Crowded, now_ns: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        return sum(iter(lambda: compact(connection, series, now_ns, now_ns), 0))

    return work


# -- the writer ---------------------------------------------------------------------------------


def writer_rates(urls: Mapping[str, str]) -> list[Row]:
    """Measure records of a spool on their way into a database, and the driver's own way."""
    thresholds = gc.get_threshold()
    collect_seldom()  # as the writer's process does, here for both
    try:
        places = {
            kind: place_of(STORE.name, domain="bench_writer", url=urls[kind]) for kind in urls
        }
        return [_writer(kind, place) for kind, place in places.items()]
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _writer(kind: str, place: Place) -> Row:
    made = [0]

    def ours() -> float:
        return float(_run(place, lambda database: _through_the_writer(database, made)))

    def theirs() -> float:
        return float(_run(place, lambda database: _by_the_driver(database, made)))

    rate, bare = interleaved(_ROUNDS, [ours, theirs])
    how = "executemany" if kind == "sqlite" else "COPY"
    return Row(
        id=f"writer_{kind}",
        what=f"records of a spool into {kind}, {BATCH_ROWS} samples at a time",
        value=rate,
        unit="1/s",
        reference=f"{how} of ready rows into the same table",
        reference_value=bare,
        reach=Reach(0.5, ratio=True, least=True),
    ).explained(lambda: _profile_of_the_writer(place, made))


def _profile_of_the_writer(place: Place, made: list[int]) -> list[str]:
    profile = cProfile.Profile()
    _run(place, lambda database: _through_the_writer(database, made, profile))
    return ["of the writer's time:", *shares(profile)]


def _times(made: list[int]) -> range:
    """Return the numbers of the samples of a batch: each series has one at each time."""
    first = made[0]
    made[0] += BATCH_ROWS // SERIES
    return range(first, made[0])


def _payload(made: list[int]) -> bytes:
    values = [
        [
            entries.VALUES,
            0,
            number + 1,
            [
                [series, 0.1 * number, 1_790_000_000 + number, 0, number, "valid", 0, 0]
                for series in range(SERIES)
            ],
        ]
        for number in _times(made)
    ]
    return entries.encode_entries(values)


def _explained() -> bytes:
    device = [entries.DEVICE, 0, _DEVICE, bytes(16), _EPOCH, 0, 0]
    series = [[entries.SERIES, i, 0, f"value{i}", "float64"] for i in range(SERIES)]
    return entries.encode_entries([device, *series])


async def _through_the_writer(
    database: Database, made: list[int], profile: cProfile.Profile | None = None
) -> float:
    intake = Intake("BENCH/ARCHIVER", "bench", after=0)
    intake.take(Record(1, _explained()))
    numbers = SeriesNumbers()
    payloads = [_payload(made) for _ in range(_BATCHES)]
    begun = time.perf_counter()
    for number, payload in enumerate(payloads, 2):
        batch = _taken(intake, Record(number, payload), profile)
        written = await database.write(_writing(batch, numbers, profile))
        numbers.remember(written.numbers)
    return _BATCHES * BATCH_ROWS / (time.perf_counter() - begun)


def _taken(intake: Intake, record: Record, profile: cProfile.Profile | None) -> Batch:
    if profile is None:
        intake.take(record)
    else:
        profile.runcall(intake.take, record)
    return intake.give()


async def _by_the_driver(database: Database, made: list[int]) -> float:
    batches = [
        [
            (
                series + 1,
                _START_NS + number * _NS,
                _EPOCH,
                number,
                0,
                0,
                number,
                0,
                0,
                None,
                0.1 * number,
                None,
                None,
            )
            for number in _times(made)
            for series in range(SERIES)
        ]
        for _ in range(_BATCHES)
    ]
    insert = _copy if database.place.url is not None else insert_samples
    begun = time.perf_counter()
    for rows in batches:
        await database.write(_inserting(insert, rows))
    return _BATCHES * BATCH_ROWS / (time.perf_counter() - begun)


def _copy(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Write rows straight into the table, which nobody may do who might repeat one."""
    driver: Any = connection.connection.driver_connection
    statement = "COPY archive_sample FROM STDIN (FORMAT BINARY)"
    types = ["int8"] * 4 + ["int2", "int4", "int8", "int2", "int2"]
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([*types, "int8", "float8", "text", "bytea"])
        for row in rows:
            copy.write_row(row)


# -- chunks -------------------------------------------------------------------------------------


def bytes_per_sample(folder: Path) -> Row:
    """Measure what a 16-bit converter's value at 10 Hz takes in a file, as rows and as chunks."""
    count = round(duration_s(200_000, 10_000_000)) // CHUNK_SAMPLES * CHUNK_SAMPLES
    place = Place(folder / "bytes.db")
    as_rows, as_chunks = _run(place, lambda database: _sizes(database, count))
    return Row(
        id="bytes_per_sample",
        what=f"{count} samples of a 16-bit converter at 10 Hz with jittering times, in SQLite",
        value=as_chunks,
        unit="B",
        reference="the same as rows",
        reference_value=as_rows,
        reach=Reach(6.0),
    )


async def _sizes(database: Database, count: int) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    key = SeriesKey(_DEVICE, "converter", "float64")
    numbers = SeriesNumbers()
    empty = await database.read(_size)
    rows_size = 0.0
    part = 16 * CHUNK_SAMPLES
    for first in range(0, count, part):
        samples = _converter(rng, first, min(part, count - first))
        batch = Batch([(key, tail_of(ValueType.FLOAT64, item)) for item in samples])
        written = await database.write(_writing(batch, numbers))
        numbers.remember(written.numbers)
        if not rows_size:
            rows_size = (await database.read(_size) - empty) / len(samples)
        series = Crowded(written.numbers[key], ValueType.FLOAT64, part, 0)
        await database.write(_compacting(series, samples[-1].time_ns + 1))
    return rows_size, (await database.read(_size) - empty) / count


def _converter(rng: np.random.Generator, first: int, count: int) -> list[Sample]:
    raw = np.clip(np.cumsum(rng.integers(-300, 301, count)) + 32_768, 0, 65_535)
    values = (raw * (20 / 65_536) - 10).tolist()
    jitter = rng.normal(0, 20, count).round().astype(int).tolist()
    return [
        Sample(
            _START_NS + (first + i) * 100_000_000 + jitter[i] * 1_000,
            values[i],
            0,
            10_000_000_000 + first + i,
            0,
            0,
            _EPOCH,
            first + i,
        )
        for i in range(count)
    ]


def _size(connection: Connection) -> float:
    """Return how many bytes of the file are in use."""
    names = ("page_count", "freelist_count", "page_size")
    count, free, size = (connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names)
    return float((count - free) * size)
