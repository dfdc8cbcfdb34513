"""Values as the audit log shows them: short, of bounded size, and nothing that is secret.

What is not shown as it is stands as an object with the key ``~``, which says what it is. A digest
tells whether two values that are not shown are the same.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pykarabo.data import Hash, encode
from pykarabo.errors import LimitExceededError, WrongTypeError

_log: Final = logging.getLogger(__name__)
SECRET: Final[Mapping[str, str]] = {"~": "secret"}
"""Stands for the value of a property or parameter that is declared secret."""
UNKNOWN: Final = "unknown"
_LONGEST_TEXT: Final = 120
_TEXT_START: Final = 80
_MOST_ITEMS: Final = 8
_MOST_ENTRIES: Final = 20
_DEEPEST: Final = 3
_DIGEST_BYTES: Final = 16
_BYTES_PER_WEIGHT: Final = 256


def unknown(value: Any) -> dict[str, str]:
    """Return what stands for a value of which no schema says whether it is secret."""
    return {"~": UNKNOWN, "type": type(value).__name__}


class _HeldArray:
    """An array whose digest is taken later, in another thread; it does not change until then."""

    __slots__ = ("_array",)

    def __init__(self, array: "np.ndarray[Any, Any]") -> None:
        self._array = array.copy() if _can_change(array) else array

    @property
    def weight(self) -> int:
        return 1 + self._array.nbytes // _BYTES_PER_WEIGHT

    def told(self) -> dict[str, Any]:
        """Return what the log shows."""
        array = np.ascontiguousarray(self._array)
        return {
            "~": "array",
            "dtype": array.dtype.name,
            "shape": list(self._array.shape),
            "digest": _digest(array.reshape(-1).view(np.uint8).data),
        }


def _can_change(array: "np.ndarray[Any, Any]") -> bool:
    base = array.base
    return array.flags.writeable or (isinstance(base, np.ndarray) and base.flags.writeable)


def shorten(value: Any) -> Any:
    """Return a value as `make_line` takes it; later changes of `value` do not show in it.

    It never fails: what cannot be shown must not keep anybody from doing it.
    """
    try:
        return _shown(value, 0)
    except Exception:  # noqa: BLE001 - whatever a value of a device is made of
        _log.exception("a %s cannot be shown in the audit log", type(value).__name__)
        return {"~": "unshown", "type": type(value).__name__}


def entries(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the keys and values of a map; a dot in the key of a Hash means nothing here."""
    if isinstance(value, Hash):
        return [(key, item) for key, item, _attributes in value.elements()]
    return list(value.items())


def _shown(value: Any, depth: int) -> Any:
    if value is None or type(value) in (bool, int):
        return value
    for kinds, show in _KINDS:
        if isinstance(value, kinds):
            return show(value, depth)
    return _text(str(value))


def weight_of(shown: Any) -> int:
    """Return about how much memory a shortened value takes, in units of some 256 bytes."""
    if isinstance(shown, _HeldArray):
        return shown.weight
    if isinstance(shown, dict):
        return 1 + sum(map(weight_of, shown.values()))
    if isinstance(shown, list):
        return 1 + sum(map(weight_of, shown))
    return 1


def _text(value: str) -> Any:
    if len(value) <= _LONGEST_TEXT:
        return value
    digest = _digest(value.encode("utf-8", "surrogatepass"))
    return {"~": "text", "start": value[:_TEXT_START], "length": len(value), "digest": digest}


def _bytes(value: Any) -> Any:
    return {"~": "bytes", "length": len(value), "digest": _digest(value)}


def _array(value: "np.ndarray[Any, Any]") -> Any:
    if value.size <= _MOST_ITEMS and value.ndim == 1 and value.dtype.kind in "biufc":
        return [_shown(item, 0) for item in value.tolist()]
    if value.dtype.hasobject:
        return {"~": "array", "dtype": value.dtype.name, "shape": list(value.shape)}
    return _HeldArray(value)


def _items(value: Any, depth: int, pairs: Any) -> Any:
    """Return a list or map; a long or deep one as what it is and a digest."""
    most = _MOST_ITEMS if pairs is None else _MOST_ENTRIES
    if len(value) <= most and depth < _DEEPEST:
        if pairs is not None:
            return {str(key): _shown(item, depth + 1) for key, item in pairs}
        return [_shown(item, depth + 1) for item in value]
    shown: dict[str, Any] = {"~": "list" if pairs is None else "map", "length": len(value)}
    try:
        frames = encode(list(value) if pairs is None else dict(pairs))
    except (WrongTypeError, LimitExceededError):  # it came by no message: its size must do
        return shown
    return shown | {"digest": _digest(*frames)}


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


_KINDS: Final[Sequence[tuple[Any, Callable[[Any, int], Any]]]] = (
    (float, lambda value, _depth: float(value) if math.isfinite(value) else str(float(value))),
    (str, lambda value, _depth: _text(str(value))),
    (np.ndarray, lambda value, _depth: _array(value)),
    (np.generic, lambda value, depth: _shown(value.item(), depth)),
    ((bytes, bytearray, memoryview), lambda value, _depth: _bytes(value)),
    (Mapping, lambda value, depth: _items(value, depth, entries(value))),
    (Sequence, lambda value, depth: _items(value, depth, None)),
)
"""How kinds of values are shown; the first that fits counts."""
