"""Whether two values are the same, and whether a new one is a change worth telling."""

import cmath
import math
from collections.abc import Mapping
from typing import Any, Final, cast

from ._numpy import np
from ._registry import value_class

TOLERANCE: Final = 1e-9
"""Share of a number within which two are not a change: more than rounding, less than a digit."""


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal, arrays by content and type, NaN equal to NaN."""
    if isinstance(left, np.ndarray | np.generic) or isinstance(right, np.ndarray | np.generic):
        return _same_arrays(left, right)
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return _same_objects(left, right)


def _same_objects(left: Any, right: Any) -> bool:
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    known = value_class(type(left))
    if known is not None:
        return same(dict(known.to_plain(left)), dict(known.to_plain(right)))
    return bool(left == right or (left != left and right != right))  # noqa: PLR0124 - NaN


def _same_arrays(left: Any, right: Any) -> bool:
    if isinstance(left, np.generic) and isinstance(right, np.generic):
        return bool(left.dtype == right.dtype and _equal(np.asarray(left), np.asarray(right)))
    if not (isinstance(left, np.ndarray) and isinstance(right, np.ndarray)):
        return False
    return left.dtype == right.dtype and _equal(left, right)


def _equal(left: "np.ndarray[Any, Any]", right: "np.ndarray[Any, Any]") -> bool:
    if left.shape != right.shape:
        return False
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind in "fc"))


def has_changes(old: Any, new: Any, *, relative: float = TOLERANCE, absolute: float = 0.0) -> bool:
    """Tell whether a new value differs from the old one by more than rounding.

    Numbers are compared as numbers, whatever their types and widths; a bool is no number. Arrays
    must have one shape. NaN is no change of NaN. Attributes of a Hash do not count.

    Args:
        relative: share of the larger number that is no change yet.
        absolute: difference that is no change yet, in the value's unit.
    """
    return not _near(old, new, relative, absolute)


def _near(old: Any, new: Any, relative: float, absolute: float) -> bool:
    if isinstance(old, np.ndarray) or isinstance(new, np.ndarray):
        return _near_arrays(old, new, relative, absolute)
    if _is_number(old) and _is_number(new):
        return _near_numbers(old, new, relative, absolute)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        left, right = _first_level(old), _first_level(new)
        return left.keys() == right.keys() and all(
            _near(left[key], right[key], relative, absolute) for key in left
        )
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(
            _near(left, right, relative, absolute) for left, right in zip(old, new, strict=True)
        )
    return _near_objects(old, new, relative, absolute)


def _first_level(values: Any) -> Mapping[str, Any]:
    """Return what can be asked by key: to a Hash a key with a dot is a path."""
    if not hasattr(values, "elements"):
        return cast("Mapping[str, Any]", values)
    return {key: value for key, value, _attributes in values.elements()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex | np.number) and not isinstance(value, bool)


def _near_numbers(old: Any, new: Any, relative: float, absolute: float) -> bool:
    if isinstance(old, int | np.integer) and isinstance(new, int | np.integer):
        first, second = int(old), int(new)
        return abs(first - second) <= max(relative * max(abs(first), abs(second)), absolute)
    if isinstance(old, complex | np.complexfloating) or isinstance(
        new, complex | np.complexfloating
    ):
        left, right = complex(old), complex(new)
        return cmath.isclose(left, right, rel_tol=relative, abs_tol=absolute) or same(left, right)
    left, right = float(old), float(new)
    return math.isclose(left, right, rel_tol=relative, abs_tol=absolute) or same(left, right)


def _near_arrays(old: Any, new: Any, relative: float, absolute: float) -> bool:
    if not (isinstance(old, np.ndarray) and isinstance(new, np.ndarray)):
        return False
    if old.shape != new.shape or (old.dtype.kind == "b") != (new.dtype.kind == "b"):
        return False
    if not {old.dtype.kind, new.dtype.kind} & set("fc"):
        return _near_integers(old, new, relative, absolute)
    with np.errstate(all="ignore"):
        largest = np.maximum(np.abs(old), np.abs(new))
        allowed = np.maximum(relative * largest, absolute)
        near = (np.abs(old - new) <= allowed) & np.isfinite(largest)
    both_nan = np.isnan(old) & np.isnan(new)
    return bool(np.all(near | (old == new) | both_nan))


def _near_integers(
    old: "np.ndarray[Any, Any]", new: "np.ndarray[Any, Any]", relative: float, absolute: float
) -> bool:
    """Compare where subtraction could overflow: one by one only what differs at all."""
    differ = old != new
    return all(
        _near_numbers(left, right, relative, absolute)
        for left, right in zip(old[differ].tolist(), new[differ].tolist(), strict=True)
    )


def _near_objects(old: Any, new: Any, relative: float, absolute: float) -> bool:
    known = value_class(type(old))
    if known is None or type(old) is not type(new):
        return same(old, new)
    return _near(dict(known.to_plain(old)), dict(known.to_plain(new)), relative, absolute)
