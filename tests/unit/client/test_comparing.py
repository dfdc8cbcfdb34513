"""When two values count as equal."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.client._comparing import is_close

_VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.floats(width=32), max_size=4).map(np.array)
)


@given(_VALUES)
def test_value_equals_itself(value: object) -> None:
    assert is_close(value, value, 0.0, 0.0)


@given(_VALUES, _VALUES)
def test_order_does_not_matter(one: object, other: object) -> None:
    assert is_close(one, other, 0.0, 0.0) == is_close(other, one, 0.0, 0.0)


@given(st.floats(1e-3, 1e3), st.floats(0.0, 0.9))
def test_numbers_within_the_tolerance_are_equal(value: float, share: float) -> None:
    assert is_close(value, value * (1 + share * 1e-6), 1e-6, 0.0)
    assert not is_close(value, value * (1 + 2e-6), 1e-6, 0.0)
    assert is_close(np.array([value]), np.array([value * (1 + share * 1e-6)]), 1e-6, 0.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (1, "1"), (np.array([1.0]), np.array([1.0, 2.0])), (1.0, math.nan), ("a", "b")],
)
def test_different_values_are_different(one: object, other: object) -> None:
    assert not is_close(one, other, 1e-9, 0.0)
