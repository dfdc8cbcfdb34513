"""Whether a facility file names classes and properties that there are, with values that fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pykarabo.data import Schema, checked_configuration, class_property, without_defaults
from pykarabo.errors import BadConfigurationError, BadInputError, InvalidValuesError

from ._file import Facility, FacilityServer

SchemaOf: TypeAlias = Callable[[str, FacilityServer, str], Schema]
"""Tells the schema of a class on a server; raises `UnknownClassError`."""
_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Checked:
    """A device's class, and its configuration as plain values by dotted key."""

    schema: Schema
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckedFacility:
    """A facility of which everything fits.

    Attributes:
        named: values of the named configurations, by device and name.
    """

    facility: Facility
    devices: Mapping[str, Checked]
    named: Mapping[str, Mapping[str, Mapping[str, Any]]]


def check_facility(facility: Facility, schema_of: SchemaOf) -> CheckedFacility:
    """Return a facility's configurations as plain values.

    Raises:
        BadConfigurationError: classes or properties that there are not (near matches are named),
            and values that do not fit: all of them, each with its line.
    """
    checker = _Checker(facility)
    for server_id, server in facility.servers.items():
        for device_id, device in server.devices.items():
            place = f"servers.{server_id}.devices.{device_id}"
            try:
                schema = schema_of(server_id, server, device.class_id)
            except BadInputError as error:
                checker.add(f"{place}.class", error)
                continue
            values = checker.values(schema, device.configuration, device_id, place)
            checker.devices[device_id] = Checked(schema, values)
    for device_id, named in (facility.configurations or {}).items():
        known = checker.devices.get(device_id)
        if known is None:  # its class is wrong, which was noted
            continue
        for name, item in named.items():
            place = f"configurations.{device_id}.{name}.values"
            found = checker.values(known.schema, item.values, device_id, place)
            kept = without_defaults(known.schema, found)
            checker.refuse_secrets(known.schema, kept, device_id, place)
            checker.named.setdefault(device_id, {})[name] = kept
    checker.raise_all()
    return CheckedFacility(facility, checker.devices, checker.named)


class _Checker:
    def __init__(self, facility: Facility) -> None:
        self.devices: dict[str, Checked] = {}
        self.named: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._document = facility.document
        self._errors: list[BadConfigurationError] = []

    def values(
        self, schema: Schema, configuration: Mapping[str, Any], device_id: str, place: str
    ) -> dict[str, Any]:
        """Return a configuration as plain values; what does not fit is noted."""
        errors: list[BadInputError] = []
        found = checked_configuration(schema, configuration, device_id, errors=errors)
        for error in errors:
            self.add(f"{place}.{error.key}" if error.key else place, error)
        return found

    def refuse_secrets(
        self, schema: Schema, values: Mapping[str, Any], device_id: str, place: str
    ) -> None:
        """Note what the store would not keep."""
        for key in values:
            info = class_property(schema, key)
            if info is not None and info.secret:
                problem = f"'{device_id}.{key}' is secret, and no configuration keeps it"
                self.add(f"{place}.{key}", BadConfigurationError(problem, remedy="leave it out"))

    def add(self, place: str, error: BadInputError) -> None:
        """Note an error, and where in the file it is."""
        if self._document is None:
            self._errors.append(BadConfigurationError(error.message, remedy=error.remedy))
        else:
            self._errors.append(self._document.wrong(place, error.message, error.remedy))

    def raise_all(self) -> None:
        """Raise the error that there is, or one that lists all."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            lines = "".join(f"\n  {error}" for error in self._errors[:_SHOWN])
            raise InvalidValuesError(
                f"{len(self._errors)} entries of the file do not fit:{lines}",
                remedy="correct them; nothing was done",
                details={"errors": [error.to_wire() for error in self._errors[:_SHOWN]]},
            )
