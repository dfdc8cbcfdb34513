"""Values as a person reads them, for messages and displays."""

import math
from typing import Any, Final

from pykarabo.data import PropertyInfo, PropertyValue, Quality

_ITEMS: Final = 6
_LONGEST: Final = 100
_TIME_DIGITS: Final = 3


def short(value: Any, unit: str = "") -> str:
    """Return a value in one short line, with its unit."""
    text = _short(value)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return f"{text} {unit}" if unit else text


def _short(value: Any) -> str:
    dimensions = getattr(value, "ndim", 0)
    if dimensions > 1:
        return f"array {' x '.join(map(str, value.shape))} {value.dtype}"
    if dimensions == 1 or isinstance(value, list | tuple):
        more = f", … ({len(value)} in all)" if len(value) > _ITEMS else ""
        return f"[{', '.join(_short(item) for item in value[:_ITEMS])}{more}]"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.10g}"
    return " ".join(str(value).split())


def shown_value(value: PropertyValue, info: PropertyInfo | None) -> str:
    """Return a property's value with unit, time, and quality where that is not valid."""
    quality = "" if value.quality is Quality.VALID else f" ({value.quality.value})"
    unit = "" if info is None else info.unit
    return f"{short(value.value, unit)}{quality} at {value.timestamp.iso(_TIME_DIGITS)}"
