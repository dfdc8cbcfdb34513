"""What an archive knows of devices: which there are, their properties and schemas."""

from fnmatch import translate
from functools import lru_cache
from re import compile as compiled
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from pykarabo.data import Schema, ValueType
from pykarabo.errors import UnknownDeviceError, UnknownPropertyError, did_you_mean
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.model import Series, unpacked

_SCHEMAS: Final = 20
"""So many schemas back a property is looked for that the device no longer has."""


def devices(connection: Connection, pattern: str = "*") -> list[str]:
    """Return the devices whose id matches a shell pattern, and of which something is archived."""
    series = tables.series.c
    known = connection.execute(select(series.device_id).distinct().order_by(series.device_id))
    matches = compiled(translate(pattern)).match
    return [device_id for device_id in known.scalars() if matches(device_id)]


def keys(connection: Connection, device_id: str) -> list[str]:
    """Return the properties of a device of which something is archived.

    Raises:
        UnknownDeviceError: nothing of it is archived; near matches are named.
    """
    series = tables.series.c
    statement = select(series.key).distinct().where(series.device_id == device_id)
    found = list(connection.execute(statement.order_by(series.key)).scalars())
    if not found:
        near = did_you_mean(device_id, devices(connection))
        raise UnknownDeviceError(
            f"nothing of a device '{device_id}' is archived",
            device=device_id,
            remedy=near or "see 'pykarabo devices', and whether an archiver runs",
        )
    return found


def series_of(connection: Connection, device_id: str, key: str) -> list[Series]:
    """Return the series of a property, one for each type that it had.

    Raises:
        UnknownDeviceError, UnknownPropertyError: nothing of it is archived.
    """
    series = tables.series.c
    statement = select(series.id, series.value_type).where(
        series.device_id == device_id, series.key == key
    )
    found = connection.execute(statement.order_by(series.id)).all()
    if not found:
        near = did_you_mean(key, keys(connection, device_id))
        raise UnknownPropertyError(
            f"nothing of a property '{key}' of '{device_id}' is archived",
            device=device_id,
            key=key,
            remedy=near or f"see 'pykarabo past {device_id} now'",
        )
    return [Series(number, device_id, key, ValueType(kind)) for number, kind in found]


def all_series(connection: Connection, device_id: str) -> list[Series]:
    """Return all series of a device."""
    series = tables.series.c
    statement = select(series.id, series.key, series.value_type).where(
        series.device_id == device_id
    )
    rows = connection.execute(statement)
    return [Series(number, device_id, key, ValueType(kind)) for number, key, kind in rows]


class Described(NamedTuple):
    """A schema that a device had.

    Attributes:
        content: as it travels, packed.
        since_ns: since when it had it.
    """

    schema: Schema
    content: bytes
    since_ns: int


def schema_at(connection: Connection, device_id: str, time_ns: int) -> Described | None:
    """Return the schema that a device had at a moment; None if nobody knows."""
    described = tables.described.c
    statement = select(described.digest, described.time_ns).where(
        described.device_id == device_id, described.time_ns <= time_ns
    )
    newest = statement.order_by(described.time_ns.desc(), described.epoch.desc()).limit(1)
    found = connection.execute(newest).first()
    if found is None:
        return None
    digest, since_ns = found
    content = _content_of(connection, digest)
    return None if content is None else Described(_schema(content), content, since_ns)


def schema_of(connection: Connection, digest: str) -> Schema | None:
    """Return the schema with a digest; None if the archive has none.

    Raises:
        MalformedMessageError: it cannot be understood.
    """
    content = _content_of(connection, digest)
    return None if content is None else _schema(content)


def _content_of(connection: Connection, digest: str) -> bytes | None:
    statement = select(tables.schema.c.content).where(tables.schema.c.digest == digest)
    stored = connection.execute(statement).scalar()
    return None if stored is None else bytes(stored)


@lru_cache(maxsize=64)
def _schema(content: bytes) -> Schema:
    """Rebuild a schema; a page of history asks for the same one again and again."""
    return Schema.from_wire(unpacked(content))


def unit_of(connection: Connection, device_id: str, key: str, time_ns: int) -> str:
    """Return the unit that a property had last before a moment; empty if nobody knows."""
    described = tables.described.c
    statement = (
        select(tables.schema.c.content)
        .join(tables.described, described.digest == tables.schema.c.digest)
        .where(described.device_id == device_id, described.time_ns <= time_ns)
        .order_by(described.time_ns.desc(), described.epoch.desc())
    )
    for content in connection.execute(statement.limit(_SCHEMAS)).scalars():
        info = _schema(bytes(content)).properties.get(key)
        if info is not None:
            return info.unit
    return ""
