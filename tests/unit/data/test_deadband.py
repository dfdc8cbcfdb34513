"""Which changes are too small to tell."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import DeadBand, PropertyInfo, PropertyValue, Quality, Timestamp, ValueType


def _band(kind: ValueType = ValueType.FLOAT64, **attributes: float) -> DeadBand:
    return DeadBand(PropertyInfo("x", kind, **attributes))  # type: ignore[arg-type]  # numbers


def _told(band: DeadBand, *values: Any) -> list[Any]:
    return [value for value in values if band.passes(_value(value))]


def _value(value: Any, quality: Quality = Quality.VALID) -> PropertyValue:
    return PropertyValue(value, Timestamp(0, 0), quality)


def test_the_first_value_and_what_is_beyond_the_band_are_told() -> None:
    assert _told(_band(deadband=0.5), 0.0, 0.5, -0.5, 0.51, 0.1, 0.0) == [0.0, 0.51, 0.0]


def test_a_drift_is_told_in_steps() -> None:
    values = [number * 0.25 for number in range(9)]
    assert _told(_band(deadband=0.5), *values) == [0.0, 0.75, 1.5]


def test_a_share_of_the_value_told_last() -> None:
    assert _told(_band(relative_deadband=0.1), 100.0, 110.0, 90.0, 111.0, 100.0) == [100.0, 111.0]


def test_near_zero_a_share_is_nothing_and_the_units_count() -> None:
    assert _told(_band(relative_deadband=0.1), 0.0, 1e-300) == [0.0, 1e-300]
    assert _told(_band(deadband=1.0, relative_deadband=0.1), 0.0, 1.0, 100.0, 109.0) == [0.0, 100.0]


def test_another_quality_is_always_told() -> None:
    band = _band(deadband=10.0)
    assert band.passes(_value(1.0))
    assert band.passes(_value(1.0, Quality.WARN))
    assert not band.passes(_value(2.0, Quality.WARN))


@pytest.mark.parametrize("other", [math.nan, math.inf, -math.inf])
def test_the_first_and_last_number_that_is_not_finite_are_told(other: float) -> None:
    told = _told(_band(deadband=10.0, relative_deadband=0.5), 1.0, other, other, 1.0, 2.0)
    assert repr(told) == repr([1.0, other, 1.0])


def test_from_one_infinity_to_the_other() -> None:
    assert _told(_band(deadband=1.0), math.inf, -math.inf) == [math.inf, -math.inf]


def test_none_is_told() -> None:
    assert _told(_band(deadband=10.0), 1.0, None, None, 1.0) == [1.0, None, 1.0]


def test_large_integers_are_compared_exactly() -> None:
    band = _band(ValueType.INT64, deadband=1)
    assert _told(band, 2**62, 2**62 + 1, 2**62 + 2) == [2**62, 2**62 + 2]


@pytest.mark.parametrize(
    ("kind", "first", "second", "told"),
    [
        ("float64", [1.0, 2.0], [1.4, 2.0], False),
        ("float64", [1.0, 2.0], [1.0, 2.6], True),
        ("float64", [1.0, math.nan], [1.4, math.nan], False),
        ("float64", [1.0, math.nan], [1.0, 2.0], True),
        ("float64", [math.inf, 1.0], [math.inf, 1.4], False),
        ("float64", [1.0, 2.0], [1.0], True),
        ("float64", [], [], False),
        ("int8", [100], [-100], True),
        ("uint8", [0], [255], True),
        ("int64", [2**62], [2**62 + 1], True),
        ("int64", [-(2**63)], [2**63 - 1], True),
        ("complex128", [1 + 1j], [1.2 + 1.2j], False),
        ("complex128", [1 + 1j], [1.4 + 1.4j], True),
    ],
)
def test_one_element_of_an_array_suffices(
    kind: str, first: list[Any], second: list[Any], told: bool
) -> None:
    band = _band(ValueType.ARRAY, deadband=0.5)
    assert band.passes(_value(np.array(first, kind)))
    assert band.passes(_value(np.array(second, kind))) is told


def test_an_array_that_is_changed_in_place_is_another_one() -> None:
    band = _band(ValueType.VECTOR_FLOAT64, deadband=0.5)
    array = np.array([1.0, 2.0])
    assert band.passes(_value(array))
    array[0] = 9.0
    assert band.passes(_value(array))


@given(st.lists(st.floats(-100, 100), min_size=1), st.floats(0.01, 50), st.floats(0, 0.5))
def test_what_is_told_last_is_never_further_away_than_the_band(
    values: list[float], absolute: float, relative: float
) -> None:
    band = _band(deadband=absolute, relative_deadband=relative)
    told = math.nan
    for value in values:
        if band.passes(_value(value)):
            assert math.isnan(told) or abs(value - told) > max(absolute, relative * abs(told))
            told = value
        else:
            assert abs(value - told) <= max(absolute, relative * abs(told))
