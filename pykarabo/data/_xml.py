"""Values as XML that loses nothing: an element per value, named after its kind.

The root is ``<pykarabo form="value" version="1">``. An element of a map or Hash has its key as
``key``, and is followed by ``<attributes>`` where it has some. Text that XML has no characters
for is written as base64. Documents with a DTD are refused: no entity is ever expanded.
"""

import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, Final
from xml.parsers import expat

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
    CHUNK,
    TextWriter,
    array_of_bytes,
    array_of_values,
    from_base64,
    listed,
    malformed,
    real,
    to_base64,
)

_STEP: Final = "  "
_FOREIGN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document can hold."""
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_IN_TEXT: Final = str.maketrans(_ESCAPES)
_IN_QUOTES: Final = str.maketrans({**_ESCAPES, '"': "&quot;", "\n": "&#10;", "\t": "&#9;"})

# -- writing ------------------------------------------------------------------------------------


class _Writer(TextWriter):
    def value(self, value: Any, key: str, indent: str) -> None:
        form, content = describe(value)
        if form in _LEAVES:
            more, text = _LEAVES[form](content)
            self.put(f"{indent}<{form}{key}{more}>{text}</{form}>\n")
            return
        more = f" class={_quoted(content[0])}" if form is Form.VALUE else ""
        self.put(f"{indent}<{form}{key}{more}>\n")
        below = indent + _STEP
        if form is Form.HASH:
            self._hash(content, below)
        elif form is Form.MAP:
            self._members(content.items(), below)
        elif form is Form.LIST:
            for item in content:
                self.value(item, "", below)
        else:
            self.value(content[1], "", below)
        self.put(f"{indent}</{form}>\n")

    def _hash(self, content: Hash, indent: str) -> None:
        for key, value, attributes in content.elements():
            self.value(value, _key(key), indent)
            if attributes:
                self.put(f"{indent}<attributes>\n")
                self._members(attributes.items(), indent + _STEP)
                self.put(f"{indent}</attributes>\n")

    def _members(self, members: Iterable[tuple[str, Any]], indent: str) -> None:
        for key, value in members:
            self.value(value, _key(key), indent)


def _quoted(text: str) -> str:
    return f'"{text.translate(_IN_QUOTES)}"'


def _key(key: str) -> str:
    if _FOREIGN.search(key):
        return f' key64="{to_base64(key.encode())}"'
    return f" key={_quoted(key)}"


def _word(value: Any) -> str:
    return str(value).lower() if type(value) is bool else repr(value)


def _str(text: str) -> tuple[str, str]:
    if _FOREIGN.search(text):
        return ' encoding="base64"', to_base64(text.encode())
    return "", text.translate(_IN_TEXT)


def _complex(number: complex) -> tuple[str, str]:
    return "", f"{number.real!r} {number.imag!r}"


def _scalar(value: Any) -> tuple[str, str]:
    plain = value.item()
    text = _complex(plain)[1] if type(plain) is complex else _word(plain)
    return f' type="{value.dtype.name}"', text


def _array(array: "np.ndarray[Any, Any]") -> tuple[str, str]:
    shape = " ".join(map(str, array.shape))
    more = f' type={_quoted(array.dtype.str)} shape="{shape}"'
    values = listed(array)
    if values is None:
        return f'{more} encoding="base64"', to_base64(array)
    return more, " ".join(map(_word, values))


_LEAVES: Final[Mapping[Form, Callable[[Any], tuple[str, str]]]] = {
    Form.NULL: lambda _none: ("", ""),
    Form.BOOL: lambda value: ("", _word(value)),
    Form.INT: lambda value: ("", repr(value)),
    Form.FLOAT: lambda value: ("", repr(value)),
    Form.COMPLEX: _complex,
    Form.STR: _str,
    Form.BYTES: lambda content: ("", to_base64(content)),
    Form.SCALAR: _scalar,
    Form.ARRAY: _array,
}
"""By kind, what gives the further attributes and the text of an element."""


def write_xml(value: Any, file: BinaryIO, limits: Limits = FILE_LIMITS) -> None:
    """Write a value as XML, in pieces, so that it needs little memory.

    Raises:
        WrongTypeError: it holds something that cannot be stored; nothing was written.
        LimitExceededError: it is larger or deeper than `limits` allow; nothing was written.
    """
    check_storable(value, limits)
    writer = _Writer(file)
    writer.put('<?xml version="1.0" encoding="UTF-8"?>\n')
    writer.put(f'<pykarabo form="value" version="{FORM_VERSION}">\n')
    writer.value(value, "", _STEP)
    writer.put("</pykarabo>\n")
    writer.flush()


def to_xml(value: Any) -> str:
    """Return a value as XML; raises as `write_xml` does."""
    file = io.BytesIO()
    write_xml(value, file)
    return file.getvalue().decode()


# -- reading ------------------------------------------------------------------------------------

_ROOT: Final = "pykarabo"
_ATTRIBUTES: Final = "attributes"
_CONTAINERS: Final = frozenset({Form.LIST, Form.MAP, Form.HASH, Form.VALUE, _ROOT, _ATTRIBUTES})
_KEYED: Final = frozenset({Form.MAP, Form.HASH, _ATTRIBUTES})
_KEYS: Final = frozenset({"key", "key64"})
_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    **{form.value: frozenset[str]() for form in Form},
    _ATTRIBUTES: frozenset[str](),
    _ROOT: frozenset({"form", "version"}),
    Form.STR: frozenset({"encoding"}),
    Form.SCALAR: frozenset({"type"}),
    Form.ARRAY: frozenset({"type", "shape", "encoding"}),
    Form.VALUE: frozenset({"class"}),
}


class _Open:
    """An element whose end has not come yet."""

    __slots__ = ("children", "depth", "given", "key", "tag", "texts")

    def __init__(self, tag: str, given: dict[str, str], key: str, depth: int) -> None:
        self.tag = tag
        self.given = given
        self.key = key
        self.depth = depth
        self.texts: list[str] = []
        self.children: list[tuple[str, Any]] = []


class _Reader:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes = 0
        self._open: list[_Open] = [_Open(_ROOT, {}, "", -2)]
        self.parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.ordered_attributes = False
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def result(self) -> Any:
        """Return the value, after the document's end."""
        return self._open[0].children[0][1]

    def _refuse_doctype(self, *_arguments: Any) -> None:
        raise malformed("a document with a DTD is refused")

    def _start(self, tag: str, given: dict[str, str]) -> None:
        parent = self._open[-1]
        if (tag == _ROOT) is not (len(self._open) == 1) or tag not in _ALLOWED:
            raise malformed(f"the element '{tag:.60}' does not belong here")
        if parent.tag not in _CONTAINERS:
            raise malformed(f"a '{parent.tag}' holds the element '{tag:.60}'")
        key = self._key_of(tag, given, parent)
        unknown = given.keys() - _ALLOWED[tag]
        if unknown:
            raise malformed(f"a '{tag}' has the attribute '{min(unknown):.60}'")
        if tag == _ROOT:
            _check_root(given)
        depth = parent.depth + (tag != _ATTRIBUTES)
        if tag in _CONTAINERS and depth >= self._limits.max_depth:
            raise too_deep(self._limits)
        self._nodes += 1
        if self._nodes > 2 * self._limits.max_nodes:
            raise too_many(self._limits)
        self._open.append(_Open(tag, given, key, depth))

    def _key_of(self, tag: str, given: dict[str, str], parent: _Open) -> str:
        """Take the key out of an element's attributes."""
        if tag == _ATTRIBUTES:
            if parent.tag != Form.HASH or not parent.children:
                raise malformed("attributes are of no element")
            return tag
        found = given.keys() & _KEYS
        if len(found) != (parent.tag in _KEYED):
            raise malformed(f"a '{tag}' in a '{parent.tag}' has {len(found)} keys")
        if not found:
            return ""
        name = found.pop()
        key = given.pop(name)
        if name == "key64":
            key = _decoded(key)
        if len(key) > self._limits.max_key:
            raise LimitExceededError("a key is too long", remedy=REMEDY)
        return key

    def _text(self, text: str) -> None:
        element = self._open[-1]
        if element.tag not in _CONTAINERS:
            element.texts.append(text)
        elif not text.isspace():
            raise malformed(f"a '{element.tag}' holds the text '{text.strip():.60}'")

    def _end(self, tag: str) -> None:
        element = self._open.pop()
        parent = self._open[-1]
        if tag in _CONTAINERS:
            value = _READ_NESTED[tag](element)
        else:
            value = _READ_LEAF[tag]("".join(element.texts), element.given)
        if tag == _ATTRIBUTES:
            owner, of = parent.children[-1]
            if isinstance(of, _Described):
                raise malformed("an element has attributes twice")
            value = _Described(of, value)
            parent.children[-1] = owner, value
        else:
            parent.children.append((element.key, value))


class _Described:
    """A value whose attributes have been read too."""

    __slots__ = ("attributes", "value")

    def __init__(self, value: Any, attributes: dict[str, Any]) -> None:
        self.value = value
        self.attributes = attributes


def _check_root(given: dict[str, str]) -> None:
    if given.get("form") != "value":
        raise malformed("this is no document of pykarabo: the root's form is not 'value'")
    version = given.get("version", "")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        raise malformed("the document has no version")
    check_version(int(version), "the document")


def _single(element: _Open) -> Any:
    if len(element.children) != 1:
        raise malformed(f"a '{element.tag}' holds {len(element.children)} values instead of one")
    return element.children[0][1]


def _map(element: _Open) -> dict[str, Any]:
    found = dict(element.children)
    if len(found) != len(element.children):
        raise malformed(f"a '{element.tag}' has a key twice")
    return found


def _hash(element: _Open) -> Hash:
    made = Hash()
    for key, value in _map(element).items():
        if isinstance(value, _Described):
            made.set_element(key, value.value, value.attributes)
        else:
            made.set_element(key, value, {})
    return made


_READ_NESTED: Final[Mapping[str, Callable[[_Open], Any]]] = {
    _ROOT: _single,
    _ATTRIBUTES: _map,
    Form.LIST: lambda element: [value for _key, value in element.children],
    Form.MAP: _map,
    Form.HASH: _hash,
    Form.VALUE: lambda element: rebuilt(element.given.get("class"), _single(element)),
}


def _decoded(text: str) -> str:
    try:
        return from_base64(text).decode()
    except UnicodeDecodeError:
        raise malformed("a text is no UTF-8") from None


def _is_base64(given: dict[str, str]) -> bool:
    encoding = given.get("encoding")
    if encoding not in (None, "base64"):
        raise malformed(f"there is no encoding '{encoding:.60}'")
    return encoding is not None


_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_FLOAT: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_WORDS: Final[Mapping[str, Any]] = {
    **{word: word for word in ("nan", "inf", "-inf")},
    "true": True,
    "false": False,
}


def _parsed(word: str) -> Any:
    """Return the bool or number that a word stands for; nan, inf and -inf stay text."""
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    if word in _WORDS:
        return _WORDS[word]
    raise malformed(f"'{word:.60}' is no number")


def _read_bool(text: str, _given: dict[str, str]) -> bool:
    value = _parsed(text.strip())
    if type(value) is not bool:
        raise malformed(f"'{text:.60}' is neither true nor false")
    return value


def _read_int(text: str, _given: dict[str, str]) -> int:
    value = _parsed(text.strip())
    if type(value) is not int or not is_integer(value):
        raise malformed(f"'{text:.60}' is no integer of 64 bits")
    return value


def _read_array(text: str, given: dict[str, str]) -> Any:
    sizes = given.get("shape", "?").split()
    if not all(_INTEGER.fullmatch(size) for size in sizes):
        raise malformed("an array has no shape")
    shape, dtype = [int(size) for size in sizes], given.get("type")
    if _is_base64(given):
        return array_of_bytes(dtype, shape, from_base64(text.strip()))
    return array_of_values(dtype, shape, [_parsed(word) for word in text.split()])


def _read_scalar(text: str, given: dict[str, str]) -> Any:
    if given.get("type") not in SCALARS:
        raise malformed(f"there is no scalar type {given.get('type')!r:.60}")
    dtype = np.dtype(given["type"]).str
    return array_of_values(dtype, [], [_parsed(word) for word in text.split()])[()]


def _read_complex(text: str, _given: dict[str, str]) -> complex:
    values = [_parsed(word) for word in text.split()]
    return complex(array_of_values("<c16", [], values)[()])


def _read_null(text: str, _given: dict[str, str]) -> None:
    if text.strip():
        raise malformed("a 'null' holds text")


_READ_LEAF: Final[Mapping[str, Callable[[str, dict[str, str]], Any]]] = {
    Form.NULL: _read_null,
    Form.BOOL: _read_bool,
    Form.INT: _read_int,
    Form.FLOAT: lambda text, _given: real(_parsed(text.strip())),
    Form.COMPLEX: _read_complex,
    Form.STR: lambda text, given: _decoded(text) if _is_base64(given) else text,
    Form.BYTES: lambda text, _given: from_base64(text.strip()),
    Form.SCALAR: _read_scalar,
    Form.ARRAY: _read_array,
}


def read_xml(file: BinaryIO, limits: Limits = FILE_LIMITS) -> Any:
    """Return the value of an XML document; arrays are read-only. It is read in pieces.

    Raises:
        MalformedMessageError: not what `write_xml` writes; the error names the line.
        LimitExceededError: larger or deeper than `limits` allow.
        VersionMismatchError: a later version wrote it.
    """
    reader = _Reader(limits)
    left = limits.max_body
    try:
        while chunk := file.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                raise too_large(limits)
            reader.parser.Parse(chunk)
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise malformed(
            f"line {error.lineno}, column {error.offset + 1}: {expat.ErrorString(error.code)}"
        ) from None
    except (MalformedMessageError, LimitExceededError) as error:
        line = reader.parser.CurrentLineNumber
        raise type(error)(f"line {line}: {error.message}", remedy=error.remedy) from None
    return reader.result()


def from_xml(content: str | bytes, limits: Limits = FILE_LIMITS) -> Any:
    """Return the value of an XML document; raises as `read_xml` does."""
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    return read_xml(io.BytesIO(content), limits)
