"""The rolling variance equals the exact one, however large the numbers that have passed."""

import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data._variance import RollingVariance


@given(st.lists(st.floats(-1e6, 1e6), max_size=60), st.integers(2, 9))
def test_it_is_the_sample_variance_of_the_window(numbers: list[float], window: int) -> None:
    rolling = RollingVariance(window)
    for count, number in enumerate(numbers, 1):
        rolling.push(number)
        latest = [Fraction(item) for item in numbers[max(0, count - window) : count]]
        found = rolling.value()
        if count < window:
            assert found is None
        else:
            assert found == pytest.approx(float(statistics.variance(latest)), rel=1e-9, abs=1e-9)


def test_an_outlier_leaves_no_error_behind() -> None:
    rolling = RollingVariance(4)
    for number in (1e15, -3e14, 1.0, 2.0, 3.0, 4.0):
        rolling.push(number)
    assert rolling.value() == pytest.approx(5 / 3, rel=1e-12)


def test_small_changes_on_a_large_offset_are_seen() -> None:
    rolling = RollingVariance(4)
    for number in range(1000):
        rolling.push(1e9 + number % 2)
    assert rolling.value() == pytest.approx(1 / 3, rel=1e-6)
