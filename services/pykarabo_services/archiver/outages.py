"""What an archive does not know of a device, from when to when, and why."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, case, or_, select, true

from pykarabo_services.archiver import tables
from pykarabo_services.archiver.gaps import Outage
from pykarabo_services.archiver.model import HOLES, EventKind

_AWAY: Final[dict[str, str]] = {
    EventKind.AWAY: "it could not be followed",
    EventKind.STOPPED: "it was not running",
}
_HERE: Final = frozenset({EventKind.BACK, EventKind.STARTED})
TURNS: Final = (*_AWAY, *_HERE)
"""The kinds of events by which a device comes or goes."""
_SWITCHES: Final = (EventKind.ARCHIVED, EventKind.UNARCHIVED)
"""The kinds of events by which a property's archiving begins or ends; the earlier one, where a
schema has ended at the moment from which the next one may be, is the first by name too."""


def in_turn() -> Sequence[ColumnElement[int]]:
    """Return what comings and goings are sorted by: by life, each of which begins with its start.

    Their times alone do not tell: a start has the time of the device's clock, all else that of the
    archiver's, and the two may differ.
    """
    event = tables.event.c
    return event.epoch, case((event.kind == EventKind.STARTED, 0), else_=1), event.time_ns


def outages_of(
    connection: Connection, device_id: str, start_ns: int, end_ns: int, *, key: str = ""
) -> list[Outage]:
    """Return what is missing of a device, or of one of its properties, in or around a span."""
    event = tables.event.c
    turns = select(event.time_ns, event.kind, event.reason).where(
        event.device_id == device_id, event.kind.in_(TURNS), event.time_ns < end_ns
    )
    absences = _absences(connection.execute(turns.order_by(*in_turn())), start_ns)
    kinds = [*HOLES, EventKind.REJECTED, EventKind.FORGOTTEN]
    of_property = event.key.in_(["", key]) if key else true()
    holes = select(
        event.time_ns, event.until_ns, event.kind, event.lost, event.reason, event.key
    ).where(
        event.device_id == device_id,
        event.kind.in_(kinds),
        event.time_ns < end_ns,
        or_(event.until_ns.is_(None), event.until_ns >= start_ns),
        of_property,
    )
    switches = select(event.key, event.time_ns, event.kind, event.reason).where(
        event.device_id == device_id,
        event.kind.in_(_SWITCHES),
        event.time_ns < end_ns,
        of_property,
    )
    in_order = switches.order_by(event.key, event.time_ns, event.kind)
    found = [
        *absences,
        *map(_hole, connection.execute(holes)),
        *_unarchived(connection.execute(in_order), start_ns),
    ]
    return sorted(found, key=lambda item: item.from_ns)


def _hole(row: Any) -> Outage:
    time_ns, until_ns, kind, lost, reason, key = row
    return Outage(time_ns, time_ns if until_ns is None else until_ns, kind, lost, reason, key)


def _unarchived(switches: Iterable[Any], start_ns: int) -> Iterator[Outage]:
    """Make spans of when properties were not stored; those that ended before are left out."""
    since: Outage | None = None
    for key, time_ns, kind, reason in switches:
        if since is not None and since.key != key:
            yield since
            since = None
        if kind == EventKind.UNARCHIVED:
            since = since or Outage(time_ns, None, kind, None, reason, key)
        elif since is not None:
            if time_ns >= start_ns:
                yield since._replace(to_ns=time_ns)
            since = None
    if since is not None:
        yield since


def _absences(turns: Iterable[Any], start_ns: int) -> list[Outage]:
    """Make spans of comings and goings; those that ended before a moment are left out.

    None is left out because the clocks differ: what seems to end before it begins has no length.
    """
    spans: list[Outage] = []
    away: Outage | None = None
    started_ns = 0
    for time_ns, kind, reason in turns:
        if kind == EventKind.STARTED:
            started_ns = time_ns
        if kind in _HERE:
            if away is not None and time_ns >= start_ns:
                spans.append(away._replace(from_ns=min(away.from_ns, time_ns), to_ns=time_ns))
            away = None
        elif away is None:
            from_ns = max(time_ns, started_ns)
            away = Outage(from_ns, None, kind, None, reason or _AWAY[kind])
    return spans if away is None else [*spans, away]
