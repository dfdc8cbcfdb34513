"""Columns of floats in few bytes, exactly; `_integers` says how."""

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np

from ._integers import Floats, Ints, pack_ints, unpack_ints

_BITS, _SINGLE, _GRID, _CHOICE = range(4)
_FORM: Final = struct.Struct("<BI")
"""Form, and the length of its first column."""
_GRID_HEAD: Final = struct.Struct("<Bdd")
"""How a step becomes a value, factor, offset."""
_TIMES, _DIVIDED = range(2)
_MAX_STEP: Final = 2.0**52
_ROUNDS: Final = 40
# Steps that are apart by less than this share of the grid differ by rounding only.
_TOLERANCE: Final = 0.02
_ULPS: Final = 2
_MAX_CHOICE: Final = 8
"""A list of different values pays when each occurs so often."""


def pack_floats(values: Floats) -> bytes:
    """Return floats in few bytes; every bit comes back, those of NaN included."""
    return min(_candidates(np.ascontiguousarray(values, np.float64)), key=len)


def _candidates(values: Floats) -> Iterator[bytes]:
    bits = values.view(np.int64)
    yield _FORM.pack(_BITS, 0) + pack_ints(bits)
    different, places = np.unique(bits, return_inverse=True)
    if 1 < len(different) <= len(values) // _MAX_CHOICE:
        choice = pack_ints(different)
        yield _FORM.pack(_CHOICE, len(choice)) + choice + pack_ints(places.astype(np.int64))
    with np.errstate(all="ignore"):
        single = values.astype(np.float32)
        if np.array_equal(single.astype(np.float64).view(np.int64), bits):
            yield _FORM.pack(_SINGLE, 0) + pack_ints(single.view(np.int32).astype(np.int64))
        yield from _grids(values, bits, different)


def unpack_floats(content: memoryview, count: int) -> Floats:
    """Return `count` floats that `pack_floats` was given."""
    form, length = _FORM.unpack_from(content)
    body = content[_FORM.size :]
    if form == _BITS:
        return unpack_ints(body, count).view(np.float64)
    if form == _SINGLE:
        with np.errstate(all="ignore"):
            return unpack_ints(body, count).astype(np.int32).view(np.float32).astype(np.float64)
    if form == _CHOICE:
        places = unpack_ints(body[length:], count)
        return unpack_ints(body[:length], int(places.max()) + 1).view(np.float64)[places]
    how, factor, offset = _GRID_HEAD.unpack_from(body)
    steps = unpack_ints(body[_GRID_HEAD.size : length], count)
    predicted = _predicted(how, steps, factor, offset).view(np.int64)
    return (predicted + unpack_ints(body[length:], count)).view(np.float64)


# -- grids ----------------------------------------------------------------------------------------


def _grids(values: Floats, bits: Ints, different: Ints) -> Iterator[bytes]:
    candidates = different.view(np.float64)
    finite = np.sort(candidates[np.isfinite(candidates)])
    if len(finite) < 3:  # noqa: PLR2004 - two values lie on any grid
        return
    pitch = _pitch(finite)
    if pitch is None:
        return
    places = np.where(np.isfinite(values), values, finite[0])
    yield from _without_offset(places, bits, finite, pitch)
    steps = np.rint((places - finite[0]) / pitch).astype(np.int64)
    yield _on_grid(_TIMES, steps, pitch, float(finite[0]), bits)


def _pitch(values: Floats) -> float | None:
    """Return the largest distance of which all distances are multiples, as far as floats tell."""
    gaps = np.diff(values)
    gaps = gaps[gaps > 0]
    pitch = float(gaps.min())
    noise = max(abs(float(values[0])), abs(float(values[-1]))) * np.finfo(np.float64).eps
    for _ in range(_ROUNDS):
        rest = np.abs(gaps - np.rint(gaps / pitch) * pitch)
        left = rest[rest > max(pitch * _TOLERANCE, 4 * noise)]
        if not len(left):
            break
        pitch = float(left.min())
    else:
        return None
    whole = np.rint((values[-1] - values[0]) / pitch)
    if pitch < 16 * noise or not 0 < whole < _MAX_STEP:
        return None
    return float((values[-1] - values[0]) / whole)


def _without_offset(places: Floats, bits: Ints, finite: Floats, pitch: float) -> Iterator[bytes]:
    """Try grids through zero: an integer times a factor, or divided by a round number."""
    largest = finite[-1] if abs(finite[-1]) > abs(finite[0]) else finite[0]
    number = np.rint(largest / pitch)
    if not 0 < abs(number) < _MAX_STEP or abs(largest / pitch - number) > 2 * _TOLERANCE:
        return
    factor = float(largest / number)
    steps = np.rint(places / factor).astype(np.int64)
    best = min(_near(factor), key=lambda item: _misses(_TIMES, steps, item, bits))
    yield _on_grid(_TIMES, steps, best, 0.0, bits)
    divisor = float(np.rint(1 / factor * 1e6) / 1e6)
    if divisor and np.isfinite(divisor):
        yield _on_grid(_DIVIDED, np.rint(places * divisor).astype(np.int64), divisor, 0.0, bits)


def _near(factor: float) -> Iterator[float]:
    """Yield the floats around a factor, which is known to a rounding error only."""
    yield factor
    above = below = factor
    for _ in range(_ULPS):
        above, below = float(np.nextafter(above, np.inf)), float(np.nextafter(below, -np.inf))
        yield from (above, below)


def _misses(how: int, steps: Ints, factor: float, bits: Ints) -> int:
    return int(np.count_nonzero(_predicted(how, steps, factor, 0.0).view(np.int64) != bits))


def _predicted(how: int, steps: Ints, factor: float, offset: float) -> Floats:
    plain = steps / factor if how == _DIVIDED else steps * factor
    return np.asarray(plain + offset if offset else plain, np.float64)


def _on_grid(how: int, steps: Ints, factor: float, offset: float, bits: Ints) -> bytes:
    rest = bits - _predicted(how, steps, factor, offset).view(np.int64)
    first = _GRID_HEAD.pack(how, factor, offset) + pack_ints(steps)
    return _FORM.pack(_GRID, len(first)) + first + pack_ints(rest)
