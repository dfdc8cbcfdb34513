"""Declaring properties that hold one of some values, or text of some form."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from ._descriptors import Property, plain_option
from ._info import PropertyInfo
from ._types import ValueType

if TYPE_CHECKING:
    from ._configurable import Configurable

_KINDS: Final = {str: ValueType.STRING, int: ValueType.INT64, float: ValueType.FLOAT64}


class Choice(Property[Any]):
    """One of some options: texts, or numbers of one type.

    Made of an `Enum` class, it reads as a member of it, and takes a member, its value or its
    name; on the wire and for clients it is the value.

    Args:
        options: the values allowed, or an `Enum` class whose values they are.
    """

    def __init__(self, options: Iterable[Any] | type[Enum], **arguments: Any) -> None:
        values = list(map(plain_option, options))
        kinds = {type(value) for value in values}
        # What these options make is the type of this choice, not of all.
        self.value_type = _KINDS.get(kinds.pop() if len(kinds) == 1 else object, ValueType.NONE)  # type: ignore[misc]
        self._enum = options if isinstance(options, type) else None
        default = arguments.get("default")
        if isinstance(default, Enum):
            arguments["default"] = default.value
        super().__init__(options=values, **arguments)

    def _described(self, owner: type) -> PropertyInfo:
        values = self._arguments["options"]
        if self.value_type is ValueType.NONE:
            raise self._contradiction(
                owner, f"needs options that are all text, all integers or all floats: {values!r}"
            )
        self._arguments["option_names"] = ()
        if self._enum is not None:
            names = {member.value: member.name for member in self._enum}
            if not set(values) <= names.keys():
                raise self._contradiction(owner, f"has options that {self._enum.__name__} has not")
            self._arguments["option_names"] = tuple(names[value] for value in values)
        return super()._described(owner)

    def read(self, instance: "Configurable", key: str) -> Any:
        """Return the present value, as a member of the `Enum` class if there is one."""
        value = super().read(instance, key)
        return value if self._enum is None or value is None else self._enum(value)


class RegexString(Property[str]):
    """Text of a certain form.

    Args:
        regex: what it must match wholly.
    """

    value_type = ValueType.STRING

    def __init__(self, regex: str, **arguments: Any) -> None:
        super().__init__(**_with_regex(regex, arguments))


class VectorRegexString(Property[list[str]]):
    """A sequence of texts of a certain form.

    Args:
        regex: what each of them must match wholly.
    """

    value_type = ValueType.VECTOR_STRING

    def __init__(self, regex: str, **arguments: Any) -> None:
        super().__init__(**_with_regex(regex, arguments))


def _with_regex(regex: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"display_type": "RegexString", **arguments, "regex": regex}
