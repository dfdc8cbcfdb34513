"""The archive of a pump, of which the tests know every sample."""

import contextlib
import math
from collections.abc import AsyncGenerator
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection

from pykarabo.data import CommandInfo, PropertyInfo, Schema, Timestamp, ValueType
from pykarabo_services.archiver.compaction import compact, crowded
from pykarabo_services.archiver.descriptions import Description
from pykarabo_services.archiver.model import (
    DeviceEvent,
    EventKind,
    Mark,
    Sample,
    packed,
)
from pykarabo_services.archiver.store import (
    STORE,
    Batch,
    SeriesKey,
    SeriesNumbers,
    tail_of,
    write,
)
from pykarabo_services.kernel.database import Database, Place

SECOND: Final = 10**9
START: Final = 1_790_000_000 * SECOND
PUMP: Final = "VAC/PUMP/1"
COUNT: Final = 3000
FIRST_TRAIN: Final = 5_000_000


def info(key: str, value_type: ValueType, **more: Any) -> PropertyInfo:
    return PropertyInfo(key=key, value_type=value_type, **more)


PROPERTIES: Final = (
    info("pressure", ValueType.FLOAT64, unit="mbar"),
    info("mode", ValueType.STRING),
    info("spectrum", ValueType.VECTOR_FLOAT64),
    info("speed", ValueType.INT32, unit="rpm"),
)


def schema(*properties: PropertyInfo) -> Schema:
    return Schema(
        class_id="Pump",
        description="A pump.",
        properties={item.key: item for item in properties},
        commands=dict[str, CommandInfo](),
        outputs={},
    )


def samples_of(key: str, value_type: ValueType, samples: list[Sample]) -> list[Any]:
    return [(SeriesKey(PUMP, key, value_type.value), tail_of(value_type, item)) for item in samples]


def described(time_ns: int, epoch: int, *properties: PropertyInfo) -> Description:
    return Description(
        PUMP, time_ns, epoch, f"digest{time_ns}", packed(schema(*properties).to_wire())
    )


def pressures() -> list[Sample]:
    """One a second, in each of which ten trains pass; the first half will be chunks."""
    return [
        Sample(
            START + number * SECOND,
            math.sin(number / 50),
            train_id=FIRST_TRAIN + 10 * number,
            quality=2 if number % 100 == 0 else 0,
            epoch=1,
            seq=number,
        )
        for number in range(COUNT)
    ]


def contents() -> Batch:
    modes = [
        Sample(START + number * 100 * SECOND, f"mode {number}", epoch=1, seq=number)
        for number in range(30)
    ]
    spectra = [
        Sample(START + number * SECOND, np.arange(number, number + 5, dtype=np.float64), epoch=1)
        for number in range(20)
    ]
    speeds = [Sample(START + 7, 300, epoch=1), Sample(START + 2000 * SECOND, 600, epoch=1)]
    turns = [
        (ValueType.INT64, 2**60 + 1),
        (ValueType.UINT64, 2**64 - 1),
        (ValueType.FLOAT64, 0.5),
        (ValueType.BOOL, True),
    ]
    batch = Batch(
        samples_of("pressure", ValueType.FLOAT64, pressures())
        + samples_of("mode", ValueType.STRING, modes)
        + samples_of("spectrum", ValueType.VECTOR_FLOAT64, spectra)
        + samples_of("speed", ValueType.INT32, speeds)
        + samples_of("speed", ValueType.STRING, [Sample(START + 1000 * SECOND, "fast", epoch=1)])
    )
    for number, (value_type, value) in enumerate(turns):
        batch.samples.extend(
            samples_of("turns", value_type, [Sample(START + number * SECOND, value, epoch=1)])
        )
    batch.descriptions.append(described(START, 1, *PROPERTIES))
    batch.descriptions.append(described(START + 2500 * SECOND, 1, *PROPERTIES[:2]))
    batch.events.append(DeviceEvent(device_id=PUMP, time_ns=START - 1, kind=EventKind.STARTED))
    batch.events.append(
        DeviceEvent(
            device_id=PUMP,
            time_ns=START + 100 * SECOND,
            until_ns=START + 110 * SECOND,
            kind=EventKind.GAP,
            lost=4,
            reason="the archiver was restarted",
        )
    )
    batch.events.append(
        DeviceEvent(device_id=PUMP, time_ns=START + 2900 * SECOND, kind=EventKind.STOPPED)
    )
    batch.marks[PUMP] = Mark("00" * 16, 1, COUNT - 1, START + COUNT * SECOND)
    return batch


def fill(connection: Connection) -> None:
    write(connection, contents(), SeriesNumbers())
    half_ns = START + COUNT // 2 * SECOND
    for item in crowded(connection, half_ns):
        while compact(connection, item, half_ns, START + 10**17):
            pass


@contextlib.asynccontextmanager
async def archive(place: Place) -> AsyncGenerator[Database]:
    """Open the database of an archive for writing."""
    database = Database(STORE, place)
    await database.open()
    try:
        yield database
    finally:
        await database.aclose()


def moment(seconds: float) -> Timestamp:
    return Timestamp.from_ns(START + round(seconds * SECOND))
