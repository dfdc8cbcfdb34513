"""Reading the archive: a trend of ten million samples, and a device of a month ago."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import Connection, insert

from pykarabo.data import PropertyInfo, Schema, ValueType, encode
from pykarabo_services.archiver import answering, tables
from pykarabo_services.archiver.codec import encode_chunk
from pykarabo_services.archiver.decimation import Question
from pykarabo_services.archiver.model import CHUNK_SAMPLES, Sample, packed
from pykarabo_services.archiver.samples import Pieces, Samples
from pykarabo_services.archiver.store import STORE
from pykarabo_services.kernel.database import Database, Place, place_of
from scripts.benchmarks._profile import profiled
from scripts.benchmarks._report import Reach, Row

SAMPLES: Final = 10_000_000
POINTS: Final = 1_000
PROPERTIES: Final = 500
_ROUNDS: Final = 15
_DEVICE: Final = "BENCH/SOURCE/1"
_WIDE: Final = "BENCH/WIDE/1"
_KEY: Final = "converter"
_START_NS: Final = 1_790_000_000_000_000_000
_NS: Final = 10**9
_DAY_NS: Final = 86_400 * _NS
_EPOCH: Final = 1_789_999_999_123_456_789


def history_rows(urls: Mapping[str, str]) -> list[Row]:
    """Measure reading from each kind of database."""
    chunks = list(_converter_chunks())
    wide = list(_slow_chunks())
    places = {
        kind: place_of(STORE.name, domain="bench_history", url=url) for kind, url in urls.items()
    }
    rows: list[Row] = []
    for kind, place in places.items():
        rows += asyncio.run(_opened(place, kind, chunks, wide))
    return rows


async def _opened(
    place: Place, kind: str, chunks: list[dict[str, Any]], wide: list[dict[str, Any]]
) -> list[Row]:
    database = Database(STORE, place, deadline_s=300.0)
    await database.open()
    try:
        return await _measured(database, kind, chunks, wide)
    finally:
        await database.aclose()


async def _measured(
    database: Database, kind: str, chunks: list[dict[str, Any]], wide: list[dict[str, Any]]
) -> list[Row]:
    await database.write(lambda connection: _fill(connection, chunks, wide))
    end_ns = _START_NS + SAMPLES * _NS // 10
    one_by_one = await _timed(database, _asking("median", 1, end_ns), rounds=1)
    rows = []
    for name in ("statistics", "optimized"):
        ask = _asking(name, POINTS, end_ns)
        took = await _timed(database, ask)
        row = Row(
            id=f"trend_{kind}" if name == "statistics" else f"trend_{name}_{kind}",
            what=f"{name} of {SAMPLES} samples of one property in {POINTS} points, from {kind}; "
            f"{took.processor_s:.3f} s of this process's time",
            value=took.wall_s,
            unit="s",
            reference="the same samples one by one",
            reference_value=one_by_one.wall_s,
            reach=Reach(0.15),
        )
        rows.append(await _explained(database, row, ask))
    ask = _asking_past(_START_NS + 60 * _DAY_NS - 30 * _DAY_NS)
    took = await _timed(database, ask)
    row = Row(
        id=f"past_{kind}",
        what=f"a device of {PROPERTIES} properties one month ago, from {kind}; "
        f"{took.processor_s:.3f} s of this process's time",
        value=took.wall_s,
        unit="s",
        reach=Reach(0.1),
    )
    return [*rows, await _explained(database, row, ask)]


async def _explained(database: Database, row: Row, ask: Callable[[Connection], Any]) -> Row:
    if row.reached is not False:
        return row
    profile = await database.read(lambda connection: profiled(lambda: ask(connection)))
    return row.explained(lambda: profile)


def _asking(operator: str, points: int, end_ns: int) -> Callable[[Connection], Any]:
    question = Question(start_ns=_START_NS - _NS, end_ns=end_ns, operator=operator, points=points)
    return lambda connection: answering.history(connection, _DEVICE, _KEY, question)


def _asking_past(time_ns: int) -> Callable[[Connection], Any]:
    return lambda connection: answering.past(connection, _WIDE, time_ns)


class _Times(NamedTuple):
    """The quickest of some answers: neighbours on the machine only make it slower."""

    wall_s: float
    processor_s: float


async def _timed(
    database: Database, ask: Callable[[Connection], Any], *, rounds: int = _ROUNDS
) -> _Times:
    """Return how long an answer takes, until it could be sent."""
    times: list[_Times] = []
    for _ in range(rounds):
        begun = _Times(time.perf_counter(), time.process_time())
        encode(await database.read(ask))
        ended = _Times(time.perf_counter(), time.process_time())
        times.append(_Times(*(end - start for end, start in zip(ended, begun, strict=True))))
    return _Times(min(item.wall_s for item in times), min(item.processor_s for item in times))


# -- what is read ---------------------------------------------------------------------------------


def _converter_chunks() -> Iterator[dict[str, Any]]:
    """Yield the chunks of a 16-bit converter's value at 10 Hz with jittering times."""
    rng = np.random.default_rng(1)
    level = 0
    for first in range(0, SAMPLES, CHUNK_SAMPLES):
        count = min(CHUNK_SAMPLES, SAMPLES - first)
        steps = np.cumsum(rng.integers(-20, 21, count)) + level
        level = int(steps[-1])
        numbers = np.arange(first, first + count)
        times = _START_NS + numbers * (_NS // 10) + rng.integers(-50, 51, count) * 1000
        yield _chunk(times, (steps % 65_536) * 3.0517578125e-4, numbers)


def _slow_chunks() -> Iterator[dict[str, Any]]:
    """Yield the chunks of a value every ten minutes for sixty days."""
    count = 60 * 144
    for first in range(0, count, CHUNK_SAMPLES):
        numbers = np.arange(first, min(first + CHUNK_SAMPLES, count))
        yield _chunk(_START_NS + numbers * 600 * _NS, np.sin(numbers / 50), numbers)


def _chunk(times: Any, values: Any, numbers: Any) -> dict[str, Any]:
    rows = zip(times.tolist(), values.tolist(), numbers.tolist(), strict=True)
    samples = [Sample(at, value, 0, 10**7 + n, 0, 0, _EPOCH, n) for at, value, n in rows]
    small, long = np.zeros(len(samples), np.uint8), np.zeros(len(samples), np.int64)
    columns = Samples(times, values, small, long, small, long, long, long)
    piece = Pieces.of_runs(columns, np.array([0]))
    names = ("minimum", "min_ns", "maximum", "max_ns", "total", "m2", "first_ns", "last_ns")
    summary = {name: getattr(piece, name)[0].item() for name in names}
    return summary | {
        "count": len(samples),
        "numbers": len(samples),
        "worst_quality": 0,
        "last_epoch": _EPOCH,
        "first_value": piece.first[0].item(),
        "last_value": piece.last[0].item(),
        "data": encode_chunk(ValueType.FLOAT64, samples),
    }


def _fill(connection: Connection, chunks: list[dict[str, Any]], wide: list[dict[str, Any]]) -> None:
    keys = [f"value{number}" for number in range(PROPERTIES)]
    series = [(1, _DEVICE, _KEY), *((2 + place, _WIDE, key) for place, key in enumerate(keys))]
    connection.execute(
        insert(tables.series),
        [
            {"id": number, "device_id": device_id, "key": key, "value_type": "float64"}
            for number, device_id, key in series
        ],
    )
    _insert(connection, 1, chunks)
    for number in range(2, 2 + PROPERTIES):
        _insert(connection, number, wide)
    _describe(connection, keys)


def _insert(connection: Connection, series_id: int, chunks: list[dict[str, Any]]) -> None:
    for table in (tables.chunk, tables.chunk_data):
        names = [column.name for column in table.columns if column.name != "series_id"]
        rows = [{name: chunk[name] for name in names} for chunk in chunks]
        connection.execute(insert(table), [row | {"series_id": series_id} for row in rows])


def _describe(connection: Connection, keys: list[str]) -> None:
    properties = {key: PropertyInfo(key=key, value_type=ValueType.FLOAT64) for key in keys}
    schema = Schema(class_id="Wide", description="", properties=properties, commands={}, outputs={})
    content = packed(schema.to_wire())
    connection.execute(insert(tables.schema).values(digest="bench", content=content))
    connection.execute(
        insert(tables.described).values(
            device_id=_WIDE, time_ns=_START_NS, epoch=_EPOCH, digest="bench"
        )
    )
