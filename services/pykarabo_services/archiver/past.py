"""What a device was at a past moment: its schema and the last value of every property by then."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, func, select

from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver import catalog, tables
from pykarabo_services.archiver.catalog import Described
from pykarabo_services.archiver.codec import decode_chunk
from pykarabo_services.archiver.gaps import Outage
from pykarabo_services.archiver.model import EventKind, Sample, Series, from_columns
from pykarabo_services.archiver.outages import TURNS, in_turn, outages_of


class PastValue(NamedTuple):
    """A property at a moment.

    Attributes:
        sample: the last one by then.
        certain: False where changes may be missing between it and the moment.
    """

    key: str
    sample: Sample
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDevice:
    """A device at a moment.

    Attributes:
        present: whether it was running and followed; if not, `away` says why.
        described: the schema that it had; None where the archive does not know.
    """

    device_id: str
    time_ns: int
    present: bool
    away: str
    described: Described | None
    values: tuple[PastValue, ...]
    outages: tuple[Outage, ...]


def past_device(connection: Connection, device_id: str, time_ns: int) -> PastDevice:
    """Return what a device was at a moment.

    Raises:
        UnknownDeviceError: nothing of it is archived.
    """
    catalog.keys(connection, device_id)
    described = catalog.schema_at(connection, device_id, time_ns)
    found, damaged = _last_samples(connection, catalog.all_series(connection, device_id), time_ns)
    if described is not None:
        known = described.schema.properties
        found = {key: sample for key, sample in found.items() if key in known}
    earliest = min((sample.time_ns for sample in found.values()), default=time_ns)
    outages = [*outages_of(connection, device_id, earliest, time_ns + 1), *damaged]
    away = _away(connection, device_id, time_ns)
    return PastDevice(
        device_id=device_id,
        time_ns=time_ns,
        present=not away,
        away=away,
        described=described,
        values=tuple(
            PastValue(key, sample, _is_certain(key, sample, time_ns, outages))
            for key, sample in sorted(found.items())
        ),
        outages=tuple(gap for gap in outages if not gap.key or gap.key in found),
    )


def _is_certain(key: str, sample: Sample, time_ns: int, outages: Iterable[Outage]) -> bool:
    return not any(gap.is_of(key) and gap.covers(sample.time_ns, time_ns) for gap in outages)


def _away(connection: Connection, device_id: str, time_ns: int) -> str:
    """Return why a device was not there at a moment; empty if it was."""
    event = tables.event.c
    statement = select(event.kind, event.reason).where(
        event.device_id == device_id, event.kind.in_(TURNS), event.time_ns <= time_ns
    )
    newest = statement.order_by(*(column.desc() for column in in_turn())).limit(1)
    last = connection.execute(newest).first()
    if last is None:
        return "nothing of it is archived from before"
    kind, reason = last
    if kind == EventKind.STOPPED:
        return f"it was stopped: {reason}" if reason else "it was stopped"
    if kind == EventKind.AWAY:
        return f"it could not be followed: {reason}" if reason else "it could not be followed"
    return ""


def _last_samples(
    connection: Connection, series: Sequence[Series], time_ns: int
) -> tuple[dict[str, Sample], list[Outage]]:
    """Return by key the last sample at or before a moment, and which chunks cannot be read."""
    damaged: list[Outage] = []
    by_number = {item.id: item for item in series}
    found: dict[str, Sample] = {}
    if not series:
        return found, damaged
    device_id = series[0].device_id
    for number, sample in (
        *_of_rows(connection, device_id, by_number, time_ns),
        *_of_chunks(connection, device_id, by_number, time_ns, damaged),
    ):
        key = by_number[number].key
        if key not in found or _identity(found[key]) < _identity(sample):
            found[key] = sample
    return found, damaged


def _identity(sample: Sample) -> tuple[int, int, int, int]:
    return sample.time_ns, sample.epoch, sample.seq, sample.step


def _of_rows(
    connection: Connection, device_id: str, series: dict[int, Series], time_ns: int
) -> Iterator[tuple[int, Sample]]:
    sample, earlier = tables.sample, tables.sample.alias()
    last_ns = (
        select(func.max(earlier.c.time_ns))
        .where(earlier.c.series_id == tables.series.c.id, earlier.c.time_ns <= time_ns)
        .correlate(tables.series)
        .scalar_subquery()
    )
    statement = (
        select(*(sample.c[name] for name in _ROW))
        .join(sample, and_(sample.c.series_id == tables.series.c.id, sample.c.time_ns == last_ns))
        .select_from(tables.series)
        .where(tables.series.c.device_id == device_id)
    )
    rows: Iterable[tuple[Any, ...]] = connection.execute(statement)
    for row in rows:
        number, time_ns, rest, train_id, quality, flags, epoch, seq, step, *columns = row
        value = from_columns(series[number].value_type, *columns)
        yield (
            number,
            Sample(time_ns, value, rest, train_id, quality, flags, epoch, seq, step),
        )


_ROW: Final = (
    "series_id",
    "time_ns",
    "rest",
    "train_id",
    "quality",
    "flags",
    "epoch",
    "seq",
    "step",
    "int_value",
    "float_value",
    "text_value",
    "blob_value",
)


def _of_chunks(
    connection: Connection,
    device_id: str,
    series: dict[int, Series],
    time_ns: int,
    damaged: list[Outage],
) -> Iterator[tuple[int, Sample]]:
    data = tables.chunk_data
    first_ns = (
        select(func.max(tables.chunk.c.first_ns))
        .where(tables.chunk.c.series_id == tables.series.c.id, tables.chunk.c.first_ns <= time_ns)
        .correlate(tables.series)
        .scalar_subquery()
    )
    statement = (
        select(data.c.series_id, data.c.first_ns, data.c.data)
        .join(data, and_(data.c.series_id == tables.series.c.id, data.c.first_ns == first_ns))
        .select_from(tables.series)
        .where(tables.series.c.device_id == device_id)
    )
    for number, first, content in connection.execute(statement):
        try:
            yield number, _last_of_chunk(content, time_ns)
        except MalformedMessageError as error:
            reason = f"{series[number].key}: {error.message}"
            damaged.append(Outage(first, None, EventKind.DAMAGED, None, reason))


_WANTED: Final = ("time_ns", "value", "quality", "train_id")


def _last_of_chunk(content: bytes, time_ns: int) -> Sample:
    """Return the last sample of a chunk that is not after a moment; its first one is not."""
    chunk = decode_chunk(content, _WANTED)
    place = int(chunk.numbers["time_ns"].searchsorted(time_ns, side="right")) - 1
    value: Any = chunk.values[place]
    if chunk.missing is not None and chunk.missing[place]:
        value = None
    elif not isinstance(chunk.values, list):
        value = value.item()
    numbers = {name: int(column[place]) for name, column in chunk.numbers.items()}
    return Sample(value=value, **numbers)
