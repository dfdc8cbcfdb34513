"""Which datasets a source needs, and how its values become their rows: numpy only, no files.

A property becomes a *column*: one dataset whose rows have a fixed type and shape for the whole run.
A value that does not fit its column is refused, never bent: the row stays blank and is counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pykarabo.data import AccessMode, PropertyInfo, Schema, ValueType
from pykarabo_services.daq._units import split_unit
from pykarabo_services.kernel.narrowing import is_array, is_list, plain_scalar

Row: TypeAlias = NDArray[Any]

# Room for a text, as the facility's own files have it; longer initial values get more.
TEXT_BYTES = 256
# Room for a vector that is empty at the start and declares no maximum size.
VECTOR_ROOM = 64
# Chunks of small rows hold about this much: fewer chunks, still little when a run is short.
CHUNK_BYTES = 32 << 10
# HDF5 has no chunks of 4 GiB or more.
MAXIMUM_ROW_BYTES = 1 << 32
# The group of an item's keys that have no group of their own.
DEFAULT_GROUP = "data"
# Every group of an output has this dataset; an item's own key of that name gives way to it.
TRAIN_ID = "trainId"
# A group of an output whose properties carry this tag has one entry per pulse instead of per item:
# the first axis of its arrays counts pulses.
PULSE_TAG = "pulse"

# Which kinds of Python numbers a dataset of each kind takes.
_ACCEPTED = {"i": "iu", "u": "iu", "f": "iuf", "c": "iufc"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Column:
    """One dataset: the type and shape of a row. `boolean`: truth values kept as 0 and 1."""

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    attributes: Mapping[str, Any]
    boolean: bool = False
    padded: bool = False

    @property
    def path(self) -> str:
        """The key as a path of nested groups; a dot inside a name would confuse readers."""
        return self.key.replace(".", "/")

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_storable(self) -> bool:
        """Whether a row is neither empty nor larger than a chunk of a file may be."""
        return 0 < self.row_bytes < MAXIMUM_ROW_BYTES

    @property
    def chunk_rows(self) -> int:
        """Rows in one chunk of the file: an image is a chunk of its own."""
        if len(self.shape) > 1:
            return 1
        return min(max(CHUNK_BYTES // max(self.row_bytes, 1), 1), 512)

    def blank(self) -> Row:
        """Return the row that stands for a value that is missing: NaN, 0, or no text."""
        fill = np.nan if self.dtype.kind in "fc" else np.zeros((), self.dtype)[()]
        return np.full(self.shape, fill, dtype=self.dtype)

    def convert(self, value: Any) -> Row | None:
        """Return a value as a row, None when it does not fit."""
        array = self._array(value)
        if array is None or array.shape == self.shape:
            return array
        if not self.padded or array.ndim != 1 or len(array) > self.shape[0]:
            return None
        row = np.zeros(self.shape, dtype=self.dtype)
        row[: len(array)] = array
        return row

    def convert_entries(self, value: Any) -> Row | None:
        """Return an array of rows, one per pulse, None when it does not fit."""
        array = self._array(value)
        fits = array is not None and array.ndim > 0 and array.shape[1:] == self.shape
        return array if fits else None

    def _array(self, value: Any) -> Row | None:
        if self.dtype.kind == "S":
            return _texts(value, self.dtype)
        if self.boolean:
            return _booleans(value)
        return _numbers(value, self.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The datasets of one output that are indexed together."""

    name: str
    columns: tuple[Column, ...]
    pulses: bool = False


class PathBook:
    """Dotted keys that can live in one file: none is a group and a dataset at once."""

    __slots__ = ("_datasets", "_groups")

    def __init__(self, *taken: str) -> None:
        self._datasets: set[str] = set()
        self._groups: set[str] = set()
        self.admit(*taken)

    def admit(self, *keys: str) -> bool:
        """Enter keys unless one of them is no valid name or collides with an earlier one."""
        if not all(self._is_free(key) for key in keys):
            return False
        for key in keys:
            self._datasets.add(key)
            self._groups.update(_parents(key))
        return True

    def _is_free(self, key: str) -> bool:
        if "/" in key or "\0" in key or not all(key.split(".")):
            return False
        taken = key in self._datasets or key in self._groups
        return not taken and self._datasets.isdisjoint(_parents(key))


def _parents(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _texts(value: Any, dtype: np.dtype[Any]) -> Row | None:
    if isinstance(value, str):
        return _text(value, dtype)
    if not is_list(value):
        return None
    rows = [_text(part, dtype) if isinstance(part, str) else None for part in value]
    fitting = [row for row in rows if row is not None]
    return np.array(fitting, dtype=dtype) if len(fitting) == len(rows) else None


def _text(value: str, dtype: np.dtype[Any]) -> Row | None:
    data = value.encode("utf-8", "surrogateescape")
    if len(data) > dtype.itemsize or data.endswith(b"\0"):
        return None
    return np.array(data, dtype=dtype)


def _booleans(value: Any) -> Row | None:
    if isinstance(value, bool):
        return np.array(value, dtype=np.uint8)
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array.astype(np.uint8) if array.dtype.kind == "b" or array.size == 0 else None


def _numbers(value: Any, dtype: np.dtype[Any]) -> Row | None:
    if isinstance(value, bytes):
        value = np.frombuffer(value, dtype=np.uint8)
    if is_array(value):
        return _safe_cast(value, dtype)
    plain = plain_scalar(value)
    try:
        kind = np.asarray(plain).dtype.kind
        fits = kind in _ACCEPTED.get(dtype.kind, "") or (is_list(plain) and not plain)
        return np.array(plain, dtype=dtype) if fits else None
    except (ValueError, TypeError, OverflowError):
        return None


def _safe_cast(array: Row, dtype: np.dtype[Any]) -> Row | None:
    if array.dtype == dtype:
        return array
    same_kind = array.dtype.kind in _ACCEPTED.get(dtype.kind, "")
    if not same_kind or not np.can_cast(array.dtype, dtype, "safe"):
        return None
    return array.astype(dtype)


def attributes_of(info: PropertyInfo) -> dict[str, Any]:
    """Return the HDF5 attributes that describe a property to readers of the file."""
    found: dict[str, Any] = {}
    if info.unit:
        unit = split_unit(info.unit)
        found["unitSymbol"] = unit.unit_symbol
        found["unitName"] = unit.unit_name
        found["metricPrefixSymbol"] = unit.prefix_symbol
        found["metricPrefixName"] = unit.prefix_name
    texts = {
        "displayedName": info.label,
        "description": info.description,
        "alias": info.alias,
        "tags": ",".join(info.tags),
        "options": ",".join(map(str, info.options or ())),
    }
    found.update({name: str(text) for name, text in texts.items() if text})
    return found


def column_for(info: PropertyInfo, value: Any) -> Column | None:
    """Return the column of a property; `value` decides the sizes that its description leaves open.

    None when the file format cannot hold values of this type.
    """
    kind = info.value_type
    if kind is ValueType.ARRAY:
        return _array_column(info, value)
    if kind is ValueType.BYTES:
        return _vector_column(info, np.dtype(np.uint8), _length(value))
    if kind.element in (ValueType.STRING, ValueType.STATE):
        return _text_column(info, value)
    dtype = kind.dtype
    if dtype is None:
        return None
    boolean = dtype.kind == "b"
    dtype = np.dtype(np.uint8) if boolean else dtype
    if kind.is_vector:
        return _vector_column(info, dtype, _length(value), boolean=boolean)
    return _column(info, dtype, (), boolean=boolean)


def _column(
    info: PropertyInfo,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    *,
    boolean: bool = False,
    padded: bool = False,
) -> Column:
    return Column(
        key=info.key,
        dtype=dtype,
        shape=shape,
        attributes=attributes_of(info),
        boolean=boolean,
        padded=padded,
    )


def _length(value: Any) -> int:
    return len(value) if is_list(value) or is_array(value) or isinstance(value, bytes) else 0


def _vector_column(
    info: PropertyInfo, dtype: np.dtype[Any], length: int, *, boolean: bool = False
) -> Column:
    room = info.max_size or length or VECTOR_ROOM
    return _column(info, dtype, (room,), boolean=boolean, padded=True)


def _text_column(info: PropertyInfo, value: Any) -> Column:
    is_vector = info.value_type.is_vector
    texts = (list(value) if value is not None else []) if is_vector else [value]
    longest = max((len(str(text).encode()) for text in texts if text is not None), default=0)
    dtype = np.dtype(("S", max(TEXT_BYTES, longest)))
    return _vector_column(info, dtype, len(texts)) if is_vector else _column(info, dtype, ())


def _array_column(info: PropertyInfo, value: Any) -> Column | None:
    array = value if is_array(value) and value.size else None
    shape: Sequence[int | None] | None = info.shape
    if shape is None or None in shape:
        shape = None if array is None else array.shape
    found = info.dtype or (None if array is None else array.dtype)
    dtype = np.dtype(found) if found is not None else None
    if shape is None or dtype is None or dtype.kind not in "biufc":
        return None
    boolean = dtype.kind == "b"
    sizes = tuple(int(size or 0) for size in shape)
    return _column(info, np.dtype(np.uint8) if boolean else dtype, sizes, boolean=boolean)


def leaves(schema: Schema) -> Iterable[PropertyInfo]:
    """Return the properties of a schema that have values."""
    return (info for info in schema.properties.values() if not info.node)


def control_columns(
    schema: Schema, values: Mapping[str, Any]
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Return the columns of a device's properties, and the keys that no file can hold.

    What cannot change (init-only properties) is in the RUN section only.
    """
    wanted = [
        info for info in leaves(schema) if info.daq and info.access_mode is not AccessMode.INIT_ONLY
    ]
    return _value_columns(wanted, values)


def run_columns(
    schema: Schema, values: Mapping[str, Any]
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Return the columns of everything a device was configured with, and what no file can hold."""
    return _value_columns(list(leaves(schema)), values)


def _value_columns(
    infos: Iterable[PropertyInfo], values: Mapping[str, Any]
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    columns: list[Column] = []
    skipped: list[str] = []
    names = PathBook()
    for info in infos:
        column = column_for(info, values.get(info.key, info.default))
        paths = (f"{info.key}.value", f"{info.key}.timestamp")
        if column is None or not column.is_storable or not names.admit(*paths):
            skipped.append(info.key)
        else:
            columns.append(column)
    return tuple(columns), tuple(skipped)
