"""One sequence file of a run, written so that a killed writer leaves it readable.

The file is written in HDF5's single-writer mode. `INDEX/trainId` is written last, after everything
else was flushed: a train whose id is in the file is complete. Properties that did not change lag
behind in the file until it is closed; their last row stands for all later trains.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pykarabo.data import sync_path
from pykarabo_services.daq._image import LIBVER, FileLayout, h5py
from pykarabo_services.daq._records import (
    ControlRecorder,
    GroupRows,
    OutputRecorder,
    Segment,
)
from pykarabo_services.daq.layout import TRAIN_ID, Column, Group, Row

PART_SUFFIX: Final = ".part"
# Lagging rows are written in blocks, so that a big property does not need memory for all of them.
_BLOCK_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class IndexRows:
    """The index of some trains."""

    train_ids: Row
    timestamps: Row
    flags: Row
    origins: Row


class _Appender:
    """Rows added to the end of one dataset, past h5py's slow indexing."""

    __slots__ = ("_dataset", "_frames", "_type", "rows")

    def __init__(self, dataset: Any, *, frames: bool = False) -> None:
        self._dataset = dataset.id
        self._type = self._dataset.get_type()
        self._frames = frames
        self.rows = 0

    def append(self, rows: Row) -> None:
        """Add rows, whose first axis counts them."""
        if not len(rows):
            return
        start = self._grow(len(rows))
        memory = h5py.h5s.create_simple(rows.shape)
        space = self._dataset.get_space()
        space.select_hyperslab((start, *(0,) * (rows.ndim - 1)), rows.shape)
        self._dataset.write(memory, space, np.ascontiguousarray(rows), self._type)

    def append_parts(self, parts: Sequence[Row]) -> None:
        """Add several arrays of rows; frames go to the file as they are, without a copy."""
        if not self._frames:
            if parts:
                self.append(np.concatenate(parts))
            return
        row = self._grow(sum(map(len, parts)))
        for part in parts:
            for frame in part:
                data = np.ascontiguousarray(frame).reshape(-1).view(np.uint8)
                self._dataset.write_direct_chunk((row, *(0,) * frame.ndim), data)
                row += 1

    def flush(self) -> None:
        """Hand this dataset to the operating system."""
        self._dataset.flush()

    def _grow(self, count: int) -> int:
        start = self.rows
        self._dataset.set_extent((start + count, *self._dataset.shape[1:]))
        self.rows = start + count
        return start


class _ControlPair:
    """Value and timestamp of one control property in one file."""

    __slots__ = ("_block_rows", "_timestamps", "_values")

    def __init__(self, group: Any, column: Column) -> None:
        self._values = _Appender(group["value"])
        self._timestamps = _Appender(group["timestamp"])
        self._block_rows = max(_BLOCK_BYTES // max(column.row_bytes, 1), 1)

    @property
    def rows(self) -> int:
        """Rows in the file; those up to the newest train repeat the last one."""
        return self._timestamps.rows

    def write(self, segments: Sequence[Segment], rows: int) -> None:
        """Fill the datasets up to `rows`, each segment being valid until the next begins."""
        starts = np.maximum([segment.start for segment in segments], self.rows)
        counts = np.maximum(np.diff(np.append(starts, rows)), 0)
        times = np.array([segment.timestamp_ns for segment in segments], dtype=np.uint64)
        if counts.sum() <= self._block_rows:
            stacked = np.stack([segment.row for segment in segments])
            self._values.append(np.repeat(stacked, counts, axis=0))
        else:
            for segment, count in zip(segments, counts.tolist(), strict=True):
                self._repeat(segment.row, count)
        self._timestamps.append(np.repeat(times, counts))

    def _repeat(self, row: Row, count: int) -> None:
        while count > 0:
            part = min(count, self._block_rows)
            self._values.append(np.repeat(row[np.newaxis], part, axis=0))
            count -= part


class _GroupFile:
    """One index group of one output in one file."""

    __slots__ = ("_columns", "_counts", "_firsts", "_train_ids")

    def __init__(self, index: Any, data: Any, group: Group) -> None:
        self._firsts = _Appender(index["first"])
        self._counts = _Appender(index["count"])
        self._train_ids = _Appender(data[TRAIN_ID])
        self._columns = [
            _Appender(data[column.path], frames=column.chunk_rows == 1) for column in group.columns
        ]

    def write(self, rows: GroupRows) -> None:
        """Add the entries of a batch of trains."""
        counts = np.array(rows.counts, dtype=np.uint64)
        firsts = np.cumsum(counts, dtype=np.uint64) - counts + np.uint64(self._train_ids.rows)
        for column, parts in zip(self._columns, rows.parts, strict=True):
            column.append_parts(parts)
        self._train_ids.append(np.array(rows.train_ids, dtype=np.uint64))
        self._firsts.append(firsts)
        self._counts.append(counts)


class _DeviceIndex:
    """The index of a control source: one row in every train."""

    __slots__ = ("_counts", "_firsts")

    def __init__(self, index: Any) -> None:
        self._firsts = _Appender(index["first"])
        self._counts = _Appender(index["count"])

    def extend(self, end: int) -> None:
        """Add the trains up to a row."""
        rows = np.arange(self._firsts.rows, end, dtype=np.uint64)
        self._firsts.append(rows)
        self._counts.append(np.ones_like(rows))


class SequenceFile:
    """A file that is being written below a temporary name."""

    def __init__(
        self, path: Path, image: bytes, layout: FileLayout, *, sequence: int, date: str
    ) -> None:
        self.path = path
        self.part_path = path.with_name(path.name + PART_SUFFIX)
        self.first_train = 0
        self.last_train = 0
        self.last_ns = 0
        with self.part_path.open("xb") as part:
            part.write(image)
        self._file = h5py.File(self.part_path, "r+", libver=LIBVER)
        index = self._file["INDEX"]
        self._train_ids = _Appender(index["trainId"])
        self._index = {name: _Appender(index[name]) for name in ("timestamp", "flag", "origin")}
        self._devices = [_DeviceIndex(index[device_id]) for device_id in layout.controls]
        self._pairs = self._open_pairs(layout)
        self._groups = self._open_groups(layout)
        self._file["METADATA/sequenceNumber"][0] = sequence
        self._file["METADATA/creationDate"][0] = date
        self._file.swmr_mode = True

    def _open_pairs(self, layout: FileLayout) -> dict[tuple[str, str], _ControlPair]:
        return {
            (device_id, column.key): _ControlPair(
                self._file[f"CONTROL/{device_id}/{column.path}"], column
            )
            for device_id, columns in layout.controls.items()
            for column in columns
        }

    def _open_groups(self, layout: FileLayout) -> dict[tuple[str, str], _GroupFile]:
        return {
            (source, name): _GroupFile(
                self._file[f"INDEX/{source}/{name}"],
                self._file[f"INSTRUMENT/{source}/{name}"],
                group,
            )
            for source, groups in layout.instruments.items()
            for name, group in groups.items()
        }

    @property
    def trains(self) -> int:
        """Complete trains in the file."""
        return self._train_ids.rows

    def append(
        self,
        index: IndexRows,
        controls: Iterable[ControlRecorder],
        outputs: Iterable[OutputRecorder],
    ) -> None:
        """Add a batch of trains: all of it is on its way to the disk afterwards."""
        end = self.trains + len(index.train_ids)
        for recorder in controls:
            self._write_controls(recorder, end, everything=False)
        for output in outputs:
            self._write_output(output)
        for device in self._devices:
            device.extend(end)
        self._index["timestamp"].append(index.timestamps)
        self._index["flag"].append(index.flags)
        self._index["origin"].append(index.origins)
        self._file.flush()
        self._train_ids.append(index.train_ids)
        self._train_ids.flush()
        self.first_train = self.first_train or int(index.train_ids[0])
        self.last_train = int(index.train_ids[-1])
        self.last_ns = int(index.timestamps[-1])

    def _write_controls(self, recorder: ControlRecorder, end: int, *, everything: bool) -> None:
        for key, column in recorder.columns.items():
            pair = self._pairs[recorder.device_id, key]
            if column.changed or everything or not pair.rows:
                pair.write(column.segments, end)
                column.restart(end)

    def _write_output(self, recorder: OutputRecorder) -> None:
        for name, rows in recorder.rows.items():
            self._groups[recorder.layout.name, name].write(rows)
            rows.clear()

    def close(self, controls: Iterable[ControlRecorder], *, date: str) -> None:
        """Complete the lagging properties, close the file and give it its name."""
        for recorder in controls:
            self._write_controls(recorder, self.trains, everything=True)
        self._file["METADATA/updateDate"][0] = date
        self._file.close()
        publish(self.part_path, self.path)

    def close_as_it_is(self) -> None:
        """Close the file after a failure; it may hold parts of a train that has no id yet."""
        self._file.close()

    def abandon(self) -> None:
        """Close a file that cannot be written any more, and leave it as a killed writer would.

        HDF5 crashes the process, at its end at the latest, when it cannot write what it still
        holds. So the rest goes to anonymous memory instead, which always takes it.
        """
        memory = os.memfd_create("abandoned")
        os.dup2(memory, self._file.id.get_vfd_handle(), inheritable=False)
        os.close(memory)
        self._file.close()


def publish(part_path: Path, path: Path) -> None:
    """Give a finished file its name once its content is on the disk."""
    sync_path(part_path)
    part_path.rename(path)
    sync_path(path.parent)
