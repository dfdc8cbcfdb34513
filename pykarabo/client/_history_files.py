"""Histories as tables and as files; each library is imported where it is used."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pykarabo.data import Timestamp, to_json
from pykarabo.errors import BadConfigurationError

from ._history_types import History

if TYPE_CHECKING:
    import pandas as pd

_TIMES: Final = ("time_ns", "end_ns", "sample_ns")


def _library(name: str, wanted_by: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise BadConfigurationError(
            f"{wanted_by} needs {name}, which is not installed",
            remedy="pip install 'pykarabo[history]'",
        ) from None


def _columns(history: History) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the columns as files have them: times without their unit, qualities as text."""
    for name, column in history.columns.items():
        if name in _TIMES:
            yield name.removesuffix("_ns"), column.astype("datetime64[ns]")
        elif name == "quality":
            yield name, history.qualities
        else:
            yield name, column


def _facts(history: History) -> dict[str, Any]:
    """Return what a table is of."""
    return {
        "device_id": history.device_id,
        "key": history.key,
        "unit": history.unit,
        "operator": history.operator,
        "sampled": history.sampled,
        "start": Timestamp.from_ns(history.start_ns).iso(9),
        "end": Timestamp.from_ns(history.end_ns).iso(9),
        "gaps": [gap._asdict() for gap in history.gaps],
    }


def to_pandas(history: History) -> "pd.DataFrame":
    """Return a table."""
    pandas = _library("pandas", "to_pandas()")
    columns = dict(_columns(history))
    index = pandas.DatetimeIndex(columns.pop("time"), tz="UTC", name="time")
    table = pandas.DataFrame(columns, index=index)
    table.attrs.update(_facts(history))
    return table


def to_csv(history: History, path: Path) -> None:
    """Write text: the first line names the columns."""
    columns = dict(_columns(history))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*map(_texts, columns.values()), strict=True))


def _texts(column: NDArray[Any]) -> Iterator[str]:
    if column.dtype.kind == "M":
        return (Timestamp.from_ns(time_ns).iso(9) for time_ns in column.astype(np.int64).tolist())
    return map(text_of, column.tolist())


def text_of(value: Any) -> str:
    """Return a value as it is in a table of text: what is neither text nor number as JSON.

    Of a complex vector each number is a pair: its real and its imaginary part.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(_listed(value)) if isinstance(value, np.ndarray) else to_json(value)


def _listed(values: NDArray[Any]) -> Any:
    is_complex = values.dtype.kind == "c"
    plain = np.stack([np.real(values), np.imag(values)], axis=-1) if is_complex else values
    return plain.tolist()


def to_parquet(history: History, path: Path) -> None:
    """Write Parquet; None is null, and what is neither text nor number is JSON."""
    arrow = _library("pyarrow", "to_parquet()")
    parquet = _library("pyarrow.parquet", "to_parquet()")
    columns: dict[str, Any] = {}
    for name, column in _columns(history):
        numbers = _numbers(column)
        if numbers is None:
            columns[name] = arrow.array(_as_text(column), arrow.string())
        else:
            columns[name] = arrow.array(numbers.values, mask=numbers.missing)
    table = arrow.table(columns).replace_schema_metadata({"pykarabo": json.dumps(_facts(history))})
    parquet.write_table(table, path, compression="zstd")


def to_hdf5(history: History, path: Path) -> None:
    """Write HDF5: a data set for each column; what is neither text nor number is JSON.

    Numbers among which there is None have a second data set, ``<column>_missing``, that says where.
    """
    h5py = _library("h5py", "to_hdf5()")
    with h5py.File(path, "w") as file:
        for name, value in _facts(history).items():
            file.attrs[name] = json.dumps(value) if isinstance(value, list) else value
        for name, column in history.columns.items():
            shown = history.qualities if name == "quality" else column
            numbers = _numbers(shown)
            if numbers is None:
                _write_texts(h5py, file, name, [text or "" for text in _as_text(shown)])
                continue
            file.create_dataset(name, data=numbers.values)
            if numbers.missing is not None:
                file.create_dataset(f"{name}_missing", data=numbers.missing)


def _write_texts(h5py: Any, file: Any, name: str, texts: list[str]) -> None:
    """Write texts; HDF5's end at a NUL, so that all are written as JSON where one has it."""
    is_json = any("\0" in text for text in texts)
    if is_json:
        texts = [json.dumps(text) for text in texts]
    made = file.create_dataset(name, data=np.array(texts, dtype=h5py.string_dtype()))
    made.attrs["json"] = is_json


class _Numbers(NamedTuple):
    """A column of one kind of numbers, and which are None; that is None where none is."""

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None = None


def _numbers(column: NDArray[Any]) -> _Numbers | None:
    """Return a column as numbers or times, if it has nothing but one kind of them, and None."""
    if column.dtype.kind in "biufM":
        return _Numbers(column)
    values = column.tolist()
    dtype = _dtype_of([value for value in values if value is not None])
    if dtype is None:
        return None
    missing = np.array([value is None for value in values], np.bool_)
    filler = np.nan if dtype is np.float64 else 0
    return _Numbers(
        np.array([filler if value is None else value for value in values], dtype),
        missing if missing.any() else None,
    )


def _dtype_of(values: list[Any]) -> type[np.generic] | None:
    """Return the type of numbers that all values fit into as they are."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.bool_
    if kinds == {float}:
        return np.float64
    if kinds == {int}:
        for dtype in (np.int64, np.uint64):
            bounds = np.iinfo(dtype)
            if bounds.min <= min(values) and max(values) <= bounds.max:
                return dtype
    return None


def _as_text(column: NDArray[Any]) -> list[str | None]:
    return [None if value is None else text_of(value) for value in column.tolist()]
