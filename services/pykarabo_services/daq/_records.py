"""From trains to rows: what the next batch adds to every dataset, and what did not fit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pykarabo.data import PropertyValue
from pykarabo_services.daq._items import OutputLayout, full_key
from pykarabo_services.daq.layout import Column, Group, Row
from pykarabo_services.kernel.losses import LossCounter, LossReason
from pykarabo_services.kernel.trains import Train, TrainItem


class Segment(NamedTuple):
    """One value of a control column, from a row of the file on."""

    start: int
    row: Row
    timestamp_ns: int


class ControlColumn:
    """A control property while it is recorded: `segments` are the values not yet in the file."""

    __slots__ = ("changed", "column", "fits", "segments", "value")

    def __init__(self, column: Column, value: PropertyValue | None, timestamp_ns: int) -> None:
        self.column = column
        self.value = value
        row = None if value is None else column.convert(value.value)
        self.fits = row is not None
        self.changed = False
        first = column.blank() if row is None else row
        self.segments = [Segment(0, first, timestamp_ns)]

    @property
    def last(self) -> Segment:
        """The newest value."""
        return self.segments[-1]

    def change(self, value: PropertyValue, *, row: int, train_ns: int) -> bool:
        """Take a new value from a row on; False when its time is before that of the last one.

        A value without a time gets that of its train.
        """
        converted = self.column.convert(value.value)
        self.value = value
        self.fits = converted is not None
        self.changed = True
        time_ns = value.timestamp.to_ns() or max(train_ns, self.last.timestamp_ns)
        segment = Segment(
            row,
            self.column.blank() if converted is None else converted,
            max(time_ns, self.last.timestamp_ns),
        )
        if self.last.start == row:
            self.segments[-1] = segment
        else:
            self.segments.append(segment)
        return time_ns == segment.timestamp_ns

    def restart(self, row: int) -> None:
        """Keep the newest value only, valid from a row on."""
        self.segments = [self.last._replace(start=row)]
        self.changed = False


class ControlRecorder:
    """The columns of one device."""

    __slots__ = ("_losses", "_seen", "_skipped", "columns", "device_id")

    def __init__(
        self,
        device_id: str,
        columns: Mapping[str, ControlColumn],
        *,
        skipped: Sequence[str],
        losses: LossCounter,
    ) -> None:
        self.device_id = device_id
        self.columns = columns
        self._skipped = frozenset(skipped)
        self._losses = losses
        self._seen: Mapping[str, PropertyValue] | None = None

    def stage(self, train: Train, *, row: int) -> None:
        """Take a device's values in a train; without any, the last ones are repeated."""
        values = train.controls.get(self.device_id)
        if values is not None and values is not self._seen:
            for key, value in values.items():
                self._change(train, key, value, row)
            self._seen = values
        for key, column in self.columns.items():
            if not column.fits and column.value is not None:
                self._lose(LossReason.UNFIT, train, key)

    def restart(self) -> None:
        """Begin a new file with the newest values."""
        for column in self.columns.values():
            column.restart(0)

    def _change(self, train: Train, key: str, value: PropertyValue, row: int) -> None:
        column = self.columns.get(key)
        if column is None:
            if key not in self._skipped:
                self._lose(LossReason.UNDECLARED, train, key)
            return
        if column.value is value or column.change(value, row=row, train_ns=train.time_ns):
            return
        self._lose(LossReason.CLAMPED, train, key)

    def _lose(self, reason: LossReason, train: Train, key: str) -> None:
        self._losses.add(self.device_id, reason, train_id=train.train_id, key=key)


class GroupRows:
    """The entries of one index group that are not yet in the file."""

    __slots__ = ("counts", "group", "keys", "parts", "train_ids")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.keys = {f"{group.name}.{column.key}": column for column in group.columns}
        self.clear()

    def clear(self) -> None:
        """Forget the entries, which are in the file now."""
        self.counts: list[int] = []
        self.train_ids: list[int] = []
        # Per column, arrays whose first axis counts entries.
        self.parts: list[list[Row]] = [[] for _ in self.group.columns]

    @property
    def entries(self) -> int:
        """How many entries wait."""
        return len(self.train_ids)


class OutputRecorder:
    """The datasets of one output; `rows` is empty as long as no item has shown their types."""

    __slots__ = ("_known", "_losses", "entries", "layout", "rows")

    def __init__(self, layout: OutputLayout, losses: LossCounter) -> None:
        self.layout = layout
        self._losses = losses
        self.entries = 0
        self.rows: dict[str, GroupRows] = {}
        self._known: frozenset[str] = frozenset()
        self._prepare()

    def _prepare(self) -> None:
        groups = self.layout.groups or {}
        self.rows = {name: GroupRows(group) for name, group in groups.items()}
        keys = [key for rows in self.rows.values() for key in rows.keys]
        self._known = frozenset((*keys, *self.layout.skipped))

    @property
    def is_settled(self) -> bool:
        """Whether the datasets are known."""
        return self.layout.groups is not None

    def resolve(self, item: TrainItem) -> bool:
        """Fix the datasets by an item; True when that was needed."""
        if not self.layout.resolve(item.data):
            return False
        self._prepare()
        return True

    def stage(self, train_id: int, items: Sequence[TrainItem]) -> None:
        """Take the items of a train."""
        before = {name: rows.entries for name, rows in self.rows.items()}
        for item in items:
            values = {full_key(key): value for key, value in item.data.items()}
            for key in values.keys() - self._known:
                self._lose(LossReason.UNDECLARED, train_id, key)
            for rows in self.rows.values():
                if not rows.keys.keys().isdisjoint(values):
                    self._stage_entries(rows, train_id, values)
            self.entries += 1
        for name, rows in self.rows.items():
            rows.counts.append(rows.entries - before[name])

    def _stage_entries(self, rows: GroupRows, train_id: int, values: Mapping[str, Any]) -> None:
        count = _pulse_count(rows, values) if rows.group.pulses else 1
        for (key, column), parts in zip(rows.keys.items(), rows.parts, strict=True):
            if key in values:
                found = _entries(column, values[key], count, pulses=rows.group.pulses)
                reason = LossReason.UNFIT
            else:
                found, reason = None, LossReason.ABSENT
            if found is None:
                self._lose(reason, train_id, key)
                found = np.repeat(column.blank()[np.newaxis], count, axis=0)
            parts.append(found)
        rows.train_ids.extend([train_id] * count)

    def _lose(self, reason: LossReason, train_id: int, key: str) -> None:
        self._losses.add(self.layout.name, reason, train_id=train_id, key=key)


def _pulse_count(rows: GroupRows, values: Mapping[str, Any]) -> int:
    lengths = [
        len(values[key])
        for key in rows.keys
        if isinstance(values.get(key), np.ndarray) and values[key].ndim > 0
    ]
    return max(lengths, default=0)


def _entries(column: Column, value: Any, count: int, *, pulses: bool) -> Row | None:
    """Return a value as `count` rows, None when it does not fit; one value serves all pulses."""
    found = column.convert_entries(value) if pulses else None
    if found is None:
        row = column.convert(value)
        found = None if row is None else row[np.newaxis]
        found = found if found is None or count == 1 else np.repeat(found, count, axis=0)
    return found if found is not None and len(found) == count else None
