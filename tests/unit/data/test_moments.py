"""Moments and spans of time as people write them."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Timestamp, moment_ns, span_ns
from pykarabo.errors import WrongTypeError

SECOND: Final = 10**9
HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR


def utc(text: str) -> int:
    return Timestamp.from_iso(text).to_ns()


NOW: Final = utc("2026-03-15T12:00:00Z")


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put this process into a zone."""

    def go(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield go
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def berlin(in_zone: Callable[[str], None]) -> None:
    """Put this process into a zone with summer time."""
    in_zone("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10s", 10 * SECOND),
        ("1min", 60 * SECOND),
        ("1h30min", 5400 * SECOND),
        ("1 h 30 min", 5400 * SECOND),
        ("0.25s", SECOND // 4),
        ("2d", 2 * DAY),
        ("1w", 7 * DAY),
        ("7ms", 7_000_000),
        ("3us", 3_000),
        ("5ns", 5),
        ("0.000000001s", 1),
    ],
)
def test_span_is_the_sum_of_its_parts(text: str, expected: int) -> None:
    assert span_ns(text) == expected


def test_month_or_minute_is_asked_back() -> None:
    with pytest.raises(WrongTypeError, match="'m' in '5m' is no unit of time - write min"):
        span_ns("5m")


@pytest.mark.parametrize("text", ["", "h", "5", "-5s", "5s5", "٣s", "1s" * 100])
def test_what_is_no_span_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(WrongTypeError, match="no span of time - write 10s"):
        span_ns(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("-2h", NOW - 2 * HOUR),
        ("+2h", NOW + 2 * HOUR),
        ("now-1h30min", NOW - HOUR - HOUR // 2),
        ("2026-03-01T12:30:00Z", utc("2026-03-01T12:30:00Z")),
        ("2026-03-01T12:30:00.123456789+01:00", utc("2026-03-01T11:30:00Z") + 123_456_789),
        ("2026-03-01T12:30Z", utc("2026-03-01T12:30:00Z")),
        ("2026-03-01 13:30+01:00", utc("2026-03-01T12:30:00Z")),
        ("20260301T123000Z", utc("2026-03-01T12:30:00Z")),
    ],
)
def test_moment_with_a_zone_is_the_same_everywhere(text: str, expected: int) -> None:
    assert moment_ns(text, NOW) == expected


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:30:00", "2026-03-01T11:30:00Z"),
        ("2026-03-01 12:30", "2026-03-01T11:30:00Z"),
        ("2026-07-01T12:30:00", "2026-07-01T10:30:00Z"),
        ("2026-07-01T12:30:00.000000001", "2026-07-01T10:30:00.000000001Z"),
        ("2026-07-01", "2026-06-30T22:00:00Z"),
        ("today", "2026-03-14T23:00:00Z"),
        ("yesterday", "2026-03-13T23:00:00Z"),
        ("today+8h", "2026-03-15T07:00:00Z"),
    ],
)
def test_moment_without_a_zone_is_local(text: str, expected: str) -> None:
    assert moment_ns(text, NOW) == utc(expected)


@pytest.mark.usefixtures("berlin")
def test_day_of_the_change_to_summer_time_begins_at_its_own_midnight() -> None:
    assert moment_ns("today", utc("2026-03-29T12:00:00Z")) == utc("2026-03-28T23:00:00Z")
    assert moment_ns("yesterday", utc("2026-03-30T12:00:00Z")) == utc("2026-03-28T23:00:00Z")


@pytest.mark.usefixtures("berlin")
def test_time_of_a_day_is_that_of_the_clock_on_the_wall() -> None:
    longer, shorter = utc("2026-10-25T12:00:00Z"), utc("2026-03-29T12:00:00Z")
    assert moment_ns("today+9h", longer) == utc("2026-10-25T08:00:00Z")
    assert moment_ns("today+9h", shorter) == utc("2026-03-29T07:00:00Z")
    assert moment_ns("yesterday+1d", longer) == moment_ns("today", longer)
    assert moment_ns("today+1d1ns", longer) == utc("2026-10-25T23:00:00Z") + 1
    assert moment_ns("now-24h", longer) == longer - 24 * HOUR


def test_day_whose_midnight_is_left_out_begins_after_the_leap(
    in_zone: Callable[[str], None],
) -> None:
    in_zone("America/Santiago")
    assert moment_ns("today", utc("2026-09-06T16:00:00Z")) == utc("2026-09-06T04:00:00Z")
    assert moment_ns("2026-09-06", NOW) == utc("2026-09-06T04:00:00Z")


@pytest.mark.parametrize("text", ["today+9999999d", "yesterday-9999999d"])
def test_day_that_no_calendar_has_is_no_moment(text: str) -> None:
    with pytest.raises(WrongTypeError, match="names no moment"):
        moment_ns(text, NOW)


@pytest.mark.parametrize(
    "text", ["", " ", "-", "soon", "2026-13-01", "2026-03-01Z", "-1h-2h", "now now", "9" * 200]
)
def test_what_is_no_moment_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(WrongTypeError, match="write"):
        moment_ns(text, NOW)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), st.integers(0, 10**9 - 1))
def test_moment_is_read_to_the_nanosecond(moment: datetime, below: int) -> None:
    whole = moment.replace(microsecond=0)
    seconds = int(whole.replace(tzinfo=UTC).timestamp())
    text = f"{whole.isoformat()}.{below:09d}"
    assert moment_ns(f"{text}Z", NOW) == seconds * SECOND + below
