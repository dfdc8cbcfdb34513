"""The datasets of outputs: from their schema, or from the first item where that leaves it open."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pykarabo.data import OutputInfo, PropertyInfo, ValueType
from pykarabo_services.daq.layout import (
    DEFAULT_GROUP,
    PULSE_TAG,
    TEXT_BYTES,
    TRAIN_ID,
    Column,
    Group,
    PathBook,
    column_for,
)
from pykarabo_services.kernel.narrowing import is_array


def full_key(key: str) -> str:
    """Return the key under which the file holds an item's key: it needs an index group."""
    return key if "." in key else f"{DEFAULT_GROUP}.{key}"


class OutputLayout:
    """The datasets of one output.

    `groups` is None as long as the schema leaves types or shapes open and no item has shown them;
    after that it never changes, because readers expect the same keys in every file of a run.
    """

    __slots__ = ("_declared", "_pulse_groups", "groups", "name", "skipped")

    def __init__(self, name: str, output: OutputInfo | None) -> None:
        self.name = name
        infos = output.properties if output is not None else ()
        self._declared = {full_key(info.key): info for info in infos if not info.node and info.daq}
        self._pulse_groups = {
            full_key(info.key).partition(".")[0] for info in infos if PULSE_TAG in info.tags
        }
        self.skipped: tuple[str, ...] = ()
        self.groups: dict[str, Group] | None = None
        columns = {key: self._closed_column(info) for key, info in self._declared.items()}
        if columns and all(columns.values()):
            self._settle(columns)

    def resolve(self, data: Mapping[str, Any]) -> bool:
        """Fix the datasets by the first item; True when that was needed."""
        if self.groups is not None:
            return False
        values = {full_key(key): value for key, value in data.items()}
        columns = {
            key: self._closed_column(info) or self._open_column(info, values.get(key))
            for key, info in self._declared.items()
        }
        if not self._declared:
            columns = {key: self._guessed_column(key, value) for key, value in values.items()}
        self._settle(columns)
        return True

    def _settle(self, columns: Mapping[str, Column | None]) -> None:
        names: dict[str, PathBook] = {}
        groups: dict[str, list[Column]] = {}
        skipped: list[str] = []
        for key, column in columns.items():
            group, _, rest = key.partition(".")
            book = names.setdefault(group, PathBook(TRAIN_ID))
            if column is None or not column.is_storable or not book.admit(rest):
                skipped.append(key)
            else:
                groups.setdefault(group, []).append(replace(column, key=rest))
        self.skipped = tuple(skipped)
        self.groups = {
            name: Group(name, tuple(parts), pulses=name in self._pulse_groups)
            for name, parts in groups.items()
            if "/" not in name and name
        }

    def _has_pulses(self, key: str) -> bool:
        return key.partition(".")[0] in self._pulse_groups

    def _closed_column(self, info: PropertyInfo) -> Column | None:
        """Return the column that the schema alone decides, None when it leaves something open."""
        is_vector = info.value_type.is_vector or info.value_type is ValueType.BYTES
        pulses = self._has_pulses(full_key(info.key))
        if info.value_type is ValueType.ARRAY and pulses and info.shape:
            info = replace(info, shape=info.shape[1:])
        elif is_vector and pulses:
            column = column_for(info, ())
            return None if column is None else replace(column, shape=(), padded=False)
        return None if is_vector and not info.max_size else column_for(info, None)

    def _open_column(self, info: PropertyInfo, value: Any) -> Column | None:
        if value is None:
            return None
        if self._has_pulses(full_key(info.key)):
            if not is_array(value) or value.ndim == 0:
                return None
            value = np.zeros(value.shape[1:], dtype=value.dtype)
            info = replace(info, shape=value.shape)
        return column_for(info, value)

    def _guessed_column(self, key: str, value: Any) -> Column | None:
        if isinstance(value, str):
            return _plain_column(key, np.dtype(("S", max(TEXT_BYTES, len(value.encode())))), ())
        if isinstance(value, bytes):
            return replace(_plain_column(key, np.dtype(np.uint8), (len(value),)), padded=True)
        try:
            array = np.asarray(value)
        except ValueError:
            return None
        if array.dtype.kind == "U":
            return _plain_column(key, np.dtype(("S", TEXT_BYTES)), array.shape)
        if array.dtype.kind not in "biufc":
            return None
        return _plain_column(key, array.dtype, array.shape)


def _plain_column(key: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Column:
    boolean = dtype.kind == "b"
    return Column(
        key=key,
        dtype=np.dtype(np.uint8) if boolean else dtype,
        shape=shape,
        attributes={},
        boolean=boolean,
        padded=len(shape) == 1,
    )
