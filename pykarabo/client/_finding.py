"""Finding devices and servers, starting and stopping devices: the steps of both kinds of client."""

import fnmatch
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from pykarabo.data import Schema, State, flat_configuration
from pykarabo.errors import (
    CallTimeoutError,
    ConnectionLostError,
    NotAnOptionError,
    NotConnectedError,
    UnknownDeviceError,
    did_you_mean,
)
from pykarabo.wire import Call, Get, GetSchema

from ._namespace import checked
from ._records import DeviceRecord, ServerRecord
from ._steps import Ask, AskDirectory, Pause, Steps

SERVER_CLASS: Final = "DeviceServer"
_LOOK_S: Final = 0.05
_GONE: Final = "gone"
_NOT_THERE: Final = (UnknownDeviceError, NotConnectedError, ConnectionLostError)


class DeviceFilter(TypedDict, total=False):
    """Which devices are wanted; without an entry any will do.

    Attributes:
        class_id, server, host: shell patterns.
        state: or one derived from it: ``State.CHANGING`` finds devices that are MOVING.
        tag: a word that the device was tagged with.
        interface: name of an interface that it keeps, such as ``Motor``; a tag as well.
        has: properties and commands that it must have, by dotted name; each device is asked.
        gone: list also devices whose server is gone.
    """

    class_id: str
    server: str
    host: str
    state: State | str
    tag: str
    interface: str
    has: Sequence[str]
    gone: bool


def _is_wanted(record: DeviceRecord, wanted: DeviceFilter) -> bool:
    patterns = (
        (record.class_id, wanted.get("class_id", "*")),
        (record.server_id, wanted.get("server", "*")),
        (record.host, wanted.get("host", "*")),
    )
    return (
        (record.status != _GONE or wanted.get("gone", False))
        and all(fnmatch.fnmatchcase(value, pattern) for value, pattern in patterns)
        and all(tag in record.tags for tag in _tags(wanted))
        and ("state" not in wanted or _is_in(record.state, _state(wanted["state"])))
    )


def _tags(wanted: DeviceFilter) -> list[str]:
    tags = [wanted["tag"]] if "tag" in wanted else []
    return [*tags, f"interface:{wanted['interface']}"] if "interface" in wanted else tags


def _state(name: State | str) -> State:
    try:
        return State(name)
    except ValueError:
        raise NotAnOptionError(
            f"there is no state '{name}'", remedy=did_you_mean(name, list(State)) or None
        ) from None


def _is_in(name: str, state: State) -> bool:
    try:
        return State(name).is_derived_from(state)
    except ValueError:  # a state of a later version
        return name == state


def finding_devices(pattern: str, wanted: DeviceFilter) -> Steps[list[DeviceRecord]]:
    """Find devices; see `DeviceFilter`."""
    if "state" in wanted:
        _state(wanted["state"])
    found = yield AskDirectory("topology", (pattern,))
    records = [DeviceRecord.from_wire(record) for record in found["devices"]]
    chosen = [record for record in records if _is_wanted(record, wanted)]
    names = wanted.get("has", ())
    if not names:
        return chosen
    having: list[DeviceRecord] = []
    for record in chosen:
        try:
            wire = yield Ask(record.device_id, GetSchema(record.device_id))
        except _NOT_THERE:
            continue
        schema = Schema.from_wire(wire)
        if all(name in schema.properties or name in schema.commands for name in names):
            having.append(record)
    return having


def finding_servers(pattern: str, class_id: str | None, host: str) -> Steps[list[ServerRecord]]:
    """Find device servers that have a class on offer."""
    found = yield AskDirectory("topology", ("*",))
    records = [ServerRecord.from_wire(record) for record in found["servers"]]
    return [
        record
        for record in records
        if fnmatch.fnmatchcase(record.server_id, pattern)
        and fnmatch.fnmatchcase(record.host, host)
        and (class_id is None or class_id in record.classes)
    ]


def listing_classes(server: str | None) -> Steps[list[str]]:
    """List the classes that a server, or any of them, can instantiate."""
    if server is not None:
        names = yield Ask(server, Call(server, "classes"))
        return sorted(names)
    servers = yield from finding_servers("*", None, "*")
    return sorted({name for record in servers for name in record.classes})


def starting(
    server: str,
    class_id: str,
    device_id: str,
    configuration: Mapping[str, Any],
    timeout_s: float,
) -> Steps[DeviceRecord]:
    """Start a device and wait until others find it and it answers."""
    deadline = time.monotonic() + timeout_s
    wire = yield Ask(server, Call(server, "class_schema", [class_id]))
    schema = Schema.from_wire(wire)
    plain = checked(schema, device_id, flat_configuration(schema, configuration, device_id))
    call = Call(server, "instantiate", [class_id, device_id, plain])
    yield Ask(server, call, timeout_s)
    while time.monotonic() < deadline:
        try:
            found = yield AskDirectory("resolve", (device_id,))
            record = DeviceRecord.from_wire(found)
            yield Ask(device_id, Get(device_id, ["state"]))
        except _NOT_THERE:
            yield Pause(_LOOK_S)
        else:
            return record
    raise CallTimeoutError(
        f"device '{device_id}' was started but does not answer after {timeout_s:g} s",
        device=device_id,
        remedy=f"look at the log of server '{server}'",
    )


def stopping(device_id: str, timeout_s: float) -> Steps[None]:
    """Stop a device, or a server with all of its devices, and wait until it is gone."""
    deadline = time.monotonic() + timeout_s
    found = yield AskDirectory("resolve", (device_id,))
    record = DeviceRecord.from_wire(found)
    if record.class_id == SERVER_CLASS:
        call = Call(device_id, "shutdown")
        yield Ask(device_id, call, timeout_s)
    else:
        call = Call(record.server_id, "shutdown_device", [device_id])
        yield Ask(record.server_id, call, timeout_s)
    while time.monotonic() < deadline:
        try:
            found = yield AskDirectory("resolve", (device_id,))
        except _NOT_THERE:
            return
        now = DeviceRecord.from_wire(found)
        if now.instance != record.instance or now.status == _GONE:
            return
        yield Pause(_LOOK_S)
    raise CallTimeoutError(
        f"'{device_id}' is still stopping after {timeout_s:g} s",
        device=device_id,
        remedy="look at its log; 'pykarabo down' ends a server by force",
    )
