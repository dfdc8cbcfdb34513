"""What a condition sees of devices: their values as the changes have told so far.

While a condition is evaluated, proxies do not ask their devices but the observation. It goes on by
one change at a time, so a condition sees each value that a device had, also one that came and went
while it was evaluated for the one before.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pykarabo.data import PropertyInfo, PropertyValue, Schema
from pykarabo.errors import CallTimeoutError, StaleValueError, UnknownPropertyError, did_you_mean

from ._text import shown_value
from ._updates import Change, Live, NewSchema, Stale, Update, is_selected

_SHOWN: Final = 10
"""Properties that a timeout names."""
_NO_VALUES: Final = "it sent no values yet"


@dataclass(frozen=True, slots=True, eq=False)
class DeviceRef:
    """The device of a proxy.

    Attributes:
        device_id: its id.
        place: where it is followed: a client, or for code that blocks the domain and the
            directory's endpoint.
        info_of: returns the description of a property as far as it is known.
    """

    device_id: str
    place: Any
    info_of: Callable[[str], PropertyInfo | None]


class _AwayError(StaleValueError):
    """A condition has read a device of which nothing is known now."""


class Verdict(NamedTuple):
    """What a condition has said; undecided when it read a device that is away."""

    decided: bool
    result: Any = None


class _Seen:
    def __init__(self, device: DeviceRef) -> None:
        self.device = device
        self.values: dict[str, PropertyValue] = {}
        self.away: str | None = _NO_VALUES
        self.was_seen = False
        self.schema: Schema | None = None

    def info_of(self, key: str) -> PropertyInfo | None:
        """Return the description of a property: of the present schema, if it was told anew."""
        if self.schema is None:
            return self.device.info_of(key)
        return self.schema.properties.get(key)


class Observation:
    """The devices that a condition reads.

    Args:
        follow: called with a device when a condition reads it for the first time; from then on its
            updates go to `take`.
    """

    def __init__(self, follow: Callable[[DeviceRef], None]) -> None:
        self._follow = follow
        self._devices: dict[object, _Seen] = {}
        self._read: dict[tuple[object, str], None] = {}
        self._whole: set[object] = set()

    def evaluate(self, condition: Callable[[], Any]) -> Verdict:
        """Evaluate a condition with what is known now."""
        token = observing.set(self)
        try:
            return Verdict(True, condition())
        except _AwayError:
            return Verdict(False)
        finally:
            observing.reset(token)

    def read(self, device: DeviceRef, keys: tuple[str, ...]) -> dict[str, PropertyValue]:
        """Return a device's values for the condition that is evaluated.

        Raises:
            _AwayError: nothing is known of it now.
            UnknownPropertyError: it has no such property.
        """
        place = (device.place, device.device_id)
        seen = self._devices.get(place)
        if seen is None:
            seen = self._devices[place] = _Seen(device)
            self._follow(device)
        if not keys:
            self._whole.add(place)
        self._read.update(dict.fromkeys((place, key) for key in keys))
        if seen.away is not None:
            raise _AwayError(
                f"'{device.device_id}' is away: {seen.away}",
                device=device.device_id,
                remedy="wait until it is back",
            )
        return _selected(seen, keys)

    def take(self, device: DeviceRef, update: Update) -> bool:
        """Go on by one update; returns whether it changes anything that was read."""
        place = (device.place, device.device_id)
        seen = self._devices[place]
        if isinstance(update, Change):
            seen.values.update(update.values)
            return place in self._whole or any(
                is_selected(key, wanted)
                for key in update.values
                for at, wanted in self._read
                if at == place
            )
        if isinstance(update, Live):
            seen.values = dict(update.values)
            seen.away, seen.was_seen = None, True
        elif isinstance(update, Stale):
            seen.away = update.reason
        elif isinstance(update, NewSchema):
            known = update.schema.properties
            seen.schema = update.schema
            seen.values = {key: value for key, value in seen.values.items() if key in known}
        return isinstance(update, Live | NewSchema)

    def require_present(self) -> None:
        """Raise `StaleValueError` if a device that was seen has gone away."""
        for seen in self._devices.values():
            if seen.was_seen and seen.away is not None:
                raise StaleValueError(
                    f"device '{seen.device.device_id}' went away while it was waited for: "
                    f"{seen.away}",
                    device=seen.device.device_id,
                    remedy="look at 'pykarabo status'",
                )

    def timeout(self, what: str, timeout_s: float | None) -> CallTimeoutError:
        """Return the error of a wait that took too long; it tells what was last seen."""
        away = {
            place: f"'{seen.device.device_id}' is away: {seen.away}"
            for place, seen in self._devices.items()
            if seen.away is not None
        }
        last = [self._last(place, key) for place, key in self._read if place not in away]
        more = f" and {len(last) - _SHOWN} more" if len(last) > _SHOWN else ""
        seen = "; ".join([*away.values(), *last[:_SHOWN]]) or "it read no device"
        return CallTimeoutError(
            f"{what} within {timeout_s} s; last seen: {seen}{more}",
            device=next((seen.device.device_id for seen in self._devices.values()), None),
            remedy="wait longer, or look at what it reads",
        )

    def _last(self, place: object, key: str) -> str:
        seen = self._devices[place]
        name = f"{seen.device.device_id}.{key}"
        value = seen.values.get(key)
        info = seen.info_of(key)
        return f"{name} = {shown_value(value, info)}" if value is not None else f"{name} unknown"


def _selected(seen: _Seen, keys: tuple[str, ...]) -> dict[str, PropertyValue]:
    if not keys:
        return dict(seen.values)
    found: dict[str, PropertyValue] = {}
    for wanted in keys:
        below = {key: seen.values[key] for key in seen.values if is_selected(key, wanted)}
        if not below:
            raise _missing(seen, wanted)
        found |= below
    return found


def _missing(seen: _Seen, key: str) -> StaleValueError | UnknownPropertyError:
    name = seen.device.device_id
    if seen.info_of(key) is not None:
        return _AwayError(
            f"no value of '{name}.{key}' was received yet",
            device=name,
            key=key,
            remedy="wait until it comes",
        )
    return UnknownPropertyError(
        f"device '{name}' has no property '{key}'",
        device=name,
        key=key,
        remedy=did_you_mean(key, seen.values) or f"see 'pykarabo show {name}'",
    )


observing: Final[ContextVar[Observation | None]] = ContextVar("observing", default=None)
"""Set while a condition is evaluated: proxies read from here."""


def observed(device: DeviceRef, keys: tuple[str, ...]) -> dict[str, PropertyValue] | None:
    """Return the values that a condition sees; None when none is being evaluated."""
    observation = observing.get()
    return None if observation is None else observation.read(device, keys)
