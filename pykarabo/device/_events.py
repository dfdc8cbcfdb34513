"""Declaring the events of a device, and telling them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pykarabo.client import COUNT, EVENT, events_of
from pykarabo.data import AccessLevel, Configurable, Node, Property, PropertyInfo, UInt64
from pykarabo.errors import (
    BadConfigurationError,
    UnknownPropertyError,
    WrongTypeError,
    did_you_mean,
)

if TYPE_CHECKING:
    from ._device import Device


class Event(Node):
    """Something that happens on a device, with typed parameters; `Device.emit` tells it.

    Args:
        description: what has happened.
        parameters: a descriptor per parameter, as properties are declared.

    Raises:
        BadConfigurationError: a parameter with the name ``count``, which every event has.
    """

    def __init__(
        self, *, description: str = "", label: str = "", key: str = "", **parameters: Property[Any]
    ) -> None:
        super().__init__(_data_class(parameters), key=key, description=description, label=label)

    @property
    def info(self) -> PropertyInfo:
        """The entry of the event in the schema."""
        return replace(super().info, display_type=EVENT)


def _data_class(parameters: Mapping[str, Property[Any]]) -> type[Configurable]:
    """Return a class of read-only properties for what an event tells."""
    if COUNT in parameters:
        raise BadConfigurationError(
            f"an event cannot have a parameter '{COUNT}': it counts itself under this name",
            key=COUNT,
            remedy="choose another name",
        )
    told = {"read_only": True, "access_level": AccessLevel.OBSERVER}
    members: dict[str, Any] = {
        name: item.with_attributes(told) for name, item in parameters.items()
    }
    members[COUNT] = UInt64(
        read_only=True, description="How often it has happened since the device's start."
    )
    return type("EventData", (Configurable,), {"__module__": __name__, **members})


def told_values(device: "Device", name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the properties that tell an event.

    Raises:
        UnknownPropertyError: the device declares no such event.
        WrongTypeError: arguments that the event does not have, or that it lacks.
    """
    device_id = device.context.device_id
    events = events_of(device.schema())
    if name not in events:
        raise UnknownPropertyError(
            f"device '{device_id}' has no event '{name}'",
            device=device_id,
            key=name,
            remedy=did_you_mean(name, events) or "declare it: name = Event(...)",
        )
    wanted = [info.key.removeprefix(f"{name}.") for info in events[name]]
    if set(wanted) != set(arguments):
        raise WrongTypeError(
            f"event '{device_id}.{name}' was told with {', '.join(arguments) or 'nothing'}",
            device=device_id,
            key=name,
            remedy=f"tell it with {', '.join(wanted) or 'no arguments'}",
        )
    number = device.values()[f"{name}.{COUNT}"].value + 1
    return {f"{name}.{key}": value for key, value in arguments.items()} | {
        f"{name}.{COUNT}": number
    }
