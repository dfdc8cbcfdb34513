"""Limits and dead-bands that contradict themselves are refused where they are declared."""

import math
from typing import Any

import pytest

from pykarabo.data import (
    Array,
    Bool,
    Complex128,
    Configurable,
    Float64,
    Int8,
    Property,
    String,
    VectorBool,
    VectorFloat32,
    VectorString,
)
from pykarabo.errors import BadConfigurationError


def _declare(declared: Property[Any]) -> None:
    try:
        type("Thing", (Configurable,), {"x": declared})
    except RuntimeError as error:  # so Python 3.11 wraps what `__set_name__` raises
        raise error.__cause__ or error from None


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (String(warn_high=1), "of type string, which has no limits"),
        (Bool(alarm_low=1), "of type bool, which has no limits"),
        (Complex128(alarm_low=1), "of type complex128, which has no limits"),
        (VectorString(alarm_low=1), "of type vector_string, which has no limits"),
        (VectorBool(alarm_low=1), "of type vector_bool, which has no limits"),
        (Array(alarm_low=1), "of type array, which has no limits"),
        (Array("complex128", alarm_low=1), "of type array, which has no limits"),
        (String(deadband=1), "of type string, which has no dead-band"),
        (Bool(relative_deadband=1), "of type bool, which has no dead-band"),
        (VectorFloat32(warn_variance_high=1, rolling_window=9), "vector.* no variance limits"),
        (Float64(hysteresis=-1), r"the hysteresis -1, which is no finite number from 0 on"),
        (Float64(alarm_delay=math.inf), "the alarm_delay inf"),
        (Float64(deadband=math.nan), "the deadband nan"),
        (Float64(relative_deadband=-0.1), "the relative_deadband -0.1"),
        (Float64(rolling_window=-1), "the rolling_window -1"),
        (Float64(warn_high=math.nan), "the warn_high nan"),
        (Float64(warn_low=2, warn_high=1), "the warn_low 2 above the warn_high 1"),
        (Float64(alarm_low=2, alarm_high=1), "the alarm_low 2 above the alarm_high 1"),
        (Float64(warn_low=1, alarm_low=2), "the alarm_low 2 above the warn_low 1"),
        (Float64(warn_high=2, alarm_high=1), "the warn_high 2 above the alarm_high 1"),
        (
            Float64(warn_variance_high=2, alarm_variance_high=1, rolling_window=3),
            "the warn_variance_high 2 above the alarm_variance_high 1",
        ),
        (Float64(warn_low=1, warn_high=2, hysteresis=1.5), "a warn could not end"),
        (
            Float64(alarm_high=2, acknowledge=["alarm_low"]),
            "'alarm_low' in acknowledge",
        ),
        (Float64(limit_info={"fire": "run"}), "'fire' in limit_info, but has no limits"),
        (Float64(alarm_variance_high=1), "a rolling_window of 0: 2 is the least"),
    ],
)
def test_refused(declared: Property[Any], problem: str) -> None:
    with pytest.raises(BadConfigurationError, match=rf"'Thing\.x' .*{problem}.*"):
        _declare(declared)


@pytest.mark.parametrize(
    "declared",
    [
        Int8(warn_low=-1, warn_high=-1),
        VectorFloat32(alarm_high=1.5, deadband=0.1),
        Array("int16", alarm_low=-3, relative_deadband=0.5),
        Complex128(deadband=0.5),
        Float64(warn_low=0, warn_high=2, hysteresis=2.0, acknowledge=["warn_low"]),
        Float64(warn_variance_low=0.1, rolling_window=2, limit_info={"warn_variance_low": "tap"}),
        Float64(rolling_window=10),
    ],
)
def test_accepted(declared: Property[Any]) -> None:
    _declare(declared)
