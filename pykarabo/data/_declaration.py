"""Whether the attributes of a property fit its type and each other."""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from pykarabo.errors import BadInputError, did_you_mean

from ._alarms import MOST_SECONDS, TOO_LONG, limits_problem
from ._image import Encoding
from ._info import PropertyInfo
from ._numpy import np
from ._state import State
from ._table import COLUMN_TYPES
from ._types import COMPLEXES, FLOATS, INTEGER_LIMITS, AccessMode, ValueType
from ._units import is_unit

LIMITS: Final = (
    "warn_low",
    "warn_high",
    "alarm_low",
    "alarm_high",
    "warn_variance_low",
    "warn_variance_high",
    "alarm_variance_low",
    "alarm_variance_high",
)
"""Names of the limits that `acknowledge` and `limit_info` may speak of."""
_VARIANCES: Final = LIMITS[4:]
LIMITING: Final = (
    *LIMITS,
    "hysteresis",
    "alarm_delay",
    "acknowledge",
    "limit_info",
    "rolling_window",
    "deadband",
    "relative_deadband",
)
"""The attributes by which values are judged, and by which some are not told."""

_ORDERED: Final = frozenset({*INTEGER_LIMITS, *FLOATS})
_ORDERED_VECTORS: Final = frozenset(
    kind for kind in ValueType if kind.is_vector and kind.element in _ORDERED
)
_MEASURED: Final = frozenset(
    {
        *_ORDERED,
        *_ORDERED_VECTORS,
        *COMPLEXES,
        ValueType.VECTOR_COMPLEX64,
        ValueType.VECTOR_COMPLEX128,
        ValueType.ARRAY,
    }
)
_VECTORS: Final = frozenset(kind for kind in ValueType if kind.is_vector)
_SELECTABLE: Final = frozenset(
    {*_ORDERED, *COMPLEXES, *_VECTORS, ValueType.STRING, ValueType.BYTES, ValueType.STATE}
)
_RANGES: Final = frozenset({*_ORDERED, *_ORDERED_VECTORS, ValueType.ARRAY})
_SHAPED: Final = frozenset({ValueType.ARRAY, ValueType.IMAGE})

SENSE: Final[Mapping[str, frozenset[ValueType]]] = {
    "unit": _MEASURED,
    **dict.fromkeys(("minimum", "maximum", "minimum_exclusive", "maximum_exclusive"), _RANGES),
    **dict.fromkeys(("min_size", "max_size"), frozenset({*_VECTORS, ValueType.TABLE})),
    "options": _SELECTABLE,
    "regex": frozenset({ValueType.STRING, ValueType.VECTOR_STRING}),
    "dtype": _SHAPED,
    "shape": _SHAPED,
    "encoding": frozenset({ValueType.IMAGE}),
    "rows": frozenset({ValueType.TABLE}),
    **dict.fromkeys(LIMITS, _RANGES),
    **dict.fromkeys(("hysteresis", "alarm_delay", "acknowledge", "limit_info"), _RANGES),
    **dict.fromkeys((*_VARIANCES, "rolling_window"), _ORDERED),
    **dict.fromkeys(("deadband", "relative_deadband"), _MEASURED),
}
"""The types that an attribute makes sense for; those not named here do for all."""
_NOT_NEGATIVE: Final = (
    "hysteresis",
    "alarm_delay",
    "deadband",
    "relative_deadband",
    "archive_interval",
    "rolling_window",
    "min_size",
    "max_size",
)
_NUMBERS: Final = ("minimum", "maximum", "minimum_exclusive", "maximum_exclusive", *LIMITS)
_ASCENDING: Final = (
    ("minimum", "maximum"),
    ("minimum_exclusive", "maximum_exclusive"),
    ("minimum", "maximum_exclusive"),
    ("minimum_exclusive", "maximum"),
    *itertools.combinations(("alarm_low", "warn_low", "warn_high", "alarm_high"), 2),
    *itertools.combinations(
        (
            "alarm_variance_low",
            "warn_variance_low",
            "warn_variance_high",
            "alarm_variance_high",
        ),
        2,
    ),
    ("min_size", "max_size"),
)


@functools.cache
def _defaults() -> Mapping[str, Any]:
    plain = PropertyInfo("", ValueType.ANY)
    described = ("key", "value_type", "description", "access_mode", "access_level")
    return {
        item.name: getattr(plain, item.name) for item in fields(plain) if item.name not in described
    }


def problem_of(info: PropertyInfo) -> str | None:
    """Return what is wrong with a declaration, to follow its name; None if nothing is."""
    stated = {
        name
        for name, default in _defaults().items()
        if type(value := getattr(info, name)) is not type(default) or value != default
    }
    for problem in _columns(info):
        return problem
    for names, find in _CHECKS:
        if not stated.isdisjoint(names):
            for problem in find(info):
                return problem
    return None


def _senseless(info: PropertyInfo) -> Iterator[str]:
    for name, kinds in SENSE.items():
        if info.value_type not in kinds and getattr(info, name) != _defaults()[name]:
            yield f"is of type {info.value_type}, which has no {name}"


def _bad_numbers(info: PropertyInfo) -> Iterator[str]:
    for name in _NUMBERS:
        value = getattr(info, name)
        if value is not None and not _is_number(value):
            yield f"has {name}={value!r}, which is no number"
    for name in _NOT_NEGATIVE:
        value = getattr(info, name)
        if value is not None and not (_is_number(value) and value >= 0):
            yield f"has {name}={value!r}, which is no number from 0"
    if info.archive_interval > MOST_SECONDS:
        yield f"has archive_interval={info.archive_interval!r}, {TOO_LONG}"


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.number)
        and not isinstance(value, bool | np.complexfloating)
        and value == value  # noqa: PLR0124 - NaN
    )


def _descending(info: PropertyInfo) -> Iterator[str]:
    for low_name, high_name in _ASCENDING:
        low, high = getattr(info, low_name), getattr(info, high_name)
        if low is None or high is None:
            continue
        exclusive = "exclusive" in low_name + high_name
        if low > high or (exclusive and low >= high):
            yield f"has {low_name}={low} and {high_name}={high}, which leaves nothing between"


def _contradicting(info: PropertyInfo) -> Iterator[str]:
    problem = limits_problem(info)
    if problem is not None:
        yield problem


def _regex(info: PropertyInfo) -> Iterator[str]:
    if info.regex is None:
        return
    try:
        re.compile(info.regex)
    except (re.error, TypeError) as error:
        yield f"has a regex that cannot be compiled: {error}"


def _shape(info: PropertyInfo) -> Iterator[str]:
    for size in info.shape or ():
        if size is not None and (type(size) is not int or size < 0):
            yield f"has the size {size!r} in its shape; give an integer from 0, or None"
    if info.encoding and info.encoding not in list(Encoding):
        hint = did_you_mean(info.encoding, Encoding)
        yield f"has the unknown encoding {info.encoding!r}: {hint}"


def _unit(info: PropertyInfo) -> Iterator[str]:
    if not is_unit(info.unit):
        yield f"has the unit {info.unit!r}, which pint does not know"


def _states(info: PropertyInfo) -> Iterator[str]:
    for state in info.allowed_states or ():
        if state not in list(State):
            hint = did_you_mean(str(state), State)
            yield f"has the unknown state {str(state)!r} in allowed_states: {hint}"


def _access(info: PropertyInfo) -> Iterator[str]:
    if info.required and info.access_mode is AccessMode.READ_ONLY:
        yield "is required and read-only, but nobody could give it"
    if info.required and info.default is not None:
        yield "is required and has a default, which nobody would see"


def _columns(info: PropertyInfo) -> Iterator[str]:
    if info.value_type is not ValueType.TABLE:
        return
    if not info.rows:
        yield "is a table without columns"
    for column in info.rows:
        if column.value_type not in COLUMN_TYPES or column.node:
            yield f"has the column '{column.key}' of type {column.value_type}, which no cell can be"
        if column.nullable:
            yield f"has the column '{column.key}' that can be None, which no cell can be"


def _values(info: PropertyInfo) -> Iterator[str]:
    if info.options is not None and not info.options:
        yield "has no options to choose of"
    for option in info.options or ():
        yield from _refused(_option_info(info), option, "an option")
    yield from _refused(_with_plain_options(info), info.default, "a default")


def _option_info(info: PropertyInfo) -> PropertyInfo:
    """Return what describes a single option."""
    element = info.value_type.element
    return replace(info, value_type=element, options=None, option_names=(), default=None)


def _with_plain_options(info: PropertyInfo) -> PropertyInfo:
    if info.options is None:
        return info
    alone = _option_info(info)
    return replace(info, options=tuple(alone.validate(option) for option in info.options))


def _refused(info: PropertyInfo, value: Any, what: str) -> Iterator[str]:
    try:
        if value is not None:
            info.validate(value)
    except BadInputError as error:
        yield f"has {what} that it refuses: {error}"


_CHECKS: Final[Iterable[tuple[Iterable[str], Callable[[PropertyInfo], Iterator[str]]]]] = (
    (LIMITING, _contradicting),
    (SENSE, _senseless),
    ((*_NUMBERS, *_NOT_NEGATIVE), _bad_numbers),
    ((*_NUMBERS, "min_size", "max_size"), _descending),
    (("regex",), _regex),
    (("shape", "encoding"), _shape),
    (("unit",), _unit),
    (("allowed_states",), _states),
    (("required",), _access),
    (("options", "default"), _values),
)
"""What each check looks at; those of which nothing was stated are left out."""


def normalised(info: PropertyInfo) -> PropertyInfo:
    """Return a description that was found right, with default and options as plain values."""
    plain = _with_plain_options(info)
    if info.default is None:
        return plain
    default = plain.validate(info.default)
    return plain if default is info.default else replace(plain, default=default)
