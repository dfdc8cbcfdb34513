"""Time stamps keep attoseconds, sort by time and can always be shown."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Timestamp, TrainReference, decode, encode
from pykarabo.errors import WrongTypeError

_NS = st.integers(0, 2**62)
_TRAIN = st.integers(0, 2**64 - 1)
_DAYS: Final = st.integers(-62_135_596_800, 253_402_300_799)
"""Seconds since 1970 of the years 1 to 9999."""
_FRACTION: Final = st.integers(0, 10**18 - 1)
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


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_local_time_names_its_distance_from_utc() -> None:
    assert os.environ["TZ"].startswith("CET")
    winter, summer = Timestamp(1_700_000_000, 25 * 10**16), Timestamp(1_690_000_000, 0)
    assert winter.iso(3, local=True) == "2023-11-14T23:13:20.250+01:00"
    assert summer.iso(0, local=True) == "2023-07-22T06:26:40+02:00"
    assert Timestamp.from_iso(winter.iso(18, local=True)) == winter
    assert Timestamp.from_iso(summer.iso(0, local=True)) == summer


@given(_DAYS, _FRACTION, _TRAIN)
def test_iso_comes_back_to_the_attosecond(seconds: int, fraction: int, train_id: int) -> None:
    stamp = Timestamp(seconds, fraction, train_id)
    assert Timestamp.from_iso(stamp.iso(18), train_id) == stamp


@given(st.integers(-2_000_000_000, 4_000_000_000), _FRACTION)
def test_local_iso_comes_back_to_the_attosecond(seconds: int, fraction: int) -> None:
    stamp = Timestamp(seconds, fraction)
    assert Timestamp.from_iso(stamp.iso(18, local=True)) == stamp


@given(st.text(max_size=40))
def test_other_text_is_refused_or_a_moment(text: str) -> None:
    with contextlib.suppress(WrongTypeError):
        assert 0 <= Timestamp.from_iso(text).fraction < 10**18


@pytest.mark.parametrize(
    ("text", "seconds", "fraction"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("1969-12-31T23:59:59.5Z", -1, 5 * 10**17),
        ("1970-01-01T01:00:00+01:00", 0, 0),
        ("1970-01-01T01:00:00+01", 0, 0),
        ("19700101T000001.000000000000000001Z", 1, 1),
        ("1969-12-31 19:30:00,25-0430", 0, 25 * 10**16),
        (" 2000-02-29T00:00:00Z\n", 951_782_400, 0),
    ],
)
def test_forms_of_iso(text: str, seconds: int, fraction: int) -> None:
    assert Timestamp.from_iso(text) == (seconds, fraction, 0)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:30:00",
        "2026-03-01",
        "2026-02-29T00:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T00:00:00.1234567890123456789Z",
        "2026-03-01T00:00:00+24:00",
        "2026-03-01T00:00:00+01:60",
        "0001-01-01T00:00:00+01:00",
        "٢٠٢٦-03-01T00:00:00Z",
        "now",
        "",
    ],
)
def test_what_is_no_certain_moment_is_refused(text: str) -> None:
    with pytest.raises(WrongTypeError, match="is no moment"):
        Timestamp.from_iso(text)


@given(_DAYS, _FRACTION, _DAYS, _FRACTION)
def test_differences_are_exact(first: int, rest: int, second: int, more: int) -> None:
    one, other = Timestamp(first, rest), Timestamp(second, more, 7)
    assert one.attoseconds_since(other) == (first - second) * 10**18 + rest - more
    assert one.attoseconds_since(other) == -other.attoseconds_since(one)
    assert one.seconds_since(other) == pytest.approx(first - second + (rest - more) / 1e18)


@given(_DAYS, _FRACTION, st.integers(-(10**15), 10**15))
def test_later_by_is_the_inverse_of_the_difference(seconds: int, rest: int, micros: int) -> None:
    stamp = Timestamp(seconds, rest, 5)
    moved = stamp.later_by(micros / 1e6)
    assert 0 <= moved.fraction < 10**18
    assert moved.train_id == 0
    assert moved.attoseconds_since(stamp) == round(micros / 1e6 * 1e9) * 10**9


def test_sorting_by_train_does_not_trust_clocks() -> None:
    late_clock, early_clock = Timestamp(100, 0, 1), Timestamp(5, 0, 2)
    assert sorted([early_clock, late_clock], key=Timestamp.by_train) == [late_clock, early_clock]
    assert sorted([late_clock, early_clock]) == [early_clock, late_clock]
