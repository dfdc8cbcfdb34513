"""Local regression: straight lines through the samples around a place, the nearer the heavier.

W. S. Cleveland, "Robust Locally Weighted Regression and Smoothing Scatterplots", Journal of the
American Statistical Association 74 (1979) 829-836. Samples are weighted by the tricube of their
distance; those that are far from the curve have less weight in the next round, by the bisquare of
how far. Of many samples the lines are made at some, and between these the curve is taken for
straight, as he does.
"""

from typing import Final

import numpy as np

from pykarabo_services.archiver.samples import Floats

SHARE: Final = 0.3
"""Of the samples that a line is made of; that of the EPICS Archiver Appliance too."""
_FEWEST: Final = 4
"""Samples of a line: the farthest has no weight, and two would leave it no choice."""
_ROUNDS: Final = 2
"""In which what is far from the curve loses weight: more change little, he says."""
_LINES: Final = 64
"""As many as there is something to see between the ends of a bucket."""
_BLOCK: Final = 1_000_000
"""Weights in memory at a time."""
_FAR: Final = 6.0
"""Times the median distance from the curve: what is further has no weight."""


def smoothed(places: Floats, values: Floats, at: float, share: float) -> float:
    """Return the smooth curve's value at a place; NaN of no values.

    Args:
        places: in order; not all need differ.
        values: at these; finite.
        share: of the values that a line is made of, above 0 and up to 1.
    """
    count = len(values)
    if not count:
        return float("nan")
    size = min(count, max(_FEWEST, round(share * count)))
    some = np.unique(np.linspace(0, count - 1, min(count, _LINES)).astype(np.intp))
    weights = np.ones(count)
    for _ in range(_ROUNDS):
        curve = np.interp(places, places[some], _lines(places, values, weights, places[some], size))
        distance = np.abs(values - curve)
        middle = float(np.median(distance))
        if middle <= np.finfo(np.float64).eps * float(np.abs(values).max()):
            break  # the curve goes through more than half of them
        weights = np.square(np.clip(1 - np.square(distance / (_FAR * middle)), 0, None))
    return float(_lines(places, values, weights, np.array([at]), size)[0])


def _lines(places: Floats, values: Floats, weights: Floats, at: Floats, size: int) -> Floats:
    """Return what the line through the nearest `size` values is at each of some places."""
    # The nearest ones lie together: the one before them is farther than the last one of them.
    first = np.searchsorted(places[:-size] + places[size:], 2 * at)
    found = np.empty(len(at))
    block = max(1, _BLOCK // size)
    for start in range(0, len(at), block):
        part = slice(start, start + block)
        chosen = first[part, np.newaxis] + np.arange(size)
        apart = places[chosen] - at[part, np.newaxis]
        found[part] = _line(apart, values[chosen], weights[chosen])
    return found


def _line(apart: Floats, values: Floats, weights: Floats) -> Floats:
    """Return where the line of each row of values is at 0."""
    reach = np.abs(apart).max(axis=1, keepdims=True)
    share = np.divide(np.abs(apart), reach, out=np.zeros_like(apart), where=reach > 0)
    weights = _some(weights * (1 - share**3) ** 3, weights)
    total = weights.sum(axis=1)
    mean_place = (weights * apart).sum(axis=1) / total
    mean_value = (weights * values).sum(axis=1) / total
    around = apart - mean_place[:, np.newaxis]
    spread = (weights * np.square(around)).sum(axis=1)
    slope = np.zeros(len(total))
    # Of values at one place, to the last digits, there is no slope.
    has_slope = spread > total * np.square(1e-9 * reach[:, 0])
    np.divide((weights * around * values).sum(axis=1), spread, out=slope, where=has_slope)
    found: Floats = mean_value - slope * mean_place
    return found


def _some(weights: Floats, before: Floats) -> Floats:
    """Return weights; where all of a row are 0, those before, or else the same for all."""
    before = np.where(before.sum(axis=1, keepdims=True) > 0, before, 1.0)
    return np.where(weights.sum(axis=1, keepdims=True) > 0, weights, before)
