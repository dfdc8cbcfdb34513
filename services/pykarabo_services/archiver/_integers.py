"""Columns of integers and of floats in few bytes, exactly.

Integers are divided by what all their differences have in common, then told by their distance from
what they were expected to be: a constant, the one before, a steady step, or a straight line.
Distances are folded to be positive and written byte by byte of equal weight, so that the upper
bytes, which are alike, compress well.

Floats are tried as whole steps of a grid: a converter's value is an integer times a factor, plus an
offset. What the grid predicts wrongly in the last bits is told in units of the last bit, so any
grid is exact, and a good one cheap. Otherwise their bits are written as integers.
"""

import struct
import threading
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import zstandard

Ints: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"

# Higher levels gain nothing on a few kilobytes (measured) and take longer.
LEVEL: Final = 5
_HEAD: Final = struct.Struct("<BBqqQ")
"""Order, width with the flag `_STORED`, first value, step, divisor."""
_STORED: Final = 0x80
_CONSTANT, _VALUE, _DELTA, _CHANGE, _LINE = range(5)
_WORD: Final = 8
_local: Final = threading.local()


def compress(content: bytes) -> bytes:
    """Return the content compressed; zstd's objects serve one thread each."""
    compressor = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(
            level=LEVEL, write_checksum=False, write_content_size=False
        )
    found: bytes = compressor.compress(content)
    return found


def decompress(content: bytes | memoryview, size: int) -> bytes:
    """Return `size` bytes that `compress` was given."""
    decompressor = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    found: bytes = decompressor.decompress(content, max_output_size=size)
    return found


# -- integers -------------------------------------------------------------------------------------


def pack_ints(values: Ints) -> bytes:
    """Return integers of 64 bits in few bytes."""
    first = int(values[0])
    differences = np.diff(values)
    if not differences.any():
        return _HEAD.pack(_CONSTANT, 0, first, 0, 1)
    divisor = _common_divisor(differences)
    if divisor > 1:
        # Differences wrap like the values do, so the sum of the quotients need not be divided.
        steps = np.concatenate((np.zeros(1, np.int64), np.cumsum(differences // divisor)))
    else:
        steps = values - values[0]
    return min(_candidates(values, steps, first, divisor), key=len)


def _common_divisor(differences: Ints) -> int:
    if differences.min() <= np.iinfo(np.int64).min // 2 or (
        differences.max() >= np.iinfo(np.int64).max // 2
    ):
        return 1
    return int(np.gcd.reduce(np.abs(differences)))


def _candidates(values: Ints, steps: Ints, first: int, divisor: int) -> Iterator[bytes]:
    count = len(steps)
    yield _packed(_VALUE, values, 0, 0, 1)
    delta = np.diff(steps)
    yield _packed(_DELTA, delta, first, 0, divisor)
    if count > 2:  # noqa: PLR2004 - a change of steps needs two steps
        yield _packed(_CHANGE, np.diff(delta), first, int(delta[0]), divisor)
        slope = round(int(steps[-1]) / (count - 1))
        line = steps - np.arange(count, dtype=np.int64) * np.int64(slope)
        yield _packed(_LINE, line, first, slope, divisor)


def _packed(order: int, distances: Ints, first: int, step: int, divisor: int) -> bytes:
    folded = ((distances << 1) ^ (distances >> 63)).view(np.uint64)
    width = (int(folded.max()).bit_length() + 7) // 8 if len(folded) else 0
    planes = folded.view(np.uint8).reshape(-1, _WORD)[:, :width].T.tobytes()
    small = compress(planes) if planes else b""
    if len(small) < len(planes):
        return _HEAD.pack(order, width, first, step, divisor) + small
    return _HEAD.pack(order, width | _STORED, first, step, divisor) + planes


def unpack_ints(content: memoryview, count: int) -> Ints:
    """Return `count` integers that `pack_ints` was given."""
    order, width, first, step, divisor = _HEAD.unpack_from(content)
    if order == _CONSTANT:
        return np.full(count, first, np.int64)
    number = count - {_DELTA: 1, _CHANGE: 2}.get(order, 0)
    distances = _unfolded(content[_HEAD.size :], width, number)
    if order == _VALUE:
        return distances
    if order == _LINE:
        steps = distances + np.arange(count, dtype=np.int64) * np.int64(step)
    else:
        steps = np.zeros(count, np.int64)
        if order == _CHANGE:
            steps[1] = step
            np.cumsum(distances, out=steps[2:])
            steps[2:] += step
        else:
            steps[1:] = distances
        np.cumsum(steps, out=steps)
    if divisor > 1:
        steps *= np.int64(divisor)
    steps += np.int64(first)
    return steps


def _unfolded(body: memoryview, width: int, number: int) -> Ints:
    stored, width = width & _STORED, width & ~_STORED
    words = np.zeros((number, _WORD), np.uint8)
    if width:
        planes = body if stored else decompress(body, width * number)
        words[:, :width] = np.frombuffer(planes, np.uint8).reshape(width, number).T
    folded = words.view(np.uint64).reshape(-1)
    return (folded >> np.uint64(1)).view(np.int64) ^ -(folded & np.uint64(1)).view(np.int64)
