"""What the forms that are text share: arrays, numbers and writing in pieces.

An array is listed where that is short and exact, else it is base64.
"""

import base64
import binascii
import math
import re
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

from pykarabo.errors import MalformedMessageError

from ._forms import LISTED, REMEDY
from ._numpy import np

DTYPE: Final = re.compile(r"[<>|=]?[biufc]\d{1,2}")
"""numpy understands a whole language here, which takes seconds to read a long text of."""
CHUNK: Final = 65_536
"""Characters or bytes that are written or read at once."""
_WIDEST: Final = 16
"""Bytes of the widest element that Python's numbers are exact for: complex128."""
_LARGEST_INTEGER: Final = 2**64
_NOT_FINITE: Final = frozenset({"nan", "inf", "-inf"})


class TextWriter:
    """Collects text and writes it to a file in pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pieces: list[str] = []
        self._length = 0

    def put(self, text: str) -> None:
        """Append a text."""
        self._pieces.append(text)
        self._length += len(text)
        if self._length > CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what was appended."""
        self._file.write("".join(self._pieces).encode())
        self._pieces.clear()
        self._length = 0


def listed(array: "np.ndarray[Any, Any]") -> list[Any] | None:
    """Return the elements in C order, a complex number as two; None where that is not exact."""
    if array.size > LISTED or array.itemsize > _WIDEST:
        return None
    flat = np.ascontiguousarray(array).reshape(-1)
    values: list[Any] = flat.view(_parts(array.dtype)).tolist()
    if not all(type(value) in (bool, int, float) for value in values):
        return None
    plain = [math.nan if value != value else value for value in values]  # noqa: PLR0124 - NaN
    return plain if _from_values(array.dtype, plain).tobytes() == flat.tobytes() else None


def _parts(dtype: "np.dtype[Any]") -> "np.dtype[Any]":
    """Return the type of the real numbers that elements consist of."""
    if dtype.kind != "c":
        return dtype
    return np.dtype(f"{dtype.byteorder}f{dtype.itemsize // 2}")


def _from_values(dtype: "np.dtype[Any]", values: Sequence[Any]) -> "np.ndarray[Any, Any]":
    return np.array(values, _parts(dtype)).view(dtype)


def to_base64(content: Any) -> str:
    """Return the bytes of an array, or bytes, as text."""
    if isinstance(content, np.ndarray):
        content = np.ascontiguousarray(content).reshape(-1).view(np.uint8).data
    return base64.b64encode(content).decode("ascii")


def from_base64(text: str) -> bytes:
    """Return the bytes that a text stands for; raises `MalformedMessageError`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed(f"bytes are no base64: {error}") from None


def array_of_bytes(dtype: Any, shape: Any, content: bytes) -> "np.ndarray[Any, Any]":
    """Return a read-only array; raises `MalformedMessageError`."""
    kind = _kind(dtype, shape)
    if math.prod(shape) * kind.itemsize != len(content):
        raise malformed(f"an array's {len(content)} bytes do not fit its shape")
    return _shaped(np.frombuffer(content, kind), shape)


def array_of_values(dtype: Any, shape: Any, values: Any) -> "np.ndarray[Any, Any]":
    """Return a read-only array of listed elements; raises `MalformedMessageError`."""
    kind = _kind(dtype, shape)
    parts = 2 if kind.kind == "c" else 1
    if not isinstance(values, list) or len(values) != math.prod(shape) * parts:
        raise malformed("an array's values do not fit its shape")
    try:
        return _shaped(_from_values(kind, [_element(kind, value) for value in values]), shape)
    except (OverflowError, ValueError) as error:
        raise malformed(f"an array's values do not fit its type: {error}") from None


def _element(kind: "np.dtype[Any]", value: Any) -> Any:
    if kind.kind == "b":
        fits = type(value) is bool
    elif kind.kind in "iu":
        fits = type(value) is int
    else:
        return real(value)
    if not fits:
        raise malformed(f"an array of {kind.name} holds {value!r:.60}")
    return value


def real(value: Any) -> float:
    """Return a number, or one of the texts nan, inf and -inf, as a float."""
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, str) and value in _NOT_FINITE:
        return float(value)
    if type(value) is int and abs(value) <= _LARGEST_INTEGER:
        return float(value)
    raise malformed(f"{value!r:.60} is no number that fits")


def _kind(dtype: Any, shape: Any) -> "np.dtype[Any]":
    sizes_good = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not isinstance(dtype, str) or not DTYPE.fullmatch(dtype) or not sizes_good:
        raise malformed("an array is of a kind that is none of ours")
    try:
        return np.dtype(dtype)
    except TypeError:
        raise malformed(f"there is no type of arrays '{dtype}'") from None


def _shaped(array: "np.ndarray[Any, Any]", shape: Any) -> "np.ndarray[Any, Any]":
    try:
        array = array.reshape(shape)
    except (ValueError, OverflowError):
        raise malformed("an array's values do not fit its shape") from None
    array.flags.writeable = False
    return array


def malformed(problem: str) -> MalformedMessageError:
    """Return the error for what is none of our forms."""
    return MalformedMessageError(problem, remedy=REMEDY)
