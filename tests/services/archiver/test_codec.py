"""Chunks give back every bit, and are small where the archive is large."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykarabo.data import ValueType
from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver.codec import decode_chunk, encode_chunk
from pykarabo_services.archiver.model import (
    CHUNK_SAMPLES,
    Sample,
    from_columns,
    packed,
    to_columns,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.FLOAT64: st.floats(),
    ValueType.FLOAT32: st.floats(width=32),
    ValueType.INT64: INT64,
    ValueType.UINT64: st.integers(0, 2**64 - 1),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: st.text(st.characters(exclude_categories=["Cs"])),
    ValueType.COMPLEX128: st.complex_numbers(),
    ValueType.VECTOR_STRING: st.lists(st.text(max_size=3), max_size=3),
}
# Bits of NaNs, -0.0, infinities and the smallest numbers.
ODD_BITS = [0x7FF8000000000001, 0xFFF8DEADBEEF0001, 1 << 63, 0x7FF0000000000000, 1]


def _float(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def _same(found: list[Sample], given: list[Sample]) -> bool:
    """Tell whether samples are the same, NaN's bits and -0.0 included."""
    plain = [(item._replace(value=None), packed(item.value)) for item in found]
    return plain == [(item._replace(value=None), packed(item.value)) for item in given]


def _samples(values: list[Any], jitter_us: int = 50) -> list[Sample]:
    rng = np.random.default_rng(1)
    jitter = rng.integers(-jitter_us, jitter_us + 1, len(values)).tolist()
    start_ns, epoch = 1_700_000_000_000_000_000, 1_699_999_999_123_456_789
    return [
        Sample(
            start_ns + i * 100_000_000 + jitter[i] * 1000, value, 0, 10**9 + i, 0, 0, epoch, 70 + i
        )
        for i, value in enumerate(values)
    ]


@pytest.mark.parametrize("value_type", VALUES, ids=str)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_chunk_gives_back_every_sample(value_type: ValueType, data: st.DataObject) -> None:
    sample = st.builds(
        Sample,
        time_ns=INT64,
        value=st.none() | VALUES[value_type],
        rest=st.integers(0, 10**9 - 1),
        train_id=INT64,
        quality=st.integers(0, 4),
        flags=st.integers(0, 7),
        epoch=INT64,
        seq=INT64,
        step=st.integers(0, 9),
    )
    samples = data.draw(st.lists(sample, min_size=1, max_size=8))

    assert _same(decode_chunk(encode_chunk(value_type, samples)).samples(), samples)


@pytest.mark.parametrize("value_type", VALUES, ids=str)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_columns_of_a_row_give_back_every_value(value_type: ValueType, data: st.DataObject) -> None:
    value = data.draw(st.none() | VALUES[value_type])
    columns = to_columns(value_type, value)

    assert packed(from_columns(value_type, *columns)) == packed(value)
    assert sum(item is not None for item in columns) == (value is not None)


@pytest.mark.parametrize("bits", ODD_BITS, ids=hex)
def test_odd_floats_keep_their_bits_among_others(bits: int) -> None:
    odd = _float(bits)
    samples = _samples([0.25, odd, 0.5, 0.75, odd, 1.25] * 20)

    assert _same(decode_chunk(encode_chunk(ValueType.FLOAT64, samples)).samples(), samples)
    columns = to_columns(ValueType.FLOAT64, odd)
    assert packed(from_columns(ValueType.FLOAT64, *columns)) == packed(odd)


def test_a_value_of_another_type_than_its_series_is_kept_all_the_same() -> None:
    samples = _samples([1, "two", 3.0, None, [4], 2**70 % 2**63, b"six"])
    assert _same(decode_chunk(encode_chunk(ValueType.INT32, samples)).samples(), samples)


@pytest.mark.parametrize(
    ("factor", "offset"),
    [(20 / 65536, 0.0), (20 / 65536, -10.0), (0.000317, 0.0), (0.000317, 1.2345), (1 / 3276.7, 0)],
)
@pytest.mark.parametrize("drawn", ["noise", "drift"])
def test_a_converters_value_takes_four_bytes_with_time_and_train(
    factor: float, offset: float, drawn: str
) -> None:
    rng = np.random.default_rng(7)
    raw = rng.integers(0, 65536, CHUNK_SAMPLES)
    if drawn == "drift":
        raw = np.clip(np.cumsum(rng.integers(-30, 31, CHUNK_SAMPLES)) + 32768, 0, 65535)
    samples = _samples((raw * factor + offset).tolist())
    chunk = encode_chunk(ValueType.FLOAT64, samples)

    assert _same(decode_chunk(chunk).samples(), samples)
    assert len(chunk) <= 4 * CHUNK_SAMPLES


def test_what_never_changes_costs_next_to_nothing() -> None:
    samples = _samples(["ON"] * CHUNK_SAMPLES, jitter_us=0)
    assert len(encode_chunk(ValueType.STATE, samples)) < 500


def test_columns_can_be_read_one_without_the_other() -> None:
    samples = _samples([0.5, 1.5, None, 2.5])
    part = decode_chunk(encode_chunk(ValueType.FLOAT64, samples), ("time_ns", "value"))

    assert list(part.numbers) == ["time_ns"]
    assert part.numbers["time_ns"].tolist() == [sample.time_ns for sample in samples]
    assert part.missing is not None
    assert part.missing.tolist() == [False, False, True, False]


def test_a_chunk_with_one_wrong_bit_is_refused() -> None:
    chunk = bytearray(encode_chunk(ValueType.FLOAT64, _samples([1.0, 2.0, 4.0])))
    for place in range(0, len(chunk), 7):
        damaged = bytearray(chunk)
        damaged[place] ^= 0x10
        with pytest.raises(MalformedMessageError, match="damaged"):
            decode_chunk(bytes(damaged))
    with pytest.raises(MalformedMessageError):
        decode_chunk(b"")
