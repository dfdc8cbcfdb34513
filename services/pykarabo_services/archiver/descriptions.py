"""Which properties are archived as schemas say, and since when they are, or are not any more.

A schema that arrives is compared with the one that the archive has from before, whichever archiver
or life of the device that came from: so nothing need be remembered over restarts.
"""

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, select, tuple_

from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver import catalog, tables
from pykarabo_services.archiver.model import (
    DeviceEvent,
    EventKind,
    is_archived,
    why_not_archived,
)

_GONE: Final = "the device does not have it any more"
_log = logging.getLogger(__name__)


class Description(NamedTuple):
    """From when on a device had a schema.

    Attributes:
        since_ns: since when it may have had it already; None for since `time_ns`.
    """

    device_id: str
    time_ns: int
    epoch: int
    digest: str
    content: bytes
    since_ns: int | None = None


class _Known(NamedTuple):
    """A description as the archive has it."""

    time_ns: int
    epoch: int
    digest: str


def changes_of(connection: Connection, item: Description) -> Iterator[DeviceEvent]:
    """Yield of which properties a description that was written begins, or ends, their archiving.

    One that came late, out of another archiver's spool, changes what the next one means as well.
    Each event is to be written before the next one is asked for.
    """
    this = _Known(item.time_ns, item.epoch, item.digest)
    before, after = _neighbours(connection, item)
    since_ns = item.time_ns if item.since_ns is None else min(item.since_ns, item.time_ns)
    if before is not None:
        yield from _between(connection, item.device_id, before, this, since_ns)
    if after is not None:
        yield from _between(connection, item.device_id, this, after, after.time_ns)


def _neighbours(connection: Connection, item: Description) -> tuple[_Known | None, _Known | None]:
    described = tables.described.c
    place = tuple_(described.time_ns, described.epoch)
    own = tuple_(item.time_ns, item.epoch)
    ours = select(described.time_ns, described.epoch, described.digest).where(
        described.device_id == item.device_id
    )
    earlier = ours.where(place < own).order_by(described.time_ns.desc(), described.epoch.desc())
    later = ours.where(place > own).order_by(described.time_ns, described.epoch)
    before, after = (connection.execute(query.limit(1)).first() for query in (earlier, later))
    return (
        None if before is None else _Known(*before),
        None if after is None else _Known(*after),
    )


def _between(
    connection: Connection, device_id: str, before: _Known, now: _Known, since_ns: int
) -> Iterator[DeviceEvent]:
    """Yield what another schema changes; what the archive does not know changes nothing."""
    if before.digest == now.digest:
        return
    try:
        old, new = (catalog.schema_of(connection, item.digest) for item in (before, now))
    except MalformedMessageError as error:
        _log.warning(
            "a schema of %s cannot be understood, so it is not known which properties are archived "
            "since then: %s",
            device_id,
            error,
        )
        return
    if old is None or new is None:
        return
    was = {key for key, info in old.properties.items() if is_archived(info)}
    stays = {key for key, info in new.properties.items() if is_archived(info)}
    for key in sorted(was - stays):
        info = new.properties.get(key)
        yield DeviceEvent(
            device_id=device_id,
            time_ns=max(since_ns, before.time_ns),
            kind=EventKind.UNARCHIVED,
            epoch=now.epoch,
            key=key,
            reason=_GONE if info is None else why_not_archived(info),
        )
    for key in sorted((stays - was) & _ever_unarchived(connection, device_id, stays - was)):
        yield DeviceEvent(
            device_id=device_id,
            time_ns=now.time_ns,
            kind=EventKind.ARCHIVED,
            epoch=now.epoch,
            key=key,
        )


def _ever_unarchived(connection: Connection, device_id: str, keys: set[str]) -> set[str]:
    """Return the properties of a device that were not stored at some time."""
    if not keys:
        return set()
    event = tables.event.c
    statement = select(event.key).where(
        event.device_id == device_id, event.kind == EventKind.UNARCHIVED.value
    )
    return set(connection.execute(statement.distinct()).scalars())
