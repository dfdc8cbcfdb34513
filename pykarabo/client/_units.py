"""Values with their units."""

from typing import Any, Final

from pykarabo.data import ParameterInfo, PropertyInfo, PropertyValue, ValueType, registry
from pykarabo.errors import WrongTypeError

_PINT_NAMES: Final = {"": "dimensionless", "%": "percent"}


def quantity(value: Any, unit: str) -> Any:
    """Return a number or an array of numbers as a pint quantity."""
    return registry().Quantity(value, _PINT_NAMES.get(unit, unit))


def quantity_of(device_id: str, info: PropertyInfo, value: PropertyValue) -> Any:
    """Return a property's value as a pint quantity.

    Raises:
        WrongTypeError: it is no number.
    """
    kind = info.value_type
    if not (kind.element.is_number or kind is ValueType.ARRAY):
        raise WrongTypeError(
            f"'{device_id}.{info.key}' is {kind} and no quantity",
            device=device_id,
            key=info.key,
            remedy="read it as it is",
        )
    return quantity(value.value, info.unit)


_DURATION: Final = ParameterInfo("duration", ValueType.FLOAT64, unit="s")


def seconds(duration: Any) -> float:
    """Return a time in seconds, given as a number of them, as a quantity, or as text."""
    return float(_DURATION.validate(duration, device="", command="sleep"))
