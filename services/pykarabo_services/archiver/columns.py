"""Rows and chunks of a series as columns."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pykarabo.data import ValueType
from pykarabo_services.archiver.codec import ChunkSamples
from pykarabo_services.archiver.model import Series, from_columns, is_number
from pykarabo_services.archiver.samples import Samples


def of_rows(item: Series, rows: Sequence[Any]) -> Samples:
    """Return rows of a series, in order: identity, quality, train, flags, and its value if read."""
    if not rows:
        return Samples.none()
    columns = list(zip(*rows, strict=True))
    time_ns, epoch, seq, step = (np.array(column, np.int64) for column in columns[:4])
    quality, train_id, flags = columns[4:7]
    return Samples(
        time_ns=time_ns,
        values=_values_of(item.value_type, columns[7:]) if columns[7:] else nothing(len(rows)),
        quality=np.array(quality, np.uint8),
        train_id=np.array(train_id, np.int64),
        flags=np.array(flags, np.uint8),
        epoch=epoch,
        seq=seq,
        step=step,
    )


def _values_of(value_type: ValueType, columns: Sequence[Sequence[Any]]) -> NDArray[Any]:
    values = [from_columns(value_type, *row) for row in zip(*columns, strict=True)]
    if is_number(value_type) and all(value is not None for value in values):
        return np.array(values, value_type.dtype)
    return objects(values)


def nothing(count: int) -> NDArray[np.float64]:
    """Return what stands for values that were not read."""
    return np.full(count, np.nan)


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """Return an array of objects, whatever they are: numpy would look into vectors."""
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def of_chunks(item: Series, chunks: Sequence[ChunkSamples], columns: Collection[str]) -> Samples:
    """Return the samples of chunks, in order; of what was not read the columns are 0."""
    if not chunks:
        return Samples.none()
    count = sum(chunk.count for chunk in chunks)

    def joined(name: str, dtype: Any = np.int64) -> NDArray[Any]:
        if name not in columns:
            return np.zeros(count, dtype)
        return np.concatenate([chunk.numbers[name] for chunk in chunks]).astype(dtype, copy=False)

    return Samples(
        time_ns=joined("time_ns"),
        values=_values_of_chunks(item.value_type, chunks) if "value" in columns else nothing(count),
        quality=joined("quality", np.uint8),
        train_id=joined("train_id"),
        flags=joined("flags", np.uint8),
        epoch=joined("epoch"),
        seq=joined("seq"),
        step=joined("step"),
    )


def _values_of_chunks(value_type: ValueType, chunks: Sequence[ChunkSamples]) -> NDArray[Any]:
    are_numbers = all(
        isinstance(chunk.values, np.ndarray) and chunk.missing is None for chunk in chunks
    )
    if are_numbers:
        values = np.concatenate([chunk.values for chunk in chunks])
        return values.astype(value_type.dtype, copy=False)
    return objects([value for chunk in chunks for value in _plain(chunk)])


def _plain(chunk: ChunkSamples) -> list[Any]:
    values = chunk.values.tolist() if isinstance(chunk.values, np.ndarray) else chunk.values
    if chunk.missing is None:
        return values
    missing = chunk.missing.tolist()
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]
