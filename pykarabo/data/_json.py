"""Values as JSON that people can read, edit and compare, and that loses nothing.

A document is ``{"pykarabo": "value", "version": 1, "value": ...}``. Null, bools, integers, finite
numbers, texts and lists are JSON's own; everything else is an object whose first member begins
with ``$`` and says what it is.
"""

import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, BinaryIO, Final, TypeAlias

from pykarabo.errors import LimitExceededError, MalformedMessageError

from ._forms import (
    FILE_LIMITS,
    FORM_VERSION,
    REMEDY,
    SCALARS,
    Form,
    check_storable,
    check_version,
    describe,
    is_integer,
    too_deep,
    too_large,
    too_many,
)
from ._hash import Hash
from ._limits import Limits
from ._numpy import np
from ._registry import rebuilt
from ._textual import (
    TextWriter,
    array_of_bytes,
    array_of_values,
    from_base64,
    listed,
    malformed,
    real,
    to_base64,
)
from ._types import is_text

_WORDINESS: Final = 8
"""Commas and brackets that a value can take."""
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_STEP: Final = "  "
_SHORT: Final = 8
"""Plain values of a list that stand on one line."""
_NESTED: Final = frozenset({Form.LIST, Form.MAP, Form.HASH, Form.VALUE, Form.ARRAY})
_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode

# -- writing ------------------------------------------------------------------------------------


class _Writer(TextWriter):
    def value(self, value: Any, indent: str) -> None:
        form, content = describe(value)
        if form in _LEAVES:
            self.put(_LEAVES[form](content))
        elif form is Form.LIST:
            self._list(content, indent)
        elif form is Form.HASH:
            self._hash(content, indent)
        elif form is Form.MAP:
            self.put('{"$map": ')
            self._members(content.items(), indent)
            self.put("}")
        else:
            self.put(f'{{"$value": {_quoted(content[0])}, "content": ')
            self.value(content[1], indent)
            self.put("}")

    def _hash(self, content: Hash, indent: str) -> None:
        self.put('{"$hash": ')
        self._members(((key, value) for key, value, _ in content.elements()), indent)
        described = [(key, attributes) for key, _, attributes in content.elements() if attributes]
        if described:
            self.put(', "$attributes": {')
            for number, (key, attributes) in enumerate(described):
                self.put(f"{',' if number else ''}\n{indent}{_STEP}{_quoted(key)}: ")
                self._members(attributes.items(), indent + _STEP)
            self.put(f"\n{indent}}}")
        self.put("}")

    def _members(self, members: Iterable[tuple[str, Any]], indent: str) -> None:
        self.put("{")
        number = 0
        for number, (key, value) in enumerate(members, 1):
            self.put(f"{',' if number > 1 else ''}\n{indent}{_STEP}{_quoted(key)}: ")
            self.value(value, indent + _STEP)
        self.put(f"\n{indent}}}" if number else "}")

    def _list(self, values: list[Any], indent: str) -> None:
        short = len(values) <= _SHORT and not any(describe(item)[0] in _NESTED for item in values)
        between = ", " if short else f",\n{indent}{_STEP}"
        self.put("[" if short else f"[\n{indent}{_STEP}")
        for number, value in enumerate(values):
            if number:
                self.put(between)
            self.value(value, indent + _STEP)
        self.put("]" if short else f"\n{indent}]")


def _real(number: float) -> str:
    return repr(number) if math.isfinite(number) else f'"{number!r}"'


def _element(value: Any) -> str:
    return _real(value) if type(value) is float else _quoted(value)


def _pair(number: complex) -> str:
    return f"[{_real(number.real)}, {_real(number.imag)}]"


def _float(number: float) -> str:
    return repr(number) if math.isfinite(number) else f'{{"$float": "{number!r}"}}'


def _scalar(value: Any) -> str:
    plain = value.item()
    text = _pair(plain) if type(plain) is complex else _element(plain)
    return f'{{"$scalar": "{value.dtype.name}", "value": {text}}}'


def _array(array: "np.ndarray[Any, Any]") -> str:
    head = f'{{"$array": "{array.dtype.str}", "shape": {list(array.shape)}, '
    values = listed(array)
    if values is None:
        return f'{head}"base64": "{to_base64(array)}"}}'
    return f'{head}"values": [{", ".join(map(_element, values))}]}}'


_LEAVES: Final[Mapping[Form, Callable[[Any], str]]] = {
    Form.NULL: _quoted,
    Form.BOOL: _quoted,
    Form.INT: repr,
    Form.FLOAT: _float,
    Form.COMPLEX: lambda number: f'{{"$complex": {_pair(number)}}}',
    Form.STR: _quoted,
    Form.BYTES: lambda content: f'{{"$bytes": "{to_base64(content)}"}}',
    Form.SCALAR: _scalar,
    Form.ARRAY: _array,
}


def write_json(value: Any, file: BinaryIO, limits: Limits = FILE_LIMITS) -> None:
    """Write a value as JSON, in pieces, so that it needs little memory.

    Raises:
        WrongTypeError: it holds something that cannot be stored; nothing was written.
        LimitExceededError: it is larger or deeper than `limits` allow; nothing was written.
    """
    check_storable(value, limits)
    writer = _Writer(file)
    writer.put(f'{{\n{_STEP}"pykarabo": "value",\n{_STEP}"version": {FORM_VERSION},\n')
    writer.put(f'{_STEP}"value": ')
    writer.value(value, _STEP)
    writer.put("\n}\n")
    writer.flush()


def to_json(value: Any) -> str:
    """Return a value as JSON; raises as `write_json` does."""
    file = io.BytesIO()
    write_json(value, file)
    return file.getvalue().decode()


# -- reading ------------------------------------------------------------------------------------


class _LocatedError(Exception):
    """What is wrong, and with which part of the document."""

    def __init__(self, error: MalformedMessageError | LimitExceededError, node: Any) -> None:
        super().__init__(error.message)
        self.error = error
        self.line: int | None = getattr(node, "line", None)


class _Reader:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes = 0

    def value(self, node: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > self._limits.max_nodes:
            raise too_many(self._limits)
        if isinstance(node, dict):
            return self._object(node, depth)
        if isinstance(node, list):
            self._check_depth(depth)
            return [self.value(item, depth + 1) for item in node]
        if not _is_plain(node):
            raise malformed(f"{node!r:.60} is no value of 64 bits or valid Unicode")
        return node

    def _check_depth(self, depth: int) -> None:
        if depth >= self._limits.max_depth:
            raise too_deep(self._limits)

    def _object(self, node: dict[str, Any], depth: int) -> Any:
        tag = next(iter(node), "")
        try:
            if tag in _LEAF_TAGS:
                read, names = _LEAF_TAGS[tag]
                _check_members(node, names)
                return read(node)
            if tag not in _NESTED_TAGS:
                raise malformed(f"there is no kind of value '{tag:.60}'")
            self._check_depth(depth)
            _check_members(node, _NESTED_TAGS[tag])
            return self._nested(tag, node, depth + 1)
        except (MalformedMessageError, LimitExceededError) as error:
            raise _LocatedError(error, node) from None

    def _nested(self, tag: str, node: dict[str, Any], depth: int) -> Any:
        if tag == "$value":
            return rebuilt(node["$value"], self.value(node.get("content"), depth))
        members = self._members(node[tag], depth)
        if tag == "$map":
            return members
        found = node.get("$attributes", {})
        if not isinstance(found, dict) or not found.keys() <= members.keys():
            raise malformed("attributes are none of the elements'")
        made = Hash()
        for key, value in members.items():
            made.set_element(key, value, self._members(found.get(key, {}), depth))
        return made

    def _members(self, node: Any, depth: int) -> dict[str, Any]:
        if not isinstance(node, dict):
            raise malformed("a map of values is missing")
        for key in node:
            if len(key) > self._limits.max_key:
                raise LimitExceededError("a key is too long", remedy=REMEDY)
            if not is_text(key):
                raise malformed(f"the key {key!r:.60} is no valid Unicode")
        return {key: self.value(value, depth) for key, value in node.items()}


def _is_plain(node: Any) -> bool:
    if type(node) is str:
        return is_text(node)
    if type(node) is int:
        return is_integer(node)
    return type(node) is not float or math.isfinite(node)


def _check_members(node: dict[str, Any], allowed: frozenset[str]) -> None:
    unknown = node.keys() - allowed
    if unknown:
        raise malformed(f"a value has the unknown member '{min(unknown):.60}'")


def _read_array(node: dict[str, Any]) -> Any:
    dtype, shape = node["$array"], node.get("shape")
    if "base64" in node:
        return array_of_bytes(dtype, shape, from_base64(_text(node["base64"])))
    return array_of_values(dtype, shape, node.get("values"))


def _read_scalar(node: dict[str, Any]) -> Any:
    name, value = node["$scalar"], node.get("value")
    if name not in SCALARS:
        raise malformed(f"there is no scalar type {name!r:.60}")
    values = value if name.startswith("complex") else [value]
    return array_of_values(np.dtype(name).str, [], values)[()]


def _read_complex(node: dict[str, Any]) -> complex:
    return complex(array_of_values("<c16", [], node["$complex"])[()])


def _text(value: Any) -> str:
    if type(value) is not str:
        raise malformed(f"{value!r:.60} is no text")
    return value


_READERS: Final[tuple[tuple[Callable[[dict[str, Any]], Any], tuple[str, ...]], ...]] = (
    (lambda node: real(node["$float"]), ("$float",)),
    (_read_complex, ("$complex",)),
    (lambda node: from_base64(_text(node["$bytes"])), ("$bytes",)),
    (_read_scalar, ("$scalar", "value")),
    (_read_array, ("$array", "shape", "values", "base64")),
)
_LEAF_TAGS: Final = {names[0]: (read, frozenset(names)) for read, names in _READERS}
_NESTED_TAGS: Final[Mapping[str, frozenset[str]]] = {
    "$map": frozenset({"$map"}),
    "$hash": frozenset({"$hash", "$attributes"}),
    "$value": frozenset({"$value", "content"}),
}
_Pairs: TypeAlias = list[tuple[str, Any]]


def _unique(pairs: _Pairs) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _value in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise malformed(f"an object has the member '{twice:.60}' twice")
    return found


def _refuse_constant(name: str) -> float:
    raise malformed(f'{name} is no number of JSON; write {{"$float": "nan"}}, "inf" or "-inf"')


class _Located(dict[str, Any]):
    """An object of the document that knows its line."""

    line = 0


def _locating_decoder() -> json.JSONDecoder:
    """Return a slow decoder whose objects know their lines; only for what is refused."""
    decoder: Any = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
    module: Any = import_module("json.decoder")

    def parse_object(s_and_end: tuple[str, int], *arguments: Any) -> tuple[Any, int]:
        text, begin = s_and_end
        line = text.count("\n", 0, begin) + 1
        try:
            found, end = module.JSONObject(s_and_end, *arguments)
        except (MalformedMessageError, LimitExceededError) as error:
            located = _LocatedError(error, None)
            located.line = line
            raise located from None
        made = _Located(found)
        made.line = line
        return made, end

    decoder.parse_object = parse_object
    decoder.scan_once = import_module("json.scanner").py_make_scanner(decoder)
    return decoder  # type: ignore[no-any-return]


def read_json(file: BinaryIO, limits: Limits = FILE_LIMITS) -> Any:
    """Return the value of a JSON document; arrays are read-only.

    Raises:
        MalformedMessageError: not what `write_json` writes; the error names the line.
        LimitExceededError: larger or deeper than `limits` allow.
        VersionMismatchError: a later version wrote it.
    """
    content = file.read(limits.max_body + 1)
    if len(content) > limits.max_body:
        raise too_large(limits)
    return from_json(content, limits)


def from_json(content: str | bytes, limits: Limits = FILE_LIMITS) -> Any:
    """Return the value of a JSON document; raises as `read_json` does."""
    text = content if isinstance(content, str) else _decoded(content)
    if len(text) > limits.max_body:
        raise too_large(limits)
    _refuse_many(text, limits)
    try:
        return _value_of(_FAST.decode(text), limits)
    except (_LocatedError, MalformedMessageError, LimitExceededError):
        return _complain(text, limits)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


_FAST: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _complain(text: str, limits: Limits) -> Any:
    """Read again what was refused, to say where it is wrong."""
    try:
        return _value_of(_locating_decoder().decode(text), limits)
    except _LocatedError as located:
        error = located.error
        raise type(error)(
            f"in the object that begins on line {located.line}: {error.message}",
            remedy=error.remedy,
        ) from None
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def _not_json(error: ValueError | RecursionError) -> MalformedMessageError | LimitExceededError:
    if isinstance(error, json.JSONDecodeError):
        return malformed(f"line {error.lineno}, column {error.colno}: {error.msg}")
    if isinstance(error, RecursionError):
        return LimitExceededError("values are nested too deep", remedy=REMEDY)
    return malformed(f"a number cannot be read: {error}")


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise malformed(f"line {line}: the text is no UTF-8") from None


def _refuse_many(text: str, limits: Limits) -> None:
    """Refuse more values than allowed before they are made; what is in texts does not count."""
    most = limits.max_nodes * _WORDINESS
    if text.count(",") + text.count("[") + text.count("{") <= most:
        return
    rest = _STRINGS.sub("", text)
    if rest.count(",") + rest.count("[") + rest.count("{") > most:
        raise too_many(limits)


def _value_of(document: Any, limits: Limits) -> Any:
    if not isinstance(document, dict) or document.get("pykarabo") != "value":
        raise malformed('this is no document of pykarabo: its member "pykarabo" is not "value"')
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise malformed("the document has no version")
    check_version(version, "the document")
    if document.keys() != {"pykarabo", "version", "value"}:
        raise malformed("the document has other members than pykarabo, version and value")
    return _Reader(limits).value(document["value"], 0)
