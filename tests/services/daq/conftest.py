"""A facility of two devices and two outputs whose runs the tests record and read again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pykarabo.data import (
    AccessMode,
    OutputInfo,
    PropertyInfo,
    PropertyValue,
    Schema,
    Timestamp,
    ValueType,
)
from pykarabo_services.daq.model import (
    ControlSource,
    InstrumentSource,
    RunManifest,
    RunSettings,
    SpaceLimits,
)
from pykarabo_services.daq.store import RunDirectories, RunWriter
from pykarabo_services.kernel.trains import Train, TrainItem

PERIOD_NS = 100_000_000
START_NS = 1_790_000_000_000_000_000
FIRST_TRAIN = 10_000_000_001
NO_LIMITS = SpaceLimits(start_bytes=0, stop_bytes=0)

MOTOR = "SPB/MOTOR/1"
CAMERA = "SPB/CAM/1:daqOutput"


def info(key: str, value_type: str, **fields: Any) -> PropertyInfo:
    return PropertyInfo(key=key, value_type=ValueType(value_type), **fields)


MOTOR_PROPERTIES = (
    info("actualPosition", "float64", unit="mm", label="Position", description="Where it is"),
    info("isOnTarget", "bool"),
    info("state", "state"),
    info("name", "string", access_mode=AccessMode.INIT_ONLY),
    info("limits", "vector_float64", max_size=4, unit="mm"),
    info("labels", "vector_string", max_size=3),
    info("flags", "vector_bool", max_size=3),
    info("drive", "hash", node=True),
    info("drive.current", "float32", unit="mA"),
    info("drive.step", "int32", alias="0x1234"),
    info("table", "hash"),
    info("secret", "int64", daq=False),
)
MOTOR_VALUES: Mapping[str, Any] = {
    "actualPosition": 1.25,
    "isOnTarget": True,
    "state": "ON",
    "name": "a motor",
    "limits": np.array([-5.0, 5.0]),
    "labels": ["µ", "two"],
    "flags": np.array([True, False]),
    "drive.current": 2.5,
    "drive.step": -3,
    "table": {"a": 1},
    "secret": 42,
}
CAMERA_OUTPUT = OutputInfo(
    name="daqOutput",
    description="Images",
    properties=(
        info("data", "hash", node=True),
        info("data.image", "hash", node=True),
        info("data.image.pixels", "array", dtype="uint16", shape=(16, 24), unit="count"),
        info("data.exposure", "float64", unit="ms"),
        info("data.bright", "bool"),
    ),
)


class Facility:
    """Builds sources and trains, and records them below one data directory."""

    def __init__(self, directory: Path) -> None:
        self.runs = RunDirectories(directory, limits=NO_LIMITS)
        self.directory = directory
        self.initial = self.stamped(MOTOR_VALUES, FIRST_TRAIN - 10)
        self.values = self.initial

    def stamped(self, values: Mapping[str, Any], train_id: int) -> dict[str, PropertyValue]:
        stamp = self.stamp(train_id)
        return {key: PropertyValue(value, stamp) for key, value in values.items()}

    def stamp(self, train_id: int) -> Timestamp:
        return Timestamp.from_ns(self.time_of(train_id), train_id)

    def time_of(self, train_id: int) -> int:
        return START_NS + (train_id - FIRST_TRAIN) * PERIOD_NS

    def motor(self, *extra: PropertyInfo) -> ControlSource:
        properties = {prop.key: prop for prop in (*MOTOR_PROPERTIES, *extra)}
        schema = Schema(
            class_id="Motor",
            description="A motor.",
            properties=properties,
            commands={},
            outputs={},
        )
        return ControlSource(MOTOR, schema, self.initial)

    def camera(self, output: OutputInfo | None = CAMERA_OUTPUT) -> InstrumentSource:
        return InstrumentSource(CAMERA, output)

    def begin(
        self,
        *,
        controls: Sequence[ControlSource] | None = None,
        instruments: Sequence[InstrumentSource] | None = None,
        **settings: Any,
    ) -> RunWriter:
        return self.runs.begin(
            RunSettings(proposal=900123, **settings),
            controls=[self.motor()] if controls is None else controls,
            instruments=[self.camera()] if instruments is None else instruments,
            started_ns=START_NS,
        )

    def image(self, train_id: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng(train_id).integers(0, 1 << 16, (16, 24)).astype(np.uint16)

    def camera_item(self, train_id: int) -> dict[str, Any]:
        return {
            "data.image.pixels": self.image(train_id),
            "data.exposure": train_id / 7,
            "data.bright": train_id % 2 == 0,
        }

    def train(
        self,
        train_id: int,
        *,
        items: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        controls: Mapping[str, Any] | None = None,
        suspect: bool = False,
        origin: str | None = None,
    ) -> Train:
        """Return a train; `controls` are motor values that change in it."""
        if items is None:
            items = {CAMERA: [self.camera_item(train_id)]}
        if controls:
            self.values = {**self.values, **self.stamped(controls, train_id)}
        stamp = self.stamp(train_id)
        return Train(
            train_id=train_id,
            time_ns=self.time_of(train_id),
            controls={MOTOR: self.values},
            items={
                name: tuple(TrainItem(data, stamp) for data in parts)
                for name, parts in items.items()
            },
            suspect=suspect,
            origin=origin,
        )

    def finish(self, writer: RunWriter) -> RunManifest:
        return writer.close(START_NS + 3_600 * 10**9)

    def record(self, trains: Sequence[Train], **options: Any) -> Path:
        """Record trains and return the run's directory."""
        writer = self.begin(**options)
        for train in trains:
            writer.write(train)
        return Path(self.finish(writer).directory)


@pytest.fixture
def facility(tmp_path: Path) -> Facility:
    return Facility(tmp_path / "raw")
