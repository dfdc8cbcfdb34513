"""Classes of values beside the plain ones: each becomes a plain map with a tag, and back.

Every codec asks here, so a class that is registered travels and can be stored in every form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeVar

from pykarabo.errors import (
    BadConfigurationError,
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
)

_T = TypeVar("_T")
_REMEDY: Final = "update pykarabo on this side"
_MISUNDERSTOOD: Final = (
    PykaraboError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What a class raises for a map that is none of its own."""


@dataclass(frozen=True, slots=True)
class ValueClass:
    """How the values of a class are told to others.

    Attributes:
        tag: what stands for the class; stable, as it is written into files.
    """

    cls: type[Any]
    tag: str
    to_plain: Callable[[Any], Mapping[str, Any]]
    from_plain: Callable[[Mapping[str, Any]], Any]


_by_class: dict[type[Any], ValueClass] = {}
_by_tag: dict[str, ValueClass] = {}
_MODULES: Final[dict[str, str]] = {"schema": "pykarabo.data._schema"}
"""Where a tag's class registers itself, for those that are not imported before they are met."""


def register_value(
    cls: type[_T],
    tag: str,
    to_plain: Callable[[_T], Mapping[str, Any]],
    from_plain: Callable[[Mapping[str, Any]], _T],
) -> None:
    """Let the values of a class travel and be stored in every form.

    Args:
        tag: what stands for the class on the wire and in files; never change it.
        to_plain: returns a map of plain values, arrays, Hashes and values of registered classes.
        from_plain: rebuilds the value; what it raises is told as a `MalformedMessageError`.

    Raises:
        BadConfigurationError: another class has the tag.
    """
    other = _by_tag.get(tag)
    if other is not None and other.cls is not cls:
        raise BadConfigurationError(
            f"the tag '{tag}' of {cls.__name__} stands for {other.cls.__name__} already",
            key=tag,
            remedy="register it under another tag",
        )
    _by_class[cls] = _by_tag[tag] = ValueClass(cls, tag, to_plain, from_plain)


def value_class(cls: type[Any]) -> ValueClass | None:
    """Return how the values of exactly this class travel; None for a class that is plain."""
    return _by_class.get(cls)


def rebuilt(tag: Any, plain: Any) -> Any:
    """Return the value that a tag and a map stand for; raises `MalformedMessageError`."""
    if not isinstance(tag, str) or not isinstance(plain, Mapping):
        raise MalformedMessageError("a value of a class has a wrong form", remedy=_REMEDY)
    if tag not in _by_tag and tag in _MODULES:
        import_module(_MODULES[tag])
    known = _by_tag.get(tag)
    if known is None:
        raise MalformedMessageError(
            f"there is no class of values with the tag '{tag:.60}'", remedy=_REMEDY
        )
    try:
        return known.from_plain(plain)
    except (MalformedMessageError, LimitExceededError):
        raise
    except _MISUNDERSTOOD as error:
        raise MalformedMessageError(
            f"a value of the class '{tag}' cannot be understood: {error!r:.200}", remedy=_REMEDY
        ) from None
