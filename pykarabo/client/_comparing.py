"""Comparing devices with each other, with stored configurations and with themselves before."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.data import (
    AccessMode,
    PropertyValue,
    Schema,
    State,
    flat_configuration,
    same,
)
from pykarabo.errors import BadConfigurationError, BadInputError, UnknownPropertyError, did_you_mean

from ._blocking_proxy import DeviceProxy
from ._proxy import AsyncDeviceProxy

RELATIVE_TOLERANCE: Final = 1e-9
Stored: TypeAlias = Mapping[str, Any] | str | Path
"""A configuration: values by dotted key or nested, or the YAML or JSON file that holds it."""


class Missing:
    """What a side has of a property that only the other one has."""

    def __repr__(self) -> str:
        return "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


class Difference(NamedTuple):
    """How the two sides of a comparison differ in a property; `unit` is that of both numbers."""

    left: Any
    right: Any
    unit: str = ""

    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"({self.left!r}, {self.right!r}){unit}"


class _Side(NamedTuple):
    values: Mapping[str, Any]
    schema: Schema | None
    name: str


# -- what a device has --------------------------------------------------------------------------


def _configuration_of(
    schema: Schema, values: Mapping[str, PropertyValue], only_non_defaults: bool
) -> dict[str, Any]:
    return {
        key: values[key].value
        for key, info in schema.properties.items()
        if not info.node
        and info.access_mode is not AccessMode.READ_ONLY
        and key in values
        and not (only_non_defaults and same(values[key].value, info.initial_value()))
    }


def configuration(device: DeviceProxy, *, only_non_defaults: bool = False) -> dict[str, Any]:
    """Return the values by key that a device like this one can be started with.

    Args:
        only_non_defaults: leave out what is at its default.
    """
    schema = device.schema
    return _configuration_of(schema, device.read(), only_non_defaults)


async def aconfiguration(
    device: AsyncDeviceProxy, *, only_non_defaults: bool = False
) -> dict[str, Any]:
    """Return the values by key that a device like this one can be started with."""
    await device.refresh()
    return _configuration_of(device.schema, await device.read(), only_non_defaults)


def _settable_in(schema: Schema, state: State) -> list[str]:
    return [
        key
        for key, info in schema.properties.items()
        if not info.node
        and info.access_mode is AccessMode.RECONFIGURABLE
        and (info.allowed_states is None or state in info.allowed_states)
    ]


def settable(device: DeviceProxy) -> list[str]:
    """Return the keys of the properties that may be written in the device's present state."""
    return _settable_in(device.schema, State(device.read("state")["state"].value))


async def asettable(device: AsyncDeviceProxy) -> list[str]:
    """Return the keys of the properties that may be written in the device's present state."""
    await device.refresh()
    return _settable_in(device.schema, State((await device.read("state"))["state"].value))


# -- names --------------------------------------------------------------------------------------


def get_property(device: DeviceProxy, key: str) -> Any:
    """Return the value of the property with a dotted key."""
    return _one(device.get(key), device.device_id, key)


async def aget_property(device: AsyncDeviceProxy, key: str) -> Any:
    """Ask the device for the value of the property with a dotted key."""
    return _one(await device.get(key), device.device_id, key)


def _one(values: Mapping[str, Any], device_id: str, key: str) -> Any:
    if key not in values:
        raise BadInputError(
            f"'{device_id}.{key}' is a node and has no value of its own",
            device=device_id,
            key=key,
            remedy="name a property below it",
        )
    return values[key]


def set_property(device: DeviceProxy, key: str, value: Any) -> None:
    """Write the property with a dotted key."""
    device.set({key: value})


async def aset_property(device: AsyncDeviceProxy, key: str, value: Any) -> None:
    """Write the property with a dotted key."""
    await device.set({key: value})


def key_of_alias(schema: Schema, alias: str) -> str:
    """Return the key of the property that has an alias.

    Raises:
        UnknownPropertyError: none has it; near matches are named.
    """
    keys = {info.alias: key for key, info in schema.properties.items() if info.alias}
    if alias not in keys:
        raise UnknownPropertyError(
            f"no property of class '{schema.class_id}' has the alias '{alias}'",
            remedy=did_you_mean(alias, keys) or f"its aliases are: {', '.join(keys) or 'none'}",
        )
    return keys[alias]


def alias_of_key(schema: Schema, key: str) -> str | None:
    """Return the alias of a property, None where it has none."""
    return schema.require_property(key).alias


# -- comparing ----------------------------------------------------------------------------------


def compare(
    left: DeviceProxy | Stored,
    right: DeviceProxy | Stored,
    *,
    tags: Collection[str] | None = None,
    relative: float = RELATIVE_TOLERANCE,
    absolute: float = 0.0,
) -> dict[str, Difference]:
    """Return how two configurations differ, by key: two devices, or a device and a stored one.

    Compare a device with itself before: ``before = configuration(device)``, and later
    ``compare(before, device)``. A side that is stored counts with the keys that it holds, and
    of a device then these only; of two devices, all that can be configured. Quantities and text
    such as ``"3 mm"`` are converted, and so are devices' values if their units differ.

    Args:
        tags: compare only properties that have one of these tags.
        relative, absolute: numbers that are so near to each other are equal.

    Raises:
        BadConfigurationError: a file cannot be read, or no side is a device.
        BadInputError: a stored value does not fit the device.
    """
    sides = [
        _Side(configuration(side), side.schema, side.device_id)
        if isinstance(side, DeviceProxy)
        else _stored(side)
        for side in (left, right)
    ]
    return _differences(sides[0], sides[1], tags, relative, absolute)


async def acompare(
    left: AsyncDeviceProxy | Stored,
    right: AsyncDeviceProxy | Stored,
    *,
    tags: Collection[str] | None = None,
    relative: float = RELATIVE_TOLERANCE,
    absolute: float = 0.0,
) -> dict[str, Difference]:
    """Return how two configurations differ; the asynchronous twin of `compare`."""
    sides = [
        _Side(await aconfiguration(side), side.schema, side.device_id)
        if isinstance(side, AsyncDeviceProxy)
        else _stored(side)
        for side in (left, right)
    ]
    return _differences(sides[0], sides[1], tags, relative, absolute)


def _stored(given: Stored) -> _Side:
    if isinstance(given, Mapping):
        return _Side(given, None, "the configuration")
    import yaml

    path = Path(given)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadConfigurationError(
            f"'{path}' cannot be read as a configuration: {reason}",
            remedy="name a YAML or JSON file of values by key",
        ) from None
    if not isinstance(content, Mapping):
        raise BadConfigurationError(
            f"'{path}' holds no configuration", remedy="write 'key: value' on each line"
        )
    return _Side(content, None, str(path))


def _differences(
    left: _Side, right: _Side, tags: Collection[str] | None, relative: float, absolute: float
) -> dict[str, Difference]:
    schema = left.schema or right.schema
    if schema is None:
        raise BadConfigurationError(
            "neither side is a device, so nobody knows the units and types of their values",
            remedy="compare a device with one of them",
        )
    ours, theirs = (_plain(side, schema) for side in (left, right))
    keys = [key for key in schema.properties if key in ours or key in theirs]
    keys += [key for key in theirs if key not in schema.properties]
    if left.schema is None:
        keys = [key for key in keys if key in ours]
    if right.schema is None:
        keys = [key for key in keys if key in theirs]
    found: dict[str, Difference] = {}
    for key in keys:
        info = schema.properties.get(key)
        if tags is not None and not (info is not None and set(tags) & set(info.tags)):
            continue
        one, other = ours.get(key, MISSING), theirs.get(key, MISSING)
        if not is_close(one, other, relative, absolute):
            found[key] = Difference(one, other, "" if info is None else info.unit)
    return found


def _plain(side: _Side, schema: Schema) -> dict[str, Any]:
    """Return a side's values by key, as plain values in the units of `schema`."""
    if side.schema is not None:
        return {key: _in_unit(side, key, value, schema) for key, value in side.values.items()}
    flat = flat_configuration(schema, side.values, side.name)
    return {
        key: schema.properties[key].validate(value, device=side.name) for key, value in flat.items()
    }


def _in_unit(side: _Side, key: str, value: Any, schema: Schema) -> Any:
    own = side.schema.properties[key] if side.schema is not None else None
    wanted = schema.properties.get(key)
    if own is None or wanted is None or own.unit == wanted.unit or not own.unit:
        return value
    from ._units import quantity

    return quantity(value, own.unit).to(quantity(1, wanted.unit).units).magnitude


def is_close(one: Any, other: Any, relative: float, absolute: float) -> bool:
    """Tell whether two plain values are equal, numbers within a tolerance; NaN equals NaN."""
    if _is_real(one) and _is_real(other):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=relative, abs_tol=absolute)
    if _is_numeric_array(one) and _is_numeric_array(other):
        import numpy as np

        return one.shape == other.shape and bool(
            np.allclose(one, other, rtol=relative, atol=absolute, equal_nan=True)
        )
    return same(one, other)


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numeric_array(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "") in tuple("iufc")
