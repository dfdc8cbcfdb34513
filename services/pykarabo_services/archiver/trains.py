"""When the samples of trains were.

Trains grow with time, so that they are searched by halves. Samples without a train, which may be
anywhere and many, are passed over; none of them is looked at twice.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from sqlalchemy import Connection, func, select

from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.codec import decode_chunk
from pykarabo_services.archiver.model import Series

_FIRST_CHUNKS: Final = 1
_MOST_CHUNKS: Final = 64
"""So many chunks are read at a time; first few, because the last one nearly always has a train."""


class _InTrain(NamedTuple):
    """When a sample of a train was."""

    time_ns: int
    train_id: int


def span_of(
    connection: Connection, series: Sequence[Series], first: int, last: int
) -> tuple[int, int] | None:
    """Return when a property's samples of some trains begin and are over; None if there are none.

    They are over when a later train's begin, or else after the last one that has a train.
    """
    start_ns = min((begin for item in series for begin in _begins(connection, item)), default=0)
    newest = _last(connection, series, start_ns, None)
    if newest is None:
        return None

    def reaches(train_id: int) -> int:
        """Return when the first sample of a train or of a later one is; the end if none is."""
        low, high = start_ns, newest.time_ns + 1
        while low < high:
            middle = (low + high) // 2
            found = _last(connection, series, low, middle + 1)
            if found is not None and found.train_id >= train_id:
                high = found.time_ns
            else:
                low = middle + 1
        return low

    span = reaches(first), reaches(last + 1)
    return span if span[0] < span[1] else None


def _begins(connection: Connection, item: Series) -> Iterator[int]:
    for time_ns, table in (
        (tables.sample.c.time_ns, tables.sample),
        (tables.chunk.c.first_ns, tables.chunk),
    ):
        found = connection.execute(
            select(func.min(time_ns)).where(table.c.series_id == item.id)
        ).scalar()
        if found is not None:
            yield int(found)


def _last(
    connection: Connection, series: Sequence[Series], start_ns: int, end_ns: int | None
) -> _InTrain | None:
    """Return the last sample of a span that has a train."""
    found = [
        sample
        for item in series
        for sample in (
            _last_row(connection, item, start_ns, end_ns),
            _last_of_chunks(connection, item, start_ns, end_ns),
        )
        if sample is not None
    ]
    return max(found, default=None)


def _last_row(
    connection: Connection, item: Series, start_ns: int, end_ns: int | None
) -> _InTrain | None:
    sample = tables.sample.c
    statement = select(sample.time_ns, sample.train_id).where(
        sample.series_id == item.id, sample.time_ns >= start_ns, sample.train_id != 0
    )
    if end_ns is not None:
        statement = statement.where(sample.time_ns < end_ns)
    newest = (column.desc() for column in (sample.time_ns, sample.epoch, sample.seq, sample.step))
    row = connection.execute(statement.order_by(*newest).limit(1)).first()
    return None if row is None else _InTrain(*row)


def _last_of_chunks(
    connection: Connection, item: Series, start_ns: int, end_ns: int | None
) -> _InTrain | None:
    for content in _backwards(connection, item, start_ns, end_ns):
        try:
            numbers = decode_chunk(content, ("time_ns", "train_id")).numbers
        except MalformedMessageError:
            continue  # who reads its time is told what is missing
        times, trains = numbers["time_ns"], numbers["train_id"]
        chosen = (times >= start_ns) & (trains != 0)
        if end_ns is not None:
            chosen &= times < end_ns
        places = np.flatnonzero(chosen)
        if len(places):
            return _InTrain(int(times[places[-1]]), int(trains[places[-1]]))
    return None


def _backwards(
    connection: Connection, item: Series, start_ns: int, end_ns: int | None
) -> Iterator[bytes]:
    """Yield the chunks that may have samples in a span, the latest first: they do not overlap."""
    data = tables.chunk_data.c
    size, before_ns = _FIRST_CHUNKS, end_ns
    while before_ns is None or before_ns > start_ns:
        statement = select(data.first_ns, data.data).where(data.series_id == item.id)
        if before_ns is not None:
            statement = statement.where(data.first_ns < before_ns)
        rows = connection.execute(statement.order_by(data.first_ns.desc()).limit(size)).all()
        for first_ns, content in rows:
            yield content
            before_ns = first_ns
        if len(rows) < size:
            return
        size = min(2 * size, _MOST_CHUNKS)
