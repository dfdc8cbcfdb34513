"""What a facility on one host consists of, as a YAML file says it.

::

    domain: hall                       # optional: used where the user names none
    time_source: TIMING/CLOCK/1        # optional: the device whose train ids all use
    servers:
      HALL/TIMING:
        devices:
          TIMING/CLOCK/1: {class: TrainClock}
      HALL/MOTORS:
        classes: [SimulatedMotor]      # optional: offer only these
        memory: 512                    # optional: MiB that the process may take
        time_source: null              # optional: another one than all others, or none
        devices:
          HALL/MOTOR/X: {class: SimulatedMotor, velocity: 2.5}
    attributes:                        # optional: limits, dead-bands, archiving of single devices
      HALL/MOTOR/X:
        actual_position: {warn_high: 35.0, alarm_high: 39.0, archive_interval: 1.0}
    configurations:                    # optional: named configurations in the store
      HALL/MOTOR/X:
        fast: {comment: for scans, active: true, values: {velocity: 25.0}}
      HALL/MOTOR/SPARE:                # of no device of this file: tell the class
        slow: {class: SimulatedMotor, values: {velocity: 1.0}}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from pykarabo.client import check_device_id
from pykarabo.errors import (
    BadConfigurationError,
    InvalidNameError,
    LimitExceededError,
    MalformedMessageError,
    OutOfRangeError,
    did_you_mean,
    near_matches,
)
from pykarabo.transport import data_directory, domain_name
from pykarabo.trust import ACCOUNTS_ID

from ._form import FromVariable, from_form, is_formed, replaced_whole, scalar
from ._names import MOST_PRIORITY, check_comment, check_configuration_name
from ._yaml import Document, read_document

_ATTRIBUTES: Final = "attributes"
_CONFIGURATIONS: Final = "configurations"
_TRUSTED: Final = "trusted_networks"
_SOURCE: Final = "time_source"
SERVER_ENTRIES: Final = frozenset(
    {"classes", "devices", "host", "advertise", "ports", "memory", "own_process", _TRUSTED, _SOURCE}
)
_CLOCK: Final = "TIMING/CLOCK/1"
_ARCHIVING: Final = ("sqlalchemy", "alembic", "zstandard")
ACCOUNTS_CLASS: Final = "Accounts"
FACILITY_ENTRIES: Final = frozenset({"domain", _SOURCE, "servers", _ATTRIBUTES, _CONFIGURATIONS})
PORT_ENTRIES: Final = frozenset({"rpc", "events", "data"})
LAST_PORT: Final = 65_535
LEAST_MEMORY: Final = 256
"""MiB; a server with nothing to do takes half of it."""
NAMED_ENTRIES: Final = frozenset({"values", "comment", "priority", "active", "class"})


@dataclass(frozen=True, slots=True)
class FacilityDevice:
    """A device: its class and its initial values.

    Attributes:
        attributes: by property limits, dead-bands and archive settings other than its class's.
    """

    class_id: str
    configuration: Mapping[str, Any] = field(default_factory=dict[str, Any])
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class FacilityServer:
    """A server process and the devices it starts with.

    Attributes:
        trusted_networks: where its data goes in plain text, such as ``192.0.2.0/24``.
        own_process: those of the devices that run in processes of their own.
        time_source: its train clock; empty for that of the facility, None for none.
    """

    devices: Mapping[str, FacilityDevice]
    classes: tuple[str, ...] | None = None
    host: str | None = None
    advertise: str | None = None
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    trusted_networks: tuple[str, ...] = ()
    memory: int | None = None
    own_process: frozenset[str] = frozenset()
    time_source: str | None = ""


@dataclass(frozen=True, slots=True)
class NamedConfiguration:
    """A configuration that the store keeps for a device under a name.

    Attributes:
        class_id: whose values they are; empty for the class that the device has in the file.
    """

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    comment: str = ""
    priority: int = 0
    active: bool = False
    class_id: str = ""


@dataclass(frozen=True, slots=True)
class Facility:
    """Every server of a facility, by id; without a domain it is for that of the environment.

    Attributes:
        configurations: named ones by device and name; None leaves alone what the store has.
        document: the file that it was read from.
    """

    servers: Mapping[str, FacilityServer]
    time_source: str | None = None
    domain: str | None = None
    configurations: Mapping[str, Mapping[str, NamedConfiguration]] | None = None
    document: Document | None = field(default=None, compare=False, repr=False)

    def source_of(self, server: FacilityServer) -> str | None:
        """Return the train clock of a server."""
        return self.time_source if server.time_source == "" else server.time_source

    @property
    def homes(self) -> dict[str, str]:
        """The server of each device."""
        return {
            device_id: server_id
            for server_id, server in self.servers.items()
            for device_id in server.devices
        }


def default_facility(host: str, *, alone: bool = True) -> Facility:
    """Return what ``pykarabo up`` starts without a file.

    That is the host's monitor, a train clock, and where their libraries are installed an archiver
    and the reader of its archive.

    Args:
        alone: whether the domain begins on this host; else it is one of several hosts of a site,
            whose first one has the clock and the archive.
    """
    monitor = "HOST/MONITOR/1" if alone else f"HOST/MONITOR/{_host(host)}"
    devices = {monitor: FacilityDevice("HostMonitor")}
    if alone:
        devices[_CLOCK] = FacilityDevice("TrainClock")
    if alone and all(map(find_spec, _ARCHIVING)):
        devices["ARCHIVER/1"] = FacilityDevice("Archiver")
        devices["HISTORY/1"] = FacilityDevice("HistoryReader")
    return Facility({f"{_host(host)}/MAIN": FacilityServer(devices)}, _CLOCK)


def with_accounts(facility: Facility, host: str) -> Facility:
    """Return a facility with the accounts service, unless it has that already."""
    devices = [device for server in facility.servers.values() for device in server.devices.values()]
    if any(device.class_id == ACCOUNTS_CLASS for device in devices):
        return facility
    server = FacilityServer({ACCOUNTS_ID: FacilityDevice(ACCOUNTS_CLASS)})
    return replace(facility, servers={**facility.servers, f"{ACCOUNTS_ID}/{_host(host)}": server})


def _host(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", host.partition(".")[0]).upper() or "HOST"


def read_facility(
    path: Path,
    variables: Mapping[str, str],
    *,
    domain: str | None = None,
    data: Path | None = None,
) -> Facility:
    """Read a facility file; ``${NAME}`` in texts is replaced from `variables`.

    Args:
        domain: the domain that the user has named; it goes before that of the file.
        data: what ``${DATA}`` stands for; default is the domain's own data directory.

    Raises:
        BadConfigurationError: no such file, no YAML, or an entry that means nothing; file, line,
            place and remedy are named.
    """
    return _Reader(read_document(path), variables).facility(domain, data)


class _Reader:
    def __init__(self, document: Document, variables: Mapping[str, str]) -> None:
        self._document = document
        self._variables = dict(variables)

    def facility(self, domain: str | None, data: Path | None) -> Facility:
        whole = self._map(self._document.content, "", FACILITY_ENTRIES)
        domain = domain or self._text(whole, "domain", "")
        self._variables["DATA"] = str(data or self._data_directory(domain))
        servers = self._map(whole.get("servers"), "servers")
        if not servers:
            raise self._wrong("servers", "there is no server", "add one")
        found = {self._id(name, "servers"): self._server(name, servers) for name in servers}
        self._refuse_doubles(found)
        return Facility(
            self._with_attributes(found, whole.get(_ATTRIBUTES)),
            self._source(whole, ""),
            domain,
            self._configurations(whole.get(_CONFIGURATIONS), found),
            self._document,
        )

    def _with_attributes(
        self, servers: Mapping[str, FacilityServer], content: Any
    ) -> dict[str, FacilityServer]:
        """Return servers whose devices have the attributes that the file gives them."""
        given = self._map({} if content is None else content, _ATTRIBUTES)
        known = [device_id for server in servers.values() for device_id in server.devices]
        for device_id in given:
            if device_id not in known:
                problem = f"there is no device '{device_id}' in this file"
                remedy = did_you_mean(device_id, known) or "name a device of this file"
                raise self._wrong(_join(_ATTRIBUTES, device_id), problem, remedy)

        def device(device_id: str, item: FacilityDevice) -> FacilityDevice:
            place = _join(_ATTRIBUTES, device_id)
            own = {} if given.get(device_id) is None else self._map(given[device_id], place)
            return replace(item, attributes=self._replaced(own, place)) if own else item

        return {
            server_id: replace(
                server,
                devices={name: device(name, item) for name, item in server.devices.items()},
            )
            for server_id, server in servers.items()
        }

    def _configurations(
        self, content: Any, servers: Mapping[str, FacilityServer]
    ) -> dict[str, dict[str, NamedConfiguration]] | None:
        if content is None:
            return None
        devices = [device_id for server in servers.values() for device_id in server.devices]
        found: dict[str, dict[str, NamedConfiguration]] = {}
        for device_id, named in self._map(content, _CONFIGURATIONS).items():
            place = f"{_CONFIGURATIONS}.{device_id}"
            self._id(device_id, _CONFIGURATIONS)
            found[device_id] = {
                self._name(name, place): self._named(item, f"{place}.{name}")
                for name, item in self._map(named or {}, place).items()
            }
            if device_id not in devices:
                self._require_classes(device_id, found[device_id], devices)
            active = [name for name, item in found[device_id].items() if item.active]
            if len(active) > 1:
                problem = f"{' and '.join(active)} are both active"
                raise self._wrong(place, problem, "leave one of them")
        return found

    def _require_classes(
        self, device_id: str, named: Mapping[str, NamedConfiguration], devices: list[str]
    ) -> None:
        """Refuse configurations of a device that is neither in the file nor of a known class."""
        place = f"{_CONFIGURATIONS}.{device_id}"
        places = [f"{place}.{name}" for name, item in named.items() if not item.class_id]
        if places or not named:
            remedy = did_you_mean(device_id, devices) or (
                "name a device of this file, or tell the 'class' of its configurations"
            )
            problem = f"there is no device '{device_id}' in this file"
            raise self._wrong(places[0] if places else place, problem, remedy)

    def _name(self, name: str, place: str) -> str:
        try:
            return check_configuration_name(name)
        except InvalidNameError as error:
            raise self._wrong(_join(place, name), error.message, error.remedy) from None

    def _named(self, content: Any, place: str) -> NamedConfiguration:
        item = self._map(content or {}, place, NAMED_ENTRIES)
        values = self._map(item.get("values") or {}, f"{place}.values")
        priority, shown = self._scalar(item.get("priority", 0), f"{place}.priority")
        active, _shown = self._scalar(item.get("active", False), f"{place}.active")
        if type(priority) is not int or not 0 <= priority <= MOST_PRIORITY:
            problem = f"{shown} is no priority"
            raise self._wrong(f"{place}.priority", problem, f"give 0 to {MOST_PRIORITY}")
        if type(active) is not bool:
            raise self._wrong(f"{place}.active", "this is neither true nor false", "write true")
        comment = self._comment(item, place)
        class_id = item.get("class") or ""
        if not isinstance(class_id, str):
            raise self._wrong(f"{place}.class", "this is no class", "write its name")
        replaced = self._replaced(values, f"{place}.values")
        return NamedConfiguration(replaced, comment, priority, active, class_id)

    def _comment(self, item: Mapping[str, Any], place: str) -> str:
        try:
            return check_comment(self._text(item, "comment", place) or "")
        except OutOfRangeError as error:
            raise self._wrong(f"{place}.comment", error.message, error.remedy) from None

    def _data_directory(self, domain: str | None) -> Path:
        try:
            return data_directory(domain_name(domain))
        except InvalidNameError as error:
            raise self._wrong("domain", error.message, error.remedy) from None

    def _refuse_doubles(self, servers: Mapping[str, FacilityServer]) -> None:
        homes: dict[str, str] = {}
        for server_id, server in servers.items():
            for device_id in [server_id, *server.devices]:
                if device_id in homes:
                    raise self._wrong(
                        f"servers.{server_id}.devices.{device_id}",
                        f"'{device_id}' is also in '{homes[device_id]}'",
                        "give every device one place",
                    )
                homes[device_id] = server_id

    def _server(self, name: str, servers: Mapping[str, Any]) -> FacilityServer:
        place = f"servers.{name}"
        item = self._map(servers[name] or {}, place, SERVER_ENTRIES)
        devices = self._map(item.get("devices") or {}, f"{place}.devices")
        ports = self._map(item.get("ports") or {}, f"{place}.ports", PORT_ENTRIES)
        return FacilityServer(
            {
                self._id(device_id, f"{place}.devices"): self._device(
                    f"{place}.devices.{device_id}", device
                )
                for device_id, device in devices.items()
            },
            self._classes(item.get("classes"), f"{place}.classes"),
            self._text(item, "host", place),
            self._text(item, "advertise", place),
            {key: self._port(port, f"{place}.ports.{key}") for key, port in ports.items()},
            self._networks(item.get(_TRUSTED, []), f"{place}.{_TRUSTED}"),
            self._memory(item.get("memory"), f"{place}.memory"),
            self._own_process(item.get("own_process", []), devices, f"{place}.own_process"),
            self._source(item, place) if _SOURCE in item else "",
        )

    def _source(self, item: Mapping[str, Any], place: str) -> str | None:
        source = self._text(item, _SOURCE, place)
        if source is None:
            return None
        try:
            return check_device_id(source)
        except InvalidNameError as error:
            raise self._wrong(_join(place, _SOURCE), error.message, error.remedy) from None

    def _own_process(self, content: Any, devices: Mapping[str, Any], place: str) -> frozenset[str]:
        if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
            raise self._wrong(place, "this is no list of devices", "write [DEVICE, DEVICE]")
        for device_id in content:
            if device_id not in devices:
                near = near_matches(device_id, devices)
                remedy = f"did you mean '{near[0]}'?" if near else "name a device of this server"
                raise self._wrong(place, f"the server has no device '{device_id}'", remedy)
        return frozenset(content)

    def _networks(self, content: Any, place: str) -> tuple[str, ...]:
        if not isinstance(content, list) or not all(isinstance(text, str) for text in content):
            raise self._wrong(place, "this is no list of networks", "write [ADDRESS/BITS]")
        for text in content:
            try:
                ip_network(text)
            except ValueError as error:
                raise self._wrong(place, str(error), "write it like 192.0.2.0/24") from None
        return tuple(content)

    def _memory(self, given: Any, place: str) -> int | None:
        value, shown = self._scalar(given, place)
        if value is not None and (type(value) is not int or value < LEAST_MEMORY):
            raise self._wrong(place, f"{shown} is no number of MiB", f"give {LEAST_MEMORY} or more")
        return None if value is None else int(value)

    def _device(self, place: str, content: Any) -> FacilityDevice:
        item = dict(self._map(content, place))
        class_id = item.pop("class", None)
        if not isinstance(class_id, str):
            near = near_matches("class", item)
            remedy = f"write 'class' instead of '{near[0]}'" if near else "add 'class: NAME'"
            raise self._wrong(place, "the device has no class", remedy)
        return FacilityDevice(class_id, self._replaced(item, place))

    def _classes(self, content: Any, place: str) -> tuple[str, ...] | None:
        if content is None:
            return None
        if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
            raise self._wrong(place, "this is no list of classes", "write [NAME, NAME]")
        return tuple(content)

    def _text(self, item: Mapping[str, Any], key: str, place: str) -> str | None:
        value = item.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(_join(place, key), "this is no text", "put it in quotes")
        return None if value is None else str(self._replaced_text(value, _join(place, key)))

    def _scalar(self, value: Any, place: str) -> tuple[Any, str]:
        """Return a number, which a variable may stand for, and how one shows what was given."""
        found = self._replaced_text(value, place) if isinstance(value, str) else value
        if isinstance(found, FromVariable):
            return scalar(found), f"'{found}', which {value} stands for,"
        return value, f"'{value}'"

    def _port(self, given: Any, place: str) -> int:
        value, shown = self._scalar(given, place)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LAST_PORT:
            remedy = f"give 0 to {LAST_PORT}; with 0 the system chooses"
            raise self._wrong(place, f"{shown} is no port", remedy)
        return value

    def _map(self, content: Any, place: str, known: frozenset[str] | None = None) -> Any:
        if not isinstance(content, dict):
            raise self._wrong(place, "this is no map of names", "write 'name: ...' lines")
        for key in content:
            if not isinstance(key, str):  # such as a bare 'on', which YAML takes for true
                raise self._wrong(place, f"the name '{key}' is no text", "put it in quotes")
        for key in content:
            if known is not None and key not in known:
                remedy = did_you_mean(key, known) or f"it may have {', '.join(sorted(known))}"
                raise self._wrong(_join(place, key), f"'{key}' means nothing here", remedy)
        return content

    def _id(self, name: str, place: str) -> str:
        try:
            return check_device_id(name)
        except InvalidNameError as error:
            raise self._wrong(_join(place, name), error.message, error.remedy) from None

    def _replaced(self, value: Any, place: str) -> Any:
        match value:
            case dict():
                inner = self._map(value, place)
                if is_formed(inner):
                    return self._formed(inner, place)
                return {key: self._replaced(item, f"{place}.{key}") for key, item in inner.items()}
            case list():
                return [
                    self._replaced(item, f"{place}[{number}]") for number, item in enumerate(value)
                ]
            case str():
                return self._replaced_text(value, place)
            case None | bool() | int() | float():
                return value
            case _:
                problem = f"'{value}' is no text and no number"
                raise self._wrong(place, problem, "put it in quotes")

    def _formed(self, value: dict[str, Any], place: str) -> Any:
        try:
            return from_form(value)
        except (LimitExceededError, MalformedMessageError) as error:
            remedy = "write it as docs/reference/codecs.md says"
            raise self._wrong(place, error.message, remedy) from None

    def _replaced_text(self, text: str, place: str) -> str:
        def variable(name: str) -> str:
            if name not in self._variables:
                raise self._wrong(place, f"${{{name}}} is not set", f"set it: export {name}=...")
            return self._variables[name]

        return replaced_whole(text, variable)

    def _wrong(self, place: str, problem: str, remedy: str | None) -> BadConfigurationError:
        return self._document.wrong(place, problem, remedy)


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
