"""The memorised set-points of a device class, and what of a device's memory still fits it."""

from collections.abc import Collection, Mapping
from typing import Any

from pykarabo.data import AccessMode, Schema
from pykarabo.errors import BadConfigurationError, BadInputError


def require_memorised(cls_name: str, schema: Schema, keys: Collection[str]) -> None:
    """Refuse a class whose memorised keys are no properties that can be written.

    Raises:
        UnknownPropertyError, BadConfigurationError: class and property are named.
    """
    for key in keys:
        info = schema.require_property(key, cls_name)
        if info.node or info.access_mode is not AccessMode.RECONFIGURABLE:
            raise BadConfigurationError(
                f"'{cls_name}.{key}' cannot be memorised: nobody can write it",
                key=key,
                remedy="leave it out of 'memorised'",
            )


def fitting(
    schema: Schema, keys: Collection[str], values: Mapping[str, Any], device_id: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the remembered set-points that still fit the class, and why others do not."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for key in keys:
        if key in values:
            try:
                found[key] = schema.properties[key].validate(values[key], device=device_id)
            except BadInputError as error:
                problems.append(f"it starts with a default: {error.message}")
    return found, problems
