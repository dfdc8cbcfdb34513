"""The devices and series that a spool names by numbers, and what each may bring."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from pykarabo.data import FILE_LIMITS, PropertyInfo, Schema, ValueType, decode
from pykarabo.errors import PykaraboError
from pykarabo_services.archiver import entries
from pykarabo_services.archiver.entries import in_records
from pykarabo_services.archiver.model import EventKind, Position
from pykarabo_services.archiver.spool import Record

LONGEST_S: Final = 3.2e9
"""A hundred years: one value of each life is stored, and the last one."""
_SCALARS: Final = frozenset(
    item
    for item in ValueType
    if item.is_number or item in (ValueType.BOOL, ValueType.STATE, ValueType.DATETIME)
)


@dataclass(slots=True)
class SeriesState:
    """A series as the recorder sees it.

    Attributes:
        interval_ns: one value in so many ns is stored; 0 stores all.
        is_scalar: whether its values cannot be large.
        last: seconds and attoseconds of the latest value, for who goes backwards.
        stored_ns, quality: of the value stored last.
        held: seq and row that wait for the interval to pass.
        present: the value that was read, as long as it may still be told.
    """

    number: int
    key: str
    value_type: ValueType
    interval_ns: int = 0
    is_scalar: bool = True
    last: tuple[int, int] = (0, 0)
    stored_ns: int = 0
    quality: str = ""
    held: tuple[int, list[Any]] | None = None
    present: list[Any] | None = None


@dataclass(slots=True)
class DeviceState:
    """A device as the recorder sees it.

    Attributes:
        seq: the latest message in the buffer; all up to `durable` is in the spool.
        last_ns: until when everything is known; a gap begins there.
        noted_ns: what of it is in the spool.
        gap_ns: when the latest gap began; two never begin at the same time.
        described_ns: the time of its latest schema; a later one has a later time.
        is_limited: whether it has ever changed too fast for all to be stored.
        series: by key; None for properties that are not archived.
        has_ended: whether its life has ended in order and everything of it is here.
    """

    number: int
    device_id: str
    instance: bytes = b""
    epoch: int = 0
    seq: int = 0
    durable: int = 0
    last_ns: int = 0
    noted_ns: int = 0
    gap_ns: int = 0
    described_ns: int = 0
    is_limited: bool = False
    digest: str = ""
    has_ended: bool = False
    schema: Schema | None = None
    series: dict[str, SeriesState | None] = field(default_factory=dict[str, "SeriesState | None"])

    def advance(self, position: Position) -> bool:
        """Go on where the database ends, if that is later; tells whether it is."""
        mark = position.mark
        if (mark.epoch, mark.seq) <= (self.epoch, self.seq):
            return False
        self.instance, self.epoch = bytes.fromhex(mark.instance), mark.epoch
        self.seq = self.durable = mark.seq
        self.last_ns = max(self.last_ns, mark.time_ns)
        self.has_ended = position.has_ended
        self.digest, self.schema = "", None  # another archiver may have stored a later one
        self.series.clear()
        return True

    def entry(self) -> list[Any]:
        """Return what explains the device in a segment."""
        return [
            entries.DEVICE,
            self.number,
            self.device_id,
            self.instance,
            self.epoch,
            self.durable,
            self.last_ns,
        ]


class Registry:
    """Gives numbers, and explains them."""

    def __init__(self) -> None:
        self._devices: dict[str, DeviceState] = {}
        self._series: dict[int, tuple[int, str, str]] = {}
        self._numbers: dict[tuple[int, str, ValueType], int] = {}

    def device(self, device_id: str) -> DeviceState:
        """Return a device's state, a new one the first time."""
        state = self._devices.get(device_id)
        if state is None:
            state = self._devices[device_id] = DeviceState(len(self._devices), device_id)
        return state

    def devices(self) -> list[DeviceState]:
        """Return all devices that have been seen."""
        return list(self._devices.values())

    def series(self, device: DeviceState, info: PropertyInfo) -> tuple[SeriesState, bool]:
        """Return the series of a property, and whether it is new to the spool."""
        name = (device.number, info.key, info.value_type)
        number = self._numbers.get(name)
        is_new = number is None
        if number is None:
            number = self._numbers[name] = len(self._numbers)
            self._series[number] = (device.number, info.key, info.value_type.value)
        state = SeriesState(
            number,
            info.key,
            info.value_type,
            interval_ns=_interval_ns(info.archive_interval),
            is_scalar=info.value_type in _SCALARS,
        )
        return state, is_new

    def series_entry(self, number: int) -> list[Any]:
        """Return what explains a series in a segment."""
        return [entries.SERIES, number, *self._series[number]]

    def preamble(self) -> list[bytes]:
        """Return what each segment begins with; called from the thread that writes."""
        known = [state.entry() for state in self.devices() if state.epoch]
        series = [[entries.SERIES, number, *of] for number, of in list(self._series.items())]
        return list(in_records([*known, *series, [entries.READY]]))

    def recover(self, segments: Iterable[list[Record]]) -> None:
        """Take from a spool up to which message of each device everything is in it.

        Args:
            segments: their records, the newest segment first; the last of those with a complete
                beginning says it all.
        """
        needed: list[list[list[Any]]] = []
        for records in segments:
            found = [entry for record in records for entry in _entries_of(record)]
            needed.insert(0, found)
            if any(entry[0] == entries.READY for entry in found):
                break
        for segment in needed:
            self._replay(segment)

    def _replay(self, found: list[list[Any]]) -> None:
        numbers: dict[int, DeviceState] = {}
        for entry in found:
            kind = entry[0]
            if kind == entries.DEVICE:
                state = numbers[entry[1]] = self.device(entry[2])
                _begin_life(state, entry[3], entry[4], entry[5], entry[6])
            elif kind in (entries.VALUES, entries.SEEN) and entry[1] in numbers:
                state = numbers[entry[1]]
                _advance(state, entry[2])
                state.last_ns = state.noted_ns = max(state.last_ns, _known_until(entry))
            elif kind == entries.SCHEMA and entry[1] in numbers:
                _advance(numbers[entry[1]], entry[3])
                numbers[entry[1]].digest = entry[4]
                numbers[entry[1]].described_ns = entry[2]
            elif kind == entries.EVENT:
                _happened(self.device(entry[1]), entry[3], entry[2])


def _interval_ns(seconds: float) -> int:
    """Return an interval in ns; of what is no length of time, none: all values are stored."""
    return round(min(seconds, LONGEST_S) * 1e9) if seconds > 0 else 0


def _happened(state: DeviceState, kind: str, time_ns: int) -> None:
    if kind == EventKind.STOPPED:
        state.has_ended = True
    elif kind == EventKind.LIMITED:
        state.is_limited = True
    elif kind == EventKind.GAP:
        state.gap_ns = max(state.gap_ns, time_ns)


def _known_until(entry: list[Any]) -> int:
    """Return until when everything is known of a device, as an entry tells; 0 if it does not."""
    if entry[0] == entries.VALUES:
        row = entry[3][-1]
        return int(row[2] * 10**9 + row[3] // 10**9)
    return int(entry[3]) if len(entry) > _TIMELESS else 0


_TIMELESS: Final = 3
"""Fields of an entry SEEN that tells no time."""


def _begin_life(state: DeviceState, instance: bytes, epoch: int, seq: int, last_ns: int) -> None:
    if state.epoch != epoch:
        state.has_ended = False
        state.seq = state.durable = 0
    state.instance, state.epoch = instance, epoch
    state.last_ns = state.noted_ns = max(state.last_ns, last_ns)
    _advance(state, seq)


def _advance(state: DeviceState, seq: int) -> None:
    state.seq = state.durable = max(state.seq, seq)


def _entries_of(record: Record) -> list[list[Any]]:
    """Return the entries of a record; of one that cannot be understood, none."""
    try:
        found: list[list[Any]] = decode([record.payload], FILE_LIMITS)
    except PykaraboError:
        return []
    return found
