"""Histories as tables and as files; each library is imported where it is used."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
    """Return a value as it is in a table of text: what is neither text nor number as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value.tolist()) if isinstance(value, np.ndarray) else to_json(value)


def to_parquet(history: History, path: Path) -> None:
    """Write Parquet; what is neither text nor number is JSON."""
    arrow = _library("pyarrow", "to_parquet()")
    parquet = _library("pyarrow.parquet", "to_parquet()")
    columns = {name: _plain(column) for name, column in _columns(history)}
    table = arrow.table(columns).replace_schema_metadata({"pykarabo": json.dumps(_facts(history))})
    parquet.write_table(table, path, compression="zstd")


def to_hdf5(history: History, path: Path) -> None:
    """Write HDF5: a data set for each column; what is neither text nor number is JSON."""
    h5py = _library("h5py", "to_hdf5()")
    with h5py.File(path, "w") as file:
        for name, value in _facts(history).items():
            file.attrs[name] = json.dumps(value) if isinstance(value, list) else value
        for name, column in history.columns.items():
            values = _plain(history.qualities if name == "quality" else column)
            if isinstance(values, list):
                text = h5py.string_dtype()
                values = np.array([str(value) for value in values], dtype=text)
            file.create_dataset(name, data=values)


def _plain(column: NDArray[Any]) -> Any:
    """Return a column of numbers as it is, any other as a list of text."""
    if column.dtype.kind in "biufM":
        return column
    return [value if isinstance(value, str) else text_of(value) for value in column.tolist()]
