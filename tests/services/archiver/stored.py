"""Archives with known contents, and what a reader of them must find."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, insert

from pykarabo.data import ValueType
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.codec import encode_chunk
from pykarabo_services.archiver.columns import objects
from pykarabo_services.archiver.model import (
    VALUE_COLUMNS,
    DeviceEvent,
    Sample,
    Series,
    is_number,
    to_columns,
)
from pykarabo_services.archiver.reading import ArchivedProperty
from pykarabo_services.archiver.samples import Pieces, Samples

DEVICE: Final = "LAB/PUMP/1"
KEY: Final = "pressure"


@dataclass(slots=True)
class Stored:
    """Fills the tables of an archive by hand."""

    connection: Connection
    series: dict[tuple[str, str, ValueType], Series] = field(default_factory=dict)

    def series_of(
        self, value_type: ValueType, *, key: str = KEY, device_id: str = DEVICE
    ) -> Series:
        name = (device_id, key, value_type)
        if name not in self.series:
            number = len(self.series) + 1
            self.connection.execute(
                insert(tables.series).values(
                    id=number, device_id=device_id, key=key, value_type=value_type.value
                )
            )
            self.series[name] = Series(number, device_id, key, value_type)
        return self.series[name]

    def rows(self, series: Series, samples: Iterable[Sample]) -> None:
        for sample in samples:
            columns = to_columns(series.value_type, sample.value)
            self.connection.execute(
                insert(tables.sample).values(
                    series_id=series.id,
                    **{name: value for name, value in sample._asdict().items() if name != "value"},
                    **dict(zip(VALUE_COLUMNS, columns, strict=True)),
                )
            )

    def chunk(self, series: Series, samples: Sequence[Sample]) -> None:
        if not samples:
            return
        first_ns = samples[0].time_ns
        blob = encode_chunk(series.value_type, samples)
        data = insert(tables.chunk_data).values(series_id=series.id, first_ns=first_ns, data=blob)
        self.connection.execute(data)
        summary = _summary(samples) if is_number(series.value_type) else {"numbers": 0}
        self.connection.execute(
            insert(tables.chunk).values(
                series_id=series.id,
                first_ns=first_ns,
                last_ns=samples[-1].time_ns,
                last_epoch=samples[-1].epoch,
                count=len(samples),
                worst_quality=max(sample.quality for sample in samples),
                **summary,
            )
        )

    def event(self, event: DeviceEvent) -> None:
        self.connection.execute(
            insert(tables.event).values(
                device_id=event.device_id,
                time_ns=event.time_ns,
                kind=event.kind.value,
                key=event.key,
                epoch=event.epoch,
                until_ns=event.until_ns,
                lost=event.lost,
                reason=event.reason,
                details=event.details_text(),
            )
        )

    def property(self, *value_types: ValueType) -> ArchivedProperty:
        series = [self.series_of(value_type) for value_type in value_types]
        return ArchivedProperty(self.connection, DEVICE, series)


def _summary(samples: Sequence[Sample]) -> dict[str, Any]:
    piece = Pieces.of_runs(as_columns(samples), np.array([0]))
    names = ("minimum", "min_ns", "maximum", "max_ns", "total", "m2")
    summary: dict[str, Any] = {name: getattr(piece, name)[0].item() for name in names}
    summary |= {"first_value": piece.first[0].item(), "last_value": piece.last[0].item()}
    known = {name: None if math.isnan(value) else value for name, value in summary.items()}
    return known | {"numbers": piece.finite[0].item()}


def as_columns(samples: Sequence[Sample]) -> Samples:
    """Return samples as columns, of floats."""
    values = [np.nan if sample.value is None else float(sample.value) for sample in samples]
    return Samples(
        time_ns=np.array([sample.time_ns for sample in samples], np.int64),
        values=np.array(values, np.float64),
        quality=np.array([sample.quality for sample in samples], np.uint8),
        train_id=np.array([sample.train_id for sample in samples], np.int64),
        flags=np.array([sample.flags for sample in samples], np.uint8),
        epoch=np.array([sample.epoch for sample in samples], np.int64),
        seq=np.array([sample.seq for sample in samples], np.int64),
        step=np.array([sample.step for sample in samples], np.int64),
    )


def plain(samples: Samples) -> list[Sample]:
    """Return columns as samples."""
    columns = (
        samples.time_ns,
        samples.values,
        np.zeros(len(samples), np.int64),
        samples.train_id,
        samples.quality,
        samples.flags,
        samples.epoch,
        samples.seq,
        samples.step,
    )
    return [Sample(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


__all__ = ["DEVICE", "KEY", "Stored", "as_columns", "objects", "plain"]
