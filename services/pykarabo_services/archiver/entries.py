"""What the records of a spool say: entries, as plain lists in pykarabo's own coding.

Devices and series have numbers, which are explained once in each segment before they are used: a
spool is written at every change of every property, and names would be most of it.

========  ==================================================================
entry     fields
========  ==================================================================
DEVICE    number, device id, instance, epoch, seq, time: all up to `seq` is in earlier records
SERIES    number, device's number, key, value type
READY     none: the explanations of the segment are complete
VALUES    device's number, seq, rows
EVENT     fields of `DeviceEvent`
SCHEMA    device's number, time, seq, digest, schema as a plain map, and since when it may be so;
          the last is missing from those of earlier versions
SEEN      device's number, seq, and until when everything is known, if that is told: a message
          that brought nothing to store, or a device of which nothing was missed
IMPORT    device id, key, value type, rows as `importing.ImportedSample` has them; those of earlier
          versions end with seq
========  ==================================================================

A row is ``[series' number, value, seconds, attoseconds, train id, quality, flags, step]``.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import msgpack

from pykarabo.data import FILE_LIMITS, decode, encode
from pykarabo_services.archiver.model import DeviceEvent, EventKind

DEVICE, SERIES, READY, VALUES, EVENT, SCHEMA, SEEN, IMPORT = range(8)
MAX_ROWS: Final = 500
"""Rows of a record: one wrong byte costs no more."""


def encode_entries(entries: list[Any]) -> bytes:
    """Return entries as the payload of a record."""
    return bytes(encode(entries, max_frames=0)[0])


def decode_entries(payload: bytes) -> list[list[Any]]:
    """Return the entries of a record.

    Raises:
        MalformedMessageError, LimitExceededError: it is none.
    """
    try:  # a record was written by this very program: it is not looked at as a stranger's would be
        return cast("list[list[Any]]", msgpack.unpackb(payload, ext_hook=_not_plain))
    except (_NotPlainError, ValueError, msgpack.UnpackException):
        entries: list[list[Any]] = decode([payload], FILE_LIMITS)
        return entries


class _NotPlainError(Exception):
    """A record holds values that need pykarabo's own decoding."""


def _not_plain(_code: int, _data: bytes) -> Any:
    raise _NotPlainError


def in_records(entries: Iterable[list[Any]]) -> Iterator[bytes]:
    """Yield entries as payloads of moderate size, in order."""
    part: list[list[Any]] = []
    rows = 0
    for entry in entries:
        part.append(entry)
        rows += len(entry[3]) if entry[0] == VALUES else 1
        if rows >= MAX_ROWS:
            yield encode_entries(part)
            part, rows = [], 0
    if part:
        yield encode_entries(part)


def time_of(row: list[Any]) -> int:
    """Return the time of a row in ns since 1970."""
    return int(row[2] * 10**9 + row[3] // 10**9)


def number_repeats(rows: list[Any]) -> None:
    """Tell apart the values of a property that has changed more than once in a message."""
    seen: dict[int, int] = {}
    for row in rows:
        step = seen.get(row[0], -1) + 1
        seen[row[0]] = row[7] = step


def event_entry(event: DeviceEvent) -> list[Any]:
    """Return what happened to a device as an entry."""
    return [
        EVENT,
        event.device_id,
        event.time_ns,
        event.kind.value,
        event.epoch,
        event.key,
        event.until_ns,
        event.lost,
        event.reason,
        dict(event.details),
    ]


def event_of(entry: list[Any]) -> DeviceEvent:
    """Return what `event_entry` was given."""
    _kind, device_id, time_ns, kind, epoch, key, until_ns, lost, reason, details = entry
    return DeviceEvent(
        device_id=device_id,
        time_ns=time_ns,
        kind=EventKind(kind),
        epoch=epoch,
        key=key,
        until_ns=until_ns,
        lost=lost,
        reason=reason,
        details=details,
    )
