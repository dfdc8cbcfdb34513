"""From records of a spool to batches for the database."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pykarabo.data import Quality, ValueType
from pykarabo.errors import PykaraboError
from pykarabo_services.archiver import entries
from pykarabo_services.archiver.descriptions import Description
from pykarabo_services.archiver.entries import decode_entries, event_of
from pykarabo_services.archiver.importing import ImportedSample
from pykarabo_services.archiver.model import (
    QUALITY_CODES,
    Columns,
    DeviceEvent,
    EventKind,
    Mark,
    Sample,
    SampleFlag,
    converter,
    packed,
)
from pykarabo_services.archiver.spool import Record
from pykarabo_services.archiver.spool_reader import Damage
from pykarabo_services.archiver.store import Batch, SeriesKey, Tail, tail_of

_ATTO_PER_NS: Final = 10**9
_NS: Final = 10**9
_CODES: Final = {quality.value: code for quality, code in QUALITY_CODES.items()}
_INVALID: Final = QUALITY_CODES[Quality.INVALID]
_INT64: Final = 2**63
_PRESENT: Final = int(SampleFlag.PRESENT)


def _time_of(row: list[Any]) -> int:
    return int(min(row[2] * _NS + row[3] // _ATTO_PER_NS, _INT64 - 1))


@dataclass(slots=True)
class _Device:
    device_id: str
    instance: bytes
    epoch: int
    seq: int
    time_ns: int


@dataclass(slots=True)
class _Series:
    key: SeriesKey
    columns_of: Callable[[Any], Columns]
    tails: list[Tail] = field(default_factory=list[Tail])


class Intake:
    """Understands the entries of a spool.

    Args:
        archiver: the device whose spool it is.
        spool_id: of the spool.
        after: records up to this number are in the database; only their explanations count.
    """

    def __init__(
        self,
        archiver: str,
        spool_id: str,
        *,
        after: int,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._archiver = archiver
        self._spool_id = spool_id
        self._after = after
        self._clock_ns = clock_ns
        self._devices: dict[int, _Device] = {}
        self._series: dict[int, _Series] = {}
        self._in_doubt: set[int] = set()
        self._rows = 0
        self.batch = Batch()
        self.damaged_records = 0
        self._handlers: Mapping[int, Callable[[list[Any]], None]] = {
            entries.DEVICE: self._device,
            entries.SERIES: self._one_series,
            entries.READY: lambda _entry: None,
            entries.VALUES: self._values,
            entries.EVENT: self._event,
            entries.SCHEMA: self._schema,
            entries.SEEN: self._nothing,
            entries.IMPORT: self._import,
        }

    def take(self, item: Record | Damage) -> None:
        """Add a record, or that some are missing, to the batch."""
        if isinstance(item, Damage):
            self._damage(item.lost)
            return
        is_new = item.number > self._after
        try:
            found = decode_entries(item.payload)
        except PykaraboError:
            self._damage(1)
            return
        for entry in found:
            if is_new or entry[0] in (entries.DEVICE, entries.SERIES):
                self._handlers[entry[0]](entry)
        if is_new:
            self.batch.spool = (self._spool_id, self._archiver, item.number)

    @property
    def size(self) -> int:
        """How many samples wait to be given."""
        return self._rows

    def give(self) -> Batch:
        """Return what was taken, and begin anew."""
        for series in self._series.values():
            self._keep(series)
        batch, self.batch, self._rows = self.batch, Batch(), 0
        return batch

    def _keep(self, series: _Series | None) -> None:
        """Put what has come of a series into the batch."""
        if series is not None and series.tails:
            self.batch.by_series.setdefault(series.key, []).extend(series.tails)
            series.tails = []

    # -- entries --------------------------------------------------------------------------------

    def _device(self, entry: list[Any]) -> None:
        _kind, number, device_id, instance, epoch, seq, time_ns = entry
        known = self._devices.get(number)
        if (
            known is None or known.device_id != device_id
        ):  # an archiver that was restarted counts anew
            self._devices[number] = _Device(device_id, instance, epoch, seq, time_ns)
        elif known.epoch != epoch:
            known.instance, known.epoch, known.seq = instance, epoch, seq

    def _one_series(self, entry: list[Any]) -> None:
        _kind, number, device_number, key, value_type = entry
        device = self._devices.get(device_number)
        if device is None:
            return
        name = SeriesKey(device.device_id, key, value_type)
        before = self._series.get(number)
        if before is None or before.key != name:
            self._keep(before)
            self._series[number] = _Series(name, converter(ValueType(value_type)))

    def _values(self, entry: list[Any]) -> None:
        _kind, number, seq, rows = entry
        device = self._seen(number, seq, _time_of(rows[0]))
        if device is None:
            return
        epoch, known, unexplained = device.epoch, self._series, 0
        for place, value, seconds, fraction, train_id, quality, flags, step in rows:
            series = known.get(place)
            if series is None:
                unexplained += 1
                continue
            ns, rest = divmod(fraction, _ATTO_PER_NS)
            tail = (
                seconds * _NS + ns,
                epoch,
                seq,
                step,
                rest,
                train_id if train_id < _INT64 else train_id - 2 * _INT64,
                _CODES.get(quality, _INVALID),
                flags,
                *series.columns_of(value),
            )
            if flags & _PRESENT:
                self.batch.present.append((series.key, tail))
            else:
                series.tails.append(tail)
        self._rows += len(rows)
        device.time_ns = max(device.time_ns, _time_of(rows[-1]))
        if unexplained:
            self._reject(device, unexplained)

    def _event(self, entry: list[Any]) -> None:
        self.batch.events.append(event_of(entry))

    def _schema(self, entry: list[Any]) -> None:
        _kind, number, time_ns, seq, digest, wire, *since = entry
        device = self._seen(number, seq, time_ns)
        if device is not None:
            self.batch.descriptions.append(
                Description(device.device_id, time_ns, device.epoch, digest, packed(wire), *since)
            )

    def _nothing(self, entry: list[Any]) -> None:
        _kind, number, seq, *known = entry
        self._seen(number, seq, known[0] if known else 0)

    def _import(self, entry: list[Any]) -> None:
        _kind, device_id, key, type_name, rows = entry
        name, value_type = SeriesKey(device_id, key, type_name), ValueType(type_name)
        for row in rows:
            item = ImportedSample(*row)
            sample = Sample(
                time_ns=item.time_ns,
                value=item.value,
                train_id=item.train_id,
                quality=item.quality,
                flags=item.flags,
                epoch=item.epoch,
                seq=item.seq,
                step=item.step,
            )
            self.batch.samples.append((name, tail_of(value_type, sample)))
        self._rows += len(rows)

    def _seen(self, number: int, seq: int, time_ns: int) -> _Device | None:
        """Note that a message of a device is here; after damage, which ones are not."""
        device = self._devices.get(number)
        if device is None:  # it was explained in a record that is damaged
            return None
        if number in self._in_doubt:
            self._in_doubt.discard(number)
            if seq > device.seq + 1:
                self._gap(device, seq - device.seq - 1, max(time_ns, device.time_ns))
        device.seq, device.time_ns = max(device.seq, seq), max(device.time_ns, time_ns)
        self.batch.marks[device.device_id] = Mark(
            device.instance.hex(), device.epoch, device.seq, device.time_ns
        )
        return device

    # -- damage ---------------------------------------------------------------------------------

    def _gap(self, device: _Device, lost: int, until_ns: int) -> None:
        self.batch.events.append(
            DeviceEvent(
                device_id=device.device_id,
                time_ns=device.time_ns,
                until_ns=until_ns,
                kind=EventKind.GAP,
                epoch=device.epoch,
                lost=lost,
                reason="a record of the archiver's spool was damaged",
            )
        )

    def _reject(self, device: _Device, rows: int) -> None:
        self.batch.events.append(
            DeviceEvent(
                device_id=device.device_id,
                time_ns=device.time_ns,
                kind=EventKind.REJECTED,
                epoch=device.epoch,
                lost=rows,
                reason="what they are was in a record of the spool that is damaged",
            )
        )

    def _damage(self, records: int) -> None:
        self.damaged_records += records
        self._in_doubt = set(self._devices)
        self.batch.events.append(
            DeviceEvent(
                device_id=self._archiver,
                time_ns=self._clock_ns(),
                kind=EventKind.DAMAGED,
                lost=records,
                reason="records of the spool could not be read",
            )
        )
