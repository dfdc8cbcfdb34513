"""What a command of the command line is about: devices, properties, patterns of them."""

from typing import Final

from pykarabo.client import BlockingClient, check_device_id
from pykarabo.data import PropertyValue
from pykarabo.errors import (
    InvalidNameError,
    PykaraboError,
    UnknownDeviceError,
    UnknownPropertyError,
)

_PATTERN_SIGNS: Final = frozenset("*?[")


def is_pattern(device_id: str) -> bool:
    """Tell whether a device id has signs that stand for others."""
    return not _PATTERN_SIGNS.isdisjoint(device_id)


def split(target: str) -> tuple[str, str | None]:
    """Split ``DEV.name`` into both, ``DEV`` into it and None; the device may be a pattern.

    Raises:
        InvalidNameError: the device part can be no device id.
    """
    device_id, _dot, name = target.partition(".")
    if not is_pattern(device_id):
        check_device_id(device_id)
    return device_id, name or None


def split_named(target: str) -> tuple[str, str]:
    """Split ``DEV.name``.

    Raises:
        InvalidNameError: the device part can be no device id, or there is no name.
    """
    device_id, name = split(target)
    if name is None:
        raise InvalidNameError(
            f"'{target}' names no property or command", remedy=f"write {device_id}.NAME"
        )
    return check_device_id(device_id), name


class Reading:
    """Reads properties with one call per server; a target that fails keeps no other from it.

    Attributes:
        values: per device its properties' values, in the order in which they were wanted.
        errors: per target why it could not be read.
    """

    def __init__(self, client: BlockingClient) -> None:
        self.values: dict[str, dict[str, PropertyValue]] = {}
        self.errors: dict[str, PykaraboError] = {}
        self._client = client
        self._wanted: dict[str, list[str] | None] = {}
        self._choices: dict[str, list[str]] = {}

    def want(self, target: str) -> None:
        """Note a target: ``DEV.property``, ``DEV`` for all, the device may be a pattern.

        Raises:
            InvalidNameError: the device part can be no device id.
            NotConnectedError: a pattern, and there is no directory.
        """
        pattern, key = split(target)
        if not is_pattern(pattern):
            self._want(pattern, key)
            return
        found = [record.device_id for record in self._client.topology(pattern)]
        if not found:
            self.errors[target] = UnknownDeviceError(
                f"no device matches '{pattern}'", remedy="see 'pykarabo devices'"
            )
        elif key is not None:
            self._choices[target] = [f"{device_id}.{key}" for device_id in found]
        for device_id in found:
            self._want(device_id, key)

    def _want(self, device_id: str, key: str | None) -> None:
        known = self._wanted.get(device_id, [])
        self._wanted[device_id] = None if key is None or known is None else [*known, key]

    def read(self) -> None:
        """Read all that is wanted; a pattern leaves out the devices that lack the property."""
        self.values = {device_id: {} for device_id in self._wanted}
        wanted = self._wanted
        while wanted:
            again: dict[str, list[str] | None] = {}
            for device_id, answer in self._client.read_many(wanted).items():
                if not isinstance(answer, PykaraboError):
                    self.values[device_id] = answer
                    continue
                failed, left = _blame(device_id, wanted[device_id], answer)
                self.errors |= dict.fromkeys(failed, answer)
                if left:
                    again[device_id] = left
            wanted = again
        for target, choices in self._choices.items():
            self._settle(target, choices)

    def _settle(self, target: str, choices: list[str]) -> None:
        lacking = [
            choice
            for choice in choices
            if isinstance(self.errors.get(choice), UnknownPropertyError)
        ]
        for choice in lacking:
            del self.errors[choice]
        if len(lacking) == len(choices):
            pattern, _dot, key = target.partition(".")
            self.errors[target] = UnknownPropertyError(
                f"no device that matches '{pattern}' has a property '{key}'",
                key=key,
                remedy=f"see 'pykarabo show {choices[0].partition('.')[0]}'",
            )


def _blame(
    device_id: str, keys: list[str] | None, error: PykaraboError
) -> tuple[list[str], list[str]]:
    """Return the targets that an error is about, and the keys that may be read without them."""
    if keys is None:
        return [device_id], []
    bad = keys
    if isinstance(error, UnknownPropertyError) and error.key in keys:
        bad = [key for key in keys if key == error.key]
    return [f"{device_id}.{key}" for key in bad], [key for key in keys if key not in bad]
