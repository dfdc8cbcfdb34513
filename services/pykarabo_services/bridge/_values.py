"""Values as the bridge protocol carries them: plain msgpack values, and arrays beside them."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pykarabo.data import Hash
from pykarabo_services.kernel.narrowing import is_array, is_list, is_mapping, plain_scalar

msgpack: Any = import_module("msgpack")  # has no type information

# msgpack carries integers of 64 bits.
_LOWEST = -(1 << 63)
_HIGHEST = (1 << 64) - 1
# Nesting of lists and maps inside a value that clients still decode.
_DEEPEST = 32
# Array types that a client rebuilds from their name: numbers, texts, bytes, times.
_ARRAY_KINDS = "biufcUSmM"


class NotCarriedError(TypeError):
    """A value that the protocol has no form for."""


class FlatData(NamedTuple):
    """The data of one source by dotted key, and the keys whose values the protocol cannot carry."""

    plain: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    ignored: list[str]


def flatten(data: Mapping[str, Any] | Hash) -> FlatData:
    """Sort the values of a source; nothing is copied unless an array is not contiguous.

    Truth values and numbers of numpy become Python's, complex numbers arrays without axes, and
    arrays of records one array per field.
    """
    flat = FlatData({}, {}, [])
    for key, value in _leaves("", data):
        try:
            _sort(key, value, flat)
        except NotCarriedError:
            flat.ignored.append(key)
    return flat


def _leaves(prefix: str, data: Mapping[str, Any] | Hash) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if is_mapping(value) or isinstance(value, Hash):
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _sort(key: str, value: Any, flat: FlatData) -> None:
    if isinstance(value, complex | np.complexfloating):
        value = np.asarray(value)
    if not is_array(value):
        flat.plain[key] = plain_value(value)
    elif value.dtype.names:
        for name in value.dtype.names:
            _sort(f"{key}.{name}", value[name], flat)
    elif value.dtype.kind in _ARRAY_KINDS:
        flat.arrays[key] = value if value.flags.c_contiguous else value.copy(order="C")
    else:
        flat.plain[key] = plain_value(value.tolist())


def plain_value(value: Any, depth: int = 0) -> Any:
    """Return a value as msgpack carries it; NotCarriedError when it cannot."""
    plain = _scalar(value)
    if value is None or isinstance(plain, bool | float | str | bytes):
        return plain
    if isinstance(plain, int) and _LOWEST <= plain <= _HIGHEST:
        return plain
    if depth >= _DEEPEST:
        raise NotCarriedError("the bridge does not nest values that deep")
    if is_list(plain):
        return [plain_value(part, depth + 1) for part in plain]
    if is_mapping(plain) or isinstance(plain, Hash):
        return {str(key): plain_value(part, depth + 1) for key, part in plain.items()}
    raise NotCarriedError(f"the bridge has no form for {type(value).__name__}")


def _scalar(value: Any) -> Any:
    """Return Python's own type for what numpy and enumerations make of it."""
    if is_array(value):
        return value.tolist()
    if isinstance(value, str):
        return str(value)
    return bytes(value) if isinstance(value, bytearray) else plain_scalar(value)


def buffer_of(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def pack(value: Any) -> bytes:
    """Return plain values as msgpack."""
    return bytes(msgpack.packb(value, use_bin_type=True))
