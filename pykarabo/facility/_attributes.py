"""How the attributes of a running device differ from those that a facility file gives it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pykarabo.data import (
    PropertyInfo,
    attribute_changes,
    attributes_in_order,
    contradiction,
    properties_with,
)

from ._checking import Checked
from ._running import RunningDevice
from ._steps import Change


@dataclass(frozen=True, slots=True)
class WantedAttributes:
    """What a running device is to be given.

    Attributes:
        changes: what differs from what it has.
        given: all that it is given, also what the file does not mention and it keeps.
        unlisted: what it has and the file does not mention.
        problem: why it cannot have all of that; empty if it can.
    """

    changes: tuple[Change, ...]
    given: Mapping[str, Mapping[str, Any]]
    unlisted: tuple[str, ...]
    problem: str = ""


def wanted_attributes(
    device: RunningDevice, checked: Checked, values: Mapping[str, Any], *, reset: bool
) -> WantedAttributes:
    """Return what a device of the same class is to be given.

    Args:
        values: what it will be configured with, which says what nodes it has.
        reset: take back what the file does not mention.
    """
    infos = properties_with(checked.schema, values)
    before, wanted = device.attributes or {}, checked.attributes
    others = {} if reset else _without(attributes_in_order(infos, before), wanted)
    given = {
        key: {**others.get(key, {}), **wanted.get(key, {})}
        for key in infos
        if key in others or key in wanted
    }
    return WantedAttributes(
        _as_changes(infos, before, given),
        given,
        tuple(_named(key, name) for key, item in others.items() for name in item),
        _problem(infos, device.device_id, given, others),
    )


def new_attributes(checked: Checked) -> tuple[Change, ...]:
    """Return what a device that is started is given."""
    infos = properties_with(checked.schema, checked.values)
    return tuple(
        Change(_named(change.key, change.name), None, change.new, change.unit)
        for change in attribute_changes(infos, {}, checked.attributes)
    )


def _as_changes(
    infos: Mapping[str, PropertyInfo],
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
) -> tuple[Change, ...]:
    return tuple(
        Change(_named(change.key, change.name), change.old, change.new, change.unit)
        for change in attribute_changes(infos, before, after)
    )


def _named(key: str, name: str) -> str:
    return f"{key} {name}"


def _without(
    given: Mapping[str, Mapping[str, Any]], listed: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return attributes without those that a file lists."""
    left = {
        key: {name: value for name, value in item.items() if name not in listed.get(key, {})}
        for key, item in given.items()
    }
    return {key: item for key, item in left.items() if item}


def _problem(
    infos: Mapping[str, PropertyInfo],
    device_id: str,
    given: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return how what the file says contradicts what the device has besides; empty if it fits."""
    for key, item in others.items():
        problem = contradiction(infos[key], given[key])
        if problem is not None:
            names = ", ".join(item)
            return (
                f"'{device_id}.{key}' {problem}, and the file does not mention {names}: "
                "mention it there, or give --reset"
            )
    return ""
