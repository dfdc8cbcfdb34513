"""Chunks: samples of one series in few bytes, bit by bit what they were.

A chunk is a version, the number of samples, and columns that can be read one without the other::

    version u8 | count u32 | columns u8 | (name u8, length u32) for each | columns | crc-32 u32

Times, trains, numbers and the like are integers (`_integers`), values are what their series is:
floats (`_floats`), integers, text, or any values in pykarabo's own coding. Equal texts and values
are written once.
"""

import struct
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final, TypeAlias

import numpy as np

from pykarabo.data import ValueType
from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver._floats import pack_floats, unpack_floats
from pykarabo_services.archiver._integers import (
    Ints,
    compress,
    decompress,
    pack_ints,
    unpack_ints,
)
from pykarabo_services.archiver.model import Sample, packed, unpacked

VERSION: Final = 1
_HEAD: Final = struct.Struct("<BIB")
_ENTRY: Final = struct.Struct("<BI")
_CRC: Final = struct.Struct("<I")
_LENGTHS: Final = struct.Struct("<III")
NUMBERS: Final = ("time_ns", "rest", "train_id", "quality", "flags", "epoch", "seq", "step")
"""The columns that are integers whatever the value is."""
_NULLS: Final = len(NUMBERS)
_FLOAT, _INTEGER, _UNSIGNED, _BOOL, _TEXT, _ANY = range(_NULLS + 1, _NULLS + 7)
Values: TypeAlias = "np.ndarray[Any, Any] | list[Any]"


@dataclass(slots=True)
class ChunkSamples:
    """The samples of a chunk, by column.

    Attributes:
        numbers: of `NUMBERS`, those that were asked for.
        values: numbers as an array, anything else as a list; empty if not asked for.
        missing: which values are None; the array has 0 in their place. None: none is.
    """

    count: int
    numbers: dict[str, Ints]
    values: Values
    missing: "np.ndarray[Any, np.dtype[np.bool_]] | None" = None

    def samples(self) -> list[Sample]:
        """Return the samples one by one; all columns must be here."""
        values: list[Any] = (
            self.values if isinstance(self.values, list) else list(self.values.tolist())
        )
        if self.missing is not None:
            for place in np.flatnonzero(self.missing):
                values[place] = None
        columns = [self.numbers[name].tolist() for name in NUMBERS]
        time_ns, rest, train_id, quality, flags, epoch, seq, step = columns
        return [
            Sample(*row)
            for row in zip(
                time_ns, values, rest, train_id, quality, flags, epoch, seq, step, strict=True
            )
        ]


# -- encoding -------------------------------------------------------------------------------------


def encode_chunk(value_type: ValueType, samples: Sequence[Sample]) -> bytes:
    """Return samples, at least one, as a chunk."""
    columns = {
        place: pack_ints(np.array([getattr(item, name) for item in samples], np.int64))
        for place, name in enumerate(NUMBERS)
    }
    values = [sample.value for sample in samples]
    missing = np.array([value is None for value in values])
    if missing.any():
        columns[_NULLS] = pack_ints(missing.astype(np.int64))
    kind = _kind_of(value_type, values)
    columns[kind] = _PACKERS[kind](values)
    head = _HEAD.pack(VERSION, len(samples), len(columns))
    entries = b"".join(_ENTRY.pack(name, len(column)) for name, column in columns.items())
    content = head + entries + b"".join(columns.values())
    return content + _CRC.pack(zlib.crc32(content))


_KINDS: Final[Mapping[ValueType, tuple[int, type]]] = {
    ValueType.FLOAT32: (_FLOAT, float),
    ValueType.FLOAT64: (_FLOAT, float),
    ValueType.BOOL: (_BOOL, bool),
    ValueType.UINT64: (_UNSIGNED, int),
    ValueType.STRING: (_TEXT, str),
    ValueType.STATE: (_TEXT, str),
    ValueType.DATETIME: (_TEXT, str),
}
_LIMITS: Final = {_INTEGER: (-(2**63), 2**63 - 1), _UNSIGNED: (0, 2**64 - 1)}


def _kind_of(value_type: ValueType, values: list[Any]) -> int:
    """Return how values are written; as values of any kind if one is not of its series' type."""
    usual = (_INTEGER, int) if value_type.is_integer else (_ANY, object)
    kind, expected = _KINDS.get(value_type, usual)
    given = [value for value in values if value is not None]
    if any(type(value) is not expected for value in given):
        return _ANY
    lowest, highest = _LIMITS.get(kind, (0, 0))
    if kind in _LIMITS and given and not lowest <= min(given) <= max(given) <= highest:
        return _ANY
    return kind


def _pack_numbers(dtype: Any, pack: Callable[[Any], bytes]) -> Callable[[list[Any]], bytes]:
    def pack_values(values: list[Any]) -> bytes:
        filled = [0 if value is None else value for value in values]
        return pack(np.array(filled, dtype))

    return pack_values


def _pack_texts(values: list[Any]) -> bytes:
    return _pack_pieces([b"" if value is None else value.encode() for value in values])


def _pack_anything(values: list[Any]) -> bytes:
    return _pack_pieces([packed(value) for value in values])


def _pack_pieces(pieces: list[bytes]) -> bytes:
    numbers: dict[bytes, int] = {}
    places = [numbers.setdefault(piece, len(numbers)) for piece in pieces]
    content = b"".join(numbers)
    parts = (
        pack_ints(np.array(places, np.int64)),
        pack_ints(np.array([len(piece) for piece in numbers], np.int64)),
        compress(content),
    )
    head = _LENGTHS.pack(len(parts[0]), len(parts[1]), len(content))
    return head + b"".join(parts)


_PACKERS: Final[Mapping[int, Callable[[list[Any]], bytes]]] = {
    _FLOAT: _pack_numbers(np.float64, pack_floats),
    _INTEGER: _pack_numbers(np.int64, pack_ints),
    _UNSIGNED: _pack_numbers(np.uint64, lambda array: pack_ints(array.view(np.int64))),
    _BOOL: _pack_numbers(np.int64, pack_ints),
    _TEXT: _pack_texts,
    _ANY: _pack_anything,
}

# -- decoding -------------------------------------------------------------------------------------


def decode_chunk(
    content: bytes | memoryview, wanted: Collection[str] = (*NUMBERS, "value")
) -> ChunkSamples:
    """Return the columns of a chunk that are wanted: of `NUMBERS`, and ``value``.

    Raises:
        MalformedMessageError: it is damaged, or of a later version.
    """
    data = memoryview(content)
    count, columns = _columns(data)
    numbers = {
        name: unpack_ints(columns[place], count)
        for place, name in enumerate(NUMBERS)
        if name in wanted
    }
    chunk = ChunkSamples(count, numbers, [])
    if "value" in wanted:
        kind = next(name for name in columns if name > _NULLS)
        chunk.values = _UNPACKERS[kind](columns[kind], count)
        if _NULLS in columns:
            chunk.missing = unpack_ints(columns[_NULLS], count).astype(np.bool_)
    return chunk


def _columns(data: memoryview) -> tuple[int, dict[int, memoryview]]:
    end = len(data) - _CRC.size
    if end < _HEAD.size or zlib.crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise MalformedMessageError(
            "a chunk of the archive is damaged: its checksum does not fit",
            remedy="restore a backup: pykarabo db restore archive FILE",
        )
    version, count, number = _HEAD.unpack_from(data)
    if version != VERSION:
        raise MalformedMessageError(
            f"a chunk of the archive has the form {version}, known is {VERSION}",
            remedy="update pykarabo",
        )
    entries = [_ENTRY.unpack_from(data, _HEAD.size + i * _ENTRY.size) for i in range(number)]
    start = _HEAD.size + number * _ENTRY.size
    ends = accumulate((length for _name, length in entries), initial=start)
    return count, {
        name: data[at : at + length] for (name, length), at in zip(entries, ends, strict=False)
    }


def _unpack_pieces(column: memoryview, count: int) -> tuple[list[bytes], Ints]:
    first, second, size = _LENGTHS.unpack_from(column)
    body = column[_LENGTHS.size :]
    places = unpack_ints(body[:first], count)
    lengths = unpack_ints(body[first : first + second], int(places.max()) + 1)
    content = decompress(body[first + second :], size) if size else b""
    ends = list(accumulate(lengths.tolist(), initial=0))
    return [content[at:to] for at, to in pairwise(ends)], places


def _unpack_texts(column: memoryview, count: int) -> list[Any]:
    pieces, places = _unpack_pieces(column, count)
    texts = [piece.decode() for piece in pieces]
    return [texts[place] for place in places]


def _unpack_anything(column: memoryview, count: int) -> list[Any]:
    pieces, places = _unpack_pieces(column, count)
    values = [unpacked(piece) for piece in pieces]
    return [values[place] for place in places]


_UNPACKERS: Final[Mapping[int, Callable[[memoryview, int], Values]]] = {
    _FLOAT: unpack_floats,
    _INTEGER: unpack_ints,
    _UNSIGNED: lambda column, count: unpack_ints(column, count).view(np.uint64),
    _BOOL: lambda column, count: unpack_ints(column, count).astype(np.bool_),
    _TEXT: _unpack_texts,
    _ANY: _unpack_anything,
}
