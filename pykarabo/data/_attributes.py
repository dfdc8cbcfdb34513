"""Attributes that a single device is given: its limits, its dead-bands, what the archive keeps.

A class declares them for all of its devices. What is given to one of them goes before that, by
property and named as at the declaration; it says nothing of what the property is, so that a
value that fits before fits after. ``None`` for a limit means that there is none.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final, NamedTuple

from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    UnknownPropertyError,
    WrongTypeError,
    did_you_mean,
)

from ._alarms import MOST_SECONDS, TOO_LONG
from ._configurable import given_twice
from ._declaration import LIMITING, LIMITS, problem_of
from ._info import PropertyInfo
from ._refusal import shown
from ._types import INTEGER_LIMITS

_RANGES: Final = LIMITS[:4]
_LENGTHS: Final = ("hysteresis", "alarm_delay", "deadband", "relative_deadband", "archive_interval")
ATTRIBUTES: Final = (
    *LIMITING,
    "archive",
    "archive_interval",
)
"""What can be given to a single device, in the order in which it is written."""
TEXT_ATTRIBUTES: Final = frozenset({"acknowledge", "limit_info"})
"""Those that hold texts; all others are numbers, or true or false."""
AS_DECLARED: Final = "as declared"
"""Stands for an attribute that is not given; none of them is a text."""
_IN_SECONDS: Final = frozenset({"alarm_delay", "archive_interval"})
_IN_UNITS: Final = frozenset({*_RANGES, "hysteresis", "deadband"})
_LEAST: Final = -(2**63)
_MOST: Final = 2**64 - 1
"""Integers beyond these cannot travel."""


def attribute_unit(info: PropertyInfo, name: str) -> str:
    """Return the unit of an attribute's number; empty where it has none of its own."""
    if name in _IN_SECONDS:
        return "s"
    return info.unit if name in _IN_UNITS else ""


class AttributeChange(NamedTuple):
    """An attribute that a property is given otherwise; `AS_DECLARED` where it is not given."""

    key: str
    name: str
    old: Any
    new: Any
    unit: str


def attribute_changes(
    infos: Mapping[str, PropertyInfo],
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
) -> list[AttributeChange]:
    """Return what changes for a device that was given some attributes and is given others.

    In a stable order. To be given what the class declares is not the same as to be given nothing:
    what a device changes itself holds only where nothing is given.
    """
    changes: list[AttributeChange] = []
    for key, info in infos.items():
        was, will = before.get(key, {}), after.get(key, {})
        for name in ATTRIBUTES if was or will else ():
            old, new = was.get(name, AS_DECLARED), will.get(name, AS_DECLARED)
            if old != new:
                changes.append(AttributeChange(key, name, old, new, attribute_unit(info, name)))
    return changes


def attributes_in_order(
    infos: Mapping[str, PropertyInfo], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return given attributes in a stable order, without those of properties that are not there."""
    found: dict[str, dict[str, Any]] = {}
    for change in attribute_changes(infos, {}, given):
        found.setdefault(change.key, {})[change.name] = change.new
    return found


def checked_attributes(
    infos: Mapping[str, PropertyInfo],
    given: Mapping[str, Any],
    device: str,
    *,
    errors: list[BadInputError],
) -> dict[str, dict[str, Any]]:
    """Return the attributes of single properties by dotted key, as they are kept.

    Args:
        infos: the device's properties as they are without any, nodes left out.
        given: by dotted key, or nested maps for nodes.
        errors: takes what cannot be: unknown properties and attributes with near matches, values
            of another type, and what contradicts itself or what the class declares. Each names
            the property as its `key` and, in its details, the attribute.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, attributes in given.items():
        _take(infos, str(key), attributes, device, found=found, errors=errors)
    return found


def require_attribute(
    infos: Mapping[str, PropertyInfo], key: str, name: str, device: str
) -> PropertyInfo:
    """Return the property whose attribute can be given; raises `BadInputError`."""
    if key not in infos:
        raise _unknown(infos, key, device)
    if name not in ATTRIBUTES:
        error = _unknown_attribute(f"{device}.{key}", name)
        error.device, error.key = device, key
        raise error
    return infos[key]


def _take(
    infos: Mapping[str, PropertyInfo],
    key: str,
    given: Any,
    device: str,
    *,
    found: dict[str, dict[str, Any]],
    errors: list[BadInputError],
) -> None:
    info = infos.get(key)
    if info is None and not any(name.startswith(f"{key}.") for name in infos):
        errors.append(_unknown(infos, key, device))
    elif not isinstance(given, Mapping):
        errors.append(
            WrongTypeError(
                f"the attributes of '{device}.{key}' cannot be {shown(given)}",
                device=device,
                key=key,
                remedy="give a map, such as {warn_high: 5}",
            )
        )
    elif info is None:
        for name, item in given.items():
            _take(infos, f"{key}.{name}", item, device, found=found, errors=errors)
    elif key in found:
        errors.append(given_twice(f"{device}.{key}", key))
    else:
        checked = _checked(info, key, given, device, errors)
        if checked:
            found[key] = checked


def _unknown(infos: Mapping[str, PropertyInfo], key: str, device: str) -> UnknownPropertyError:
    nodes = {name[:place] for name in infos for place, mark in enumerate(name) if mark == "."}
    return UnknownPropertyError(
        f"'{device}' has no property '{key}' whose attributes can be given",
        device=device,
        key=key,
        remedy=did_you_mean(key, [*infos, *sorted(nodes)]) or "name one that its class declares",
    )


def _checked(
    info: PropertyInfo,
    key: str,
    given: Mapping[str, Any],
    device: str,
    errors: list[BadInputError],
) -> dict[str, Any]:
    """Return the attributes of a property as they are kept; what cannot be is noted."""
    found: dict[str, Any] = {}
    refused = False
    for name, value in given.items():
        error: BadInputError | None
        if name not in ATTRIBUTES:
            error = _unknown_attribute(f"{device}.{key}", str(name))
        else:
            found[name], problem = _FORMS[name](value)
            problem = problem or _range_problem(info, name, found[name])
            error = None if problem is None else _refused(f"{device}.{key}", name, value, problem)
        if error is not None:
            error.device, error.key, error.details = device, key, {"attribute": str(name)}
            errors.append(error)
            refused = True
    if not refused:
        problem = contradiction(info, found)
        if problem is not None:
            errors.append(_contradicting(key, problem, device))
    return found


def contradiction(info: PropertyInfo, attributes: Mapping[str, Any]) -> str | None:
    """Return how attributes of a property contradict each other or its own; None if they do not."""
    return problem_of(with_given(info, attributes))


def with_given(info: PropertyInfo, attributes: Mapping[str, Any]) -> PropertyInfo:
    """Return a description with other attributes."""
    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in attributes.items()
    }
    return replace(info, **kept)


def _contradicting(key: str, problem: str, device: str) -> BadConfigurationError:
    return BadConfigurationError(
        f"'{device}.{key}' {problem}",
        device=device,
        key=key,
        remedy="give attributes that fit each other; what is not given is as its class declares it",
    )


def _unknown_attribute(place: str, name: str) -> BadConfigurationError:
    declared = any(item.name == name for item in fields(PropertyInfo))
    remedy = f"its class declares it; what can be given is {', '.join(ATTRIBUTES)}"
    if not declared:
        remedy = did_you_mean(name, ATTRIBUTES) or f"give one of {', '.join(ATTRIBUTES)}"
    return BadConfigurationError(
        f"'{place}' has no attribute '{name}' that can be given to a device", remedy=remedy
    )


def _refused(place: str, name: str, value: Any, problem: str) -> WrongTypeError:
    return WrongTypeError(
        f"'{place}' cannot have {name}={shown(value)}, {problem}",
        remedy=f"give {_WANTED.get(name, 'a number, or null for none')}",
    )


def _range_problem(info: PropertyInfo, name: str, value: Any) -> str | None:
    """Return why no value could ever pass a limit."""
    if name not in _RANGES or value is None or info.value_type.element not in INTEGER_LIMITS:
        return None
    least, most = INTEGER_LIMITS[info.value_type.element]
    if least <= value <= most:
        return None
    return f"which is outside of its type {info.value_type}, from {least} to {most}"


# -- values -------------------------------------------------------------------------------------


def _number(value: Any) -> tuple[Any, str | None]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None, "which is no number"
    try:
        if math.isfinite(value):
            inside = isinstance(value, float) or _LEAST <= value <= _MOST
            return (value if inside else float(value)), None
    except OverflowError:
        pass  # an integer that no float can hold
    return None, "which is no finite number"


def _limit(value: Any) -> tuple[Any, str | None]:
    return (None, None) if value is None else _number(value)


def _length(value: Any) -> tuple[Any, str | None]:
    number, problem = _number(value)
    if problem is None and number < 0:
        return None, "which is less than 0"
    return number, problem


def _seconds(value: Any) -> tuple[Any, str | None]:
    number, problem = _length(value)
    return (None, TOO_LONG) if problem is None and number > MOST_SECONDS else (number, problem)


def _count(value: Any) -> tuple[Any, str | None]:
    number, problem = _length(value)
    if problem is None and type(number) is not int:
        return None, "which is no whole number"
    return number, problem


def _bool(value: Any) -> tuple[Any, str | None]:
    return (value, None) if isinstance(value, bool) else (None, "which is neither true nor false")


def _names(value: Any) -> tuple[Any, str | None]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        return None, "which is no list of names"
    return [str(item) for item in value], None


def _info_texts(value: Any) -> tuple[Any, str | None]:
    if not isinstance(value, Mapping) or not _are_texts([*value.keys(), *value.values()]):
        return None, "which is no map of texts"
    return {str(name): str(item) for name, item in value.items()}, None


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(item, str) for item in values)


_FORMS: Final[Mapping[str, Callable[[Any], tuple[Any, str | None]]]] = {
    **dict.fromkeys(LIMITS, _limit),
    **dict.fromkeys(_LENGTHS, _length),
    **dict.fromkeys(_IN_SECONDS, _seconds),
    "acknowledge": _names,
    "limit_info": _info_texts,
    "rolling_window": _count,
    "archive": _bool,
}
"""By attribute what returns its value as it is kept, or why it cannot be."""
_WANTED: Final = {
    **dict.fromkeys(_LENGTHS, "a number from 0 on"),
    **dict.fromkeys(_IN_SECONDS, f"a number from 0 to {MOST_SECONDS:g}"),
    "acknowledge": f"a list of {', '.join(LIMITS)}",
    "limit_info": f"a map of texts by {', '.join(LIMITS)}",
    "rolling_window": "a whole number from 0 on",
    "archive": "true or false",
}
