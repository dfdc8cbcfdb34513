"""Events that a device declares: told in order among its changes of properties, none lost unseen.

An event is a node of read-only properties: its parameters, and ``count``, how often it has
happened since the device's start. All of them travel in one message, so events have the order,
the repair and the gap count of every change.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pykarabo.data import PropertyInfo, PropertyValue, Schema, Timestamp

from ._updates import Change, Gap, Live, Update

if TYPE_CHECKING:
    from ._client import Client

EVENT: Final = "event"
"""The display type of the node of an event."""
COUNT: Final = "count"


@dataclass(frozen=True, slots=True)
class Occurred:
    """An event has happened.

    Attributes:
        number: counts from 1 at the device's start.
        arguments: by name of the parameter.
        timestamp: when it was told.
    """

    device_id: str
    event: str
    number: int
    arguments: dict[str, Any]
    timestamp: Timestamp


@dataclass(frozen=True, slots=True)
class Missed:
    """Events have happened that nobody here was told of.

    Attributes:
        count: how many; None when the device was restarted and nobody can know.
    """

    device_id: str
    event: str
    count: int | None


Happening: TypeAlias = Occurred | Missed


def events_of(schema: Schema) -> dict[str, list[PropertyInfo]]:
    """Return the events of a device and their parameters, by name."""
    return {
        key: [info for name, info in schema.properties.items() if _is_parameter(name, key)]
        for key, info in schema.properties.items()
        if info.node and info.display_type == EVENT
    }


def _is_parameter(name: str, event: str) -> bool:
    return name.startswith(f"{event}.") and name != f"{event}.{COUNT}"


class EventReader:
    """Finds the events of one name in the updates of a device."""

    def __init__(self, device_id: str, event: str) -> None:
        self.device_id = device_id
        self.event = event
        self._number: int | None = None

    def take(self, update: Update) -> list[Happening]:
        """Return what an update tells of the event, in order.

        Events of before the first values are not told: they happened before anybody listened.
        """
        if isinstance(update, Gap) and update.missed is None:
            return self._restarted()
        if not isinstance(update, Change | Live):
            return []
        count = update.values.get(f"{self.event}.{COUNT}")
        if count is None:
            return []
        told = isinstance(update, Change)
        found = self._missed(count.value - 1 if told else count.value)
        self._number = count.value
        return [*found, self._occurred(count, update.values)] if told else found

    def _restarted(self) -> list[Happening]:
        known, self._number = self._number, None
        return [] if known is None else [Missed(self.device_id, self.event, None)]

    def _missed(self, before: int) -> list[Happening]:
        """Return what is missing between the latest event that was told and number `before`."""
        known = self._number
        if known is None or before <= known:
            return []
        return [Missed(self.device_id, self.event, before - known)]

    def _occurred(self, count: PropertyValue, values: Mapping[str, PropertyValue]) -> Occurred:
        prefix = f"{self.event}."
        arguments = {
            key.removeprefix(prefix): value.value
            for key, value in values.items()
            if _is_parameter(key, self.event)
        }
        return Occurred(self.device_id, self.event, count.value, arguments, count.timestamp)


class EventWatch(AsyncIterator[Happening]):
    """The events of one name of a device, in order, through its restarts.

    Use it as an asynchronous context manager and iterator.
    """

    def __init__(self, client: "Client", device_id: str, event: str) -> None:
        self._reader = EventReader(device_id, event)
        self._watch = client.watch(f"{device_id}.{event}")
        self._found: list[Happening] = []

    def __aiter__(self) -> "EventWatch":
        return self

    async def __anext__(self) -> Happening:
        while not self._found:
            self._found = self._reader.take(await anext(self._watch))
        return self._found.pop(0)

    async def __aenter__(self) -> "EventWatch":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.close()
