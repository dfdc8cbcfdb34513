"""What each kind of property takes, how it travels, and how it reads."""

from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, IntEnum, StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import (
    Array,
    Bool,
    Choice,
    Complex64,
    Configurable,
    DateTime,
    Float64,
    Int32,
    Node,
    PropertyInfo,
    Quality,
    RegexString,
    State,
    StateProperty,
    String,
    VectorComplex64,
    VectorFloat64,
    VectorInt8,
    VectorRegexString,
    VectorString,
    decode,
    encode,
    registry,
    same,
)
from pykarabo.errors import (
    BadInputError,
    NotAnOptionError,
    OutOfRangeError,
    WrongTypeError,
    WrongUnitError,
)


class _Speed(Enum):
    SLOW = "s"
    FAST = "f"
    S = "slowest"


class _Gain(IntEnum):
    LOW = 1
    HIGH = 10


class _Side(StrEnum):
    LEFT = "left"


class _Inner(Configurable):
    speed = Choice(_Speed, default=_Speed.FAST)


class _Thing(Configurable):
    speed = Choice(_Speed)
    gain = Choice(_Gain, default=_Gain.HIGH)
    side = Choice(_Side)
    maybe = Choice(_Gain, nullable=True)
    inner = Node(_Inner)
    moved = DateTime()
    seen = DateTime(nullable=True)
    name = RegexString("[a-z]+", default="a")
    names = VectorRegexString("[a-z]+")
    words = VectorString(regex="[0-9]*", options=["1", "2"])
    limited = VectorFloat64(unit="mm", minimum=0.0, maximum_exclusive=10.0)
    small = VectorInt8(options=[1, 2])
    grid = Array(unit="mm", maximum=9.0)
    phase = Complex64(unit="mm")
    phases = VectorComplex64()
    steps = Int32(unit="mm")


_INFO = dict(_Thing.schema().properties)


def _sent(info: PropertyInfo, value: Any) -> Any:
    return decode(encode(info.validate(value, device="A/1")))


# -- None ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [Bool, Int32, Float64, Complex64, String, StateProperty, DateTime, VectorFloat64, Array],
)
def test_none_is_told_apart_from_zero_where_it_is_allowed(made: Any) -> None:
    cls: Any = type("Thing", (Configurable,), {"value": made(nullable=True), "plain": made()})
    thing: Any = cls()
    assert thing.value is None
    assert thing.plain is not None
    zero = thing._values["plain"].value
    thing.value = zero
    assert same(thing._values["value"].value, zero)
    thing.value = None
    assert thing.value is None
    assert _sent(cls.schema().properties["value"], None) is None
    with pytest.raises(WrongTypeError, match="plain"):
        thing.plain = None


def test_none_is_beyond_no_limit() -> None:
    class Thing(Configurable):
        value = Float64(nullable=True, alarm_high=1.0, warn_low=0.5, minimum=0.0)

    assert Thing()._values["value"].quality is Quality.VALID
    assert Thing({"value": 2})._values["value"].quality is Quality.ALARM


def test_nullable_property_may_have_another_default() -> None:
    class Thing(Configurable):
        value = Int32(nullable=True, default=3)

    assert Thing().value == 3
    assert Thing({"value": None}).value is None


# -- enumerations -------------------------------------------------------------------------------


def test_choice_of_an_enumeration_reads_as_member_and_travels_as_value() -> None:
    thing = _Thing()
    assert thing.speed is _Speed.SLOW
    assert thing.gain is _Gain.HIGH
    assert thing.inner.speed is _Speed.FAST
    assert thing.maybe is None
    assert type(thing._values["gain"].value) is int
    assert type(thing._values["side"].value) is str


@pytest.mark.parametrize("given", [_Speed.FAST, "f", "FAST"])
def test_choice_takes_member_value_or_name(given: Any) -> None:
    thing = _Thing({"speed": given, "inner": {"speed": given}})
    assert thing.speed is thing.inner.speed is _Speed.FAST
    thing.inner.speed = _Speed.SLOW
    thing.inner.speed = given
    assert thing._values["inner.speed"].value == "f"


@pytest.mark.parametrize("given", [_Gain.LOW, 1, "LOW", np.int8(1)])
def test_choice_of_numbers_takes_member_value_or_name(given: Any) -> None:
    assert _Thing({"gain": given}).gain is _Gain.LOW


def test_value_is_meant_before_a_name() -> None:
    class Clash(Enum):
        A = "B"
        B = "A"

    class Thing(Configurable):
        value = Choice(Clash)

    assert Thing({"value": "B"}).value is Clash.A


@pytest.mark.parametrize("given", ["slow", _Gain.LOW, 3, None])
def test_choice_refuses_others_and_names_its_options(given: Any) -> None:
    with pytest.raises(BadInputError) as caught:
        _INFO["speed"].validate(given, device="A/1")
    assert caught.value.key == "speed"
    with pytest.raises(NotAnOptionError, match="LOW, HIGH"):
        _INFO["gain"].validate(2)


def test_client_knows_the_names_of_options_from_the_schema() -> None:
    info = PropertyInfo.from_wire(decode(encode(_INFO["gain"].to_wire())))
    assert info.option_names == ("LOW", "HIGH")
    assert info.validate("HIGH") == 10


# -- dates --------------------------------------------------------------------------------------


_ZONES = st.sampled_from(
    [UTC, ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=-3, minutes=-30, seconds=7))]
)


@given(st.datetimes(timezones=_ZONES) | st.datetimes(timezones=st.timezones()))
def test_moment_arrives_as_it_was(moment: datetime) -> None:
    arrived = _INFO["moved"].present(_sent(_INFO["moved"], moment))
    assert arrived.astimezone(UTC) == moment.astimezone(UTC)
    assert arrived.utcoffset() == moment.utcoffset()


def test_moment_is_an_aware_datetime() -> None:
    thing = _Thing({"moved": "2026-11-21T10:00:00.5+01:00"})
    assert thing.moved == datetime(2026, 11, 21, 9, 0, 0, 500_000, UTC)
    assert thing.seen is None
    assert _Thing().moved == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (datetime(2026, 1, 1), "time zone"),
        ("2026-01-01", "time zone"),
        ("2026-01-01T00:00:00.1234567Z", "microsecond"),
        ("yesterday", "yesterday"),
        (1_700_000_000, "1700000000"),
        (None, "None"),
    ],
)
def test_moment_that_is_not_certain_is_refused(given: Any, reason: str) -> None:
    with pytest.raises(WrongTypeError, match=reason) as caught:
        _INFO["moved"].validate(given, device="A/1")
    assert caught.value.remedy


# -- texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"), [("name", "A"), ("names", ["a", "1"]), ("words", ["a"]), ("words", ["3"])]
)
def test_text_that_does_not_match_is_refused(key: str, value: Any) -> None:
    with pytest.raises(NotAnOptionError, match=f"'A/1.{key}'"):
        _INFO[key].validate(value, device="A/1")


def test_texts_that_match_are_taken() -> None:
    assert _INFO["names"].validate(["a", "bc"]) == ["a", "bc"]
    assert _INFO["words"].validate(("1", "1")) == ["1", "1"]
    assert _INFO["name"].display_type == "RegexString"


# -- many numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [[1, -0.1], [10.0], [float("nan")], ["1 m"], [[1.0]]])
def test_element_beyond_a_limit_is_refused(value: Any) -> None:
    with pytest.raises(BadInputError, match=r"'A/1\.limited'"):
        _INFO["limited"].validate(value, device="A/1")


def test_element_of_an_array_is_held_to_the_limits_too() -> None:
    assert _INFO["grid"].validate([[1.0, 9.0]]).shape == (1, 2)
    with pytest.raises(OutOfRangeError, match=r"9\.5 mm"):
        _INFO["grid"].validate([[1.0, 9.5]])


def test_elements_are_chosen_of_the_options() -> None:
    assert _INFO["small"].validate([1, 2, 1]).tolist() == [1, 2, 1]
    with pytest.raises(NotAnOptionError, match="choose of 1, 2"):
        _INFO["small"].validate([1, 3])


@pytest.mark.parametrize(
    "given",
    [
        lambda unit: np.array([0.1, 0.2]) * unit.cm,
        lambda unit: [0.1 * unit.cm, 2000 * unit.um],
        lambda unit: [1.0, 0.2 * unit.cm],
        lambda unit: ["1 mm", "0.2 cm"],
        lambda unit: (1, 2),
    ],
)
@pytest.mark.parametrize("key", ["limited", "grid"])
def test_quantities_of_many_numbers_are_converted(given: Any, key: str) -> None:
    assert _INFO[key].validate(given(registry())).tolist() == pytest.approx([1.0, 2.0])


def test_nested_lists_of_quantities_are_converted() -> None:
    unit = registry()
    found = _INFO["grid"].validate([[0.1 * unit.cm], ["2 mm"]])
    assert found.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("key", ["limited", "grid", "steps", "phase"])
def test_another_dimension_is_refused_before_it_leaves_the_caller(key: str) -> None:
    unit = registry()
    many = key in ("limited", "grid")
    for value in (np.array([1.0]) * unit.s, [1.0 * unit.s]) if many else (1 * unit.s, "1 kg"):
        with pytest.raises(WrongUnitError, match=rf"'A/1\.{key}'"):
            _INFO[key].validate(value, device="A/1")


def test_quantity_is_refused_where_there_is_no_unit() -> None:
    with pytest.raises(BadInputError):
        _INFO["phases"].validate([1 * registry().mm])


@pytest.mark.parametrize(("given", "plain"), [("0.7 cm", 7), ("0.29 m", 290), ("7000 um", 7)])
def test_quantity_of_an_integer_may_miss_it_by_the_last_digit(given: str, plain: int) -> None:
    assert _INFO["steps"].validate(given) == plain
    with pytest.raises(WrongTypeError):
        _INFO["steps"].validate("0.75 mm")


def test_complex_numbers_of_32_bits_are_rounded_to_them() -> None:
    number = _INFO["phase"].validate(0.1 + 0.2j)
    assert number == complex(np.complex64(0.1 + 0.2j))
    assert _INFO["phases"].validate([0.1, 1j]).dtype == np.complex64
    with pytest.raises(OutOfRangeError):
        _INFO["phase"].validate(1e300)
    with pytest.raises(OutOfRangeError, match=r"1e\+300"):
        _INFO["phases"].validate([1.0, 1e300])
    assert _INFO["phases"].validate([float("inf")])[0].real == float("inf")


def test_state_may_be_held_to_some_states() -> None:
    class Thing(Configurable):
        state = StateProperty(options=[State.ON, "OFF"], default=State.OFF)

    assert Thing().state is State.OFF
    with pytest.raises(NotAnOptionError):
        Thing({"state": "MOVING"})
