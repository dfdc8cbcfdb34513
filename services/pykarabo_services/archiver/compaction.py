"""Turning rows into chunks; functions of a connection.

Rows become chunks when they are so old that no more are expected among them. If some come all the
same, out of a spool that was emptied late, the chunk in whose time they lie is made anew: chunks of
a series never overlap. One transaction takes a bounded part, so that what comes in need not wait.

A chunk that is damaged stays where it is, and so do the rows of its time: whoever reads there is
told that its samples are missing.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text

from pykarabo.data import ValueType
from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.codec import decode_chunk, encode_chunk
from pykarabo_services.archiver.model import (
    CHUNK_SAMPLES,
    ELEMENT_BYTES,
    Sample,
    is_number,
    size_of,
)
from pykarabo_services.archiver.store import sample_of

TRANSACTION_S: Final = 0.1
"""A transaction begins no other chunk after so long; one takes 10 ms, and 0.1 s with arrays."""
MAX_BYTES: Final = 1 << 20
"""Samples whose values are together larger do not share a chunk: whoever wants one reads all."""
# So many rows are worth a chunk when the oldest of them is so old.
_SEALED: Final = ((CHUNK_SAMPLES, 0.0), (256, 3_600.0), (32, 86_400.0))
_FEW: Final = 32
"""Fewer rows between two chunks go into the later one."""
EARLIEST: Final = -(2**63)
_LOCK: Final = 7071 << 40
"""Advisory locks of PostgreSQL with this bit pattern are for series."""


class Crowded(NamedTuple):
    """A series with rows that might become chunks.

    Attributes:
        name: the property as people write it.
    """

    series_id: int
    value_type: ValueType
    rows: int
    oldest_ns: int
    name: str = ""

    def is_worth_it(self, now_ns: int) -> bool:
        """Tell whether a chunk can be made of its rows."""
        return _is_sealed(self.rows, self.oldest_ns, now_ns)


def _is_sealed(rows: int, oldest_ns: int, now_ns: int) -> bool:
    age_s = (now_ns - oldest_ns) / 1e9
    return any(rows >= enough and age_s >= age for enough, age in _SEALED)


class StoredChunk(NamedTuple):
    """Where a chunk is, and how many samples it has."""

    series_id: int
    first_ns: int
    last_ns: int
    samples: int


class DamagedChunk(NamedTuple):
    """A chunk that cannot be read, and why."""

    chunk: StoredChunk
    reason: str


OnDamage: TypeAlias = Callable[[DamagedChunk], None]


def unheard(_damaged: DamagedChunk) -> None:
    """Hear of a damaged chunk where nobody wants to know."""


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
    columns = (query, series.c.value_type, series.c.device_id, series.c.key)
    joined = select(*columns).join(series, series.c.id == query.c.series_id)
    if devices:
        joined = joined.where(series.c.device_id.in_(devices))
    found = connection.execute(joined.order_by(query.c.number.desc()))
    return [
        Crowded(series_id, ValueType(value_type), count, oldest_ns, f"{device_id}.{key}")
        for series_id, count, oldest_ns, value_type, device_id, key in found
    ]


def compact(
    connection: Connection,
    series: Crowded,
    before_ns: int,
    now_ns: int,
    *,
    on_damage: OnDamage = unheard,
) -> int:
    """Make chunks of a series' rows that are older than a moment; returns how many rows went.

    A rest that is not worth a chunk stays. Call it again until it returns 0.

    Args:
        on_damage: told of each damaged chunk that rows should have been merged with.
    """
    if not claim(connection, [series.series_id]):
        return 0
    gone, from_ns = 0, EARLIEST
    ends_at = time.monotonic() + TRANSACTION_S
    while not gone or time.monotonic() < ends_at:
        piece = _next_piece(connection, series.series_id, from_ns, before_ns)
        if piece is None or not piece.is_worth_it(now_ns):
            break
        merged = _taken_chunk(connection, piece.chunk, on_damage)
        if piece.chunk is not None and merged is None:
            from_ns = piece.chunk.last_ns + 1
            continue
        rows = _take_rows(connection, series, piece.first_ns, piece.last_ns)
        for part in _parts_of(_joined(merged or [], rows)):
            write_chunk(connection, series.series_id, series.value_type, part)
        gone += len(rows)
        from_ns = piece.last_ns + 1
    return gone


def claim(connection: Connection, series_ids: Collection[int]) -> bool:
    """Keep other archivers from the chunks of some series; returns whether none is at one of them.

    In SQLite there is one archiver. In PostgreSQL nobody waits here: a writer that waited for
    another one that hangs would write nothing.
    """
    if connection.dialect.name != "postgresql":
        return True
    statement = text("SELECT pg_try_advisory_xact_lock(:key)")
    return all(
        connection.execute(statement, {"key": _LOCK + series_id}).scalar_one()
        for series_id in sorted(series_ids)
    )


# -- what goes together ---------------------------------------------------------------------------


class _Piece(NamedTuple):
    """Rows that become one chunk, or go into one that is there.

    Attributes:
        is_full: more would not fit.
        is_last: no chunk comes after it.
    """

    first_ns: int
    last_ns: int
    rows: int
    chunk: StoredChunk | None
    is_full: bool
    is_last: bool

    def is_worth_it(self, now_ns: int) -> bool:
        return self.is_full or not self.is_last or _is_sealed(self.rows, self.first_ns, now_ns)


def _next_piece(
    connection: Connection, series_id: int, from_ns: int, before_ns: int
) -> _Piece | None:
    """Return what the first rows from a moment on become; no more than fits into a chunk."""
    times, is_full = fitting_times(connection, series_id, from_ns, before_ns)
    if not times:
        return None
    first_ns = times[0]
    chunk = _chunk_around(connection, series_id, first_ns)
    later = chunk or _chunk_after(connection, series_id, first_ns)
    if later is None:
        return _Piece(first_ns, times[-1], len(times), None, is_full, is_last=True)
    before_it = bisect_right(times, later.first_ns - 1)
    fills_one = before_it >= _FEW or (is_full and before_it == len(times))
    if chunk is None and not fills_one:
        chunk = later
    number = before_it if chunk is None else bisect_right(times, chunk.last_ns)
    return _Piece(first_ns, times[number - 1], number, chunk, is_full=False, is_last=False)


def fitting_times(
    connection: Connection,
    series_id: int,
    from_ns: int,
    before_ns: int,
    *,
    rows: int = CHUNK_SAMPLES,
    size: int = MAX_BYTES,
) -> tuple[list[int], bool]:
    """Return the times of the first rows of a span, and whether more would not fit.

    Args:
        rows, size: how many there may be, and of how many bytes together; one is always taken.
    """
    row = tables.sample.c
    statement = (
        select(row.time_ns, row_size(connection))
        .where(row.series_id == series_id, row.time_ns >= from_ns, row.time_ns < before_ns)
        .order_by(row.time_ns)
        .limit(rows)
    )
    times: list[int] = []
    taken = 0
    with connection.execute(statement) as found:
        for time_ns, own in found:
            taken += own
            if times and taken > size:
                return times, True
            times.append(time_ns)
    return times, len(times) == rows or taken > size


def row_size(connection: Connection) -> ColumnElement[int]:
    """Return about how many bytes the value of a row takes, told without reading it."""
    # SQLite knows the length of bytes without reading them, PostgreSQL that of text as well.
    length = func.octet_length if connection.dialect.name == "postgresql" else func.length
    rows = tables.sample.c
    size: ColumnElement[int] = (
        func.coalesce(length(rows.blob_value), 0)
        + func.coalesce(length(rows.text_value), 0)
        + ELEMENT_BYTES
    )
    return size


def _chunk_around(connection: Connection, series_id: int, time_ns: int) -> StoredChunk | None:
    """Return the chunk in whose time a moment is."""
    chunk = tables.chunk.c
    before = select(*PLACE).where(chunk.series_id == series_id, chunk.first_ns <= time_ns)
    row = connection.execute(before.order_by(chunk.first_ns.desc()).limit(1)).first()
    return None if row is None or row.last_ns < time_ns else StoredChunk(*row)


def _chunk_after(connection: Connection, series_id: int, time_ns: int) -> StoredChunk | None:
    chunk = tables.chunk.c
    later = select(*PLACE).where(chunk.series_id == series_id, chunk.first_ns > time_ns)
    row = connection.execute(later.order_by(chunk.first_ns).limit(1)).first()
    return None if row is None else StoredChunk(*row)


PLACE: Final = tuple(tables.chunk.c[name] for name in ("series_id", "first_ns", "last_ns", "count"))
"""What a `StoredChunk` is made of."""

# -- taking ---------------------------------------------------------------------------------------


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
    return sorted((sample_of(series.value_type, row) for row in found), key=identity)


def identity(sample: Sample) -> tuple[int, int, int, int]:
    """Return what tells a sample from all others of its series; they are in this order."""
    return sample.time_ns, sample.epoch, sample.seq, sample.step


def _joined(merged: list[Sample], rows: list[Sample]) -> list[Sample]:
    if not merged:
        return rows
    return sorted({identity(item): item for item in [*merged, *rows]}.values(), key=identity)


def _taken_chunk(
    connection: Connection, chunk: StoredChunk | None, on_damage: OnDamage
) -> list[Sample] | None:
    """Remove a chunk and return what was in it; None if it stays, or there is none."""
    if chunk is None:
        return None
    samples = samples_in(connection, chunk, on_damage)
    if samples is not None:
        remove_chunk(connection, chunk)
    return samples


def samples_in(
    connection: Connection, chunk: StoredChunk, on_damage: OnDamage = unheard
) -> list[Sample] | None:
    """Return what is in a chunk; None if it is damaged, which is told."""
    data = tables.chunk_data.c
    content = connection.execute(
        select(data.data).where(data.series_id == chunk.series_id, data.first_ns == chunk.first_ns)
    ).scalar()
    try:
        return decode_chunk(b"" if content is None else content).samples()
    except MalformedMessageError as error:
        on_damage(DamagedChunk(chunk, error.message))
        return None


def remove_chunk(connection: Connection, chunk: StoredChunk) -> None:
    """Remove a chunk and its summary."""
    for table in (tables.chunk, tables.chunk_data):
        connection.execute(
            delete(table).where(
                table.c.series_id == chunk.series_id, table.c.first_ns == chunk.first_ns
            )
        )


# -- writing --------------------------------------------------------------------------------------


def _parts_of(samples: list[Sample]) -> Iterator[list[Sample]]:
    """Yield samples in parts about as long as each other, not too long and not too large."""
    number = -(-len(samples) // CHUNK_SAMPLES)
    longest = -(-len(samples) // max(number, 1))
    part: list[Sample] = []
    size = 0
    for sample in samples:
        own = size_of(sample.value)
        is_full = len(part) >= longest or (part and size + own > MAX_BYTES)
        if is_full and part[-1].time_ns != sample.time_ns:
            yield part
            part, size = [], 0
        part.append(sample)
        size += own
    if part:
        yield part


def write_chunk(
    connection: Connection, series_id: int, value_type: ValueType, samples: list[Sample]
) -> None:
    """Write samples, at least one, as a chunk with its summary."""
    key = {"series_id": series_id, "first_ns": samples[0].time_ns}
    content = encode_chunk(value_type, samples)
    summary = {
        "last_ns": samples[-1].time_ns,
        "last_epoch": samples[-1].epoch,
        "count": len(samples),
        "worst_quality": max(sample.quality for sample in samples),
        **summarised(value_type, samples),
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
