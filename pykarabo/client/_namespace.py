"""What the names of a device stand for, for every kind of proxy."""

from collections.abc import Mapping
from typing import Any

from pykarabo.data import PropertyInfo, Schema
from pykarabo.errors import BadInputError, UnknownPropertyError, did_you_mean

from ._bundles import in_one


def checked(schema: Schema, device_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Validate values against the schema before they leave the caller; returns plain values.

    Raises:
        BadInputError: keys, types, units, shapes or ranges that the device would refuse; one that
            names each of them.
    """
    plain: dict[str, Any] = {}
    wrong: list[BadInputError] = []
    for key, value in values.items():
        try:
            info = schema.require_property(key, device_id)
            plain[key] = info.validate(value, device=device_id)
        except BadInputError as error:
            wrong.append(error)
    if wrong:
        raise in_one(wrong, device_id)
    return plain


class Namespace:
    """What a name below a proxy can stand for: resolves dotted names against a schema."""

    def __init__(self, schema: Schema, device_id: str, prefix: str = "") -> None:
        self.schema = schema
        self.device_id = device_id
        self.prefix = prefix

    def kind(self, name: str) -> str:
        """Return ``command``, ``node`` or ``property`` for a name below the prefix.

        Raises:
            UnknownPropertyError: there is no such name; near matches are named.
        """
        key = self.prefix + name
        if key in self.schema.commands:
            return "command"
        info: PropertyInfo | None = self.schema.properties.get(key)
        if info is not None:
            return "node" if info.node else "property"
        raise UnknownPropertyError(
            f"device '{self.device_id}' has no property or command '{key}'",
            device=self.device_id,
            key=key,
            remedy=did_you_mean(key, [*self.schema.properties, *self.schema.commands])
            or f"see 'pykarabo show {self.device_id}'",
        )

    def names(self) -> list[str]:
        """Return the names directly below the prefix."""
        below = [
            key.removeprefix(self.prefix)
            for key in [*self.schema.properties, *self.schema.commands]
            if key.startswith(self.prefix)
        ]
        return [name for name in below if "." not in name]
