"""How versions of configurations are named: by number, by moment, and by nothing else."""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from pykarabo.data import Timestamp
from pykarabo.errors import InvalidNameError
from pykarabo_services.configuration.model import Which, check_new_name, in_utc, which

NOON_NS: Final = Timestamp.from_iso("2026-11-28T12:00:00Z").to_ns()
SECOND_NS: Final = 10**9


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put this process into a zone that is an hour from UTC."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_versions_are_named_by_number_or_moment() -> None:
    assert which("fast") == Which("fast")
    assert which("fast@12") == Which("fast", number=12)
    assert which("fast@2026-11-28T13:00+01:00") == Which("fast", time_ns=NOON_NS)
    moment = "fast@2026-11-28T12:00:00.123456789Z"
    assert which(moment).time_ns == NOON_NS + 123_456_789
    assert str(which(moment)) == moment


@pytest.mark.parametrize("digits", [0, 3, 6, 9])
def test_a_time_as_it_is_shown_covers_what_it_leaves_open(digits: int) -> None:
    saved_ns = NOON_NS + 987_654_321
    shown = Timestamp.from_ns(saved_ns).iso(digits)
    named_ns = which(f"fast@{shown}").time_ns
    assert named_ns is not None
    assert saved_ns <= named_ns < saved_ns + 10 ** (9 - digits)
    assert which(in_utc(f"fast@{shown}", 0)).time_ns == named_ns


def test_a_local_time_is_that_of_whoever_names_it(berlin: None) -> None:
    assert berlin is None
    assert in_utc("fast@2026-11-28T13:00", 0) == "fast@2026-11-28T12:00:00.000000000Z"
    assert in_utc("fast@2026-11-28 13:00:01.25", 0) == "fast@2026-11-28T12:00:01.25Z"
    assert in_utc("fast@2026-11-28T13:00:01Z", 0) == "fast@2026-11-28T13:00:01Z"
    assert which(in_utc("fast@-2h", NOON_NS)).time_ns == NOON_NS - 7200 * SECOND_NS
    assert which(in_utc("fast@today", NOON_NS)).time_ns == NOON_NS - 13 * 3600 * SECOND_NS
    assert [in_utc(text, 0) for text in ("fast", "fast@3", "live")] == ["fast", "fast@3", "live"]


def test_the_store_takes_no_time_without_its_zone() -> None:
    for text in ("fast@2026-11-28T12:00", "fast@2026-11-28", "fast@-2h", "fast@today"):
        with pytest.raises(InvalidNameError) as refused:
            which(text)
        assert "with its zone" in str(refused.value.remedy)


@pytest.mark.parametrize(
    "text",
    [
        "", "a b", "default", "fast@", "fast@0", "fast@x", "fast@99999-01-01", "x" * 31,
        "x" * 10**6, "fast@" + "9" * 10**6, "fast\x00", "fast@\x00", "\x1b[2J", "fast@\x1b[2J",
        "fast@2300-01-01T00:00:00Z", "fast@0001-01-01T00:00:00Z", "fast@9999-12-31T23:59:59Z",
        "fast@2026-02-30T00:00:00Z", "fast@0001-01-01T00:00:00+23:59", "fast@1@2", "@3",
    ],
)  # fmt: skip
def test_what_names_nothing_is_refused_in_a_line_that_can_be_shown(text: str) -> None:
    for reading in (which, lambda given: which(in_utc(given, NOON_NS))):
        with pytest.raises(InvalidNameError) as refused:
            reading(text)
        assert refused.value.remedy
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize("moment", ["2300-01-01", "-9999999999h", "now+9999999999w", "1500-01-01"])
def test_a_moment_that_no_database_keeps_is_refused(moment: str) -> None:
    with pytest.raises(InvalidNameError, match="names no version"):
        in_utc(f"fast@{moment}", NOON_NS)


def test_a_configuration_cannot_be_called_what_stands_for_the_device() -> None:
    with pytest.raises(InvalidNameError, match="what a device has now") as refused:
        check_new_name("live")
    assert refused.value.remedy == "choose another name"
    assert which("live@3") == Which("live", number=3)
