"""The JSON schema of a facility file, for editors and for other programs that write one."""

from typing import Any, Final

from pykarabo.client import DEVICE_ID_PATTERN
from pykarabo.data import ATTRIBUTES

from ._file import (
    FACILITY_ENTRIES,
    LAST_PORT,
    LEAST_MEMORY,
    NAMED_ENTRIES,
    PORT_ENTRIES,
    SERVER_ENTRIES,
)
from ._names import MAX_COMMENT, MOST_PRIORITY, NAME_PATTERN, RESERVED_NAME

_LIMITS: Final = ("_low", "_high")
_TEXT: Final = {"type": "string"}
_ID: Final = {"type": "string", "pattern": f"^{DEVICE_ID_PATTERN}$"}
_IDS: Final = {"pattern": f"^{DEVICE_ID_PATTERN}$"}
_NULL: Final = {"type": "null"}
_VARIABLE: Final = {"type": "string", "pattern": r"^\$\{\w+\}$"}
_PORT: Final = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": LAST_PORT}, _VARIABLE]}


def file_schema() -> dict[str, Any]:
    """Return the schema of what a facility file holds once its YAML is read."""
    value: dict[str, Any] = {"$ref": "#/$defs/value"}
    values = {"type": "object", "additionalProperties": value}
    device = {**values, "properties": {"class": _TEXT}, "required": ["class"]}
    entries: dict[str, Any] = {
        "classes": _list(_TEXT),
        "devices": _or_nothing(_map(device)),
        "host": _or_nothing(_TEXT),
        "advertise": _or_nothing(_TEXT),
        "ports": _or_nothing(_closed(dict.fromkeys(sorted(PORT_ENTRIES), _PORT))),
        "memory": {"anyOf": [{"type": "integer", "minimum": LEAST_MEMORY}, _VARIABLE, _NULL]},
        "own_process": _list(_ID),
        "time_source": _or_nothing(_ID),
        "trusted_networks": _list(_TEXT),
    }
    named: dict[str, Any] = {
        "values": _or_nothing(values),
        "comment": _or_nothing({**_TEXT, "maxLength": MAX_COMMENT}),
        "priority": {
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": MOST_PRIORITY}, _VARIABLE]
        },
        "active": {"anyOf": [{"type": "boolean"}, _VARIABLE]},
        "class": _or_nothing(_TEXT),
    }
    names = {
        "type": "object",
        "propertyNames": {"pattern": f"^{NAME_PATTERN}$", "not": {"const": RESERVED_NAME}},
        "additionalProperties": _or_nothing(_closed(named)),
    }
    facility: dict[str, Any] = {
        "domain": _or_nothing(_TEXT),
        "time_source": _or_nothing(_ID),
        "servers": {**_map(_or_nothing(_closed(entries))), "minProperties": 1},
        "attributes": _or_nothing(_map(_or_nothing(_given({"$ref": "#/$defs/attributes"})))),
        "configurations": _or_nothing(_map(_or_nothing(names))),
    }
    _require_same(entries, SERVER_ENTRIES)
    _require_same(named, NAMED_ENTRIES)
    _require_same(facility, FACILITY_ENTRIES)
    plain = {"type": ["null", "boolean", "number", "string"]}
    nested = [{"type": "array", "items": value}, {"type": "object", "additionalProperties": value}]
    return {
        "title": "facility",
        "description": "A facility file; see docs/how-to/facility-as-code.md.",
        **_closed(facility),
        "required": ["servers"],
        "$defs": {"value": {"anyOf": [plain, *nested]}, "attributes": _attributes()},
    }


def _attributes() -> dict[str, Any]:
    """Return what a property has, or a node with properties below it."""
    texts = {
        "acknowledge": {"type": "array", "items": _TEXT},
        "limit_info": {"type": "object", "additionalProperties": _TEXT},
    }
    numbers = {
        name: {
            "anyOf": [{"type": "number"}, _VARIABLE, *([_NULL] if name.endswith(_LIMITS) else [])]
        }
        for name in ATTRIBUTES
    }
    own = {**numbers, **texts, "archive": {"anyOf": [{"type": "boolean"}, _VARIABLE]}}
    return {"anyOf": [_closed(own), _given({"$ref": "#/$defs/attributes"})]}


def _given(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": item}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _map(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "propertyNames": _IDS, "additionalProperties": item}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _or_nothing(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, _NULL]}


def _require_same(described: dict[str, Any], read: frozenset[str]) -> None:
    """Refuse to describe a file that is read differently."""
    assert described.keys() == read, sorted(described.keys() ^ read)  # noqa: S101 - for us only
