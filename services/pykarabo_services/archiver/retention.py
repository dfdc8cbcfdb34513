"""Forgetting what need not be kept; functions of a connection.

Of a property goes what is older than a border, except for the value that it had then. What that
leaves out is told by one event, which grows: from when to when, and how many samples.

Chunks go as a whole. The one at the border is cut only when it reaches back more than a day beyond
it: of a property that changes ten times a second it is gone in two minutes anyway, and of one that
changes once an hour it would be there for weeks.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, and_, delete, func, insert, select

from pykarabo.data import ValueType
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.compaction import (
    EARLIEST,
    PLACE,
    OnDamage,
    StoredChunk,
    claim,
    fitting_times,
    identity,
    remove_chunk,
    samples_in,
    unheard,
    write_chunk,
)
from pykarabo_services.archiver.model import EventKind, Sample, Series

SLACK_NS: Final = 86_400 * 10**9
"""A chunk that reaches back no further beyond the border than this is not cut."""
MAX_CHUNKS: Final = 128
MAX_ROWS: Final = 5_000
MAX_BYTES: Final = 8 << 20
"""No transaction takes more, but for one chunk or row: some 50 ms."""


class _Gone(NamedTuple):
    """What a transaction has removed: since when, and how many samples."""

    first_ns: int
    number: int


def forget(
    connection: Connection, series_id: int, before_ns: int, *, on_damage: OnDamage = unheard
) -> int:
    """Remove what a series has from before a moment, except for the value the property had then.

    Returns how many samples went. Call it again until it returns 0.

    Args:
        on_damage: told of a damaged chunk that should have been cut: it stays whole.
    """
    siblings = _siblings(connection, series_id)
    if not claim(connection, [item.id for item in siblings]):
        return 0
    ids = [item.id for item in siblings]
    cut_ns = _cut(connection, ids, before_ns, on_damage)
    if cut_ns is None:
        return 0
    [series] = (item for item in siblings if item.id == series_id)
    gone = (
        _remove_chunks(connection, series_id, cut_ns)
        or _cut_chunk(connection, series, cut_ns)
        or _remove_rows(connection, series_id, cut_ns)
    )
    if gone is None:
        return 0
    _note(connection, series, gone, cut_ns)
    return gone.number


def _siblings(connection: Connection, series_id: int) -> list[Series]:
    """Return all series of the property that a series is of: each type that it had is one."""
    table = tables.series
    one = table.alias()
    query = (
        select(table)
        .join(one, and_(one.c.device_id == table.c.device_id, one.c.key == table.c.key))
        .where(one.c.id == series_id)
    )
    return [
        Series(row.id, row.device_id, row.key, ValueType(row.value_type))
        for row in connection.execute(query.order_by(table.c.id))
    ]


# -- where to cut ---------------------------------------------------------------------------------


def _cut(
    connection: Connection, ids: Sequence[int], before_ns: int, on_damage: OnDamage
) -> int | None:
    """Return before when all of a property goes: where a sample is, or a chunk that stays whole."""
    cut_ns = _last_before(connection, ids, before_ns, on_damage)
    while cut_ns is not None:
        whole = [
            chunk.first_ns
            for chunk in _chunks_across(connection, ids, cut_ns)
            if chunk.first_ns >= before_ns - SLACK_NS
            or samples_in(connection, chunk, on_damage) is None
        ]
        if not whole:
            return cut_ns
        cut_ns = min(whole)
    return None


def _last_before(
    connection: Connection, ids: Sequence[int], before_ns: int, on_damage: OnDamage
) -> int | None:
    """Return when a property got the value that it had at a moment.

    Where that is in a chunk that stays whole, it is when that chunk begins.
    """
    rows, chunk = tables.sample.c, tables.chunk.c
    # Rows first: what another archiver makes a chunk of meanwhile is seen twice, and not never.
    row = select(func.max(rows.time_ns)).where(rows.series_id.in_(ids), rows.time_ns < before_ns)
    ended = select(func.max(chunk.last_ns)).where(
        chunk.series_id.in_(ids), chunk.last_ns < before_ns
    )
    times = [connection.execute(query).scalar() for query in (row, ended)]
    for item in _chunks_across(connection, ids, before_ns):
        is_cut = item.first_ns < before_ns - SLACK_NS
        samples = samples_in(connection, item, on_damage) if is_cut else None
        earlier = [sample.time_ns for sample in samples or () if sample.time_ns < before_ns]
        times.append(max(earlier, default=item.first_ns))
    return max((time_ns for time_ns in times if time_ns is not None), default=None)


def _chunks_across(connection: Connection, ids: Sequence[int], time_ns: int) -> list[StoredChunk]:
    """Return the chunks that have samples before a moment and others at it or later."""
    chunk, later = tables.chunk.c, tables.chunk.alias().c
    first_ns = (
        select(func.max(later.first_ns))
        .where(later.series_id == tables.series.c.id, later.first_ns < time_ns)
        .correlate(tables.series)
        .scalar_subquery()
    )
    query = (
        select(*PLACE)
        .select_from(tables.series)
        .join(
            tables.chunk,
            and_(chunk.series_id == tables.series.c.id, chunk.first_ns == first_ns),
        )
        .where(tables.series.c.id.in_(ids), chunk.last_ns >= time_ns)
    )
    return [StoredChunk(*row) for row in connection.execute(query)]


# -- removing -------------------------------------------------------------------------------------


def _remove_chunks(connection: Connection, series_id: int, cut_ns: int) -> _Gone | None:
    """Remove the oldest chunks that end before a moment, and the rows of their times."""
    chunk, data = tables.chunk.c, tables.chunk_data.c
    join = and_(data.series_id == chunk.series_id, data.first_ns == chunk.first_ns)
    query = (
        select(*PLACE, func.coalesce(func.length(data.data), 0))
        .select_from(tables.chunk)
        .outerjoin(tables.chunk_data, join)
        .where(chunk.series_id == series_id, chunk.first_ns < cut_ns, chunk.last_ns < cut_ns)
        .order_by(chunk.first_ns)
        .limit(MAX_CHUNKS)
    )
    old: list[StoredChunk] = []
    size = 0
    for *place, own in connection.execute(query).all():
        size += own
        if old and size > MAX_BYTES:
            break
        old.append(StoredChunk(*place))
    if not old:
        return None
    number = 0
    for item in old:
        number += _samples_gone(connection, item, item.last_ns + 1, None)
        remove_chunk(connection, item)
    return _Gone(old[0].first_ns, number)


def _cut_chunk(connection: Connection, series: Series, cut_ns: int) -> _Gone | None:
    """Make the chunk anew that has samples before a moment and others later."""
    for item in _chunks_across(connection, [series.id], cut_ns):
        samples = samples_in(connection, item)
        if samples is None:
            continue
        number = _samples_gone(connection, item, cut_ns, samples)
        remove_chunk(connection, item)
        kept = [sample for sample in samples if sample.time_ns >= cut_ns]
        write_chunk(connection, series.id, series.value_type, kept)
        return _Gone(item.first_ns, number)
    return None


def _samples_gone(
    connection: Connection, chunk: StoredChunk, before_ns: int, samples: list[Sample] | None
) -> int:
    """Remove the rows of a chunk's time; returns how many samples these and the chunk's are.

    Args:
        samples: of the chunk; None to read them if they are needed: a row may be one of them.
    """
    table = tables.sample
    statement = (
        delete(table)
        .where(
            table.c.series_id == chunk.series_id,
            table.c.time_ns >= chunk.first_ns,
            table.c.time_ns < before_ns,
        )
        .returning(table.c.time_ns, table.c.epoch, table.c.seq, table.c.step)
    )
    rows = {tuple(row) for row in connection.execute(statement)}
    if samples is None and not rows:
        return chunk.samples
    if samples is None:
        samples = samples_in(connection, chunk)
    if samples is None:
        return chunk.samples + len(rows)
    return len(rows | {identity(sample) for sample in samples if sample.time_ns < before_ns})


def _remove_rows(connection: Connection, series_id: int, cut_ns: int) -> _Gone | None:
    rows = tables.sample
    times, _is_full = fitting_times(
        connection, series_id, EARLIEST, cut_ns, rows=MAX_ROWS, size=MAX_BYTES
    )
    if not times:
        return None
    gone = connection.execute(
        delete(rows).where(rows.c.series_id == series_id, rows.c.time_ns <= times[-1])
    )
    return _Gone(times[0], int(gone.rowcount))


def _note(connection: Connection, series: Series, gone: _Gone, until_ns: int) -> None:
    """Have one event say what is not kept any more; it grows with what follows."""
    event = tables.event
    first_ns, lost = gone
    ours = and_(
        event.c.device_id == series.device_id,
        event.c.key == series.key,
        event.c.kind == EventKind.FORGOTTEN.value,
    )
    before = connection.execute(
        select(event.c.time_ns, event.c.until_ns, event.c.lost).where(ours)
    ).first()
    if before is not None:
        connection.execute(delete(event).where(ours))
        first_ns, lost = min(first_ns, before.time_ns), lost + before.lost
        until_ns = max(until_ns, before.until_ns)
    connection.execute(
        insert(event).values(
            device_id=series.device_id,
            time_ns=first_ns,
            kind=EventKind.FORGOTTEN.value,
            key=series.key,
            epoch=0,
            until_ns=until_ns,
            lost=lost,
            reason="it was kept for as long as the archiver's retention says",
            details="",
        )
    )
