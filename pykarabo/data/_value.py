"""A property's value never travels alone: time, train and quality go with it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.errors import MalformedMessageError

from ._timestamp import Timestamp
from ._types import Quality

Row: TypeAlias = list[Any]
"""A property as it travels: key, value, seconds, fraction, train id, quality."""
_QUALITIES: Final = {quality.value: quality for quality in Quality}
_new: Final = tuple.__new__


class PropertyValue(NamedTuple):
    """A value of a property.

    Attributes:
        timestamp: when it was true.
        quality: how far to trust it.
        sequence: number of the device's event that brought it; a larger one is newer.
    """

    value: Any
    timestamp: Timestamp
    quality: Quality = Quality.VALID
    sequence: int = 0

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show itself in IPython."""
        shown = f"{self.value!r} ({self.quality.value}) at {self.timestamp.iso()}"
        printer.text(repr(self) if cycle else shown)

    def _repr_html_(self) -> str:
        """Show itself in a notebook."""
        from html import escape

        return (
            f"<b>{escape(str(self.value))}</b> {escape(self.quality.value)} "
            f"<small>{escape(self.timestamp.iso())}</small>"
        )


def to_row(key: str, value: PropertyValue) -> Row:
    """Return a property and its value as they travel."""
    seconds, fraction, train_id = value[1]
    # An enumeration's `value` is a Python property, which takes as long as the rest of the row.
    return [key, value[0], seconds, fraction, train_id, value[2]._value_]


def from_rows(rows: Iterable[Sequence[Any]], sequence: int) -> dict[str, PropertyValue]:
    """Rebuild values by key; of a key that is there twice, the later one.

    Args:
        sequence: number of the event that brought them.

    Raises:
        MalformedMessageError: a row has another form.
    """
    values: dict[str, PropertyValue] = {}
    try:
        for key, value, seconds, fraction, train_id, quality in rows:
            # Made as tuples, in half the time: who reads a facility makes a million of these.
            timestamp = _new(Timestamp, (seconds, fraction, train_id))
            values[key] = _new(PropertyValue, (value, timestamp, _QUALITIES[quality], sequence))
    except (ValueError, KeyError, TypeError):
        raise MalformedMessageError(
            "a property's row has another form than expected",
            remedy="update pykarabo on both sides",
        ) from None
    return values
