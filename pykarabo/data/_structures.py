"""Declaring properties whose value is an object: a moment, an image, a table."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import numpy.typing as npt

from ._descriptors import Property
from ._image import Encoding, ImageData
from ._table import TableValue
from ._types import ValueType

if TYPE_CHECKING:
    from ._configurable import Configurable


class DateTime(Property[datetime]):
    """A date and time with its time zone, to the microsecond.

    It takes an aware `datetime` or ISO 8601 text with an offset, and keeps the moment and the
    offset; the name of a time zone is not kept.
    """

    value_type = ValueType.DATETIME

    def read(self, instance: "Configurable", key: str) -> datetime:
        """Return the present value as an aware `datetime`."""
        made: datetime = self.info.present(super().read(instance, key))
        return made

    def __set__(self, instance: "Configurable", value: Any) -> None:
        instance._assign(self.info, value)


class Image(Property[ImageData]):
    """An image; it takes an `ImageData`, an array of pixels or a map as `ImageData` makes.

    Args:
        dtype: numpy type of the pixels; None leaves it free.
        shape: sizes of the array of pixels, None for one that is free; None leaves all free.
        encoding: what the numbers mean; None leaves it free.
    """

    value_type = ValueType.IMAGE

    def __init__(
        self,
        dtype: npt.DTypeLike | None = None,
        shape: Iterable[int | None] | None = None,
        encoding: Encoding | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(dtype=dtype, shape=shape, **arguments)
        self._arguments["encoding"] = "" if encoding is None else str(encoding)

    def read(self, instance: "Configurable", key: str) -> ImageData:
        """Return the present image."""
        made: ImageData = self.info.present(super().read(instance, key))
        return made

    def __set__(self, instance: "Configurable", value: Any) -> None:
        instance._assign(self.info, value)


class Table(Property[TableValue]):
    """A table; it reads as a `TableValue` and takes all that one is made of.

    A device can have 40 000 texts and vectors in its cells, and 4 MiB in all.

    Args:
        rows: a `Configurable` class whose properties describe the columns.
    """

    value_type = ValueType.TABLE

    def __init__(self, rows: "type[Configurable]", **arguments: Any) -> None:
        super().__init__(**arguments)
        self._arguments["rows"] = tuple(
            replace(info, access_mode=self._arguments["access_mode"])
            for info in rows.schema().properties.values()
        )

    def read(self, instance: "Configurable", key: str) -> TableValue:
        """Return the present table; changing it changes the property."""
        info = instance.schema().properties[key]
        if info.nullable and instance._plain_value_of(key) is None:
            return cast(TableValue, None)
        return TableValue.kept_by(instance, info)

    def __set__(self, instance: "Configurable", value: Any) -> None:
        instance._assign(self.info, value)

    def value(self, rows: Any = ()) -> TableValue:
        """Return a table with these columns that belongs to no object.

        Raises:
            BadInputError: rows that do not fit.
        """
        return TableValue(self.info, rows)
