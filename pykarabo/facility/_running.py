"""What runs in a domain, in the words of a facility file."""

import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pykarabo.client import BlockingClient, DeviceProxy, DeviceRecord
from pykarabo.data import PropertyValue, Schema, live_configuration
from pykarabo.errors import PykaraboError, UnknownPropertyError

from ._file import Facility, FacilityDevice, FacilityServer, NamedConfiguration

PROGRAM: Final = "server start"
SERVER_CLASS: Final = "DeviceServer"
STORE_CLASS: Final = "ConfigurationStore"
_WANTED: Final = ("start_options", "processes")
_GIVEN: Final = "given_attributes"
_GONE: Final = "gone"


@dataclass(frozen=True, slots=True)
class RunningDevice:
    """A device of a server.

    Attributes:
        schema: that of its class.
        configuration: all that it is configured with now, by dotted key.
        read: its properties as they were read.
        left_out: why a property that can be configured is not in its configuration.
        attributes: those that it was given, by property; None where its server is older than such.
    """

    device_id: str
    class_id: str
    own_process: bool
    schema: Schema
    configuration: Mapping[str, Any]
    read: Mapping[str, PropertyValue]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    attributes: Mapping[str, Mapping[str, Any]] | None = field(
        default_factory=dict[str, Mapping[str, Any]]
    )


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server process that a facility file can describe.

    Attributes:
        options: how it was started; without devices.
        is_here: whether it runs on this host.
        gives_attributes: whether it can give its devices any; older ones cannot.
    """

    server_id: str
    host: str
    is_here: bool
    options: FacilityServer
    time_source: str | None
    devices: Mapping[str, RunningDevice]
    gives_attributes: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """A domain as it runs.

    Attributes:
        others: devices that no facility file can describe, such as those of a notebook, with their
            servers.
        configurations: what the store keeps; None where none runs.
        store: its device id.
        gone: servers and devices that the directory still knows, and that do not live.
        silent: servers and devices that do not answer, and the error.
    """

    servers: Mapping[str, RunningServer] = field(default_factory=dict[str, RunningServer])
    others: Mapping[str, str] = field(default_factory=dict[str, str])
    configurations: Mapping[str, Mapping[str, NamedConfiguration]] | None = None
    store: str | None = None
    gone: Mapping[str, DeviceRecord] = field(default_factory=dict[str, DeviceRecord])
    silent: Mapping[str, PykaraboError] = field(default_factory=dict[str, PykaraboError])

    @property
    def homes(self) -> dict[str, str]:
        """The server of each device."""
        return {
            device_id: server_id
            for server_id, server in self.servers.items()
            for device_id in server.devices
        }

    def require_answers(self) -> None:
        """Raise why a server or device does not answer: nobody knows how it differs."""
        for error in self.silent.values():
            raise error


def start_options(
    classes: tuple[str, ...] | None, ports: Mapping[str, int], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of `pykarabo server start` in the words of a facility file."""
    told: dict[str, Any] = {
        "classes": None if classes is None else list(classes),
        "host": options.get("host"),
        "advertise": options.get("advertise"),
        "ports": {name: port for name, port in ports.items() if port},
        "trusted_networks": list(options.get("trusted_networks", ())),
        "memory": options.get("memory_mib"),
        "time_source": options.get("time_source"),
        "directory": options.get("directory", False),
    }
    return {"program": PROGRAM, **{name: value for name, value in told.items() if value}}


def server_of(options: Mapping[str, Any]) -> FacilityServer:
    """Return the server that has been started with such options, without its devices."""
    classes = options.get("classes")
    return FacilityServer(
        {},
        None if classes is None else tuple(classes),
        options.get("host"),
        options.get("advertise"),
        dict(options.get("ports", {})),
        tuple(options.get("trusted_networks", ())),
        options.get("memory"),
    )


def look(client: BlockingClient) -> Running:
    """Ask the domain what runs, and what of it is gone or does not answer.

    Raises:
        NotConnectedError: there is no directory.
    """
    topology = client.topology()
    gone = {record.device_id: record for record in topology if record.status == _GONE}
    records = [record for record in topology if record.device_id not in gone]
    servers = {record.device_id: record for record in records if record.class_id == SERVER_CLASS}
    facts, silent = _facts(client, servers)
    silent |= {
        record.device_id: silent[record.server_id]
        for record in records
        if record.server_id in silent
    }
    found: dict[str, RunningServer] = {}
    taken: set[str] = {*servers, *silent}
    ask = _Asking(client)
    for server_id, (options, apart, gives_attributes) in facts.items():
        hosted = [
            record
            for record in records
            if record.device_id not in silent
            and (
                record.device_id in apart
                or (record.server_id == server_id and record.device_id != server_id)
            )
        ]
        taken.update(record.device_id for record in hosted)
        found[server_id] = RunningServer(
            server_id,
            servers[server_id].host,
            servers[server_id].host == socket.gethostname(),
            server_of(options),
            options.get("time_source"),
            ask.devices(server_id, hosted, apart),
            gives_attributes,
        )
    others = {record.device_id: record.server_id for record in records}
    return Running(
        found,
        {name: home for name, home in others.items() if name not in taken},
        gone=gone,
        silent=silent | ask.silent,
    )


def with_configurations(running: Running, client: BlockingClient, store: str | None) -> Running:
    """Return what runs together with what a configuration store keeps.

    Args:
        store: its device id; None where there is none.
    """
    if store is None:
        return running
    try:
        device = client.device(store)
        kept = {
            device_id: {
                name: NamedConfiguration(
                    item["values"],
                    item["comment"],
                    item["priority"],
                    item["active"],
                    item["class_id"],
                )
                for name, item in _configurations(device, device_id).items()
            }
            for device_id in device.call("devices")
        }
    except PykaraboError as error:
        return replace(running, silent={**running.silent, store: error}, store=store)
    return replace(running, configurations=kept, store=store)


def _configurations(store: DeviceProxy, device_id: str) -> dict[str, Any]:
    """Return a device's configurations with their values, in as many answers as it takes."""
    missing = [item["name"] for item in store.call("names", device_id)]
    found: dict[str, Any] = {}
    while missing:
        found |= store.call("configurations", device_id, missing)
        missing = [name for name in missing if name not in found]
    return found


def _facts(
    client: BlockingClient, servers: Iterable[str]
) -> tuple[dict[str, tuple[dict[str, Any], dict[str, Any], bool]], dict[str, PykaraboError]]:
    """Return of those servers that a facility file can describe what one must know of them.

    That is their options, their own processes, and whether they give attributes; and of those that
    do not answer why.
    """
    answers = client.read_many({server_id: [*_WANTED, _GIVEN] for server_id in servers})
    older = [name for name, answer in answers.items() if isinstance(answer, UnknownPropertyError)]
    answers |= client.read_many({server_id: list(_WANTED) for server_id in older})
    found: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {}
    silent: dict[str, PykaraboError] = {}
    for server_id, answer in sorted(answers.items()):
        if isinstance(answer, PykaraboError):
            silent[server_id] = answer
            continue
        options, apart = (answer[key].value for key in _WANTED)
        if options.get("program") == PROGRAM and not options.get("directory"):
            found[server_id] = (options, apart, _GIVEN in answer)
    return found, silent


class _Asking:
    """Reads devices; each class is asked for once per server.

    Attributes:
        silent: the devices that did not answer, and the error.
    """

    def __init__(self, client: BlockingClient) -> None:
        self.silent: dict[str, PykaraboError] = {}
        self._client = client
        self._schemas: dict[tuple[str, str], Schema] = {}

    def devices(
        self, server_id: str, records: Iterable[DeviceRecord], apart: Mapping[str, Any]
    ) -> dict[str, RunningDevice]:
        """Return some devices of a server, by id."""
        known = {record.device_id: record for record in records}
        answers = self._client.read_many(dict.fromkeys(known))
        found: dict[str, RunningDevice] = {}
        for device_id, answer in sorted(answers.items()):
            try:
                if isinstance(answer, PykaraboError):
                    raise answer
                found[device_id] = self._device(
                    server_id, known[device_id], answer, own_process=device_id in apart
                )
            except PykaraboError as error:
                self.silent[device_id] = error
        return found

    def _device(
        self,
        server_id: str,
        record: DeviceRecord,
        answer: dict[str, PropertyValue],
        *,
        own_process: bool,
    ) -> RunningDevice:
        device_id, class_id = record.device_id, record.class_id
        schema = self._class_schema(server_id, class_id)
        values = {key: item.value for key, item in answer.items()}
        kept = live_configuration(schema, self._client.schema(device_id), values)
        return RunningDevice(
            device_id,
            class_id,
            own_process,
            schema,
            kept.values,
            answer,
            kept.left_out,
            values.get(_GIVEN),
        )

    def _class_schema(self, server_id: str, class_id: str) -> Schema:
        known = self._schemas.get((server_id, class_id))
        if known is None:
            wire = self._client.device(server_id).call("class_schema", class_id)
            known = self._schemas[server_id, class_id] = Schema.from_wire(wire)
        return known


def as_facility(running: Running, kept: Callable[[RunningDevice], dict[str, Any]]) -> Facility:
    """Return what runs as a facility; `kept` tells what is written of each device.

    Its time source is the one that most servers have.
    """
    used = Counter(server.time_source for server in running.servers.values())
    source = min(used, key=lambda name: (-used[name], name is None, name or ""), default=None)
    servers = {
        server_id: replace(
            server.options,
            time_source="" if server.time_source == source else server.time_source,
            devices={
                device_id: FacilityDevice(device.class_id, kept(device), device.attributes or {})
                for device_id, device in server.devices.items()
            },
            own_process=frozenset(
                device_id for device_id, device in server.devices.items() if device.own_process
            ),
        )
        for server_id, server in running.servers.items()
    }
    return Facility(servers, source, None, running.configurations)
