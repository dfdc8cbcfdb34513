"""What a device gets from the server that hosts it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykarabo.client import Client, DomainMode
from pykarabo.data import PropertyValue, TrainReference
from pykarabo.transport import Clock

if TYPE_CHECKING:
    from ._device import Device
    from ._pipelines import PipelineHost


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """The surroundings of one device.

    Attributes:
        instance: 16 random bytes of this life.
        epoch: start of this life in ns since 1970 UTC.
        publish: takes the device and its changes, in the event loop's thread.
        publish_schema: takes a device that has another schema now, likewise.
        memory: directory of what devices remember; None in a process that remembers nothing.
        mode: tells whether the domain may be changed.
        attributes: those of its properties that it is given, by property and name.
        train_reference: tells the relation of time and train ids, None without a time source.
    """

    device_id: str
    server_id: str
    host: str
    pid: int
    instance: bytes
    epoch: int
    clock: Clock
    client: Client
    publish: Callable[["Device", list[tuple[str, PropertyValue]]], None]
    publish_schema: Callable[["Device"], None]
    pipelines: "PipelineHost"
    train_reference: Callable[[], TrainReference | None]
    memory: Path | None = None
    mode: Callable[[], DomainMode] = DomainMode
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
