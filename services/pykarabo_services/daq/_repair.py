"""Making a file complete whose writer failed or was killed: all of it ends at the last train id."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pykarabo_services.daq._image import LIBVER, date_of, h5py
from pykarabo_services.daq._sequence import PART_SUFFIX, publish

# The name of a copy while it is made; a second attempt begins anew.
_COPY_SUFFIX = ".copy"


class Repaired(NamedTuple):
    """What a file holds."""

    sequence: int
    trains: int
    first_train: int
    last_train: int


def recover(part_path: Path) -> Repaired | None:
    """Turn what a killed writer left into a file of the run; None when it holds no train.

    Raises OSError when the file cannot be read at all.
    """
    copy_path = part_path.with_name(part_path.name + _COPY_SUFFIX)
    with (
        h5py.File(part_path, "r", swmr=True) as source,
        h5py.File(copy_path, "w", libver=LIBVER) as target,
    ):
        for name in source:
            source.copy(source[name], target, name)
    found = finish(copy_path, final_path(part_path))
    part_path.unlink()
    return found


def finish(path: Path, target: Path) -> Repaired | None:
    """Repair a closed file in place and name it `target`; without trains it is removed instead."""
    with h5py.File(path, "r+", libver=LIBVER) as file:
        found = _repair(file)
    if found is None:
        path.unlink()
    else:
        publish(path, target)
    return found


def final_path(part_path: Path) -> Path:
    """Return the name of the file that a part file was to become."""
    return part_path.with_name(part_path.name.removesuffix(PART_SUFFIX))


def _repair(file: Any) -> Repaired | None:
    groups = _instrument_groups(file)
    trains = min([_length(file["INDEX"]), *(_covered(file, group) for group in groups)])
    if not trains:
        return None
    for group in groups:
        index = file[f"INDEX/{group}"]
        entries = int(index["first"][trains - 1] + index["count"][trains - 1])
        _resize_all(file[f"INSTRUMENT/{group}"], entries)
    _resize_all(file["INDEX"], trains)
    _resize_all(file.get("CONTROL", {}), trains)
    file["METADATA/updateDate"][0] = date_of(int(file["INDEX/timestamp"][trains - 1]))
    return _described(file)


def describe(path: Path) -> Repaired:
    """Return what a closed file with at least one train holds."""
    with h5py.File(path, "r") as file:
        return _described(file)


def _described(file: Any) -> Repaired:
    train_ids = file["INDEX/trainId"][:]
    return Repaired(
        sequence=int(file["METADATA/sequenceNumber"][0]),
        trains=len(train_ids),
        first_train=int(train_ids[0]),
        last_train=int(train_ids[-1]),
    )


def _instrument_groups(file: Any) -> list[str]:
    ids = [name.decode() for name in file["METADATA/dataSources/dataSourceId"][:]]
    return [name.removeprefix("INSTRUMENT/") for name in ids if name.startswith("INSTRUMENT/")]


def _datasets(group: Any) -> list[Any]:
    found: list[Any] = []
    for item in group.values():
        found.extend([item] if isinstance(item, h5py.Dataset) else _datasets(item))
    return found


def _length(index: Any) -> int:
    return min(len(dataset) for dataset in _datasets(index))


def _covered(file: Any, group: str) -> int:
    """Return for how many trains a group has all its data."""
    index = file[f"INDEX/{group}"]
    length = min(len(index["first"]), len(index["count"]))
    ends = index["first"][:length] + index["count"][:length]
    available = min(len(dataset) for dataset in _datasets(file[f"INSTRUMENT/{group}"]))
    return int(np.searchsorted(ends, available, side="right"))


def _resize_all(group: Any, rows: int) -> None:
    for dataset in _datasets(group):
        length = len(dataset)
        if length == rows:
            continue
        last = dataset[length - 1] if length else None
        dataset.resize(rows, axis=0)
        if last is not None and length < rows:
            dataset[length:] = last
