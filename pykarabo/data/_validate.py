"""Making a given value one of a property's type, or saying what is wrong with it.

This is the gate through which every value enters a device, from outside and from inside; the
first branches, plain numbers, are the hot path.
"""

import math
import re
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import (
    BadInputError,
    NotAnOptionError,
    OutOfRangeError,
    WrongShapeError,
    WrongTypeError,
)

from ._limits import MAX_VALUE_BYTES
from ._numpy import np
from ._state import State
from ._types import COMPLEXES, FLOATS, INTEGER_LIMITS, NUMERIC, ValueType
from ._units import is_quantity, magnitude

if TYPE_CHECKING:
    from ._info import PropertyInfo

_MAX_SHOWN: Final = 60
_FLOAT32_MAX: Final = (2 - 2**-23) * 2.0**127


def validate(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    """Return `value` as a plain value of the property's type; see `PropertyInfo.validate`."""
    kind = info.value_type
    if kind is ValueType.FLOAT64 and type(value) is float:
        return _checked_number(info, value, device)
    if type(value) is int and kind in INTEGER_LIMITS:
        return _in_range(info, value, device)
    if is_quantity(value) or (isinstance(value, str) and kind.is_number and info.unit):
        value = magnitude(value, info.unit, device=device, key=info.key)
    converted = _CONVERTERS[kind](info, value, device)
    if info.options is not None and converted not in info.options:
        shown = ", ".join(repr(option) for option in info.options)
        raise _wrong(
            NotAnOptionError, info, device, f"cannot be {_show(value)}", f"choose one of {shown}"
        )
    return converted


def _show(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _wrong(
    kind: type[BadInputError], info: "PropertyInfo", device: str | None, problem: str, remedy: str
) -> BadInputError:
    name = f"{device}.{info.key}" if device else info.key
    return kind(f"'{name}' {problem}", device=device, key=info.key, remedy=remedy)


def _wrong_type(info: "PropertyInfo", value: Any, device: str | None) -> BadInputError:
    shape = f" of shape {info.shape}" if info.shape is not None else ""
    unit = f" in {info.unit}" if info.unit else ""
    wanted = f"{info.dtype or ''} {info.value_type}".strip()
    return _wrong(
        WrongTypeError,
        info,
        device,
        f"cannot be {_show(value)} ({type(value).__name__})",
        f"give a value of type {wanted}{shape}{unit}",
    )


# -- scalars ------------------------------------------------------------------------------------


def _bool(info: "PropertyInfo", value: Any, device: str | None) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise _wrong_type(info, value, device)


def _integer(info: "PropertyInfo", value: Any, device: str | None) -> int:
    if isinstance(value, float | np.floating) and float(value).is_integer() and info.unit:
        value = int(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise _wrong_type(info, value, device)
    return _in_range(info, int(value), device)


def _in_range(info: "PropertyInfo", number: int, device: str | None) -> int:
    low, high = INTEGER_LIMITS[info.value_type]
    if not low <= number <= high:
        raise _wrong(
            OutOfRangeError,
            info,
            device,
            f"cannot be {number}: {info.value_type} holds {low} to {high}",
            "give a value in this range",
        )
    return int(_checked_number(info, number, device))


def _float(info: "PropertyInfo", value: Any, device: str | None) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | np.number):
        raise _wrong_type(info, value, device)
    if isinstance(value, np.complexfloating):
        raise _wrong_type(info, value, device)
    number = float(value)
    if info.value_type is ValueType.FLOAT32:
        if math.isfinite(number) and abs(number) > _FLOAT32_MAX:
            raise _wrong(
                OutOfRangeError,
                info,
                device,
                f"cannot be {number}: float32 ends at {_FLOAT32_MAX:g}",
                "give a smaller value",
            )
        number = float(np.float32(number))
    return float(_checked_number(info, number, device))


def _complex(info: "PropertyInfo", value: Any, device: str | None) -> complex:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | complex | np.number):
        raise _wrong_type(info, value, device)
    return complex(value)


def _checked_number(info: "PropertyInfo", number: float, device: str | None) -> float:
    if (info.minimum is not None and not number >= info.minimum) or (
        info.maximum is not None and not number <= info.maximum
    ):
        raise _out_of_range(info, number, device)
    if (info.minimum_exclusive is not None and not number > info.minimum_exclusive) or (
        info.maximum_exclusive is not None and not number < info.maximum_exclusive
    ):
        raise _out_of_range(info, number, device)
    if info.options is not None and number not in info.options:
        raise _wrong(
            NotAnOptionError,
            info,
            device,
            f"cannot be {number}",
            "choose one of " + ", ".join(repr(option) for option in info.options),
        )
    return number


def _out_of_range(info: "PropertyInfo", number: float, device: str | None) -> BadInputError:
    limits = [
        f"{word} {limit:g}"
        for word, limit in (
            ("at least", info.minimum),
            ("more than", info.minimum_exclusive),
            ("at most", info.maximum),
            ("less than", info.maximum_exclusive),
        )
        if limit is not None
    ]
    unit = f" {info.unit}" if info.unit else ""
    return _wrong(
        OutOfRangeError,
        info,
        device,
        f"cannot be {number:g}{unit}",
        f"give {' and '.join(limits)}{unit}",
    )


def _string(info: "PropertyInfo", value: Any, device: str | None) -> str:
    if not isinstance(value, str):
        raise _wrong_type(info, value, device)
    text = str(value)
    _check_length(info, len(text), device)
    if info.regex is not None and re.fullmatch(info.regex, text) is None:
        raise _wrong(
            NotAnOptionError,
            info,
            device,
            f"cannot be {_show(text)}",
            f"give text that matches {info.regex}",
        )
    return text


def check_value_size(info: "PropertyInfo", value: Any, device: str | None) -> None:
    """Refuse an array that would not travel as a property; raises `WrongShapeError`."""
    if isinstance(value, np.ndarray):
        _check_length(info, value.nbytes, device)


def _check_length(info: "PropertyInfo", length: int, device: str | None) -> None:
    if length > MAX_VALUE_BYTES:
        raise _wrong(
            WrongShapeError,
            info,
            device,
            f"cannot hold {length / 2**20:.1f} MiB",
            f"give {MAX_VALUE_BYTES >> 20} MiB at most, or use an array in a pipeline output",
        )


def _bytes(info: "PropertyInfo", value: Any, device: str | None) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        _check_length(info, len(value), device)
        return bytes(value)
    raise _wrong_type(info, value, device)


def _state(info: "PropertyInfo", value: Any, device: str | None) -> State:
    try:
        return State(value)
    except ValueError:
        raise _wrong_type(info, value, device) from None


# -- sequences ----------------------------------------------------------------------------------


def _vector(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    array = _as_array(info, value, info.value_type.dtype, device)
    if array.ndim != 1:
        raise _wrong(
            WrongShapeError,
            info,
            device,
            f"cannot have {array.ndim} dimensions",
            "give a one-dimensional sequence",
        )
    _check_size(info, len(array), device)
    return array


def _strings(info: "PropertyInfo", value: Any, device: str | None) -> list[str]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise _wrong_type(info, value, device)
    try:
        texts = [str(item) if isinstance(item, str) else item for item in value]
    except TypeError:
        raise _wrong_type(info, value, device) from None
    if not all(isinstance(item, str) for item in texts):
        raise _wrong_type(info, value, device)
    _check_size(info, len(texts), device)
    return texts


def _check_size(info: "PropertyInfo", size: int, device: str | None) -> None:
    low, high = info.min_size, info.max_size
    if (low is not None and size < low) or (high is not None and size > high):
        raise _wrong(
            WrongShapeError,
            info,
            device,
            f"cannot have {size} elements",
            f"give {low or 0} to {'any number of' if high is None else high} elements",
        )


def _array(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    dtype = np.dtype(info.dtype) if info.dtype is not None else None
    array = _as_array(info, value, dtype, device)
    shape = info.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(
            wanted is not None and wanted != size
            for wanted, size in zip(shape, array.shape, strict=True)
        )
    ):
        shown = " x ".join("any" if size is None else str(size) for size in shape)
        raise _wrong(
            WrongShapeError, info, device, f"cannot have the shape {array.shape}", f"give {shown}"
        )
    return array


def _as_array(
    info: "PropertyInfo", value: Any, dtype: "np.dtype[Any] | None", device: str | None
) -> "np.ndarray[Any, Any]":
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise _wrong_type(info, value, device) from None
    if dtype is None:
        if array.dtype.kind not in "biufc":
            raise _wrong_type(info, value, device)
        return array
    if array.dtype == dtype:
        return array
    if array.size == 0:
        return array.astype(dtype)
    if array.dtype.kind not in "biufc" or not _fits(array, dtype):
        raise _wrong_type(info, value, device)
    return array.astype(dtype)


def _fits(array: "np.ndarray[Any, Any]", dtype: "np.dtype[Any]") -> bool:
    """Tell whether every element keeps its value, up to the precision of a float."""
    if (array.dtype.kind == "b") != (dtype.kind == "b"):
        return False
    if dtype.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return int(array.min()) >= limits.min and int(array.max()) <= limits.max
    return bool(np.can_cast(array.dtype, dtype, casting="same_kind"))


# -- the rest -----------------------------------------------------------------------------------


def _hash(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    if isinstance(value, Mapping):
        return value
    raise _wrong_type(info, value, device)


def _any(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    del info, device
    return value


_CONVERTERS: Final[Mapping[ValueType, Callable[["PropertyInfo", Any, str | None], Any]]] = {
    ValueType.BOOL: _bool,
    ValueType.STRING: _string,
    ValueType.BYTES: _bytes,
    ValueType.STATE: _state,
    ValueType.ARRAY: _array,
    ValueType.HASH: _hash,
    ValueType.ANY: _any,
    ValueType.NONE: _any,
    ValueType.VECTOR_STRING: _strings,
    **dict.fromkeys(INTEGER_LIMITS, _integer),
    **dict.fromkeys(FLOATS, _float),
    **dict.fromkeys(COMPLEXES, _complex),
    **{ValueType(f"vector_{name}"): _vector for name in NUMERIC},
}


def initial_value(info: "PropertyInfo") -> Any:
    """Return the default, or the type's zero."""
    if info.default is not None:
        return validate(info, info.default, None)
    kind = info.value_type
    if kind.is_vector and kind is not ValueType.VECTOR_STRING:
        return np.zeros(info.min_size or 0, kind.dtype)
    if kind is ValueType.ARRAY:
        shape = tuple(size or 0 for size in info.shape or (0,))
        return np.zeros(shape, info.dtype or "float64")
    if info.options:
        return info.options[0]
    return _zero(info, kind)


def _zero(info: "PropertyInfo", kind: ValueType) -> Any:
    if kind.is_number:
        zero = 0.0 if kind in FLOATS else 0
        lowest = info.minimum if info.minimum is not None else zero
        highest = info.maximum if info.maximum is not None else zero
        number = min(max(zero, lowest), max(highest, lowest))
        return complex(zero) if kind in COMPLEXES else type(zero)(number)
    return {
        ValueType.BOOL: False,
        ValueType.STRING: "",
        ValueType.BYTES: b"",
        ValueType.STATE: State.UNKNOWN,
        ValueType.VECTOR_STRING: [],
        ValueType.HASH: {},
    }.get(kind)
