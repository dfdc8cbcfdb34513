"""Turning rows into chunks, and forgetting what is too old; functions of a connection.

Rows become chunks when they are so old that no more are expected among them. If some come all the
same, out of a spool that was emptied late, the chunks in whose time they lie are made anew: chunks
of a series never overlap.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import Connection, and_, delete, func, insert, select, text

from pykarabo.data import ValueType
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.codec import decode_chunk, encode_chunk
from pykarabo_services.archiver.model import CHUNK_SAMPLES, EventKind, Sample, is_number
from pykarabo_services.archiver.store import sample_of

MAX_CHUNKS: Final = 16
"""Chunks made in one transaction, so that what comes in need not wait for long."""
MAX_BYTES: Final = 1 << 20
"""Samples whose values are together larger do not share a chunk: whoever wants one reads all."""
# So many rows are worth a chunk when the oldest of them is so old.
_SEALED: Final = ((CHUNK_SAMPLES, 0.0), (256, 3_600.0), (32, 86_400.0))
_FIXED_BYTES: Final = 16
_LOCK: Final = 7071 << 40
"""Advisory locks of PostgreSQL with this bit pattern are for series."""


class Crowded(NamedTuple):
    """A series with rows that might become chunks."""

    series_id: int
    value_type: ValueType
    rows: int
    oldest_ns: int

    def is_worth_it(self, now_ns: int) -> bool:
        """Tell whether a chunk can be made of its rows."""
        age_s = (now_ns - self.oldest_ns) / 1e9
        return any(self.rows >= rows and age_s >= age for rows, age in _SEALED)


def crowded(connection: Connection, before_ns: int, devices: Sequence[str] = ()) -> list[Crowded]:
    """Return the series that have rows older than a moment, those with most rows first.

    Args:
        devices: only theirs; empty for all.
    """
    rows, series = tables.sample, tables.series
    number = func.count().label("number")
    query = (
        select(rows.c.series_id, number, func.min(rows.c.time_ns).label("oldest_ns"))
        .where(rows.c.time_ns < before_ns)
        .group_by(rows.c.series_id)
        .subquery()
    )
    joined = select(query, series.c.value_type).join(series, series.c.id == query.c.series_id)
    if devices:
        joined = joined.where(series.c.device_id.in_(devices))
    found = connection.execute(joined.order_by(query.c.number.desc()))
    return [Crowded(row[0], ValueType(row[3]), row[1], row[2]) for row in found]


def compact(connection: Connection, series: Crowded, before_ns: int, now_ns: int) -> int:
    """Make chunks of a series' rows that are older than a moment; returns how many rows went.

    A rest that is not worth a chunk stays. Call it again until it returns 0.
    """
    _lock(connection, series.series_id)
    rows = tables.sample
    times = connection.execute(
        select(rows.c.time_ns)
        .where(rows.c.series_id == series.series_id, rows.c.time_ns < before_ns)
        .order_by(rows.c.time_ns)
        .limit(MAX_CHUNKS * CHUNK_SAMPLES + 1)
    ).scalars()
    gone = 0
    for first_ns, last_ns, number in _spans(list(times)):
        if not series._replace(rows=number, oldest_ns=first_ns).is_worth_it(now_ns):
            break
        samples = _take_rows(connection, series, first_ns, last_ns)
        gone += len(samples)
        merged = _take_chunks(connection, series.series_id, first_ns, last_ns)
        if merged:
            samples = sorted(
                {_identity(item): item for item in [*merged, *samples]}.values(), key=_identity
            )
        for part in _chunks_of(samples):
            _write_chunk(connection, series, part)
    return gone


def _lock(connection: Connection, series_id: int) -> None:
    """Keep other archivers from making chunks of the same series; in SQLite there are none."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK + series_id})


def _spans(times: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield first and last time and number of rows that make up a chunk; equal times together."""
    at = 0
    while at < len(times):
        end = min(at + CHUNK_SAMPLES, len(times))
        while end < len(times) and times[end] == times[end - 1]:
            end += 1
        yield times[at], times[end - 1], end - at
        at = end


def _take_rows(
    connection: Connection, series: Crowded, first_ns: int, last_ns: int
) -> list[Sample]:
    """Remove rows and return them: what another archiver writes meanwhile is not among them."""
    rows = tables.sample
    columns = [column for column in rows.columns if column.name != "series_id"]
    found = connection.execute(
        delete(rows)
        .where(rows.c.series_id == series.series_id, rows.c.time_ns.between(first_ns, last_ns))
        .returning(*columns)
    )
    return sorted((sample_of(series.value_type, row) for row in found), key=_identity)


def _identity(sample: Sample) -> tuple[int, int, int, int]:
    return sample.time_ns, sample.epoch, sample.seq, sample.step


def _take_chunks(
    connection: Connection, series_id: int, first_ns: int, last_ns: int
) -> list[Sample]:
    """Remove the chunks that overlap a time and return what was in them."""
    chunk, data = tables.chunk, tables.chunk_data
    found = connection.execute(
        select(data.c.first_ns, data.c.data)
        .join(
            chunk, (chunk.c.series_id == data.c.series_id) & (chunk.c.first_ns == data.c.first_ns)
        )
        .where(
            chunk.c.series_id == series_id, chunk.c.first_ns <= last_ns, chunk.c.last_ns >= first_ns
        )
    ).all()
    samples: list[Sample] = []
    for start_ns, content in found:
        samples += decode_chunk(content).samples()
        for table in (chunk, data):
            connection.execute(
                delete(table).where(table.c.series_id == series_id, table.c.first_ns == start_ns)
            )
    return samples


def _chunks_of(samples: list[Sample]) -> Iterator[list[Sample]]:
    """Yield samples in chunks that are not too long and not too large."""
    part: list[Sample] = []
    size = 0
    for sample in samples:
        own = _size_of(sample.value)
        is_full = len(part) >= CHUNK_SAMPLES or (part and size + own > MAX_BYTES)
        if is_full and part[-1].time_ns != sample.time_ns:
            yield part
            part, size = [], 0
        part.append(sample)
        size += own
    if part:
        yield part


def _size_of(value: Any) -> int:
    if isinstance(value, str | bytes | list):
        return _FIXED_BYTES * len(value)
    return int(getattr(value, "nbytes", _FIXED_BYTES))


def _write_chunk(connection: Connection, series: Crowded, samples: list[Sample]) -> None:
    key = {"series_id": series.series_id, "first_ns": samples[0].time_ns}
    content = encode_chunk(series.value_type, samples)
    summary = {
        "last_ns": samples[-1].time_ns,
        "last_epoch": samples[-1].epoch,
        "count": len(samples),
        "worst_quality": max(sample.quality for sample in samples),
        **summarised(series.value_type, samples),
    }
    connection.execute(insert(tables.chunk).values(**key, **summary))
    connection.execute(insert(tables.chunk_data).values(**key, data=content))


def summarised(value_type: ValueType, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the columns of a summary that are about numbers."""
    pairs = _finite_ones(samples) if is_number(value_type) else []
    if not pairs:
        names = ("minimum", "min_ns", "maximum", "max_ns", "total", "m2", "first_value")
        return {"numbers": 0, **dict.fromkeys((*names, "last_value"))}
    values = np.array([value for _time_ns, value in pairs])
    low, high = int(values.argmin()), int(values.argmax())
    with np.errstate(over="ignore", invalid="ignore"):
        m2 = float(np.square(values - values.mean()).sum())
        total = float(values.sum())
    return {
        "numbers": len(pairs),
        "minimum": float(values[low]),
        "min_ns": pairs[low][0],
        "maximum": float(values[high]),
        "max_ns": pairs[high][0],
        "total": total,
        "m2": m2,
        "first_value": float(values[0]),
        "last_value": float(values[-1]),
    }


def _finite_ones(samples: Sequence[Sample]) -> list[tuple[int, float]]:
    numbers = (
        (sample.time_ns, float(sample.value))
        for sample in samples
        if isinstance(sample.value, int | float)
    )
    return [(time_ns, value) for time_ns, value in numbers if np.isfinite(value)]


# -- retention ------------------------------------------------------------------------------------


def forget(connection: Connection, series_id: int, before_ns: int) -> int:
    """Remove what a series has from before a moment, except for the value that it had then.

    Chunks go as a whole. Whoever reads there later is told: an event of the property says up to
    when and how many. Returns how many samples went.
    """
    _lock(connection, series_id)
    kept_ns = _value_before(connection, series_id, before_ns)
    if kept_ns is None:
        return 0
    first_ns = _first_ns(connection, series_id)
    gone = _remove(connection, series_id, kept_ns)
    if gone:
        _note_forgotten(connection, series_id, first_ns, kept_ns, gone)
    return gone


def _remove(connection: Connection, series_id: int, kept_ns: int) -> int:
    chunk, data, rows = tables.chunk, tables.chunk_data, tables.sample
    old = connection.execute(
        select(chunk.c.first_ns, chunk.c.count).where(
            chunk.c.series_id == series_id, chunk.c.last_ns < kept_ns
        )
    ).all()
    for table in (chunk, data):
        for first_ns, _number in old:
            connection.execute(
                delete(table).where(table.c.series_id == series_id, table.c.first_ns == first_ns)
            )
    gone = connection.execute(
        delete(rows).where(rows.c.series_id == series_id, rows.c.time_ns < kept_ns)
    )
    in_chunks: int = sum(number for _first_ns, number in old)
    return int(gone.rowcount) + in_chunks


def _first_ns(connection: Connection, series_id: int) -> int:
    """Return the time of the first sample of a series that has some."""
    rows, chunk = tables.sample.c, tables.chunk.c
    row = connection.execute(select(func.min(rows.time_ns)).where(rows.series_id == series_id))
    first = connection.execute(select(func.min(chunk.first_ns)).where(chunk.series_id == series_id))
    return min(int(item) for item in (row.scalar(), first.scalar()) if item is not None)


def _note_forgotten(
    connection: Connection, series_id: int, first_ns: int, kept_ns: int, gone: int
) -> None:
    """Have one event say what is not kept any more; it grows with what follows."""
    table = tables.series
    device_id, key = connection.execute(
        select(table.c.device_id, table.c.key).where(table.c.id == series_id)
    ).one()
    event = tables.event
    ours = and_(
        event.c.device_id == device_id,
        event.c.key == key,
        event.c.kind == EventKind.FORGOTTEN.value,
    )
    before = connection.execute(select(event.c.time_ns, event.c.lost).where(ours)).first()
    if before is not None:
        connection.execute(delete(event).where(ours))
        first_ns, gone = min(first_ns, before.time_ns), gone + before.lost
    connection.execute(
        insert(event).values(
            device_id=device_id,
            time_ns=first_ns,
            kind=EventKind.FORGOTTEN.value,
            key=key,
            epoch=0,
            until_ns=kept_ns,
            lost=gone,
            reason="it was kept for as long as the archiver's retention says",
            details="",
        )
    )


def _value_before(connection: Connection, series_id: int, before_ns: int) -> int | None:
    """Return the time of a sample that says which value a series had at a moment."""
    rows, chunk = tables.sample, tables.chunk
    row = connection.execute(
        select(func.max(rows.c.time_ns)).where(
            rows.c.series_id == series_id, rows.c.time_ns < before_ns
        )
    ).scalar()
    last = connection.execute(
        select(func.max(chunk.c.last_ns)).where(
            chunk.c.series_id == series_id, chunk.c.last_ns < before_ns
        )
    ).scalar()
    times = [item for item in (row, last) if item is not None]
    return max(times, default=None)
