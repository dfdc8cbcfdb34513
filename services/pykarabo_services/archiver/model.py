"""What an archive holds, and the rules of its values.

A **series** is one property of one device as long as it has one type. If the type changes, a new
series of the same key begins, and if it changes back, the first one goes on: the history of a
property is that of all its series, by time.

A **sample** is a value that the property had: when (ns since 1970 and the attoseconds below), in
which train, with which quality, and by which message of which life of the device (`epoch`, `seq`)
it came. A property that changed twice in one message has two samples, told apart by `step`. These
together identify a sample: whoever stores it twice stores it once.

Samples are kept in two forms. Recent ones are rows. Older ones are **chunks** of up to
`CHUNK_SAMPLES`, compressed, with a summary for those who need no single values. Chunks of a series
do not overlap in time; rows may be older than chunks, when a spool was emptied late. Who reads
merges both, and where a row lies within a chunk's time drops what is the same sample.

=====================  =========================================================================
table                  a row is
=====================  =========================================================================
`archive_series`       a property of a device, with one type
`archive_sample`       a recent sample; one of its value columns holds the value
`archive_chunk`        the summary of a chunk
`archive_chunk_data`   the chunk itself; see `codec`
`archive_event`        what happened to a device: `EventKind`
`archive_schema`       a schema by its digest, `Schema.to_wire` in pykarabo's own coding
`archive_described`    from when on a device had a schema
`archive_mark`         up to which message of a device everything is here
`archive_spool`        up to which record a spool is here; written with what the records brought
`archive_about`        a fact about the archive itself, such as its id
=====================  =========================================================================

A value is in the column that its type and it allow, so that SQL can compute with it:

==============  ============================================================================
column          holds
==============  ============================================================================
`int_value`     bool and integers; a uint64 above 2**63-1 is kept as its negative twin (minus 2**64)
`float_value`   finite floats
`text_value`    strings, states, moments without NUL
`blob_value`    everything else in pykarabo's own coding: vectors, tables, images, complex numbers,
                bytes; also NaN, infinities, -0.0 and text with NUL, which some database would alter
none            None
==============  ============================================================================
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.data import PropertyInfo, Quality, Schema, ValueType, decode, encode

CHUNK_SAMPLES: Final = 1024
"""Samples of a chunk: few enough that a trend decodes those that a border of its buckets cuts, and
so many that a summary costs a tenth of a byte per sample."""
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_WRAP: Final = 2**64

QUALITY_CODES: Final[Mapping[Quality, int]] = {
    Quality.VALID: 0,
    Quality.CHANGING: 1,
    Quality.WARN: 2,
    Quality.ALARM: 3,
    Quality.INVALID: 4,
}
"""Qualities as the tables have them; the worst of several is the largest."""
QUALITIES: Final = tuple(QUALITY_CODES)


class SampleFlag(IntFlag):
    """What else is true of a sample.

    RECEIVED: its own time stamp could not be, so this is when it was received.
    PRESENT: read from the device when its changes were not, or no longer, to be had; `seq` is the
        message after which it was read.
    IMPORTED: it did not come from the device but from a file.
    """

    RECEIVED = 1
    PRESENT = 2
    IMPORTED = 4


class EventKind(StrEnum):
    """What happened to a device.

    STARTED, STOPPED: a life of it has begun, or ended in order.
    AWAY, BACK: it could not be followed from `time_ns` on; it can be again.
    GAP: messages are missing between `time_ns` and `until_ns`: `lost` of them, NULL for unknown.
        Also where a backup was restored: they were here, and are lost.
    LIMITED: `lost` samples were left out because it changed faster than allowed.
    REJECTED: `lost` values of a property were not stored, and why.
    TYPE: a property has another type from now on.
    UNARCHIVED, ARCHIVED: a property is not stored from now on, and why; it is stored again.
    CLOCK: `lost` samples had time stamps that cannot be; they are stored with another.
    DAMAGED: a record of an archiver's spool could not be read; device is the archiver.
    FORGOTTEN: `lost` samples of a property were removed, as its retention says.
    """

    STARTED = "started"
    STOPPED = "stopped"
    AWAY = "away"
    BACK = "back"
    GAP = "gap"
    LIMITED = "limited"
    REJECTED = "rejected"
    TYPE = "type"
    UNARCHIVED = "unarchived"
    ARCHIVED = "archived"
    CLOCK = "clock"
    DAMAGED = "damaged"
    FORGOTTEN = "forgotten"


HOLES: Final = frozenset({EventKind.GAP, EventKind.LIMITED})
"""Events after which values are missing: a plot draws a hole from `time_ns` to `until_ns`."""


Columns: TypeAlias = tuple[int | None, float | None, str | None, bytes | None]
"""A value as the tables have it: of the four value columns, at most one is not None."""
ELEMENT_BYTES: Final = 16
"""About what a single number takes."""
VALUE_COLUMNS: Final = ("int_value", "float_value", "text_value", "blob_value")


def to_columns(value_type: ValueType, value: Any) -> Columns:
    """Return how the tables hold a plain value of a property of this type.

    Raises:
        WrongTypeError: it holds something that cannot travel either.
    """
    return _TO_COLUMNS.get(value_type, _other)(value)


def converter(value_type: ValueType) -> Callable[[Any], Columns]:
    """Return `to_columns` for values of one type."""
    return _TO_COLUMNS.get(value_type, _other)


def _float(value: Any) -> Columns:
    if type(value) is float and value and value - value == 0.0:  # neither zero nor infinite nor NaN
        return (None, value, None, None)
    if type(value) is float and math.isfinite(value) and (value or math.copysign(1, value) > 0):
        return (None, value, None, None)
    return _other(value)


def _integer(value: Any) -> Columns:
    if type(value) is int and _INT64_MIN <= value <= _INT64_MAX:
        return (value, None, None, None)
    return _other(value)


def _unsigned(value: Any) -> Columns:
    if type(value) is int and _INT64_MAX < value < _WRAP:
        return (value - _WRAP, None, None, None)
    return _integer(value) if type(value) is not int or value >= 0 else _other(value)


def _bool(value: Any) -> Columns:
    return (int(value), None, None, None) if type(value) is bool else _other(value)


def _text(value: Any) -> Columns:
    fits = type(value) is str and "\0" not in value
    return (None, None, value, None) if fits else _other(value)


def _other(value: Any) -> Columns:
    return (None, None, None, None if value is None else packed(value))


def from_columns(
    value_type: ValueType,
    int_value: int | None,
    float_value: float | None,
    text_value: str | None,
    blob_value: bytes | memoryview | None,
) -> Any:
    """Return the plain value that the columns of a series of this type hold."""
    if float_value is not None:
        return float_value
    if int_value is not None:
        if value_type is ValueType.BOOL:
            return bool(int_value)
        wraps = int_value < 0 and value_type is ValueType.UINT64
        return int_value + _WRAP if wraps else int_value
    if text_value is not None:
        return text_value
    return None if blob_value is None else unpacked(blob_value)


def packed(value: Any) -> bytes:
    """Return any value in pykarabo's own coding, in one piece."""
    return bytes(encode(value, max_frames=0, exact=True)[0])


def unpacked(content: bytes | memoryview) -> Any:
    """Return what `packed` was given."""
    return decode([bytes(content)])


def size_of(value: Any) -> int:
    """Return about how many bytes a value takes."""
    size = getattr(value, "nbytes", None)
    if size is not None:
        return int(size)
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(ELEMENT_BYTES + size_of(item) for item in value.values())
    if isinstance(value, list):
        return sum(map(size_of, value))
    return ELEMENT_BYTES


_FLOATS: Final = frozenset({ValueType.FLOAT32, ValueType.FLOAT64})
_INTEGERS: Final = frozenset(item for item in ValueType if item.is_integer)
_TO_COLUMNS: Final[Mapping[ValueType, Callable[[Any], Columns]]] = {
    **dict.fromkeys(_FLOATS, _float),
    **dict.fromkeys(_INTEGERS, _integer),
    ValueType.UINT64: _unsigned,
    ValueType.BOOL: _bool,
    **dict.fromkeys((ValueType.STRING, ValueType.STATE, ValueType.DATETIME), _text),
}


class Sample(NamedTuple):
    """A sample of a series, as `archive_sample` has it.

    Attributes:
        time_ns, rest: when; `rest` are the attoseconds below the nanosecond.
        quality: see `QUALITY_CODES`.
        flags: see `SampleFlag`.
        value: the plain value.
    """

    time_ns: int
    value: Any
    rest: int = 0
    train_id: int = 0
    quality: int = 0
    flags: int = 0
    epoch: int = 0
    seq: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvent:
    """Something that happened to a device, as `archive_event` has it."""

    device_id: str
    time_ns: int
    kind: EventKind
    epoch: int = 0
    key: str = ""
    until_ns: int | None = None
    lost: int | None = None
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def details_text(self) -> str:
        """Return the details as they are stored."""
        return json.dumps(dict(self.details), default=str) if self.details else ""


class Mark(NamedTuple):
    """Up to which message of a device everything is in the archive."""

    instance: str
    epoch: int
    seq: int
    time_ns: int


class Position(NamedTuple):
    """Where the archive ends of a device, and whether its life has ended there in order."""

    mark: Mark
    has_ended: bool


class Series(NamedTuple):
    """A property of a device with one type."""

    id: int
    device_id: str
    key: str
    value_type: ValueType


def is_archived(info: PropertyInfo) -> bool:
    """Tell whether the values of a property are stored."""
    return info.archive and not info.secret and not info.node


def why_not_archived(info: PropertyInfo) -> str:
    """Return why the values of a property are not stored."""
    return "it is secret" if info.secret else "its class or its operator says so (archive=False)"


def newly_archived(before: Schema, now: Schema) -> set[str]:
    """Return the properties that both schemas have and only the second one has stored."""
    known = before.properties
    return {
        key
        for key, info in now.properties.items()
        if key in known and is_archived(info) and not is_archived(known[key])
    }


def is_number(value_type: ValueType) -> bool:
    """Tell whether the samples of such a series are real numbers that a summary can add up."""
    return value_type in _FLOATS or value_type in _INTEGERS or value_type is ValueType.BOOL


def worst(qualities: Sequence[int]) -> int:
    """Return the code of the worst of some qualities."""
    return max(qualities, default=0)
