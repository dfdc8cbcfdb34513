"""Looking through the chunks of an archive for damage, a few at a time."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import Connection, and_, func, select, tuple_

from pykarabo.data import Timestamp
from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.codec import decode_chunk

_AT_ONCE: Final = 64
"""Chunks in memory; one is a MiB at most, or a single larger value."""
_SHOWN: Final = 100
_REMEDY: Final = "restore a backup: pykarabo db restore archive FILE"


def damaged_chunks(connection: Connection, on_progress: Callable[[int, int], None]) -> list[str]:
    """Return which chunks cannot be read, or are not what their summary says."""
    total = int(connection.scalar(select(func.count()).select_from(tables.chunk)) or 0)
    names = _names(connection)
    problems: list[str] = []
    more = 0
    for number, row in enumerate(_chunks(connection), 1):
        problem = _problem(row)
        if problem and len(problems) < _SHOWN:
            name = names.get(row.series_id, f"series {row.series_id}, which there is not")
            span = f"{_iso(row.first_ns)} to {_iso(row.last_ns)}"
            problems.append(f"the chunk of {name} from {span}: {problem} - {_REMEDY}")
        elif problem:
            more += 1
        on_progress(number, total)
    if more:
        problems.append(f"{more} more chunks are damaged - {_REMEDY}")
    return [*problems, *_strays(connection, names)]


def _names(connection: Connection) -> dict[int, str]:
    series = tables.series.c
    rows = connection.execute(
        select(series.id, series.device_id, series.key, series.value_type)
    ).all()
    return {number: f"{device_id}.{key} ({kind})" for number, device_id, key, kind in rows}


def _chunks(connection: Connection) -> Iterator[Any]:
    """Yield the chunks and their data, None where it is missing."""
    chunk, data = tables.chunk, tables.chunk_data
    place = tuple_(chunk.c.series_id, chunk.c.first_ns)
    query = (
        select(chunk.c.series_id, chunk.c.first_ns, chunk.c.last_ns, chunk.c.count, data.c.data)
        .outerjoin(
            data,
            and_(data.c.series_id == chunk.c.series_id, data.c.first_ns == chunk.c.first_ns),
        )
        .order_by(chunk.c.series_id, chunk.c.first_ns)
        .limit(_AT_ONCE)
    )
    found = connection.execute(query).all()
    while found:
        yield from found
        last = found[-1]
        found = connection.execute(query.where(place > tuple_(last.series_id, last.first_ns))).all()


def _problem(row: Any) -> str:
    """Return what is wrong with a chunk; nothing if it is as its summary says."""
    if row.data is None:
        return "its data is missing"
    try:
        found = decode_chunk(row.data, ("time_ns",))
    except MalformedMessageError as error:
        return error.message
    times = found.numbers["time_ns"]
    if not len(times):
        return "it has no samples"
    inside = (found.count, int(times[0]), int(times[-1]))
    if inside != (row.count, row.first_ns, row.last_ns):
        count, first_ns, last_ns = inside
        return (
            f"its summary says {row.count} samples, in it are {count} from {_iso(first_ns)} to "
            f"{_iso(last_ns)}"
        )
    return ""


def _strays(connection: Connection, names: dict[int, str]) -> list[str]:
    """Return what is data of a chunk that there is not."""
    chunk, data = tables.chunk, tables.chunk_data
    query = (
        select(data.c.series_id, data.c.first_ns)
        .outerjoin(
            chunk,
            and_(data.c.series_id == chunk.c.series_id, data.c.first_ns == chunk.c.first_ns),
        )
        .where(chunk.c.series_id.is_(None))
        .limit(_SHOWN)
    )
    return [
        f"data of {names.get(number, f'series {number}')} from {_iso(first_ns)} on has lost its "
        f"summary, so that no history shows it - {_REMEDY}"
        for number, first_ns in connection.execute(query)
    ]


def _iso(time_ns: int) -> str:
    return Timestamp.from_ns(time_ns).iso(3)
