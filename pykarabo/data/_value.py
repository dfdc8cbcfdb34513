"""A property's value never travels alone: time, train and quality go with it."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from pykarabo.errors import MalformedMessageError

from ._timestamp import Timestamp
from ._types import Quality

Row: TypeAlias = list[Any]
"""A property as it travels: key, value, seconds, fraction, train id, quality."""
_QUALITIES = {quality.value: quality for quality in Quality}


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
    return [key, value[0], seconds, fraction, train_id, value[2].value]


def from_row(row: Sequence[Any], sequence: int) -> tuple[str, PropertyValue]:
    """Rebuild key and value from a row; raises `MalformedMessageError`."""
    try:
        key, value, seconds, fraction, train_id, quality = row
        return key, PropertyValue(
            value, Timestamp(seconds, fraction, train_id), _QUALITIES[quality], sequence
        )
    except (ValueError, KeyError, TypeError):
        raise MalformedMessageError(
            "a property's row has another form than expected",
            remedy="update pykarabo on both sides",
        ) from None
