#!/usr/bin/env python3
"""Write schemas/*.json: what travels on the wire and what files hold, generated from the code.

A body is a msgpack document. Where JSON has no such type, the schemas describe what it becomes in
JSON: bytes are lower-case hexadecimal text. Arrays, time stamps and complex numbers inside values
travel as msgpack extensions; value_binary.json lists them.
"""

import inspect
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from pykarabo.data import FILE_LIMITS, AccessLevel, Quality, Timestamp
from pykarabo.data._codec import EXTENSIONS, INLINE_LIMIT, MAX_ARRAY_FRAMES
from pykarabo.data._container import ALIGNMENT, HEAD, HEAD_FIELDS
from pykarabo.data._container import MAGIC as FILE_MAGIC
from pykarabo.data._forms import FORM_VERSION, SCALARS
from pykarabo.facility import file_schema
from pykarabo.wire import (
    CHECKSUM,
    HEADER_LAYOUT,
    HEADER_SIZE,
    MAGIC,
    MAX_BUNDLE,
    NO_INSTANCE,
    OPERATIONS,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Attach,
    Heartbeat,
    Hello,
    Item,
    Kind,
    Policy,
    Welcome,
)

FOLDER: Final = Path(__file__).resolve().parents[1] / "schemas"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ANYTHING: Final[dict[str, Any]] = {}
_NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
_INTEGER: Final = {"type": "integer"}
_INSTANCE: Final = {"type": "string", "pattern": f"^[0-9a-f]{{{2 * len(NO_INSTANCE)}}}$"}
_TEXT: Final = {"type": "string"}
_BYTES: Final = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_ROW: Final = {
    "key": _TEXT,
    "value": _ANYTHING,
    "seconds": _INTEGER,
    "fraction": _INTEGER,
    "train_id": _INTEGER,
    "quality": _TEXT,
}
_PLAIN: Final[Mapping[Any, dict[str, Any]]] = {
    Any: _ANYTHING,
    NoneType: {"type": "null"},
    bytes: _INSTANCE,
    float: {"type": "number"},
    int: _NUMBER,
    str: {"type": "string"},
}
_NARROWER: Final[Mapping[str, dict[str, Any]]] = {
    "line": {"type": "string", "pattern": "^([0-9a-f]{2}){0,16}$"},
    "token": {"type": "string", "pattern": "^([0-9a-f]{2}){0,4096}$"},
    "credits": {**_NUMBER, "minimum": 1},
    "role": {**_NUMBER, "maximum": max(AccessLevel)},
    "policy": {"type": "string", "enum": [policy.value for policy in Policy]},
    "quality": {"type": "string", "enum": [quality.value for quality in Quality]},
}
"""Fields, by name, that hold less than their annotation says."""
_EMPTY_KINDS: Final = frozenset(
    {Kind.CANCEL, Kind.GOODBYE, Kind.TAKEN, Kind.ECHO}
    | {Kind.CREDIT, Kind.END_OF_STREAM, Kind.DETACH, Kind.PROBE}
)


def _of(annotation: Any) -> dict[str, Any]:
    """Return the schema of a value that is annotated so."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is UnionType:
        return {"anyOf": [_of(argument) for argument in arguments]}
    if origin is list:
        return {"type": "array", "items": _of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(arguments[1])}
    if annotation is Timestamp:
        return _array(dict.fromkeys(Timestamp._fields, _INTEGER), more=False)
    return _fields_of(annotation)


_PARTS: Final[Mapping[str, Mapping[str, dict[str, Any]]]] = {
    "targets": {"device": _TEXT, "keys": {"anyOf": [_TEXTS, {"type": "null"}]}},
    "writes": {"device": _TEXT, "instance": _INSTANCE, "values": {"type": "object"}},
    "streams": {"stream": _TEXT, "instance": _INSTANCE},
}
"""Fields of requests that are lists of lists, and what those hold."""


def _array(fields: Mapping[str, dict[str, Any]], *, more: bool = True) -> dict[str, Any]:
    """Return the schema of a list whose places are `fields`; a later version may append `more`."""
    places = [{"title": name, **_NARROWER.get(name, field)} for name, field in fields.items()]
    schema: dict[str, Any] = {"type": "array", "prefixItems": places, "minItems": len(places)}
    return schema if more else {**schema, "maxItems": len(places)}


def _fields_of(cls: Any, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the schema of a NamedTuple that travels as the list of its fields."""
    hints = get_type_hints(cls)
    return _array({name: _of(hints[name]) for name in cls._fields if name not in without})


def _request(operation: str, cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    fields = {name: _of(hints[name]) for name in cls._fields}
    for name, places in _PARTS.items():
        if name in fields:
            fields[name] = {"type": "array", "items": _array(places, more=False)}
    schema = _array({"operation": {"const": operation}, **fields}, more=False)
    return {"title": operation, "description": inspect.getdoc(cls), **schema}


def _event() -> dict[str, Any]:
    rows = _array(_ROW)
    return {"description": "Properties that have changed.", "type": "array", "items": rows}


def _error() -> dict[str, Any]:
    texts = {name: {"type": "string"} for name in ("code", "message", "device", "key", "remedy")}
    return {
        "description": "Why a call failed; the code names the class in pykarabo.errors.",
        "type": "object",
        "properties": {**texts, "details": {"type": "object"}},
        "required": ["code", "message"],
    }


def _bodies() -> dict[Kind, dict[str, Any]]:
    in_header = frozenset({"instance", "sequence", "sent_ns"})
    calls = [_request(operation, cls) for operation, cls in OPERATIONS.items()]
    own_fields = frozenset({"sequence", "missed"})
    return {
        Kind.HELLO: {"description": inspect.getdoc(Hello), **_fields_of(Hello)},
        Kind.WELCOME: {"description": inspect.getdoc(Welcome), **_fields_of(Welcome)},
        Kind.CALL: {"description": "What a caller asks.", "oneOf": calls},
        Kind.REPLY: {"description": "The result of a call; its operation says which."},
        Kind.ERROR: _error(),
        Kind.BUNDLE: {
            "description": "Messages that travel as one, each with its frames.",
            "type": "array",
            "items": {"type": "array", "items": _BYTES, "minItems": 1},
            "minItems": 1,
            "maxItems": MAX_BUNDLE,
        },
        Kind.EVENT: _event(),
        Kind.EVENTS: {
            "description": "Several events of a stream that follow each other.",
            "type": "array",
            "items": _event(),
            "minItems": 1,
        },
        Kind.HEARTBEAT: {
            "description": inspect.getdoc(Heartbeat),
            **_fields_of(Heartbeat, without=in_header),
        },
        Kind.SCHEMA: {
            "description": "All of the device's new schema.",
            "type": "object",
            "required": ["class_id", "properties", "commands", "outputs"],
        },
        Kind.ATTACH: {"description": inspect.getdoc(Attach), **_fields_of(Attach)},
        Kind.ATTACHED: {"description": "What the items will hold.", "type": "object"},
        Kind.ITEM: {"description": "One item.", **_fields_of(Item, without=own_fields)},
    }


def _header() -> dict[str, Any]:
    """Return the header's layout; it is no JSON and therefore data, not a schema."""
    fields: list[dict[str, Any]] = []
    offset = 0
    for name, code in HEADER_LAYOUT:
        size = struct.calcsize(">" + code)
        kind = "bytes" if code.endswith("s") else "unsigned"
        fields.append({"name": name, "offset": offset, "size": size, "type": kind})
        offset += size
    return {
        "description": "Layout of the header, big-endian without padding; see pykarabo.wire.",
        "magic": MAGIC.decode(),
        "version": {"major": PROTOCOL_MAJOR, "minor": PROTOCOL_MINOR},
        "size": HEADER_SIZE,
        "fields": fields,
        "flags": {"checksum": CHECKSUM},
        "kinds": {
            kind.name.lower(): {
                "number": kind.value,
                "body": None if kind in _EMPTY_KINDS else f"{_name_of(kind)}.json",
            }
            for kind in Kind
        },
    }


def _binary() -> dict[str, Any]:
    """Return the binary form of values; like the header it is no JSON and therefore data."""
    return {
        "description": "The binary form of values; see docs/reference/codecs.md.",
        "version": FORM_VERSION,
        "document": {
            "encoding": "msgpack",
            "extensions": {
                str(code): {"what": what, "fields": list(fields)}
                for code, (what, fields) in EXTENSIONS.items()
            },
            "inline_limit": INLINE_LIMIT,
            "array_frames": {"message": MAX_ARRAY_FRAMES, "file": FILE_LIMITS.max_frames - 1},
        },
        "file": {
            "magic": FILE_MAGIC.hex(),
            "head": {
                "size": HEAD.size,
                "fields": [{"name": name, "type": code} for name, code in HEAD_FIELDS],
            },
            "lengths": "uint64 per frame, big-endian",
            "alignment": ALIGNMENT,
            "checksum": "CRC-32 of everything before, uint32, big-endian",
        },
    }


def _json_form() -> dict[str, Any]:
    """Return the schema of the JSON form of values."""
    value: dict[str, Any] = {"$ref": "#/$defs/value"}
    number = {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}
    pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    members = {"type": "object", "additionalProperties": value}
    base64 = {"type": "string", "pattern": "^[A-Za-z0-9+/]*={0,2}$"}
    plain = {"type": ["null", "boolean", "number", "string"]}
    kinds = [
        _tagged({"$float": {"enum": ["nan", "inf", "-inf"]}}),
        _tagged({"$complex": pair}),
        _tagged({"$bytes": base64}),
        _tagged({"$scalar": {"enum": list(SCALARS)}, "value": {}}),
        _tagged({"$array": _TEXT, "shape": _SIZES, "values": {"type": "array"}}),
        _tagged({"$array": _TEXT, "shape": _SIZES, "base64": base64}),
        _tagged({"$map": members}),
        _tagged({"$hash": members}, {"$attributes": {"additionalProperties": members}}),
        _tagged({"$value": _TEXT, "content": value}),
    ]
    return {
        "$schema": _DIALECT,
        "title": "value",
        "description": "A value as JSON; see docs/reference/codecs.md.",
        **_tagged({"pykarabo": {"const": "value"}, "version": _VERSION, "value": value}),
        "$defs": {"value": {"anyOf": [plain, {"type": "array", "items": value}, *kinds]}},
    }


_SIZES: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_VERSION: Final = {"const": FORM_VERSION}


def _tagged(
    members: Mapping[str, Any], optional: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the schema of an object that has these members and no others."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
        "additionalProperties": False,
    }


def _name_of(kind: Kind) -> str:
    return f"wire_{kind.name.lower()}"


def generate() -> dict[str, dict[str, Any]]:
    """Return every file's content by its name without ``.json``."""
    bodies = {
        _name_of(kind): {"$schema": _DIALECT, "title": kind.name.lower(), **body}
        for kind, body in _bodies().items()
    }
    forms = {"value_binary": _binary(), "value_json": _json_form()}
    facility = {"$schema": _DIALECT, **file_schema()}
    return {"wire_header": _header(), **bodies, **forms, "facility": facility}


def to_text(content: Mapping[str, Any]) -> str:
    """Return a file's text."""
    return json.dumps(content, indent=2) + "\n"


def main() -> None:
    """Write every file, and remove those that are no longer generated."""
    files = generate()
    for stale in {path.stem for path in FOLDER.glob("*.json")} - files.keys():
        (FOLDER / f"{stale}.json").unlink()
    for name, content in files.items():
        (FOLDER / f"{name}.json").write_text(to_text(content), encoding="utf-8")
    print(f"{len(files)} files in {FOLDER}")


if __name__ == "__main__":
    main()
