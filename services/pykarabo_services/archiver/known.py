"""What an archive has of a property at given moments; functions of a connection."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, select

from pykarabo.data import ValueType
from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.codec import ChunkSamples, decode_chunk
from pykarabo_services.archiver.importing import Moment
from pykarabo_services.archiver.model import VALUE_COLUMNS, from_columns
from pykarabo_services.archiver.samples import Times

_AT_ONCE: Final = 500
_IDENTITY: Final = ("time_ns", "epoch", "seq", "step")


def stored_at(
    connection: Connection, device_id: str, key: str, times: Sequence[int]
) -> dict[Moment, list[tuple[int, Any]]]:
    """Return step and value of all samples at some moments, by time, epoch and seq.

    Those of every type that the property had: a moment has one value, whatever its type.
    """
    wanted = np.unique(np.array(times, np.int64))
    series = tables.series.c
    of_property = select(series.id, series.value_type).where(
        series.device_id == device_id, series.key == key
    )
    found: dict[Moment, list[tuple[int, Any]]] = {}
    for number, value_type in connection.execute(of_property).all():
        for time_ns, epoch, seq, step, value in (
            *_of_rows(connection, number, ValueType(value_type), wanted),
            *_of_chunks(connection, number, wanted),
        ):
            steps = found.setdefault((time_ns, epoch, seq), [])
            if step not in [known for known, _value in steps]:
                steps.append((step, value))
    for steps in found.values():
        steps.sort(key=lambda item: item[0])
    return found


def _of_rows(
    connection: Connection, series_id: int, value_type: ValueType, times: Times
) -> Iterator[tuple[int, int, int, int, Any]]:
    rows = tables.sample.c
    columns = [rows[name] for name in (*_IDENTITY, *VALUE_COLUMNS)]
    for at in range(0, len(times), _AT_ONCE):
        part = times[at : at + _AT_ONCE].tolist()
        query = select(*columns).where(rows.series_id == series_id, rows.time_ns.in_(part))
        found: Iterable[tuple[Any, ...]] = connection.execute(query)
        for time_ns, epoch, seq, step, *values in found:
            yield time_ns, epoch, seq, step, from_columns(value_type, *values)


def _of_chunks(
    connection: Connection, series_id: int, times: Times
) -> Iterator[tuple[int, int, int, int, Any]]:
    if not len(times):
        return
    chunk, data = tables.chunk.c, tables.chunk_data.c
    around = select(chunk.first_ns, chunk.last_ns).where(
        chunk.series_id == series_id,
        chunk.first_ns <= int(times[-1]),
        chunk.last_ns >= int(times[0]),
    )
    for first_ns, last_ns in connection.execute(around).all():
        begun, over = times.searchsorted(first_ns), times.searchsorted(last_ns, "right")
        if begun == over:
            continue
        content = connection.execute(
            select(data.data).where(data.series_id == series_id, data.first_ns == first_ns)
        ).scalar()
        if content is None:
            raise MalformedMessageError(
                "a chunk of the archive has lost its data", remedy="see 'pykarabo db check archive'"
            )
        yield from _at(decode_chunk(content, (*_IDENTITY, "value")), times[begun:over])


def _at(chunk: ChunkSamples, times: Times) -> Iterator[tuple[int, int, int, int, Any]]:
    for place in np.flatnonzero(np.isin(chunk.numbers["time_ns"], times)).tolist():
        value: Any = chunk.values[place]
        if chunk.missing is not None and chunk.missing[place]:
            value = None
        elif not isinstance(chunk.values, list):
            value = value.item()
        time_ns, epoch, seq, step = (int(chunk.numbers[name][place]) for name in _IDENTITY)
        yield time_ns, epoch, seq, step, value
