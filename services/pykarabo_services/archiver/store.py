"""The archive in a database: what is written at once, and what is asked before writing.

Everything here is a function of a connection, which runs in one transaction and may run twice:
rows that are there already are left as they are.
"""

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import Connection, Table, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from pykarabo.data import ValueType
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.descriptions import Description, changes_of
from pykarabo_services.archiver.model import (
    DeviceEvent,
    EventKind,
    Mark,
    Position,
    Sample,
    from_columns,
    to_columns,
)
from pykarabo_services.kernel.database import StoreDeclaration


def damages(connection: Connection, on_progress: Callable[[int, int], None]) -> list[str]:
    """Return which chunks are damaged, and what to do."""
    from pykarabo_services.archiver.checking import damaged_chunks

    return damaged_chunks(connection, on_progress)


def note_restored(connection: Connection) -> None:
    """Note of each device that it is not known what it was between the backup and now."""
    from pykarabo_services.archiver.restoring import note_lost

    note_lost(connection)


STORE: Final = StoreDeclaration(
    name="archive",
    metadata=tables.metadata,
    migrations="pykarabo_services.archiver.migrations",
    check=damages,
    restored=note_restored,
)
STORE_ID: Final = "store_id"
# Values of one statement; SQLite takes 32766.
_AT_ONCE: Final = 500
_COLUMNS: Final = {
    "series_id": "int8",
    "time_ns": "int8",
    "epoch": "int8",
    "seq": "int8",
    "step": "int2",
    "rest": "int4",
    "train_id": "int8",
    "quality": "int2",
    "flags": "int2",
    "int_value": "int8",
    "float_value": "float8",
    "text_value": "text",
    "blob_value": "bytea",
}
"""Of `archive_sample`, with their types in PostgreSQL."""
_MARKED: Final = ("epoch", "seq", "time_ns")
_INSERT: Final = (
    f"INSERT INTO archive_sample ({', '.join(_COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO NOTHING"
)
T = TypeVar("T")
Tail: TypeAlias = tuple[Any, ...]
"""A row of `archive_sample` without its series."""
_ORIGIN: Final = 2
"""Fields of a row that tell when it was, in which life of the device."""


class SeriesKey(NamedTuple):
    """What a series is of."""

    device_id: str
    key: str
    value_type: str


@dataclass(slots=True)
class Batch:
    """What is written in one transaction.

    Attributes:
        by_series: samples, as rows without their series.
        samples: more of them, one by one.
        present: like `samples`, of values that were read and not told: left out when the archive
            has the same or a later one of the same life.
        spool: id, archiver and the number of the last record, of which this is all.
    """

    samples: list[tuple[SeriesKey, Tail]] = field(default_factory=list[tuple[SeriesKey, Tail]])
    by_series: dict[SeriesKey, list[Tail]] = field(default_factory=dict[SeriesKey, list[Tail]])
    present: list[tuple[SeriesKey, Tail]] = field(default_factory=list[tuple[SeriesKey, Tail]])
    events: list[DeviceEvent] = field(default_factory=list[DeviceEvent])
    descriptions: list[Description] = field(default_factory=list[Description])
    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    spool: tuple[str, str, int] | None = None

    @property
    def size(self) -> int:
        """How many samples it has."""
        return sum(map(len, self.by_series.values())) + len(self.samples) + len(self.present)

    def all_samples(self) -> list[tuple[SeriesKey, Tail]]:
        """Return the samples one by one."""
        return [*self.present, *self._told()]

    def parts(self) -> list["Batch"]:
        """Return what it has in smaller batches, in the order to write them; none of one thing."""
        others = [
            *(Batch(events=[event]) for event in self.events),
            *(Batch(descriptions=[item]) for item in self.descriptions),
            *(Batch(marks={device_id: mark}) for device_id, mark in self.marks.items()),
            *([Batch(spool=self.spool)] if self.spool is not None else []),
        ]
        if self.size > 1:
            halves = self._halves()
        elif self.size == 1:
            halves = [Batch(self._told(), present=self.present)]
        else:
            halves = []
        found = [*halves, *others]
        return found if len(found) > 1 else []

    def _halves(self) -> list["Batch"]:
        told, present = self._told(), self.unseen()
        if told and present:
            return [Batch(present=present), Batch(told)]
        middle = max(len(told), len(present)) // 2
        if told:
            return [Batch(told[:middle]), Batch(told[middle:])]
        return [Batch(present=present[:middle]), Batch(present=present[middle:])]

    def unseen(self) -> list[tuple[SeriesKey, Tail]]:
        """Return the values that were read, but for those that it has as told ones as well."""
        if not self.present:
            return []
        told = {
            (key, tail[:_ORIGIN])
            for key in {key for key, _tail in self.present}
            for tail in self.by_series.get(key, [])
        }
        told |= {(key, tail[:_ORIGIN]) for key, tail in self.samples}
        return [item for item in self.present if (item[0], item[1][:_ORIGIN]) not in told]

    def _told(self) -> list[tuple[SeriesKey, Tail]]:
        grouped = [(key, tail) for key, tails in self.by_series.items() for tail in tails]
        return [*grouped, *self.samples]


def tail_of(value_type: ValueType, sample: Sample) -> Tail:
    """Return a sample as a row without its series."""
    return (
        sample.time_ns,
        sample.epoch,
        sample.seq,
        sample.step,
        sample.rest,
        sample.train_id,
        sample.quality,
        sample.flags,
        *to_columns(value_type, sample.value),
    )


def sample_of(value_type: ValueType, tail: Sequence[Any]) -> Sample:
    """Return what `tail_of` was given."""
    time_ns, epoch, seq, step, rest, train_id, quality, flags, *columns = tail
    value = from_columns(value_type, *columns)
    return Sample(time_ns, value, rest, train_id, quality, flags, epoch, seq, step)


class SeriesNumbers:
    """The numbers of series that are known, so that the database is asked for each once.

    In an archive that was restored they are others: it has another id, which is looked at first.
    """

    def __init__(self) -> None:
        self._known: dict[SeriesKey, int] = {}
        self._store_id: str | None = None

    def forget(self) -> None:
        """Ask again: the database may be another one."""
        self._known.clear()

    def find(self, connection: Connection, wanted: Collection[SeriesKey]) -> dict[SeriesKey, int]:
        """Return the numbers of series, making those that are new."""
        id_now = _store_id(connection)
        if id_now != self._store_id:
            self.forget()
            self._store_id = id_now
        found = {key: self._known[key] for key in wanted if key in self._known}
        missing = [key for key in wanted if key not in found]
        if missing:
            found |= _read_series(connection, missing)
            new = [key for key in missing if key not in found]
            if new:
                insert_new(connection, tables.series, [key._asdict() for key in new])
                found |= _read_series(connection, new)
        return found

    def remember(self, numbers: Mapping[SeriesKey, int]) -> None:
        """Take numbers that are certain to be in the database: after the commit."""
        self._known.update(numbers)


def _read_series(connection: Connection, wanted: Iterable[SeriesKey]) -> dict[SeriesKey, int]:
    table = tables.series
    found: dict[SeriesKey, int] = {}
    for part in _parts(wanted):
        columns = tuple_(table.c.device_id, table.c.key, table.c.value_type)
        query = select(table).where(columns.in_([tuple(key) for key in part]))
        for row in connection.execute(query):
            found[SeriesKey(row.device_id, row.key, row.value_type)] = row.id
    return found


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, except those that are there already."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for part in _parts(rows):
        connection.execute(insert(table).on_conflict_do_nothing(), part)


# -- writing --------------------------------------------------------------------------------------


class Written(NamedTuple):
    """What became of a batch.

    Attributes:
        numbers: of its series, to be remembered when it is committed.
        samples: how many were given to the database.
    """

    numbers: dict[SeriesKey, int]
    samples: int


def write(connection: Connection, batch: Batch, numbers: SeriesNumbers) -> Written:
    """Write a batch."""
    keys = {key for key, _tail in [*batch.samples, *batch.present]} | batch.by_series.keys()
    found = numbers.find(connection, keys)
    rows: list[tuple[Any, ...]] = []
    for key, tails in batch.by_series.items():
        number = (found[key],)
        rows += [number + tail for tail in tails]
    rows += [(found[key], *tail) for key, tail in batch.samples]
    rows += _unknown_ones(connection, [(found[key], *tail) for key, tail in batch.unseen()])
    insert_samples(connection, rows)
    write_events(connection, batch.events)
    _write_descriptions(connection, batch.descriptions)
    _write_marks(connection, batch.marks)
    if batch.spool is not None:
        _write_spool(connection, batch)
    return Written(found, len(rows))


def insert_samples(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Write rows of `archive_sample`, except those that are there already."""
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        connection.exec_driver_sql(_INSERT, rows)
        return
    if not _copy(connection, "archive_sample", rows):
        connection.exec_driver_sql(
            "CREATE TEMP TABLE IF NOT EXISTS archive_incoming (LIKE archive_sample) "
            "ON COMMIT DELETE ROWS"
        )
        _copy(connection, "archive_incoming", rows)
        connection.exec_driver_sql(
            "INSERT INTO archive_sample SELECT * FROM archive_incoming ON CONFLICT DO NOTHING"
        )


def _copy(connection: Connection, table: str, rows: list[tuple[Any, ...]]) -> bool:
    """Copy rows into a table of PostgreSQL; returns whether none was there before."""
    from psycopg import Error
    from psycopg.errors import UniqueViolation

    driver: Any = connection.connection.driver_connection
    statement = f"COPY {table} ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
    try:
        with driver.transaction(), driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(list(_COLUMNS.values()))
            for row in rows:
                copy.write_row(row)
    except UniqueViolation:
        return False
    except Error as error:  # as SQLAlchemy would have it, who does not know of this statement
        raise DBAPIError(statement, None, error) from error
    return True


def _unknown_ones(connection: Connection, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the rows of values that the archive has not got yet.

    A value that was read may be one that was told before: then it has the same time, but the number
    of a later message. The newest one of its series and life tells.
    """
    newest = _newest(connection, {(row[0], row[2]) for row in rows})
    return [row for row in rows if row[1] > newest.get((row[0], row[2]), -(2**63))]


def _newest(
    connection: Connection, wanted: Collection[tuple[int, int]]
) -> dict[tuple[int, int], int]:
    """Return the time of the newest sample by series and life, where there is one."""
    found: dict[tuple[int, int], int] = {}
    table = tables.sample
    for series_id, epoch in wanted:
        row = connection.execute(
            select(table.c.time_ns)
            .where(table.c.series_id == series_id, table.c.epoch == epoch)
            .order_by(table.c.time_ns.desc())
            .limit(1)
        ).first()
        chunk = connection.execute(
            select(tables.chunk.c.last_ns)
            .where(tables.chunk.c.series_id == series_id, tables.chunk.c.last_epoch == epoch)
            .order_by(tables.chunk.c.first_ns.desc())
            .limit(1)
        ).first()
        times = [item[0] for item in (row, chunk) if item is not None]
        if times:
            found[series_id, epoch] = max(times)
    return found


def write_events(connection: Connection, events: Iterable[DeviceEvent]) -> None:
    """Write what happened to devices, except what is there already."""
    rows = [
        {
            "device_id": event.device_id,
            "time_ns": event.time_ns,
            "kind": event.kind.value,
            "key": event.key,
            "epoch": event.epoch,
            "until_ns": event.until_ns,
            "lost": event.lost,
            "reason": event.reason.replace("\0", "\\0"),
            "details": event.details_text().replace("\\u0000", "\\\\0"),
        }
        for event in events
    ]
    insert_new(connection, tables.event, rows)


def _write_descriptions(connection: Connection, descriptions: list[Description]) -> None:
    schemas = {item.digest: item.content for item in descriptions}
    rows = [{"digest": digest, "content": content} for digest, content in schemas.items()]
    insert_new(connection, tables.schema, rows)
    insert_new(
        connection,
        tables.described,
        [
            {
                "device_id": item.device_id,
                "time_ns": item.time_ns,
                "epoch": item.epoch,
                "digest": item.digest,
            }
            for item in descriptions
        ],
    )
    for item in descriptions:
        for event in changes_of(connection, item):
            write_events(connection, [event])


def _write_marks(connection: Connection, marks: Mapping[str, Mark]) -> None:
    table = tables.mark
    rows = [{"device_id": device_id, **mark._asdict()} for device_id, mark in marks.items()]
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    new = statement.excluded
    is_later = tuple_(*(new[name] for name in _MARKED)) > tuple_(
        *(table.c[name] for name in _MARKED)
    )
    statement = statement.on_conflict_do_update(
        index_elements=[table.c.device_id],
        set_={name: new[name] for name in ("instance", "epoch", "seq", "time_ns")},
        where=is_later,
    )
    for part in _parts(rows):
        connection.execute(statement, part)


def _write_spool(connection: Connection, batch: Batch) -> None:
    if batch.spool is None:
        return
    spool_id, archiver, record = batch.spool
    table = tables.spool
    time_ns = max((mark.time_ns for mark in batch.marks.values()), default=0)
    values = {"archiver": archiver, "record": record, "time_ns": time_ns}
    changed = connection.execute(
        table.update().where(table.c.spool_id == spool_id).values(**values)
    )
    if changed.rowcount == 0:
        connection.execute(table.insert().values(spool_id=spool_id, **values))


# -- asking ---------------------------------------------------------------------------------------


def spool_mark(connection: Connection, spool_id: str) -> int:
    """Return the number of the last record of a spool that is here; 0 if none is."""
    table = tables.spool
    found = connection.execute(select(table.c.record).where(table.c.spool_id == spool_id)).first()
    return 0 if found is None else int(found[0])


def marks(connection: Connection, device_ids: Collection[str]) -> dict[str, Mark]:
    """Return up to where devices are here; those of which nothing is here are left out."""
    table = tables.mark
    found: dict[str, Mark] = {}
    for part in _parts(device_ids):
        for row in connection.execute(select(table).where(table.c.device_id.in_(part))):
            found[row.device_id] = Mark(row.instance, row.epoch, row.seq, row.time_ns)
    return found


def positions(connection: Connection, device_ids: Collection[str]) -> dict[str, Position]:
    """Return where devices end here; those of which nothing is here are left out."""
    event = tables.event.c
    known = marks(connection, device_ids)
    ended: set[tuple[str, int]] = set()
    for part in _parts(known):
        query = select(event.device_id, event.epoch).where(
            event.device_id.in_(part), event.kind == EventKind.STOPPED.value
        )
        ended |= {(row.device_id, row.epoch) for row in connection.execute(query)}
    return {
        device_id: Position(mark, (device_id, mark.epoch) in ended)
        for device_id, mark in known.items()
    }


def store_id(connection: Connection) -> str:
    """Return what tells this archive from any other; a new one is given its id."""
    if _store_id(connection) is None:
        insert_new(connection, tables.about, [{"name": STORE_ID, "value": secrets.token_hex(8)}])
    return str(_store_id(connection))


def _store_id(connection: Connection) -> str | None:
    table = tables.about
    return connection.scalar(select(table.c.value).where(table.c.name == STORE_ID))


def _parts(items: Iterable[T]) -> Iterator[list[T]]:
    everything = list(items)
    for at in range(0, len(everything), _AT_ONCE):
        yield everything[at : at + _AT_ONCE]
