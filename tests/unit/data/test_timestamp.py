"""Time stamps keep attoseconds, sort by time and can always be shown."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Timestamp, TrainReference, decode, encode

_NS = st.integers(0, 2**62)
_TRAIN = st.integers(0, 2**64 - 1)
_ANY: Final = st.integers(-(2**63), 2**63 - 1)


@given(_NS, _TRAIN)
def test_ns_come_back(time_ns: int, train_id: int) -> None:
    stamp = Timestamp.from_ns(time_ns, train_id)
    assert stamp.to_ns() == time_ns
    assert stamp.train_id == train_id
    assert 0 <= stamp.fraction < 10**18


@given(_NS, _NS)
def test_later_is_larger(first: int, second: int) -> None:
    assert (Timestamp.from_ns(first) < Timestamp.from_ns(second)) == (first < second)


@given(_NS, _TRAIN)
def test_it_travels_exactly(time_ns: int, train_id: int) -> None:
    stamp = Timestamp(time_ns, 123_456_789_012_345_678, train_id)
    assert decode(encode(stamp)) == stamp


@pytest.mark.parametrize(
    ("precision", "shown"),
    [
        (0, "1970-01-01T00:00:01Z"),
        (3, "1970-01-01T00:00:01.500Z"),
        (18, "1970-01-01T00:00:01.500000000000000001Z"),
        (99, "1970-01-01T00:00:01.500000000000000001Z"),
    ],
)
def test_it_is_shown_with_the_digits_asked_for(precision: int, shown: str) -> None:
    assert Timestamp(1, 500_000_000_000_000_001).iso(precision) == shown


@given(_ANY, _ANY, st.integers(-5, 30))
def test_whatever_arrived_can_be_shown(seconds: int, fraction: int, precision: int) -> None:
    assert Timestamp(seconds, fraction).iso(precision).endswith("Z")


@given(st.integers(0, 2**40), st.integers(0, 2**60), st.integers(1, 10**10), st.integers(0, 1000))
def test_train_begins_when_its_reference_says(
    train: int, time_ns: int, period_ns: int, later: int
) -> None:
    reference = TrainReference(train, time_ns, period_ns)
    begins = reference.time_of(train + later)
    assert reference.train_at(begins) == train + later
    assert reference.train_at(begins + period_ns - 1) == train + later
    assert reference.train_at(begins - 1) == max(0, train + later - 1)
