"""Changes that are too small to tell."""

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from ._numpy import np
from ._types import Quality
from ._value import PropertyValue

if TYPE_CHECKING:
    from ._info import PropertyInfo


_Array: TypeAlias = "np.ndarray[Any, Any]"


def has_deadband(info: "PropertyInfo") -> bool:
    """Tell whether a property has a dead-band."""
    return info.deadband != 0 or info.relative_deadband != 0


class DeadBand:
    """Decides which values of a property are published.

    A value is told if it differs from the one told last by more than the dead-band: `deadband`
    units or `relative_deadband` times the size of the one told last, whichever is more. What
    differs in another way is always told: another quality, another shape, a first or last NaN or
    infinite number, None. A slow drift is told in steps, since values are compared with what was
    told and not with each other.

    Of a vector one element suffices, and each has its own relative band.
    """

    def __init__(self, info: "PropertyInfo") -> None:
        self._absolute = info.deadband
        self._relative = info.relative_deadband
        self._told: tuple[Any, Quality] | None = None

    def told(self, value: PropertyValue) -> None:
        """Note a value that is published for another reason."""
        kept = value.value
        self._told = (np.array(kept) if hasattr(kept, "dtype") else kept), value.quality

    def passes(self, value: PropertyValue) -> bool:
        """Tell whether a value is to be published, and note it if so."""
        told = self._told
        if told is not None and told[1] is value.quality and self._within(value.value, told[0]):
            return False
        self.told(value)
        return True

    def _within(self, value: Any, told: Any) -> bool:
        if value is None or told is None:
            return value is told
        if isinstance(value, int | float) and isinstance(told, int | float):
            if math.isfinite(value) and math.isfinite(told):
                return abs(value - told) <= max(self._absolute, self._relative * abs(told))
            return value == told or (math.isnan(value) and math.isnan(told))
        new, old = np.asarray(value), np.asarray(told)
        if new.shape != old.shape or new.dtype != old.dtype:
            return False
        with np.errstate(invalid="ignore", over="ignore"):
            band = np.maximum(self._absolute, self._relative * np.abs(old.astype(_wide(old))))
            near = _distance(new, old) <= band
        finite = np.isfinite(new) & np.isfinite(old)
        return bool(np.where(finite, near, _same(new, old)).all())


def _wide(array: _Array) -> str:
    return "complex128" if array.dtype.kind == "c" else "float64"


def _same(new: _Array, old: _Array) -> _Array:
    """Tell per element whether it is the same number, or NaN in both."""
    same: _Array = (new == old) | (np.isnan(new) & np.isnan(old))
    return same


def _distance(new: _Array, old: _Array) -> _Array:
    """Return how far elements are apart, exactly for integers of any size."""
    if new.dtype.kind in "iu":
        apart: _Array = np.asarray(np.maximum(new, old) - np.minimum(new, old))
        return apart.view(f"u{new.dtype.itemsize}")
    return np.asarray(np.abs(new.astype(_wide(new)) - old.astype(_wide(old))))
