"""Making a given value one of a property's type, or saying what is wrong with it.

This is the gate through which every value enters a device, from outside and from inside; the
first branches, plain numbers, are the hot path.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import (
    BadInputError,
    NotAnOptionError,
    OutOfRangeError,
    WrongShapeError,
    WrongTypeError,
)

from ._codec import encode
from ._extent import check_length, problem_of_tree
from ._image import fits_shape, image_of, shape_text, zero_image
from ._limits import MAX_VALUE_BYTES
from ._moment import ZERO, moment_of
from ._numpy import np
from ._refusal import refusal, shown, wrong_type
from ._state import State
from ._table import columns_of, empty_columns
from ._types import COMPLEXES, FLOATS, INTEGER_LIMITS, NUMERIC, ValueType, is_text
from ._units import has_units, in_unit, is_quantity, magnitude

if TYPE_CHECKING:
    from ._info import PropertyInfo

_FLOAT32_MAX: Final = (2 - 2**-23) * 2.0**127
_UTF8_BYTES: Final = 4
"""A character takes so many at most."""
_LAST_DIGITS: Final = 1e-12
"""7 mm is 0.7000000000000001 cm: so much a conversion may differ from an integer."""


def validate(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    """Return `value` as a plain value of the property's type; see `PropertyInfo.validate`."""
    kind = info.value_type
    if kind is ValueType.FLOAT64 and type(value) is float:
        return _checked_number(info, value, device)
    if type(value) is int and kind in INTEGER_LIMITS:
        return _in_range(info, value, device)
    if value is None and info.nullable:
        return None
    if isinstance(value, Enum) and kind is not ValueType.ANY:
        value = value.value
    if is_quantity(value) or (isinstance(value, str) and info.unit and kind.is_number):
        value = _number(info, value, device)
    if isinstance(value, str) and info.option_names:
        value = _named(info, value)
    converted = _CONVERTERS[kind](info, value, device)
    if info.options is not None:
        _check_options(info, value, converted, device)
    return converted


def _number(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    """Return what a quantity is in the property's unit; integers despite the last digit."""
    number = magnitude(value, info.unit, device=device, key=info.key)
    if info.value_type.is_integer and isinstance(number, float) and math.isfinite(number):
        whole = round(number)
        return whole if math.isclose(number, whole, rel_tol=_LAST_DIGITS) else number
    return number


def _named(info: "PropertyInfo", value: str) -> Any:
    """Return the option that has a name; what is an option itself stays as it is."""
    options = info.options or ()
    if value in options or value not in info.option_names:
        return value
    return options[info.option_names.index(value)]


def _check_options(info: "PropertyInfo", value: Any, converted: Any, device: str | None) -> None:
    options = info.options or ()
    elements = list(converted) if info.value_type.is_vector else [converted]
    if any(element not in options for element in elements):
        names = info.option_names or tuple(repr(option) for option in options)
        remedy = f"choose {'of' if info.value_type.is_vector else 'one of'} {', '.join(names)}"
        raise refusal(NotAnOptionError, info, device, f"cannot be {shown(value)}", remedy)


# -- scalars ------------------------------------------------------------------------------------


def _bool(info: "PropertyInfo", value: Any, device: str | None) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise wrong_type(info, value, device)


def _integer(info: "PropertyInfo", value: Any, device: str | None) -> int:
    if isinstance(value, float | np.floating) and float(value).is_integer() and info.unit:
        value = int(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise wrong_type(info, value, device)
    return _in_range(info, int(value), device)


def _in_range(info: "PropertyInfo", number: int, device: str | None) -> int:
    low, high = INTEGER_LIMITS[info.value_type]
    if not low <= number <= high:
        raise refusal(
            OutOfRangeError,
            info,
            device,
            f"cannot be {number}: {info.value_type} holds {low} to {high}",
            "give a value in this range",
        )
    return int(_checked_number(info, number, device))


def _float(info: "PropertyInfo", value: Any, device: str | None) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | np.number):
        raise wrong_type(info, value, device)
    if isinstance(value, np.complexfloating):
        raise wrong_type(info, value, device)
    number = float(value)
    if info.value_type is ValueType.FLOAT32:
        number = _rounded(info, number, device)
    return float(_checked_number(info, number, device))


def _complex(info: "PropertyInfo", value: Any, device: str | None) -> complex:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | complex | np.number):
        raise wrong_type(info, value, device)
    number = complex(value)
    if info.value_type is ValueType.COMPLEX64:
        number = complex(_rounded(info, number.real, device), _rounded(info, number.imag, device))
    return number


def _rounded(info: "PropertyInfo", number: float, device: str | None) -> float:
    """Return a number to the precision of 32 bits."""
    if math.isfinite(number) and abs(number) > _FLOAT32_MAX:
        raise refusal(
            OutOfRangeError,
            info,
            device,
            f"cannot be {number}: {info.value_type} ends at {_FLOAT32_MAX:g}",
            "give a smaller value",
        )
    return float(np.float32(number))


def _checked_number(info: "PropertyInfo", number: float, device: str | None) -> float:
    if (info.minimum is not None and not number >= info.minimum) or (
        info.maximum is not None and not number <= info.maximum
    ):
        raise _out_of_range(info, number, device)
    if (info.minimum_exclusive is not None and not number > info.minimum_exclusive) or (
        info.maximum_exclusive is not None and not number < info.maximum_exclusive
    ):
        raise _out_of_range(info, number, device)
    if info.options is not None:
        _check_options(info, number, number, device)
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
    return refusal(
        OutOfRangeError,
        info,
        device,
        f"cannot be {number:g}{unit}",
        f"give {' and '.join(limits)}{unit}",
    )


def _string(info: "PropertyInfo", value: Any, device: str | None) -> str:
    if not isinstance(value, str):
        raise wrong_type(info, value, device)
    text = str(value)
    if len(text) > MAX_VALUE_BYTES // _UTF8_BYTES:
        check_length(info, len(text.encode(errors="surrogatepass")), device)
    _check_text(info, text, device)
    return text


def _check_text(info: "PropertyInfo", text: str, device: str | None) -> None:
    if not is_text(text):
        raise refusal(
            WrongTypeError,
            info,
            device,
            f"cannot be {shown(text)}: it holds a surrogate, which is no character",
            "decode bytes with errors='replace' or 'backslashreplace'",
        )
    _check_pattern(info, text, device)


def _check_pattern(info: "PropertyInfo", text: str, device: str | None) -> None:
    if info.regex is not None and re.fullmatch(info.regex, text) is None:
        raise refusal(
            NotAnOptionError,
            info,
            device,
            f"cannot be {shown(text)}",
            f"give text that matches {info.regex}",
        )


def _bytes(info: "PropertyInfo", value: Any, device: str | None) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        check_length(info, len(value), device)
        return bytes(value)
    raise wrong_type(info, value, device)


def _state(info: "PropertyInfo", value: Any, device: str | None) -> State:
    try:
        return State(value)
    except ValueError:
        raise wrong_type(info, value, device) from None


# -- sequences ----------------------------------------------------------------------------------


def _vector(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    array = _as_array(info, value, info.value_type.dtype, device)
    if array.ndim != 1:
        raise refusal(
            WrongShapeError,
            info,
            device,
            f"cannot have {array.ndim} dimensions",
            "give a one-dimensional sequence",
        )
    _check_size(info, len(array), device)
    _check_elements(info, array, device)
    return array


def _check_elements(
    info: "PropertyInfo", array: "np.ndarray[Any, Any]", device: str | None
) -> None:
    """Refuse an array of which an element is beyond a limit, the first of them."""
    for limit, fits in (
        (info.minimum, operator.ge),
        (info.maximum, operator.le),
        (info.minimum_exclusive, operator.gt),
        (info.maximum_exclusive, operator.lt),
    ):
        if limit is not None and not bool(np.all(fits(array, limit))):
            raise _out_of_range(info, array[~fits(array, limit)][0].item(), device)


def _strings(info: "PropertyInfo", value: Any, device: str | None) -> list[str]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise wrong_type(info, value, device)
    try:
        texts = [str(item) if isinstance(item, str) else item for item in value]
    except TypeError:
        raise wrong_type(info, value, device) from None
    if not all(isinstance(item, str) for item in texts):
        raise wrong_type(info, value, device)
    _check_size(info, len(texts), device)
    if info.regex is not None or not is_text("".join(texts)):
        for text in texts:
            _check_text(info, text, device)
    return texts


def _check_size(info: "PropertyInfo", size: int, device: str | None) -> None:
    low, high = info.min_size, info.max_size
    if (low is not None and size < low) or (high is not None and size > high):
        raise refusal(
            WrongShapeError,
            info,
            device,
            f"cannot have {size} elements",
            f"give {low or 0} to {'any number of' if high is None else high} elements",
        )


def _array(info: "PropertyInfo", value: Any, device: str | None) -> Any:
    dtype = np.dtype(info.dtype) if info.dtype is not None else None
    array = _as_array(info, value, dtype, device)
    if info.shape is not None and not fits_shape(info.shape, array.shape):
        problem = f"cannot have the shape {array.shape}"
        raise refusal(WrongShapeError, info, device, problem, f"give {shape_text(info.shape)}")
    _check_elements(info, array, device)
    return array


def _as_array(
    info: "PropertyInfo", value: Any, dtype: "np.dtype[Any] | None", device: str | None
) -> "np.ndarray[Any, Any]":
    if has_units(value):
        value = in_unit(value, info.unit, device=device, key=info.key)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise wrong_type(info, value, device) from None
    if dtype is None:
        if array.dtype.kind not in "biufc":
            raise wrong_type(info, value, device)
        return array
    if array.dtype == dtype:
        return array
    if array.size == 0:
        return array.astype(dtype)
    if array.dtype.kind not in "biufc" or not _fits(array, dtype):
        raise wrong_type(info, value, device)
    return _narrowed(info, array, dtype, device)


def _narrowed(
    info: "PropertyInfo", array: "np.ndarray[Any, Any]", dtype: "np.dtype[Any]", device: str | None
) -> "np.ndarray[Any, Any]":
    """Return an array as another type; what is beyond that one's floats must not become inf."""
    with np.errstate(over="ignore"):
        narrowed = array.astype(dtype)
    if dtype.kind in "fc" and not np.isfinite(narrowed).all():
        lost = np.isfinite(array) & ~np.isfinite(narrowed)
        if lost.any():
            problem = f"cannot have the element {array[lost][0]}: {dtype} ends before"
            raise refusal(OutOfRangeError, info, device, problem, "give smaller values")
    return narrowed


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
    if not isinstance(value, Mapping):
        raise wrong_type(info, value, device)
    problem = problem_of_tree(value)
    if problem is None:
        try:
            encode(value)
        except WrongTypeError as error:
            problem = error.message
    if problem is not None:
        plain = "give plain values and arrays by texts"
        raise refusal(WrongTypeError, info, device, f"cannot hold this: {problem}", plain)
    return value


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
    ValueType.DATETIME: moment_of,
    ValueType.IMAGE: image_of,
    ValueType.TABLE: columns_of,
    ValueType.VECTOR_STRING: _strings,
    **dict.fromkeys(INTEGER_LIMITS, _integer),
    **dict.fromkeys(FLOATS, _float),
    **dict.fromkeys(COMPLEXES, _complex),
    **{ValueType(f"vector_{name}"): _vector for name in NUMERIC},
}


def initial_value(info: "PropertyInfo") -> Any:
    """Return the default; without one None where that is allowed, else the type's zero."""
    if info.default is not None or info.nullable:
        return validate(info, info.default, None)
    kind = info.value_type
    if kind.is_vector and kind is not ValueType.VECTOR_STRING:
        return np.full(info.min_size or 0, _nearest(info, 0), kind.dtype)
    if kind in _EMPTY:
        return _EMPTY[kind](info)
    if info.options and not kind.is_vector:
        return info.options[0]
    return _zero(info, kind)


def _empty_array(info: "PropertyInfo") -> "np.ndarray[Any, Any]":
    shape = tuple(size or 0 for size in info.shape or (0,))
    return np.full(shape, _nearest(info, 0), info.dtype or "float64")


_EMPTY: Final[Mapping[ValueType, Callable[["PropertyInfo"], Any]]] = {
    ValueType.ARRAY: _empty_array,
    ValueType.IMAGE: zero_image,
    ValueType.TABLE: empty_columns,
}


def _nearest(info: "PropertyInfo", zero: float) -> float:
    """Return the number within the limits that is nearest to 0."""
    lowest = info.minimum if info.minimum is not None else zero
    highest = info.maximum if info.maximum is not None else zero
    return min(max(zero, lowest), max(highest, lowest))


def _zero(info: "PropertyInfo", kind: ValueType) -> Any:
    if kind.is_number:
        zero = 0.0 if kind in FLOATS else 0
        number = _nearest(info, zero)
        return complex(zero) if kind in COMPLEXES else type(zero)(number)
    return {
        ValueType.BOOL: False,
        ValueType.STRING: "",
        ValueType.BYTES: b"",
        ValueType.STATE: State.UNKNOWN,
        ValueType.VECTOR_STRING: [],
        ValueType.HASH: {},
        ValueType.DATETIME: ZERO,
    }.get(kind)
