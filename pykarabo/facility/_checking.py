"""Whether a facility file names classes and properties that there are, with values that fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from pykarabo.data import (
    TEXT_ATTRIBUTES,
    Schema,
    checked_attributes,
    checked_configuration,
    class_property,
    properties_with,
    without_defaults,
)
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    InvalidValuesError,
    MissingValueError,
    UnknownClassError,
)

from ._file import Facility, FacilityDevice, FacilityServer, NamedConfiguration
from ._form import FromVariable, from_variables, scalar, variables_in

SchemaOf: TypeAlias = Callable[[str, FacilityServer, str], Schema]
"""Tells the schema of a class on a server; raises `UnknownClassError`."""
_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Checked:
    """A class, and a configuration of it as plain values by dotted key.

    Attributes:
        missing: of a named configuration, why the store would not take it as it is.
        attributes: of a device, those that it has instead of its class's, by property.
    """

    schema: Schema
    values: Mapping[str, Any]
    missing: tuple[str, ...] = ()
    attributes: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict[str, Mapping[str, Any]]
    )


@dataclass(frozen=True, slots=True)
class CheckedFacility:
    """A facility of which everything fits.

    Attributes:
        named: the named configurations, by device and name.
    """

    facility: Facility
    devices: Mapping[str, Checked]
    named: Mapping[str, Mapping[str, Checked]]


def fitting(
    schema: Schema, values: Mapping[str, Any], device_id: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what of a kept configuration its class takes today, and why it takes no more."""
    errors: list[BadInputError] = []
    found = checked_configuration(schema, values, device_id, errors=errors)
    refused = {
        error.key or "": error.message
        for error in errors
        if not isinstance(error, MissingValueError)
    }
    for key in [key for key in found if _is_secret(schema, key)]:
        refused[key] = "it is secret"
        del found[key]
    return found, refused


def without_secrets(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the store keeps of a configuration: what differs from the defaults."""
    kept = without_defaults(schema, values)
    return {key: value for key, value in kept.items() if not _is_secret(schema, key)}


def _is_secret(schema: Schema, key: str) -> bool:
    info = class_property(schema, key)
    return info is not None and info.secret


def check_facility(facility: Facility, schema_of: SchemaOf) -> CheckedFacility:
    """Return a facility's configurations as plain values.

    Raises:
        BadConfigurationError: classes or properties that there are not (near matches are named),
            and values that do not fit: all of them, each with its line.
    """
    checker = _Checker(facility)
    for server_id, given in facility.servers.items():
        server = checker.offering(server_id, given, schema_of)
        for device_id, device in server.devices.items():
            place = f"servers.{server_id}.devices.{device_id}"
            try:
                schema = schema_of(server_id, server, device.class_id)
            except BadInputError as error:
                checker.add(f"{place}.class", error)
                continue
            values = checker.values(schema, device.configuration, device_id, place)
            attributes = checker.attributes(schema, values, device.attributes, device_id)
            checker.devices[device_id] = Checked(schema, values, attributes=attributes)
    for device_id, named in (facility.configurations or {}).items():
        for name, item in named.items():
            place = f"configurations.{device_id}.{name}"
            try:
                known = checker.schema_of_named(device_id, item, schema_of)
            except BadInputError as error:
                checker.add(f"{place}.class", error)
                continue
            if known is not None:
                found = checker.named_values(known, item.values, device_id, f"{place}.values")
                checker.named.setdefault(device_id, {})[name] = found
    checker.raise_all()
    return CheckedFacility(facility, checker.devices, checker.named)


def with_variables(schema: Schema, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with its variables as its properties take them."""
    return {key: _from_variables(schema, key, value) for key, value in configuration.items()}


def _from_variables(schema: Schema, key: str, value: Any) -> Any:
    info = class_property(schema, key)
    if info is None:
        return value
    if info.node and isinstance(value, dict):
        return {
            name: _from_variables(schema, f"{key}.{name}", item) for name, item in value.items()
        }
    return from_variables(value, info)


def attributes_with_variables(schema: Schema, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with their variables as numbers, where they do not hold texts."""
    return {key: _attributes_from_variables(schema, key, item) for key, item in given.items()}


def _attributes_from_variables(schema: Schema, key: str, given: Any) -> Any:
    info = class_property(schema, key)
    if info is None or not isinstance(given, dict):
        return given
    if info.node:
        return {
            name: _attributes_from_variables(schema, f"{key}.{name}", item)
            for name, item in given.items()
        }
    return {
        name: scalar(item)
        if isinstance(item, FromVariable) and name not in TEXT_ATTRIBUTES
        else item
        for name, item in given.items()
    }


def _value_at(configuration: Mapping[str, Any], key: str) -> Any:
    if key in configuration:
        return configuration[key]
    above, _dot, below = key.partition(".")
    inner = configuration.get(above)
    return _value_at(inner, below) if isinstance(inner, dict) and below else None


def resolve_variables(facility: Facility, schema_of: SchemaOf) -> Facility:
    """Return a facility with the variables of its devices as their properties take them.

    Classes are asked for only where there are such; of one that there is not, whoever starts the
    device will tell.
    """

    def device(server_id: str, server: FacilityServer, item: FacilityDevice) -> FacilityDevice:
        if not variables_in([dict(item.configuration), dict(item.attributes)]):
            return item
        try:
            schema = schema_of(server_id, server, item.class_id)
        except UnknownClassError:
            return item
        return replace(
            item,
            configuration=with_variables(schema, item.configuration),
            attributes=attributes_with_variables(schema, item.attributes),
        )

    return replace(
        facility,
        servers={
            server_id: replace(
                server,
                devices={
                    device_id: device(server_id, server, item)
                    for device_id, item in server.devices.items()
                },
            )
            for server_id, server in facility.servers.items()
        },
    )


class _Checker:
    def __init__(self, facility: Facility) -> None:
        self.devices: dict[str, Checked] = {}
        self.named: dict[str, dict[str, Checked]] = {}
        self._document = facility.document
        self._errors: list[BadConfigurationError] = []

    def values(
        self, schema: Schema, configuration: Mapping[str, Any], device_id: str, place: str
    ) -> dict[str, Any]:
        """Return a configuration as plain values; what does not fit is noted."""
        errors: list[BadInputError] = []
        given = with_variables(schema, configuration)
        found = checked_configuration(schema, given, device_id, errors=errors)
        for error in errors:
            self._add_value(place, error.key, error, configuration)
        return found

    def attributes(
        self, schema: Schema, values: Mapping[str, Any], given: Mapping[str, Any], device_id: str
    ) -> dict[str, dict[str, Any]]:
        """Return the attributes that a device is given; what does not fit is noted."""
        if not given:
            return {}
        errors: list[BadInputError] = []
        infos = properties_with(schema, values)
        wanted = attributes_with_variables(schema, given)
        found = checked_attributes(infos, wanted, device_id, errors=errors)
        for error in errors:
            attribute = error.details.get("attribute")
            key = f"{error.key}.{attribute}" if attribute else error.key
            self._add_value(f"attributes.{device_id}", key, error, given)
        return found

    def offering(
        self, server_id: str, server: FacilityServer, schema_of: SchemaOf
    ) -> FacilityServer:
        """Return a server without those of its classes that there are not, which are noted."""
        if server.classes is None:
            return server
        known: list[str] = []
        for number, name in enumerate(server.classes):
            try:
                schema_of(server_id, server, name)
            except UnknownClassError as error:
                self.add(f"servers.{server_id}.classes[{number}]", error)
            else:
                known.append(name)
        return replace(server, classes=tuple(known))

    def schema_of_named(
        self, device_id: str, named: NamedConfiguration, schema_of: SchemaOf
    ) -> Schema | None:
        """Return the class of a named configuration; None where that of its device is wrong."""
        device = self.devices.get(device_id)
        if device is not None and named.class_id in ("", device.schema.class_id):
            return device.schema
        return schema_of("", FacilityServer({}), named.class_id) if named.class_id else None

    def named_values(
        self, schema: Schema, configuration: Mapping[str, Any], device_id: str, place: str
    ) -> Checked:
        """Return a named configuration; what does not fit, and what is secret, is noted.

        What is missing does no harm as long as the store has it so already.
        """
        errors: list[BadInputError] = []
        given = with_variables(schema, configuration)
        found = checked_configuration(schema, given, device_id, errors=errors)
        missing: list[str] = []
        for error in errors:
            if isinstance(error, MissingValueError):
                missing.append(self._why_missing(schema, error, device_id, place))
            else:
                self._add_value(place, error.key, error, configuration)
        for key in found:
            if _is_secret(schema, key):
                problem = f"'{device_id}.{key}' is secret, and no configuration keeps it"
                self.add(f"{place}.{key}", BadConfigurationError(problem, remedy="leave it out"))
        return Checked(schema, without_secrets(schema, found), tuple(missing))

    def _why_missing(
        self, schema: Schema, error: MissingValueError, device_id: str, place: str
    ) -> str:
        if not _is_secret(schema, error.key or ""):
            return str(self._located(f"{place}.{error.key}", error))
        problem = (
            f"the store takes this from the running device only: class '{schema.class_id}' "
            f"requires '{error.key}', which is secret and is kept nowhere"
        )
        remedy = f"set the device, and save it: pykarabo config save {device_id} NAME"
        return str(self._located(place, BadConfigurationError(problem, remedy=remedy)))

    def _add_value(
        self, place: str, key: str | None, error: BadInputError, configuration: Mapping[str, Any]
    ) -> None:
        names = variables_in(_value_at(configuration, key or ""))
        if names:
            error.message += f"; it comes from {', '.join(f'${{{name}}}' for name in names)}"
        self.add(f"{place}.{key}" if key else place, error)

    def add(self, place: str, error: BadInputError) -> None:
        """Note an error, and where in the file it is."""
        self._errors.append(self._located(place, error))

    def _located(self, place: str, error: BadInputError) -> BadConfigurationError:
        if self._document is None:
            return BadConfigurationError(error.message, remedy=error.remedy)
        return self._document.wrong(place, error.message, error.remedy)

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
