"""The description of a device: all that a client, a GUI or an archive needs to know of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, cast

import msgpack

from pykarabo.errors import (
    MalformedMessageError,
    UnknownCommandError,
    UnknownPropertyError,
    did_you_mean,
)

from ._alarms import has_limits
from ._deadband import has_deadband
from ._info import CommandInfo, OutputInfo, PropertyInfo
from ._registry import register_value


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


def _digestible(value: Any) -> Any:
    """Return what stands for a default that msgpack does not know; of an array all elements."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    return plain if plain is not value and not isinstance(plain, complex) else str(plain)


@dataclass(frozen=True)
class Schema:
    """Properties, commands and outputs of a device, by dotted name in their order.

    Attributes:
        class_id: name of the device's class.
        properties: leaves, and the entries of nodes.
    """

    class_id: str
    description: str = ""
    properties: Mapping[str, PropertyInfo] = field(default_factory=_nothing)
    commands: Mapping[str, CommandInfo] = field(default_factory=_nothing)
    outputs: Mapping[str, OutputInfo] = field(default_factory=_nothing)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Schema":
        return self  # it never changes

    @cached_property
    def version(self) -> str:
        """A digest of the content: equal for equal schemas."""
        packed = cast(bytes, msgpack.packb(self.to_wire(), default=_digestible))
        return hashlib.sha256(packed).hexdigest()[:16]

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The keys of the properties that every configuration must give."""
        return tuple(
            key for key, info in self.properties.items() if info.required and not info.node
        )

    @cached_property
    def has_configured_nodes(self) -> bool:
        """Whether a configuration says what is below a node."""
        return any(info.node_kind for info in self.properties.values())

    @cached_property
    def watched(self) -> Mapping[str, PropertyInfo]:
        """The properties that have limits or a dead-band."""
        return {
            key: info
            for key, info in self.properties.items()
            if has_limits(info) or has_deadband(info)
        }

    def require_property(self, key: str, device: str | None = None) -> PropertyInfo:
        """Return a property; raises `UnknownPropertyError` with near matches."""
        info = self.properties.get(key)
        if info is None:
            raise UnknownPropertyError(
                f"device '{device or self.class_id}' has no property '{key}'",
                device=device,
                key=key,
                remedy=did_you_mean(key, self.properties) or f"see 'pykarabo show {device}'",
            )
        return info

    def present(self, key: str, value: Any) -> Any:
        """Return a property's plain value as one works with it; see `PropertyInfo.present`."""
        info = self.properties.get(key)
        return value if info is None else info.present(value)

    def require_command(self, name: str, device: str | None = None) -> CommandInfo:
        """Return a command; raises `UnknownCommandError` with near matches."""
        info = self.commands.get(name)
        if info is None:
            raise UnknownCommandError(
                f"device '{device or self.class_id}' has no command '{name}'",
                device=device,
                key=name,
                remedy=did_you_mean(name, self.commands) or f"see 'pykarabo show {device}'",
            )
        return info

    def to_wire(self) -> dict[str, Any]:
        """Return the schema as a plain map."""
        return {
            "class_id": self.class_id,
            "description": self.description,
            "properties": [info.to_wire() for info in self.properties.values()],
            "commands": [info.to_wire() for info in self.commands.values()],
            "outputs": [info.to_wire() for info in self.outputs.values()],
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Schema":
        """Rebuild a schema; raises `MalformedMessageError`."""
        try:
            properties = [PropertyInfo.from_wire(item) for item in wire["properties"]]
            commands = [CommandInfo.from_wire(item) for item in wire["commands"]]
            outputs = [OutputInfo.from_wire(item) for item in wire["outputs"]]
            return cls(
                wire["class_id"],
                wire.get("description", ""),
                MappingProxyType({info.key: info for info in properties}),
                MappingProxyType({info.name: info for info in commands}),
                MappingProxyType({info.name: info for info in outputs}),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise MalformedMessageError(
                f"a schema cannot be understood: {error!r}",
                remedy="update pykarabo on both sides",
            ) from None


register_value(Schema, "schema", Schema.to_wire, Schema.from_wire)
