"""A run file of format 1.3 without trains: every group, dataset and attribute it will have.

It is built once per layout in memory and copied for every sequence, because creating thousands of
datasets takes seconds. Texts have a fixed length and every dataset has explicit chunks: what is
created here is then written in HDF5's single-writer mode, which allows nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final

import numpy as np

from pykarabo_services.daq.layout import TRAIN_ID, Column, Group, Row

h5py: Any = import_module("h5py")  # has no type information

FORMAT_VERSION: Final = "1.3"
# The oldest format with single-writer mode, which every HDF5 since 1.10 reads.
LIBVER: Final = ("v110", "v110")
# Rows of the index in one chunk: a usual file has 500 trains.
_INDEX_CHUNK: Final = 512
# Room for "20260921T141320Z", because the date of the last change is written at the end.
_DATE_BYTES: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class RunValue:
    """One value of the RUN section."""

    column: Column
    row: Row
    timestamp_ns: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FileLayout:
    """All datasets of a file. Sources are in the order in which INDEX/origin counts them."""

    metadata: Mapping[str, str | int]
    controls: Mapping[str, Sequence[Column]]
    configurations: Mapping[str, Sequence[RunValue]]
    instruments: Mapping[str, Mapping[str, Group]]

    def source_ids(self) -> list[tuple[str, str]]:
        """Return (section, source) as METADATA lists them: outputs once per index group."""
        controls = [("CONTROL", device_id) for device_id in self.controls]
        return controls + [
            ("INSTRUMENT", f"{source}/{group}")
            for source, groups in self.instruments.items()
            for group in groups
        ]

    def origins(self) -> dict[str, int]:
        """Return the number of every source in INDEX/origin; -1 is the time server."""
        numbers: dict[str, int] = {}
        for number, (section, name) in enumerate(self.source_ids()):
            source = name if section == "CONTROL" else name.rpartition("/")[0]
            numbers.setdefault(source, number)
        return numbers


def date_of(time_ns: int) -> str:
    """Return a time as METADATA writes it, in UTC."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")


def build_image(layout: FileLayout) -> bytes:
    """Return the bytes of a file that has every dataset of a layout and no train."""
    with h5py.File("image", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        _create_metadata(file, layout)
        _create_index(file, layout)
        for device_id, columns in layout.controls.items():
            _create_controls(file, device_id, columns)
        for device_id, values in layout.configurations.items():
            _create_configuration(file, device_id, values)
        for source, groups in layout.instruments.items():
            _create_outputs(file, source, groups)
        file.flush()
        return bytes(file.id.get_file_image())


def _create_metadata(file: Any, layout: FileLayout) -> None:
    metadata = file.create_group("METADATA")
    for name, value in layout.metadata.items():
        if isinstance(value, int):
            metadata.create_dataset(name, data=np.array([value], dtype=np.uint32))
        else:
            _create_texts(metadata, name, [value])
    sections, names = zip(*layout.source_ids(), strict=True) if layout.source_ids() else ((), ())
    sources = metadata.create_group("dataSources")
    _create_texts(sources, "root", sections)
    _create_texts(sources, "deviceId", names)
    ids = [f"{section}/{name}" for section, name in zip(sections, names, strict=True)]
    _create_texts(sources, "dataSourceId", ids)


def _create_texts(group: Any, name: str, texts: Sequence[str]) -> None:
    data = [text.encode() for text in texts]
    room = max(_DATE_BYTES, *(len(text) for text in data))
    group.create_dataset(name, data=np.array(data, dtype=_text_type(room)))


def _create_index(file: Any, layout: FileLayout) -> None:
    index = file.create_group("INDEX")
    for name, dtype in (
        ("trainId", np.uint64),
        ("timestamp", np.uint64),
        ("flag", np.int32),
        ("origin", np.int32),
    ):
        _create_growing(index, name, dtype, (), _INDEX_CHUNK)
    for _, source in layout.source_ids():
        for name in ("first", "count"):
            _create_growing(index, f"{source}/{name}", np.uint64, (), _INDEX_CHUNK)


def _create_controls(file: Any, device_id: str, columns: Iterable[Column]) -> None:
    device = file.create_group(f"CONTROL/{device_id}")
    for column in columns:
        key = device.create_group(column.path)
        _create_column(key, "value", column)
        _create_growing(key, "timestamp", np.uint64, (), _INDEX_CHUNK)
        _describe(key, column)


def _create_configuration(file: Any, device_id: str, values: Iterable[RunValue]) -> None:
    device = file.create_group(f"RUN/{device_id}")
    for value in values:
        key = device.create_group(value.column.path)
        data = value.row[np.newaxis].astype(_file_type(value.column.dtype))
        key.create_dataset("value", data=data)
        key.create_dataset("timestamp", data=np.array([value.timestamp_ns], dtype=np.uint64))
        _describe(key, value.column)


def _create_outputs(file: Any, source: str, groups: Mapping[str, Group]) -> None:
    for name, group in groups.items():
        parent = file.create_group(f"INSTRUMENT/{source}/{name}")
        _create_growing(parent, TRAIN_ID, np.uint64, (), _INDEX_CHUNK)
        for column in group.columns:
            _describe(_create_column(parent, column.path, column), column)


def _create_column(parent: Any, path: str, column: Column) -> Any:
    dtype = _file_type(column.dtype)
    return _create_growing(parent, path, dtype, column.shape, column.chunk_rows)


def _create_growing(
    parent: Any, path: str, dtype: Any, shape: tuple[int, ...], chunk_rows: int
) -> Any:
    return parent.create_dataset(
        path,
        shape=(0, *shape),
        maxshape=(None, *shape),
        chunks=(chunk_rows, *shape),
        dtype=dtype,
    )


def _describe(target: Any, column: Column) -> None:
    """Set the attributes of a key, past h5py's slow way: there are thousands of them."""
    dtype = h5py.string_dtype()
    file_type = h5py.h5t.py_create(dtype, logical=True)
    scalar = h5py.h5s.create(h5py.h5s.SCALAR)
    for name, value in column.attributes.items():
        attribute = h5py.h5a.create(target.id, name.encode(), file_type, scalar)
        attribute.write(np.array(value, dtype=dtype))


def _file_type(dtype: np.dtype[Any]) -> Any:
    return _text_type(dtype.itemsize) if dtype.kind == "S" else dtype


def _text_type(room: int) -> Any:
    return h5py.string_dtype("utf-8", room)
