"""Configurations as they are kept: by dotted key, and only what differs from the class's defaults.

The schema of a class shows all alternatives of a choice of nodes, and of a list of nodes only what
each of them holds. A configuration that is kept says besides its values which nodes there are::

    {"velocity": 2.5, "stage": {"rotary": {}}, "axes": {"x": {}, "y": {}}, "axes.x.speed": 3.0}

It is what a device of the class can be started with, and it can be compared key by key.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pykarabo.errors import (
    BadInputError,
    MissingValueError,
    NotAnOptionError,
    ReadOnlyError,
    UnknownPropertyError,
    did_you_mean,
)

from ._compare import same
from ._configurable import given_twice
from ._info import PropertyInfo
from ._nodes import named_nodes
from ._schema import Schema
from ._types import AccessLevel, AccessMode, ValueType

_Infos = Mapping[str, PropertyInfo]
_CHOICE: Final = "choice"
_LIST: Final = "list"


class Kept(NamedTuple):
    """What is kept of a device, and what of its properties is not.

    Attributes:
        values: what differs from the defaults of the class, by dotted key.
        left_out: why a property that can be configured is not kept, by its key.
    """

    values: dict[str, Any]
    left_out: dict[str, str]


def class_property(schema: Schema, key: str) -> PropertyInfo | None:
    """Return what a class says of a dotted key, also below nodes that a configuration names."""
    return _property_in(schema.properties, key)


def _property_in(infos: _Infos, key: str) -> PropertyInfo | None:
    found = infos.get(key)
    if found is not None:
        return found
    place = key.rfind(".")
    while place > 0:
        above = infos.get(key[:place])
        if above is not None:
            return _below_list(above, key[place + 1 :]) if above.node_kind == _LIST else None
        place = key.rfind(".", 0, place)
    return None


def _below_list(info: PropertyInfo, path: str) -> PropertyInfo | None:
    name, _dot, rest = path.partition(".")
    if not name.isidentifier():
        return None
    return _property_in(_rows(info), rest) if rest else _group(name)


def _rows(info: PropertyInfo) -> _Infos:
    return {row.key: row for row in info.rows}


def _group(name: str) -> PropertyInfo:
    """Return the entry of one node of a list, which no schema of a class has."""
    return PropertyInfo(
        name,
        ValueType.HASH,
        access_mode=AccessMode.READ_ONLY,
        access_level=AccessLevel.OBSERVER,
        node=True,
    )


# -- what was given -----------------------------------------------------------------------------


def checked_configuration(
    schema: Schema, configuration: Mapping[str, Any], device: str, *, errors: list[BadInputError]
) -> dict[str, Any]:
    """Return a configuration of a class by dotted key, with plain values in their units.

    Args:
        configuration: by dotted key, or nested maps for nodes.
        errors: takes what does not fit: unknown keys with near matches, values, what is missing.
    """
    found: dict[str, Any] = {}
    for key, value in configuration.items():
        _take(schema, key, value, device, found=found, errors=errors)
    for info, key in _leaves(schema.properties, "", found):
        names = _node_names(info, key, found) if info.node else []
        if info.node_kind == _CHOICE and len(names) > 1:
            errors.append(_several(info, key, device, names))
        if info.required and not (names or key in found):
            errors.append(_missing(key, device))
    return found


def _several(info: PropertyInfo, key: str, device: str, names: list[str]) -> NotAnOptionError:
    return NotAnOptionError(
        f"'{device}.{key}' must be one, not {' and '.join(names)}",
        device=device,
        key=key,
        remedy=f"choose one of {', '.join(info.options or ())}",
    )


def _missing(key: str, device: str) -> MissingValueError:
    return MissingValueError(
        f"'{device}.{key}' must be configured",
        device=device,
        key=key,
        remedy=f"give a value of '{key}'",
    )


def _take(
    schema: Schema,
    key: str,
    value: Any,
    device: str,
    *,
    found: dict[str, Any],
    errors: list[BadInputError],
) -> None:
    try:
        info = _configurable(schema, key, value, device)
        if not info.node:
            if key in found:
                raise given_twice(f"{device}.{key}", key)
            found[key] = info.validate(value, device=device)
            return
        below = named_nodes(value) if info.node_kind else value
        if info.node_kind:
            found[key] = {**found.get(key, {}), **{name: {} for name in below}}
    except BadInputError as error:
        error.key = key
        errors.append(error)
        return
    for name, item in below.items():
        given = {} if item is None and info.node_kind else item
        _take(schema, f"{key}.{name}", given, device, found=found, errors=errors)


def _configurable(schema: Schema, key: str, value: Any, device: str) -> PropertyInfo:
    info = class_property(schema, key)
    if info is None:
        raise UnknownPropertyError(
            f"'{device}' has no property '{key}'",
            device=device,
            key=key,
            remedy=did_you_mean(key, _names_near(schema, key)) or f"see class {schema.class_id}",
        )
    is_map = isinstance(value, Mapping) or (
        info.node_kind != "" and isinstance(named_nodes(value), Mapping)
    )
    if (info.node and not is_map) or (not info.node and info.access_mode is AccessMode.READ_ONLY):
        raise ReadOnlyError(
            f"'{device}.{key}' cannot be configured",
            device=device,
            key=key,
            remedy="give a map of what is below it" if info.node else "leave it out",
        )
    return info


def _names_near(schema: Schema, key: str) -> list[str]:
    """Return the keys that can be configured and that `key` may have been meant to be."""
    above, dot, _last = key.rpartition(".")
    candidates = [
        name
        for name, info in schema.properties.items()
        if info.node or info.access_mode is not AccessMode.READ_ONLY
    ]
    place = above.rpartition(".")[0]
    listed = schema.properties.get(place)
    if dot and listed is not None and listed.node_kind == _LIST:
        candidates += [f"{above}.{row.key}" for row in listed.rows]
    return candidates


# -- all values ---------------------------------------------------------------------------------


def filled_configuration(schema: Schema, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every property that can be configured, and which nodes there are.

    Args:
        configuration: by dotted key, as `checked_configuration` returns it.
    """
    filled: dict[str, Any] = {}
    for info, key in _leaves(schema.properties, "", configuration):
        if info.node:
            filled[key] = {name: {} for name in _node_names(info, key, configuration)}
        else:
            filled[key] = configuration[key] if key in configuration else info.initial_value()
    return filled


def properties_with(schema: Schema, configuration: Mapping[str, Any]) -> dict[str, PropertyInfo]:
    """Return the properties that a device of a class has with a configuration, nodes left out.

    Args:
        configuration: by dotted key, as `checked_configuration` returns it.
    """
    leaves = _leaves(schema.properties, "", configuration, read_only=True)
    return {key: replace(info, key=key) for info, key in leaves if not info.node}


def _leaves(
    infos: _Infos, prefix: str, given: Mapping[str, Any], *, read_only: bool = False
) -> Iterator[tuple[PropertyInfo, str]]:
    """Yield what can be configured with its key: values, choices and lists.

    Args:
        read_only: yield the values that cannot be configured as well.
    """
    hidden: list[str] = []
    for info in infos.values():
        key = f"{prefix}{info.key}"
        if any(key == above or key.startswith(f"{above}.") for above in hidden):
            continue
        if info.node_kind:
            names = _node_names(info, key, given)
            yield info, key
            if info.node_kind == _CHOICE:
                hidden += (f"{key}.{name}" for name in info.options or () if name not in names)
            else:
                for name in names:
                    below = f"{key}.{name}."
                    yield from _leaves(_rows(info), below, given, read_only=read_only)
        elif not info.node and (read_only or info.access_mode is not AccessMode.READ_ONLY):
            yield info, key


def _node_names(info: PropertyInfo, key: str, given: Mapping[str, Any]) -> list[str]:
    """Return the nodes that a configuration has chosen or listed, in their order."""
    names = dict.fromkeys(given.get(key, {}))
    prefix = f"{key}."
    for other in given:
        if other.startswith(prefix):
            names[other.removeprefix(prefix).partition(".")[0]] = None
    if not names and info.node_kind == _CHOICE and info.default is not None:
        return [info.default]
    return list(names)


# -- what is kept -------------------------------------------------------------------------------


def kept_configuration(schema: Schema, live: Schema, values: Mapping[str, Any]) -> Kept:
    """Return what differs from the defaults of a device's class.

    Args:
        schema: that of the class.
        live: that of the device, which may have more.
        values: the device's plain values by key.
    """
    given, left_out = live_configuration(schema, live, values)
    kept = without_defaults(schema, given)
    for key in list(kept):
        info = class_property(schema, key)
        if info is not None and info.secret:
            left_out[key] = "it is secret"
            del kept[key]
    return Kept(kept, left_out)


def without_defaults(schema: Schema, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a configuration by dotted key is needed to have it again."""
    kept: dict[str, Any] = {}
    for key, value in filled_configuration(schema, configuration).items():
        info = class_property(schema, key)
        if info is None:
            continue
        if not is_default(info, value) or (info.required and not info.node):
            kept[key] = value
    return kept


def is_default(info: PropertyInfo, value: Any) -> bool:
    """Tell whether a value, or what is below a node, is so without a configuration."""
    if info.node_kind == _CHOICE:
        return list(value) == [info.default]
    return not value if info.node else same(value, info.initial_value())


def live_configuration(schema: Schema, live: Schema, values: Mapping[str, Any]) -> Kept:
    """Return all that a device of a class is configured with now, secrets included."""
    given: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for key, info in live.properties.items():
        described = class_property(schema, key)
        if info.node:
            if described is not None and described.node_kind:
                given[key] = {name: {} for name in _child_nodes(live, key)}
        elif info.access_mode is AccessMode.READ_ONLY or key not in values:
            continue
        elif described is None or described.node:
            left_out[key] = "its class does not declare it"
        elif described.access_mode is not AccessMode.READ_ONLY:
            given[key] = values[key]
    return Kept(given, left_out)


def _child_nodes(live: Schema, key: str) -> list[str]:
    prefix = f"{key}."
    below = (name.removeprefix(prefix) for name in live.properties if name.startswith(prefix))
    return [name for name in below if "." not in name]
