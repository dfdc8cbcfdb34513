"""A facility as the text of its file: the same text for the same facility."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pykarabo.data import Schema, class_property, without_defaults

from ._file import Facility, FacilityServer, NamedConfiguration
from ._form import to_form
from ._running import Running, RunningDevice, as_facility

HEAD: Final = "# Written by 'pykarabo export'. 'pykarabo plan FILE' compares it with what runs.\n"
_WIDTH: Final = 100
_CLASS: Final = "class"


class _Variable(str):
    """Stands for a value in the environment."""

    __slots__ = ()


class Export:
    """The text of a facility file, and what it could not hold.

    Attributes:
        left_out: per device why properties are not in the text.
        variables: by name of the variable that stands for a secret text, whose it is.
    """

    def __init__(self, running: Running) -> None:
        self.left_out: dict[str, dict[str, str]] = {}
        self.variables: dict[str, str] = {}
        self._schemas = {
            device_id: device.schema
            for server in running.servers.values()
            for device_id, device in server.devices.items()
        }
        facility = as_facility(running, self._configuration)
        self.text = HEAD + _to_yaml(self._content(facility))

    def _configuration(self, device: RunningDevice) -> dict[str, Any]:
        """Return what differs from the defaults, as YAML can hold it."""
        found: dict[str, Any] = {}
        left_out = dict(device.left_out)
        for key, value in without_defaults(device.schema, device.configuration).items():
            info = class_property(device.schema, key)
            if info is not None and info.secret:
                if isinstance(value, str):
                    found[key] = self._variable(device.device_id, key)
                else:
                    left_out[key] = "it is secret"
            elif key == _CLASS:
                left_out[key] = "'class' means the device's class in a file"
            else:
                found[key] = value
        if left_out:
            self.left_out[device.device_id] = left_out
        return self._nested(device.schema, found)

    def _variable(self, device_id: str, key: str) -> _Variable:
        """Name a variable for a secret: who applies the file without it is told so."""
        name = re.sub(r"\W", "_", f"{device_id}_{key}").upper()
        self.variables[name] = f"{device_id}.{key}"
        return _Variable(f"${{{name}}}")

    def _nested(self, schema: Schema, configuration: Mapping[str, Any]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key, value in configuration.items():
            info = class_property(schema, key)
            *above, last = key.split(".")
            place = tree
            for name in above:
                place = place.setdefault(name, {})
            if info is not None and info.node:
                below = place.setdefault(last, {})
                for name in value:
                    below.setdefault(name, {})
            elif info is None or isinstance(value, _Variable):
                place[last] = str(value)
            else:
                place[last] = to_form(value, info)
        return tree

    def _content(self, facility: Facility) -> dict[str, Any]:
        content: dict[str, Any] = {}
        if facility.time_source is not None:
            content["time_source"] = facility.time_source
        content["servers"] = {
            server_id: _server(facility.servers[server_id])
            for server_id in sorted(facility.servers)
        }
        if facility.configurations:
            content["configurations"] = {
                device_id: {
                    name: self._named(device_id, facility.configurations[device_id][name])
                    for name in sorted(facility.configurations[device_id])
                }
                for device_id in sorted(facility.configurations)
                if device_id in self._schemas
            }
        return content

    def _named(self, device_id: str, named: NamedConfiguration) -> dict[str, Any]:
        told: dict[str, Any] = {
            name: getattr(named, name)
            for name in ("comment", "priority", "active")
            if getattr(named, name)
        }
        return {**told, "values": self._nested(self._schemas[device_id], named.values)}


def _server(server: FacilityServer) -> dict[str, Any]:
    told: dict[str, Any] = {
        "classes": None if server.classes is None else list(server.classes),
        "host": server.host,
        "advertise": server.advertise,
        "ports": dict(server.ports),
        "trusted_networks": list(server.trusted_networks),
        "memory": server.memory,
        "own_process": sorted(server.own_process),
    }
    devices = {
        device_id: {_CLASS: item.class_id, **item.configuration}
        for device_id, item in sorted(server.devices.items())
    }
    return {**{name: value for name, value in told.items() if value}, "devices": devices}


def _to_yaml(content: Mapping[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True  # which reading refuses

    text: str = yaml.dump(
        content, Dumper=Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True,
        width=_WIDTH,
    )  # fmt: skip
    return text
