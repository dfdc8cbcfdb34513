"""What a facility on one host consists of, as a YAML file says it.

::

    time_source: TIMING/CLOCK/1        # optional: the device whose train ids all use
    servers:
      HALL/TIMING:
        devices:
          TIMING/CLOCK/1: {class: TrainClock}
      HALL/MOTORS:
        classes: [SimulatedMotor]      # optional: offer only these
        devices:
          HALL/MOTOR/X: {class: SimulatedMotor, velocity: 2.5}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pykarabo.client import check_device_id
from pykarabo.errors import BadConfigurationError, InvalidNameError, did_you_mean

_ENVIRONMENT: Final = re.compile(r"\$\{(\w+)\}")
_FACILITY: Final = frozenset({"time_source", "servers"})
_SERVER: Final = frozenset({"classes", "devices", "host", "advertise", "ports"})
_PORTS: Final = frozenset({"rpc", "events", "data"})


@dataclass(frozen=True, slots=True)
class FacilityDevice:
    """A device: its class and its initial values."""

    class_id: str
    configuration: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class FacilityServer:
    """A server process and the devices it starts with."""

    devices: Mapping[str, FacilityDevice]
    classes: tuple[str, ...] | None = None
    host: str | None = None
    advertise: str | None = None
    ports: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Facility:
    """Every server of a facility, by id."""

    servers: Mapping[str, FacilityServer]
    time_source: str | None = None


def default_facility(host: str) -> Facility:
    """Return what ``pykarabo up`` starts without a file: the host's monitor and a train clock."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", host.partition(".")[0]).upper() or "HOST"
    devices = {
        "HOST/MONITOR/1": FacilityDevice("HostMonitor"),
        "TIMING/CLOCK/1": FacilityDevice("TrainClock"),
    }
    return Facility({f"{name}/MAIN": FacilityServer(devices)}, "TIMING/CLOCK/1")


def read_facility(path: Path, variables: Mapping[str, str]) -> Facility:
    """Read a facility file; ``${NAME}`` in texts is replaced from `variables`.

    Raises:
        BadConfigurationError: no such file, no YAML, or an entry that means nothing; file, place
            and remedy are named.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise _wrong(path, "", f"cannot be read: {error.strerror}", "name a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "is no YAML"
        raise _wrong(path, place, str(problem), "correct the file there") from None
    return _Reader(path, variables).facility(content)


def _wrong(path: Path, place: str, problem: str, remedy: str) -> BadConfigurationError:
    where = f"{path}, {place}" if place else str(path)
    return BadConfigurationError(f"{where}: {problem}", remedy=remedy)


class _Reader:
    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        self._path = path
        self._variables = variables

    def facility(self, content: Any) -> Facility:
        whole = self._map(content, "the file", _FACILITY)
        servers = self._map(whole.get("servers"), "servers")
        if not servers:
            raise _wrong(self._path, "servers", "there is no server", "add one")
        found = {self._id(name): self._server(name, item) for name, item in servers.items()}
        self._refuse_doubles(found)
        source = whole.get("time_source")
        return Facility(found, None if source is None else self._id(source))

    def _refuse_doubles(self, servers: Mapping[str, FacilityServer]) -> None:
        homes: dict[str, str] = {}
        for server_id, server in servers.items():
            for device_id in [server_id, *server.devices]:
                if device_id in homes:
                    raise _wrong(
                        self._path,
                        f"servers.{server_id}",
                        f"'{device_id}' is also in '{homes[device_id]}'",
                        "give every device one place",
                    )
                homes[device_id] = server_id

    def _server(self, name: str, content: Any) -> FacilityServer:
        place = f"servers.{name}"
        item = self._map(content or {}, place, _SERVER)
        devices = self._map(item.get("devices") or {}, f"{place}.devices")
        classes = item.get("classes")
        ports = self._map(item.get("ports") or {}, f"{place}.ports", _PORTS)
        return FacilityServer(
            {
                self._id(device_id): self._device(f"{place}.devices.{device_id}", device)
                for device_id, device in devices.items()
            },
            None if classes is None else tuple(map(str, classes)),
            item.get("host"),
            item.get("advertise"),
            {key: int(port) for key, port in ports.items()},
        )

    def _device(self, place: str, content: Any) -> FacilityDevice:
        item = dict(self._map(content, place))
        class_id = item.pop("class", None)
        if not isinstance(class_id, str):
            raise _wrong(self._path, place, "the device has no class", "add 'class: NAME'")
        return FacilityDevice(class_id, self._replaced(item, place))

    def _map(self, content: Any, place: str, known: frozenset[str] | None = None) -> Any:
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise _wrong(self._path, place, "this is no map of names", "write 'name: ...' lines")
        for key in content:
            if known is not None and key not in known:
                remedy = did_you_mean(key, known) or f"it may have {', '.join(sorted(known))}"
                raise _wrong(self._path, place, f"'{key}' means nothing here", remedy)
        return content

    def _id(self, name: Any) -> str:
        try:
            return check_device_id(str(name))
        except InvalidNameError as error:
            raise _wrong(self._path, str(name), error.message, error.remedy or "") from None

    def _replaced(self, value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {key: self._replaced(item, f"{place}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self._replaced(item, place) for item in value]
        return self._replaced_text(value, place) if isinstance(value, str) else value

    def _replaced_text(self, text: str, place: str) -> str:
        for name in _ENVIRONMENT.findall(text):
            if name not in self._variables:
                raise _wrong(
                    self._path, place, f"${{{name}}} is not set", f"set it: export {name}=..."
                )
        return _ENVIRONMENT.sub(lambda match: self._variables[match[1]], text)
