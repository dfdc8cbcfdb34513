"""Values as HDF5 that other programs can look into, and that loses nothing.

The root has the attributes ``pykarabo_form`` and ``pykarabo_version`` and one member, ``value``.
Maps, Hashes and lists are groups, everything else is a dataset; the attribute ``type`` says what
it is. The attributes of an element of a Hash are a document of our JSON form in the attribute
``attributes``. h5py is imported where it is used.

Files may be damaged, and the HDF5 library reads some damaged ones for ever: texts of variable
length lie in a heap without a checksum, and a wrong size in it is an endless loop. Our texts are
of fixed length, others are refused unread; in the latest format of files everything else that
describes the data has checksums.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, BinaryIO, Final

from pykarabo.errors import BadConfigurationError, LimitExceededError, MalformedMessageError

from ._forms import (
    FILE_LIMITS,
    FORM_VERSION,
    REMEDY,
    Form,
    check_storable,
    check_version,
    describe,
    too_deep,
    too_large,
    too_many,
)
from ._hash import Hash
from ._json import from_json, to_json
from ._limits import Limits
from ._numpy import np
from ._registry import rebuilt

_FORM: Final = "pykarabo_form"
_VERSION: Final = "pykarabo_version"
_VALUE: Final = "value"
_TYPE: Final = "type"
_CLASS: Final = "class"
_ATTRIBUTES: Final = "attributes"
_KINDS: Final = frozenset("biufc")
_ESCAPES: Final = str.maketrans({"%": "%25", "/": "%2F", ".": "%2E", "\0": "%00"})
_EMPTY: Final = "%"
"""Name of the element with an empty key."""
_LONGEST_LIST: Final = 4
"""A list of texts as one dataset may take so many times the room of its texts."""
_ROOMY: Final = 65_536


def _h5py() -> Any:
    try:
        return import_module("h5py")
    except ImportError:
        raise BadConfigurationError(
            "HDF5 files need h5py, which is not installed",
            remedy="install pykarabo with the extra 'services', or use another form",
        ) from None


# -- writing ------------------------------------------------------------------------------------


def write_hdf5(value: Any, file: BinaryIO, limits: Limits = FILE_LIMITS) -> None:
    """Write a value as HDF5.

    Args:
        file: open for reading and writing bytes, and empty.

    Raises:
        WrongTypeError: it holds something that cannot be stored; nothing was written.
        LimitExceededError: it is larger or deeper than `limits` allow; nothing was written.
        BadConfigurationError: h5py is not installed.
    """
    check_storable(value, limits)
    h5py = _h5py()
    with h5py.File(file, "w", track_order=True, libver="latest") as root:
        writer = _Writer(h5py)
        writer.note(root, _FORM, _VALUE)
        root.attrs[_VERSION] = FORM_VERSION
        writer.value(root, _VALUE, value)


class _Writer:
    def __init__(self, h5py: Any) -> None:
        self._h5py = h5py

    def value(self, group: Any, name: str, value: Any) -> Any:
        """Write a value below a group and return what it was written to."""
        form, content = describe(value)
        if form in (Form.MAP, Form.HASH, Form.VALUE) or (
            form is Form.LIST and self._flat(content) is None
        ):
            item = group.create_group(name, track_order=True)
            self._members(item, form, content)
        else:
            data = self._flat(content) if form is Form.LIST else self._leaf(form, content)
            item = group.create_dataset(name, data=data)
        self.note(item, _TYPE, form.value)
        return item

    def note(self, item: Any, name: str, text: str) -> None:
        """Give a group or a dataset an attribute; the text holds no NUL."""
        item.attrs[name] = self._text(text)

    def _members(self, item: Any, form: Form, content: Any) -> None:
        if form is Form.HASH:
            self._hash(item, content)
        elif form is Form.MAP:
            for key, value in content.items():
                self.value(item, _name_of(key), value)
        elif form is Form.LIST:
            for number, value in enumerate(content):
                self.value(item, str(number), value)
        else:
            self.note(item, _CLASS, content[0])
            self.value(item, _VALUE, content[1])

    def _hash(self, item: Any, content: Hash) -> None:
        for key, value, attributes in content.elements():
            made = self.value(item, _name_of(key), value)
            if attributes:
                self.note(made, _ATTRIBUTES, to_json(attributes))

    def _leaf(self, form: Form, content: Any) -> Any:
        if form is Form.NULL:
            return self._h5py.Empty("i1")
        if form is Form.STR:
            return self._text(content)
        if form is Form.BYTES:
            return np.frombuffer(content, np.uint8)
        if form is Form.INT:
            return np.uint64(content) if content >= 0 else np.int64(content)
        return content

    def _text(self, text: str) -> Any:
        """Return a text of fixed length; as bytes where HDF5 has no such text."""
        encoded = text.encode()
        if b"\0" in encoded:
            return np.frombuffer(encoded, np.uint8)
        return np.array(encoded, self._h5py.string_dtype("utf-8", len(encoded) or 1))

    def _flat(self, values: list[Any]) -> Any:
        """Return a list of one plain type as an array; None where it must be a group."""
        kinds = {type(value) for value in values}
        if len(kinds) != 1:
            return None
        kind = kinds.pop()
        if kind is int:
            return _integers(values)
        if kind in (bool, float):
            return np.array(values, kind)
        return self._texts(values) if kind is str else None

    def _texts(self, values: list[str]) -> Any:
        encoded = [value.encode() for value in values]
        longest = max(map(len, encoded)) or 1
        room = longest * len(encoded)
        if any(b"\0" in item for item in encoded) or room > max(
            _ROOMY, _LONGEST_LIST * sum(map(len, encoded))
        ):
            return None
        return np.array(encoded, self._h5py.string_dtype("utf-8", longest))


def _integers(values: list[int]) -> "np.ndarray[Any, Any] | None":
    if min(values) >= 0:
        return np.array(values, np.uint64)
    return np.array(values, np.int64) if max(values) < 2**63 else None


def _name_of(key: str) -> str:
    return key.translate(_ESCAPES) or _EMPTY


def _key_of(name: str) -> str:
    if name == _EMPTY:
        return ""
    for character, escape in (("/", "%2F"), (".", "%2E"), ("\0", "%00"), ("%", "%25")):
        name = name.replace(escape, character)
    return name


# -- reading ------------------------------------------------------------------------------------


def read_hdf5(file: BinaryIO, limits: Limits = FILE_LIMITS) -> Any:
    """Return the value of an HDF5 file; arrays are read-only.

    Raises:
        MalformedMessageError: not what `write_hdf5` writes; the error names the path in the file.
        LimitExceededError: larger or deeper than `limits` allow.
        VersionMismatchError: a later version wrote it.
        BadConfigurationError: h5py is not installed.
    """
    h5py = _h5py()
    try:
        with h5py.File(file, "r") as root:
            _check_root(h5py, root)
            return _Reader(h5py, limits).member(root, _VALUE, 0)
    except (
        OSError,
        KeyError,
        ArithmeticError,
        RuntimeError,
        TypeError,
        ValueError,
        MemoryError,
    ) as error:
        raise MalformedMessageError(
            f"the HDF5 file cannot be read: {error!s:.200}", remedy=REMEDY
        ) from None


def _check_root(h5py: Any, root: Any) -> None:
    if _text_attribute(h5py, root, _FORM) != _VALUE:
        raise _malformed(root, "this is no file of pykarabo: it has no pykarabo_form 'value'")
    version = root.attrs[_VERSION] if _has(root, _VERSION, "iu") else None
    if version is None or version < 1:
        raise _malformed(root, "the file has no version")
    check_version(int(version), "the file")


def _has(item: Any, name: str, kinds: str) -> bool:
    """Tell whether an HDF5 object has a single value of some kinds of dtype as an attribute."""
    if name not in item.attrs:
        return False
    attribute = item.attrs.get_id(name)
    return attribute.shape == () and attribute.dtype.kind in kinds


def _text_attribute(h5py: Any, item: Any, name: str) -> str | None:
    """Return a text of fixed length; None where it is missing or of another kind."""
    if _has(item, name, "O") and h5py.check_string_dtype(item.attrs.get_id(name).dtype):
        raise _malformed(item, f"the attribute '{name}' is a text of variable length")
    return bytes(item.attrs[name]).decode() if _has(item, name, "S") else None


def _malformed(item: Any, problem: str) -> MalformedMessageError:
    return MalformedMessageError(f"at '{item.name}': {problem}", remedy=REMEDY)


class _Reader:
    def __init__(self, h5py: Any, limits: Limits) -> None:
        self._h5py = h5py
        self._limits = limits
        self._nodes = 0
        self._bytes_left = limits.max_body

    def member(self, group: Any, name: str, depth: int) -> Any:
        """Return the value of a member of a group."""
        self._count(1)
        item = self._item(group, name)
        form = _text_attribute(self._h5py, item, _TYPE)
        if isinstance(item, self._h5py.Dataset):
            return self._dataset(item, form)
        if depth >= self._limits.max_depth:
            raise too_deep(self._limits)
        return self._group(item, form, depth + 1)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > self._limits.max_nodes:
            raise too_many(self._limits)

    def _item(self, group: Any, name: str) -> Any:
        if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
            raise _malformed(group, f"the member '{name:.60}' is missing, or is a link")
        item = group[name]
        if not isinstance(item, self._h5py.Dataset | self._h5py.Group):
            raise _malformed(group, f"the member '{name:.60}' is of a kind that is none of ours")
        return item

    def _group(self, item: Any, form: str | None, depth: int) -> Any:
        if form == Form.HASH:
            return self._hash(item, depth)
        if form == Form.MAP:
            return {self._key(name): self.member(item, name, depth) for name in item}
        if form == Form.LIST:
            return [self.member(item, str(number), depth) for number in range(len(item))]
        if form == Form.VALUE:
            tag = _text_attribute(self._h5py, item, _CLASS)
            return rebuilt(tag, self.member(item, _VALUE, depth))
        raise _malformed(item, f"a group of type {form!r:.60} is none of ours")

    def _hash(self, item: Any, depth: int) -> Hash:
        made = Hash()
        for name in item:
            value = self.member(item, name, depth)
            made.set_element(self._key(name), value, self._attributes(item[name]))
        return made

    def _attributes(self, item: Any) -> dict[str, Any]:
        if _ATTRIBUTES not in item.attrs:
            return {}
        text = _text_attribute(self._h5py, item, _ATTRIBUTES)
        if text is None:
            raise _malformed(item, "its attributes are no text")
        self._take(len(text))
        try:
            found = from_json(text, self._limits)
        except MalformedMessageError as error:
            raise _malformed(item, f"its attributes: {error.message}") from None
        if not isinstance(found, dict):
            raise _malformed(item, "its attributes are no map")
        return found

    def _key(self, name: str) -> str:
        key = _key_of(name)
        if len(key) > self._limits.max_key:
            raise LimitExceededError("a key is too long", remedy=REMEDY)
        return key

    def _take(self, size: int) -> None:
        """Count bytes that are made of less than their number in the file."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise too_large(self._limits)

    def _dataset(self, item: Any, form: str | None) -> Any:
        if item.external or item.is_virtual:
            raise _malformed(item, "its data lie in another file")
        if form == Form.NULL:
            return None
        if item.shape is None or form is None or form not in _READERS:
            raise _malformed(item, f"a dataset of type {form!r:.60} is none of ours")
        if item.dtype.kind not in _KINDS and item.dtype.kind != "S":
            raise _malformed(item, f"elements of type {item.dtype} are none of ours")
        # What is compressed or was never written can be far larger than the file.
        self._take(max(0, item.nbytes - item.id.get_storage_size()))
        if form == Form.LIST:
            self._count(item.size)
        try:
            return _READERS[form](item[... if form == Form.ARRAY else ()])
        except (UnicodeDecodeError, ValueError, TypeError, AttributeError) as error:
            raise _malformed(item, f"it holds no {form}: {error!s:.100}") from None


def _text_of(value: Any) -> str:
    return bytes(value).decode()


def _list_of(value: Any) -> list[Any]:
    if value.ndim != 1:
        raise ValueError(f"it has {value.ndim} dimensions")
    if value.dtype.kind == "S":
        return [item.decode() for item in value.tolist()]
    return list(value.tolist())


def _array_of(value: Any) -> Any:
    value.flags.writeable = False
    return value


def _scalar_of(value: Any) -> Any:
    if not isinstance(value, np.generic):
        raise TypeError("it is an array")
    return value


def _plain_of(kind: type[Any]) -> Callable[[Any], Any]:
    def plain(value: Any) -> Any:
        found = value.item()
        if type(found) is not kind:
            raise TypeError(f"it is of type {type(found).__name__}")
        return found

    return plain


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    Form.BOOL: _plain_of(bool),
    Form.INT: _plain_of(int),
    Form.FLOAT: _plain_of(float),
    Form.COMPLEX: _plain_of(complex),
    Form.STR: _text_of,
    Form.BYTES: bytes,
    Form.SCALAR: _scalar_of,
    Form.ARRAY: _array_of,
    Form.LIST: _list_of,
}
