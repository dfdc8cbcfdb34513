"""What a value is to a codec: its kind and content, and whether it can be stored at all.

All forms in files know the same kinds. What is related to one becomes one: tuples and sets become
lists, maps become dicts, enumerations their values; anything else is refused.
"""

from collections.abc import Iterator, Mapping
from enum import Enum, StrEnum
from types import NoneType
from typing import Any, Final, cast

from pykarabo.errors import LimitExceededError, VersionMismatchError, WrongTypeError

from ._hash import Hash
from ._limits import Limits
from ._numpy import np
from ._registry import value_class
from ._types import is_text

FORM_VERSION: Final = 1
"""Version of what is written; a reader refuses a later one."""
FILE_LIMITS: Final = Limits(
    max_depth=64, max_key=4_096, max_nodes=2_000_000, max_frames=65_000, max_body=256 * 2**20
)
"""What a file may hold; whoever reads files from strangers gives narrower ones."""
LISTED: Final = 256
"""Elements of an array that are written one by one where a form is text."""
REMEDY: Final = "correct it there, or take the file from a backup"
_KINDS: Final = frozenset("biufc")
_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**64 - 1


class Form(StrEnum):
    """The kinds of value that files know."""

    NULL = "null"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    COMPLEX = "complex"
    STR = "str"
    BYTES = "bytes"
    SCALAR = "scalar"
    ARRAY = "array"
    LIST = "list"
    MAP = "map"
    HASH = "hash"
    VALUE = "value"


SCALARS: Final = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
"""Names of the numpy types whose single values keep their width."""

_EXACT: Final[Mapping[type[Any], Form]] = {
    NoneType: Form.NULL,
    bool: Form.BOOL,
    int: Form.INT,
    float: Form.FLOAT,
    complex: Form.COMPLEX,
    str: Form.STR,
    bytes: Form.BYTES,
    list: Form.LIST,
    dict: Form.MAP,
    Hash: Form.HASH,
}
_BASES: Final[tuple[Any, ...]] = (bool, int, float, complex, str, bytes)


def describe(value: Any) -> tuple[Form, Any]:
    """Return the kind of a value and its content, of a registered class tag and map.

    Raises:
        WrongTypeError: it is of no kind that can be stored.
    """
    form = _EXACT.get(type(value))
    if form is not None:
        return form, value
    known = value_class(type(value))
    if known is not None:
        return Form.VALUE, (known.tag, dict(known.to_plain(value)))
    if isinstance(value, np.ndarray | np.generic):
        return _of_numpy(value)
    return _of_relative(value)


def _of_numpy(value: Any) -> tuple[Form, Any]:
    if isinstance(value, np.generic):
        if value.dtype.name in SCALARS:
            return Form.SCALAR, value
        raise _cannot(f"it is a numpy {value.dtype.name}", "convert it to a plain value")
    if value.dtype.kind not in _KINDS:
        raise _cannot(f"it is an array of {value.dtype}", "store numbers or bools; text as a list")
    if isinstance(value, np.ma.MaskedArray):
        raise _cannot("it is a masked array", "store its data and its mask beside each other")
    return Form.ARRAY, value


def _of_relative(value: Any) -> tuple[Form, Any]:
    if isinstance(value, Enum):
        return describe(value.value)
    if isinstance(value, bytearray | memoryview):
        return Form.BYTES, bytes(value)
    if isinstance(value, Mapping):
        return Form.MAP, dict(value)
    if isinstance(value, list | tuple | set | frozenset):
        return Form.LIST, list(cast("Any", value))
    for base in _BASES:
        if isinstance(value, base):
            return _EXACT[base], base(value)
    raise _cannot(f"it is of type {type(value).__name__}", "store plain values and arrays")


def _cannot(problem: str, remedy: str) -> WrongTypeError:
    return WrongTypeError(f"a value cannot be stored: {problem}", remedy=remedy)


class _Check:
    """Looks at every value before one is written, so that no file is made that nobody can read."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes = 0

    def value(self, value: Any, path: str, depth: int) -> None:
        """Check a value and all below it."""
        self._nodes += 1
        if self._nodes > self._limits.max_nodes:
            raise too_many(self._limits)
        try:
            form, content = describe(value)
            _check_leaf(form, content)
            children = list(self._children(form, content))
        except WrongTypeError as error:
            raise WrongTypeError(
                f"{error.message} (at '{path or '.'}')", key=path, remedy=error.remedy
            ) from None
        if form is Form.ARRAY and content.size <= LISTED:
            self._nodes += content.size + content.ndim
        if form in _CONTAINERS:
            if depth >= self._limits.max_depth:
                raise too_deep(self._limits)
            for name, child in children:
                self.value(child, f"{path}.{name}" if path else str(name), depth + 1)

    def _children(self, form: Form, content: Any) -> Iterator[tuple[Any, Any]]:
        if form not in _CONTAINERS:
            return
        if form is Form.LIST:
            yield from enumerate(content)
        elif form is Form.VALUE:
            yield content
        elif form is Form.MAP:
            self._check_keys(content)
            yield from content.items()
        else:
            for key, value, attributes in content.elements():
                self._check_keys((key, *attributes))
                yield key, value
                for name, attribute in attributes.items():
                    yield f"{key} attribute {name}", attribute

    def _check_keys(self, keys: Any) -> None:
        for key in keys:
            if type(key) is not str:
                raise _cannot(f"a map has the key {key!r:.60}", "use texts as keys")
            _check_text(key)
            if len(key) > self._limits.max_key:
                raise LimitExceededError(
                    f"a key has {len(key)} characters, and {self._limits.max_key} are allowed",
                    remedy="use shorter keys",
                )


_CONTAINERS: Final = frozenset({Form.LIST, Form.MAP, Form.HASH, Form.VALUE})


def _check_leaf(form: Form, content: Any) -> None:
    if form is Form.INT and not is_integer(content):
        raise _cannot(f"{content:.3e} needs more than 64 bits", "store it as text")
    if form is Form.STR:
        _check_text(content)


def _check_text(text: str) -> None:
    if not is_text(text):
        raise _cannot(f"{text!r:.60} is no valid Unicode", "store it as bytes")


def is_integer(number: int) -> bool:
    """Tell whether a number is an int64 or an uint64."""
    return _LOWEST <= number <= _HIGHEST


def check_storable(value: Any, limits: Limits = FILE_LIMITS) -> None:
    """Refuse what could not be stored or not be read back.

    Raises:
        WrongTypeError: a value is of no kind that can be stored; the error names its path.
        LimitExceededError: too many values, too deep, or a key too long.
    """
    _Check(limits).value(value, "", 0)


def too_deep(limits: Limits) -> LimitExceededError:
    """Return the error for values nested too deep."""
    return LimitExceededError(
        f"values are nested deeper than {limits.max_depth}", remedy="store them in several files"
    )


def too_many(limits: Limits) -> LimitExceededError:
    """Return the error for too many values."""
    return LimitExceededError(
        f"there are more than {limits.max_nodes} values", remedy="store them in several files"
    )


def too_large(limits: Limits) -> LimitExceededError:
    """Return the error for too many bytes."""
    return LimitExceededError(
        f"there are more than {limits.max_body / 2**20:g} MiB", remedy="give larger limits"
    )


def check_version(found: int, what: str) -> None:
    """Refuse what a later version wrote; raises `VersionMismatchError`."""
    if found > FORM_VERSION:
        raise VersionMismatchError(
            f"{what} is of version {found}, and version {FORM_VERSION} is the latest known here",
            remedy="update pykarabo on this side",
        )
