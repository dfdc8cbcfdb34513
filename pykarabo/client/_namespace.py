"""What the names of a device stand for, for every kind of proxy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pykarabo.data import CommandInfo, PropertyInfo, Schema, raise_all
from pykarabo.errors import BadInputError, UnknownPropertyError, did_you_mean


def checked(schema: Schema, device_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Validate values against the schema before they leave the caller; returns plain values.

    Raises:
        BadInputError: a key, type, unit, shape or range that the device would refuse; several
            come as one `InvalidValuesError`.
    """
    plain: dict[str, Any] = {}
    errors: list[BadInputError] = []
    for key, value in values.items():
        try:
            info = schema.require_property(key, device_id)
            plain[key] = info.validate(value, device=device_id)
        except BadInputError as error:
            errors.append(error)
    raise_all(errors, device_id)
    return plain


def converted(
    info: CommandInfo, args: Sequence[Any], kwargs: Mapping[str, Any], device_id: str
) -> tuple[list[Any], dict[str, Any]]:
    """Check and convert a command's arguments before they leave the caller, in their own order.

    Raises:
        BadInputError: too many, too few or unknown arguments, or one that does not fit.
    """
    plain = info.bind(args, kwargs, device_id)
    names = [item.name for item in info.parameters][: len(args)]
    return [plain.pop(name) for name in names], plain


def describe_command(run: Callable[..., Any], info: CommandInfo) -> None:
    """Give a function that runs a command its name, signature and docstring."""
    from ._display import command_documentation, command_signature

    run.__name__ = run.__qualname__ = info.name.rpartition(".")[2]
    run.__doc__ = command_documentation(info)
    run.__dict__["__signature__"] = command_signature(info)


class Documentation:
    """The docstring of a proxy's class, and of each proxy that of its device."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __get__(self, proxy: Any, owner: type) -> str | None:
        if proxy is None:
            return self._text
        described: str = proxy._documentation()  # noqa: SLF001 - a proxy's own part
        return described


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
