"""What a directory knows: device servers and their devices, as plain frozen data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar

from pykarabo.errors import InvalidNameError, MalformedMessageError

DIRECTORY_ID: Final = "DIRECTORY"
"""The device id of a domain's directory."""
PAGE: Final = 2_000
"""Device records in one message; with 17 values each, within its limits."""
DEVICE_ID_PATTERN: Final = "[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*"
_DEVICE_ID: Final = re.compile(DEVICE_ID_PATTERN)
MAX_DEVICE_ID: Final = 128

_R = TypeVar("_R", bound="ServerRecord | DeviceRecord")


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A device server process.

    Attributes:
        server_id: its device id.
        instance: hex of the 16 bytes of this life.
        epoch: start in ns since 1970 UTC.
        rpc, events, data: endpoints of calls, event streams and pipelines.
        classes: the device classes that it can instantiate.
    """

    server_id: str
    instance: str
    epoch: int
    host: str
    pid: int
    user: str
    version: str
    rpc: str
    events: str
    data: str
    classes: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the record as a plain map."""
        return _plain(self) | {"classes": list(self.classes)}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "ServerRecord":
        """Rebuild a record; raises `MalformedMessageError`."""
        return _rebuild(cls, {**wire, "classes": tuple(wire.get("classes", ()))})


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A device, with all that is needed to reach it.

    Attributes:
        instance: hex of the 16 bytes of this life.
        epoch: start in ns since 1970 UTC.
        version: grows with every change; its server chooses it.
        status: liveness of its server: ``online``, ``busy``, ``suspect`` or ``gone``; ``cached``
            when no directory could be asked and this is what it said last.
        fence: the number under which the id was claimed; a later claim has a larger one.
        tags: free words to select by.
    """

    device_id: str
    class_id: str
    server_id: str
    instance: str
    epoch: int
    host: str = ""
    pid: int = 0
    state: str = "UNKNOWN"
    status: str = "online"
    rpc: str = ""
    events: str = ""
    data: str = ""
    fence: int = 0
    version: int = 0
    tags: tuple[str, ...] = field(default=())

    def to_wire(self) -> dict[str, Any]:
        """Return the record as a plain map."""
        return _plain(self) | {"tags": list(self.tags)}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "DeviceRecord":
        """Rebuild a record; raises `MalformedMessageError`."""
        return _rebuild(cls, {**wire, "tags": tuple(wire.get("tags", ()))})


_NAMES: Final[Mapping[type, tuple[str, ...]]] = {
    cls: tuple(item.name for item in fields(cls)) for cls in (ServerRecord, DeviceRecord)
}


def _plain(record: ServerRecord | DeviceRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _NAMES[type(record)]}


def _rebuild(cls: type[_R], wire: Mapping[str, Any]) -> _R:
    try:
        return cls(**{name: wire[name] for name in _NAMES[cls] if name in wire})
    except TypeError:
        raise MalformedMessageError(
            f"a {cls.__name__} lacks fields", remedy="update pykarabo on both sides"
        ) from None


def own_server_id(server_id: str, device_id: str) -> str:
    """Return the id of the server that a device of `server_id` has in a process of its own."""
    return f"{server_id}/{device_id}"


def check_device_id(device_id: str) -> str:
    """Return `device_id` if it is one.

    Raises:
        InvalidNameError: other characters than letters, digits, ``_``, ``-``, ``/``, or too long.
    """
    if len(device_id) > MAX_DEVICE_ID or not _DEVICE_ID.fullmatch(device_id):
        raise InvalidNameError(
            f"'{device_id}' is no device id",
            remedy="use letters, digits, '_' and '-', in parts separated by '/': 'DOMAIN/TYPE/1'",
        )
    return device_id


def split_target(target: str) -> tuple[str, str | None]:
    """Split ``DEV.some.key`` into device id and key, ``DEV`` into device id and None.

    Raises:
        InvalidNameError: the part before the first dot is no device id.
    """
    device_id, dot, key = target.partition(".")
    return check_device_id(device_id), key if dot and key else None
