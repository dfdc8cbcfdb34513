"""Quantities with units: converted where they enter, plain numbers inside.

Unit names are those of pint, for example ``mm``, ``mbar``, ``degC``, ``count``. Pint takes a
while to import, so it is imported when the first quantity has to be converted.
"""

import functools
import re
import tokenize
from typing import Any, Final

from pykarabo.errors import WrongUnitError

from ._unit_names import is_well_known

_ALIASES = {"%": "percent", "": "dimensionless"}


_LONGEST: Final = 100
_PLAIN_NUMBERS: Final = frozenset({bool, int, float, complex})
_POWER: Final = re.compile(r"[\d.)]\s*(\*\*|\^)|[⁰¹²³⁴⁵⁶⁷⁸⁹]\s*(\*\*|\^|[⁰¹²³⁴⁵⁶⁷⁸⁹]{3})")
_MISREAD: Final = (
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    LookupError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
)
"""What pint raises beside its own errors on text that is no quantity."""


@functools.cache
def registry() -> Any:
    """Return the process's unit registry; quantities of other registries are not understood."""
    import pint

    return pint.get_application_registry()  # type: ignore[no-untyped-call]


def is_quantity(value: object) -> bool:
    """Tell whether a value carries a unit, without importing pint."""
    return hasattr(value, "magnitude") and hasattr(value, "units")


def _refuse_powers(text: str) -> None:
    """Refuse a power of a number: pint computes ``9**9**9`` as long as it takes."""
    if len(text) > _LONGEST or _POWER.search(text):
        raise ValueError("write a number and a unit, such as 3 mm")


def magnitude(value: Any, unit: str, *, device: str | None, key: str) -> Any:
    """Return the number that a quantity, or text such as ``"3 mm"``, is in `unit`.

    Raises:
        WrongUnitError: another dimension, an unknown unit, or no number at all.
    """
    import pint

    wanted = _ALIASES.get(unit, unit)
    given = value
    try:
        if isinstance(value, str):
            _refuse_powers(value)
            value = registry().Quantity(value.replace("%", "percent"))
        if not is_quantity(value):
            return value
        if value.dimensionless and wanted != "dimensionless" and value.units == registry().Unit(""):
            return value.magnitude
        return value.to(wanted).magnitude
    except (pint.errors.PintError, *_MISREAD) as error:
        name = f"{device}.{key}" if device else key
        reason = " ".join(str(error).split()) or "this is no quantity"
        raise WrongUnitError(
            f"'{name}' cannot be set to '{' '.join(str(given).split()):.60}': {reason:.200}",
            device=device,
            key=key,
            remedy=f"give a number, or a quantity in {unit or 'no unit'}",
        ) from None


def is_unit(unit: str) -> bool:
    """Tell whether a text names a unit, in most cases without importing pint."""
    if is_well_known(unit):
        return True
    import pint

    try:
        _refuse_powers(unit)
        registry().Unit(_ALIASES.get(unit, unit))
    except (pint.errors.PintError, *_MISREAD):
        return False
    return True


def in_unit(value: Any, unit: str, *, device: str | None, key: str) -> Any:
    """Return the numbers that a list of quantities, or of texts such as ``"3 mm"``, is in `unit`.

    Raises:
        WrongUnitError: another dimension, an unknown unit, or no number at all.
    """
    return [
        magnitude(item, unit, device=device, key=key)
        if is_quantity(item) or (unit and isinstance(item, str))
        else in_unit(item, unit, device=device, key=key)
        if isinstance(item, list | tuple)
        else item
        for item in value
    ]


def has_units(value: Any) -> bool:
    """Tell whether a list, or a list in it, holds quantities or texts."""
    if not isinstance(value, list | tuple):
        return False
    kinds = set(map(type, value)) - _PLAIN_NUMBERS
    return any(issubclass(kind, str) or hasattr(kind, "magnitude") for kind in kinds) or (
        any(issubclass(kind, list | tuple) for kind in kinds) and any(map(has_units, value))
    )
