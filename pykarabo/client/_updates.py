"""What a watcher of a device is told."""

from dataclasses import dataclass, field
from typing import TypeAlias

from pykarabo.data import PropertyValue, Schema


@dataclass(frozen=True, slots=True)
class Change:
    """Properties of the device have new values; `sequence` numbers the device's events."""

    device_id: str
    values: dict[str, PropertyValue]
    sequence: int


@dataclass(frozen=True, slots=True)
class Live:
    """The values are current again, or for the first time: all of them."""

    device_id: str
    values: dict[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes were lost.

    Attributes:
        missed: how many messages; None when the device was restarted and nobody can know.
        recovered: whether each of them follows now, late; if not, the present values do.
    """

    device_id: str
    missed: int | None
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Stale:
    """The values known so far may be wrong from now on, and why."""

    device_id: str
    reason: str
    values: dict[str, PropertyValue] = field(default_factory=dict[str, PropertyValue])


@dataclass(frozen=True, slots=True)
class NewSchema:
    """The device has other properties or commands now; their values come after this.

    Attributes:
        schema: all that it has now.
    """

    device_id: str
    schema: Schema


Update: TypeAlias = Change | Live | Gap | Stale | NewSchema


def is_selected(key: str, wanted: str) -> bool:
    """Tell whether a property is the wanted one, or below the wanted node."""
    return key == wanted or key.startswith(f"{wanted}.")
