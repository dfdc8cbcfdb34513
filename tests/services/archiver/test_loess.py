"""Local regression gives what a plain loop over the samples gives, and what it is for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import ValueType
from pykarabo_services.archiver.decimation import Question, answer
from pykarabo_services.archiver.loess import smoothed
from pykarabo_services.archiver.model import Sample
from tests.services.archiver.test_decimation import archive


def line(
    places: list[float], values: list[float], weights: list[float], at: float, n: int
) -> float:
    nearest = sorted(range(len(places)), key=lambda i: (abs(places[i] - at), places[i]))[:n]
    reach = max(abs(places[i] - at) for i in nearest)
    w = {i: weights[i] * (1 - (abs(places[i] - at) / reach) ** 3) ** 3 for i in nearest}
    total = math.fsum(w.values())
    x = math.fsum(w[i] * places[i] for i in nearest) / total
    y = math.fsum(w[i] * values[i] for i in nearest) / total
    spread = math.fsum(w[i] * (places[i] - x) ** 2 for i in nearest)
    slope = math.fsum(w[i] * (places[i] - x) * (values[i] - y) for i in nearest) / spread
    return y + slope * (at - x)


def plain_loess(places: list[float], values: list[float], at: float, share: float) -> float:
    n = max(4, round(share * len(values)))
    weights = [1.0] * len(values)
    for _ in range(2):
        curve = [line(places, values, weights, place, n) for place in places]
        distance = [abs(value - point) for value, point in zip(values, curve, strict=True)]
        middle = sorted(distance)
        half = len(middle) // 2
        s = middle[half] if len(middle) % 2 else (middle[half - 1] + middle[half]) / 2
        weights = [max(0.0, 1 - (far / (6 * s)) ** 2) ** 2 for far in distance]
    return line(places, values, weights, at, n)


@given(seed=st.integers(0, 1000), count=st.integers(30, 64), share=st.sampled_from([0.4, 0.5, 1.0]))
def test_curve_is_that_of_a_plain_loop(seed: int, count: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    places = np.sort(rng.uniform(-1, 1, count))
    values = np.sin(3 * places) + rng.normal(0, 0.1, count)
    expected = plain_loess(places.tolist(), values.tolist(), 0.1, share)
    assert smoothed(places, values, 0.1, share) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 65, 5000])
def test_straight_line_is_what_it_was(count: int) -> None:
    places = np.linspace(-5e9, 5e9, count)
    middle = smoothed(places, 3 + places / 1e9, 0.0, 0.3)
    assert middle == pytest.approx(3 if count > 1 else -2)


def test_curve_of_many_is_smooth_and_outliers_do_not_move_it() -> None:
    rng = np.random.default_rng(3)
    places = np.linspace(-1, 1, 20_000)
    values = np.cos(places) + rng.normal(0, 0.2, len(places))
    values[9_900:10_100:4] = 4.0
    assert smoothed(places, values, 0.0, 0.1) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("values", [[2.0] * 9, [2.0, 2.0, 2.0, 2.0, 9.0]])
def test_curve_through_most_of_the_values_is_them(values: list[float]) -> None:
    assert smoothed(np.arange(float(len(values))), np.array(values), 1.0, 0.3) == 2.0


def test_samples_of_one_moment_have_a_mean_and_no_slope() -> None:
    assert smoothed(np.zeros(6), np.arange(6.0), 0.0, 0.3) == pytest.approx(2.5, abs=1)
    assert math.isnan(smoothed(np.empty(0), np.empty(0), 0.0, 0.3))


def test_each_bucket_has_the_value_in_its_middle() -> None:
    start = 1_790_000_000 * 10**9
    with archive() as stored:
        known = [Sample(start + 10 * at, 5.0 + at, seq=at, quality=at // 99) for at in range(100)]
        known.append(Sample(start + 501, math.nan, seq=200))
        stored.rows(stored.series_of(ValueType.FLOAT64), known)
        asked = Question(start_ns=start, end_ns=start + 1000, operator="loess:0.4", points=4)
        found = answer(stored.property(ValueType.FLOAT64), asked).columns
    assert found["loess"].tolist() == pytest.approx([17.5, 42.5, 67.5, 92.5])
    assert found["time_ns"].tolist() == [start, start + 250, start + 500, start + 750]
    assert found["quality"].tolist() == [0, 0, 0, 1]
