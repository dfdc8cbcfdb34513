"""A facility as the text of its file: the same text for the same facility."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pykarabo.client import DIRECTORY_ID
from pykarabo.data import (
    Schema,
    attributes_in_order,
    class_property,
    properties_with,
    without_defaults,
)
from pykarabo.errors import NotConnectedError, UnknownClassError

from ._checking import fitting
from ._file import Facility, FacilityDevice, FacilityServer, NamedConfiguration
from ._form import escaped, to_form
from ._running import STORE_CLASS, Running, RunningDevice, as_facility

HEAD: Final = "# Written by 'pykarabo export'. 'pykarabo plan FILE' compares it with what runs.\n"
INCOMPLETE: Final = "# Incomplete: what is named here does not run, or does not answer.\n"
_WITH_STORE: Final = ", and with it all named configurations"
_WIDTH: Final = 100
_CLASS: Final = "class"
_SOURCE: Final = "time_source"


class _Variable(str):
    """Stands for a value in the environment."""

    __slots__ = ()


class Export:
    """The text of a facility file, and what it could not hold.

    Args:
        schema_of: tells the schema of a class by its name, for the configurations of devices that
            do not run; raises `UnknownClassError`.

    Attributes:
        missing: why servers, devices and configurations are not in the text that belong there.
        outside: per device that no facility file can describe the server that it runs on.
        left_out: per device why properties are not in the text.
        variables: by name of the variable that stands for a secret text, whose it is.
    """

    def __init__(self, running: Running, schema_of: Callable[[str], Schema] | None = None) -> None:
        self.missing = _missing(running)
        self.outside = {
            device_id: home
            for device_id, home in sorted(running.others.items())
            if device_id != DIRECTORY_ID
        }
        self.left_out: dict[str, dict[str, str]] = {}
        self.variables: dict[str, str] = {}
        self._schema_of = schema_of or _unknown
        self._schemas = {
            device_id: device.schema
            for server in running.servers.values()
            for device_id, device in server.devices.items()
        }
        self._configurations = {
            device_id: device.configuration
            for server in running.servers.values()
            for device_id, device in server.devices.items()
        }
        facility = as_facility(running, self._configuration)
        text = _to_yaml(self._content(facility))
        told = [(name, " ".join(why.split())) for name, why in self.missing.items()]
        lines = "".join(f"#   {name} {why}\n" for name, why in told)
        self.text = HEAD + (INCOMPLETE + lines if lines else "") + text
        self._has_servers = bool(running.servers)

    def require_servers(self) -> None:
        """Refuse a text without any server, which nobody could read; raises `NotConnectedError`."""
        if self._has_servers:
            return
        told = "".join(f"; '{name}' {why}" for name, why in self.missing.items())
        raise NotConnectedError(
            f"no server runs that a facility file could describe{told}",
            remedy="start the facility: pykarabo up",
        )

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
        found, refused = self._fitting(device, found)
        left_out |= refused
        if left_out:
            self.left_out[device.device_id] = left_out
        return self._nested(device.schema, found)

    def _fitting(
        self, device: RunningDevice, found: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what reading the file would not refuse; a device may know limits of its own."""
        plain = {key: item for key, item in found.items() if not isinstance(item, _Variable)}
        taken, refused = fitting(device.schema, plain, device.device_id)
        kept = {key: item for key, item in found.items() if key in taken or key not in plain}
        return kept, refused

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
            if info is None:
                continue
            if info.node:
                below = place.setdefault(last, {})
                for name in value:
                    below.setdefault(name, {})
            elif isinstance(value, _Variable):
                place[last] = str(value)
            else:
                place[last] = to_form(value, info)
        return tree

    def _content(self, facility: Facility) -> dict[str, Any]:
        content: dict[str, Any] = {}
        if facility.time_source is not None:
            content[_SOURCE] = facility.time_source
        content["servers"] = {
            server_id: _server(facility.servers[server_id])
            for server_id in sorted(facility.servers)
        }
        attributes = {
            device_id: given
            for server in facility.servers.values()
            for device_id, item in server.devices.items()
            if (given := self._attributes(device_id, item))
        }
        if attributes:
            content["attributes"] = dict(sorted(attributes.items()))
        configurations = {
            device_id: self._all_named(device_id, named)
            for device_id, named in sorted((facility.configurations or {}).items())
        }
        if any(configurations.values()):
            content["configurations"] = {
                device_id: named for device_id, named in configurations.items() if named
            }
        return content

    def _attributes(self, device_id: str, item: FacilityDevice) -> dict[str, Any]:
        """Return what a device was given, as YAML holds it."""
        infos = properties_with(self._schemas[device_id], self._configurations[device_id])
        tree: dict[str, Any] = {}
        for key, given in attributes_in_order(infos, item.attributes).items():
            *above, last = key.split(".")
            place = tree
            for name in above:
                place = place.setdefault(name, {})
            place[last] = escaped(given)
        return tree

    def _all_named(
        self, device_id: str, configurations: Mapping[str, NamedConfiguration]
    ) -> dict[str, Any]:
        """Return the configurations of a device; none of them if one cannot be written.

        Applying a file deletes those that it does not name of a device that it does.
        """
        try:
            return {
                name: self._named(device_id, name, item)
                for name, item in sorted(configurations.items())
            }
        except UnknownClassError as error:
            names = ", ".join(sorted(configurations))
            self.missing[f"configurations.{device_id}"] = f"({names}): {error.message}"
            return {}

    def _named(self, device_id: str, name: str, named: NamedConfiguration) -> dict[str, Any]:
        schema = self._schemas.get(device_id)
        told: dict[str, Any] = {}
        if schema is None or named.class_id not in ("", schema.class_id):
            schema = self._schema_of(named.class_id)
            told[_CLASS] = named.class_id
        for entry in ("comment", "priority", "active"):
            if getattr(named, entry):
                told[entry] = escaped(getattr(named, entry))
        values, refused = fitting(schema, named.values, device_id)
        for key, reason in refused.items():
            place = f"configurations.{name}.{key}"
            self.left_out.setdefault(device_id, {})[place] = reason
        return {**told, "values": self._nested(schema, values)}


def _missing(running: Running) -> dict[str, str]:
    """Return why servers and devices are not in a file that is written now."""
    found: dict[str, str] = {}
    for device_id, record in sorted(running.gone.items()):
        home = record.server_id
        found[device_id] = "is gone" if home == device_id else f"is gone with its server '{home}'"
        if record.class_id == STORE_CLASS and running.store is None:
            found[device_id] += _WITH_STORE
    for device_id, error in sorted(running.silent.items()):
        store = _WITH_STORE if device_id == running.store else ""
        found[device_id] = f"does not answer{store}: {error.message}"
    return found


def _unknown(class_id: str) -> Schema:
    raise UnknownClassError(f"nobody was asked for class '{class_id}'", remedy="name somebody")


def _server(server: FacilityServer) -> dict[str, Any]:
    told: dict[str, Any] = {
        "classes": None if server.classes is None else list(server.classes),
        "host": escaped(server.host),
        "advertise": escaped(server.advertise),
        "ports": dict(server.ports),
        "trusted_networks": list(server.trusted_networks),
        "memory": server.memory,
        "own_process": sorted(server.own_process),
    }
    devices = {
        device_id: {_CLASS: item.class_id, **item.configuration}
        for device_id, item in sorted(server.devices.items())
    }
    source = {} if server.time_source == "" else {_SOURCE: server.time_source}
    return {**{name: value for name, value in told.items() if value}, **source, "devices": devices}


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
