"""How operators are computed: of pieces, or of all samples of some buckets; all buckets at once."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pykarabo_services.archiver.buckets import Buckets
from pykarabo_services.archiver.loess import smoothed
from pykarabo_services.archiver.samples import Floats, Pieces, Places, Samples, Times, divided

Columns: TypeAlias = dict[str, NDArray[Any]]
OfPieces: TypeAlias = Callable[[Pieces, Buckets, Places], Columns]
"""Is given one piece for each bucket that has samples, and which buckets these are."""
OfSamples: TypeAlias = Callable[[Samples, Buckets, float], Columns]
"""Is given all samples of some buckets, and the operator's parameter."""

SKEWNESS: Final = 3
KURTOSIS: Final = 4
"""The powers whose means they are made of; also how many numbers they need."""

# -- of pieces ------------------------------------------------------------------------------------


def of_buckets(columns: Callable[[Pieces], Columns]) -> OfPieces:
    """Return what computes columns of each bucket, beside when it is and its worst quality."""

    def made(groups: Pieces, buckets: Buckets, filled: Places) -> Columns:
        return _head(buckets, filled, groups.quality) | columns(groups)

    return made


def _head(buckets: Buckets, filled: Places, quality: NDArray[np.uint8]) -> Columns:
    edges = buckets.edges
    return {"time_ns": edges[filled], "end_ns": edges[filled + 1], "quality": quality}


def deviation(groups: Pieces) -> Floats:
    """Return the standard deviation (n - 1); NaN of one number."""
    return np.sqrt(groups.variance)


def statistics(groups: Pieces) -> Columns:
    """Return what a trend shows."""
    return {
        "mean": groups.mean,
        "std": deviation(groups),
        "min": groups.minimum,
        "max": groups.maximum,
        "count": groups.count,
    }


def jitter(groups: Pieces) -> Floats:
    """Return the standard deviation as a share of the mean."""
    mean = np.abs(groups.mean)
    return divided(deviation(groups), np.nan_to_num(mean))


def total(groups: Pieces) -> Floats:
    """Return the sum; NaN of no numbers."""
    return np.where(groups.finite > 0, groups.total, np.nan)


class Kept(StrEnum):
    """Which sample of a bucket is kept."""

    FIRST = "first"
    SMALLEST = "smallest"
    LARGEST = "largest"
    LAST = "last"


PEAKS: Final = (Kept.LARGEST, Kept.SMALLEST, Kept.LAST, Kept.FIRST)
"""What a plot needs of a bucket, the more important before the less."""


def times_of(groups: Pieces, keeps: Sequence[Kept]) -> Times:
    """Return when those samples of each bucket are that are to be kept, in order."""
    times = {
        Kept.FIRST: groups.first_ns,
        Kept.SMALLEST: groups.min_ns,
        Kept.LARGEST: groups.max_ns,
        Kept.LAST: groups.last_ns,
    }
    return np.unique(np.concatenate([times[item] for item in keeps]))


def places_of(
    groups: Pieces, samples: Samples, keeps: Sequence[Kept], most: int | None = None
) -> Places:
    """Return which samples are kept of those at `times_of`, one for each reason, in order.

    Args:
        most: how many at most; the reasons come in the order of their importance.
    """
    found = [_KEEPERS[item](groups, samples) for item in keeps]
    places, first = np.unique(np.concatenate(found), return_index=True)
    return np.sort(places[np.argsort(first)][:most])


def _firsts(groups: Pieces, samples: Samples) -> Places:
    times = samples.time_ns
    places = np.searchsorted(times, groups.first_ns, side="left")
    return places[places < np.searchsorted(times, groups.first_ns, side="right")]


def _lasts(groups: Pieces, samples: Samples) -> Places:
    times = samples.time_ns
    ends = np.searchsorted(times, groups.last_ns, side="right")
    return ends[ends > np.searchsorted(times, groups.last_ns, side="left")] - 1


def _best(samples: Samples, times: Times, sign: int) -> Places:
    """Return the largest sample at each of some moments, or the smallest, and the first of these.

    A moment at which there is no finite number has none.
    """
    begins = np.searchsorted(samples.time_ns, times, side="left")
    sizes = np.searchsorted(samples.time_ns, times, side="right") - begins
    of = np.repeat(np.arange(len(times)), sizes)
    places = np.arange(len(of)) + np.repeat(begins - (np.cumsum(sizes) - sizes), sizes)
    values = samples.numbers[places] * -sign
    values[~np.isfinite(values)] = np.inf
    order = np.lexsort((values, of))
    _moments, first = np.unique(of[order], return_index=True)
    best = order[first]
    chosen: Places = places[best][np.isfinite(values[best])]
    return chosen


_KEEPERS: Final[Mapping[Kept, Callable[[Pieces, Samples], Places]]] = {
    Kept.FIRST: _firsts,
    Kept.SMALLEST: lambda groups, samples: _best(samples, groups.min_ns, -1),
    Kept.LARGEST: lambda groups, samples: _best(samples, groups.max_ns, 1),
    Kept.LAST: _lasts,
}


# -- of samples -----------------------------------------------------------------------------------


def kept(samples: Samples) -> Columns:
    """Return samples as they are."""
    return {
        "time_ns": samples.time_ns,
        "value": samples.values,
        "quality": samples.quality,
        "train_id": samples.train_id,
        "flags": samples.flags,
    }


def every_nth(samples: Samples, _buckets: Buckets, step: float) -> Columns:
    """Keep the first sample and every `step`-th one after it."""
    return kept(samples[:: max(1, int(step))])


class _Runs:
    """Samples with the buckets that they are in, and sums over each of these."""

    def __init__(self, samples: Samples, buckets: Buckets) -> None:
        filled, self.starts = buckets.of(samples.time_ns)
        self.sizes = np.diff(np.append(self.starts, len(samples)))
        self.of = np.repeat(np.arange(len(self.starts)), self.sizes)
        quality = samples.quality[:0]
        if len(filled):
            quality = np.maximum.reduceat(samples.quality, self.starts)
        self._head = _head(buckets, filled, quality)
        begins, ends = buckets.edges[filled], buckets.edges[filled + 1]
        self.middles = begins + (ends - begins) // 2

    def columns(self, **columns: NDArray[Any]) -> Columns:
        return self._head | columns

    def sums(self, values: Floats) -> Floats:
        """Return the sum of each run; NaN counts as nothing."""
        weights = np.nan_to_num(values)
        return np.bincount(self.of, weights, len(self.starts)).astype(np.float64, copy=False)

    def finite(self, values: Floats) -> Floats:
        """Return how many numbers each run has."""
        return self.sums(np.isfinite(values).astype(np.float64))

    def standing(self, values: Floats) -> Floats:
        """Return how many standard deviations each number is from the mean of its run."""
        values = np.where(np.isfinite(values), values, np.nan)
        n = self.finite(values)
        apart = values - divided(self.sums(values), n)[self.of]
        spread = np.sqrt(divided(self.sums(apart**2), n - 1))[self.of]
        standing = np.where(np.isnan(apart), np.nan, 0.0)
        np.divide(apart, spread, out=standing, where=spread > 0)
        return standing


def median(samples: Samples, buckets: Buckets, _parameter: float) -> Columns:
    """Return the median of the numbers of each bucket."""
    runs = _Runs(samples, buckets)
    values = samples.numbers
    is_finite = np.isfinite(values)
    counts = np.bincount(runs.of[is_finite], minlength=len(runs.starts))
    values, of = values[is_finite], runs.of[is_finite]
    values = values[np.lexsort((values, of))]
    begins = (np.cumsum(counts) - counts)[counts > 0]
    some = counts[counts > 0]
    medians = np.full(len(counts), np.nan)
    low, high = values[begins + (some - 1) // 2], values[begins + some // 2]
    medians[counts > 0] = low + (high - low) / 2
    return runs.columns(median=medians)


def loess(samples: Samples, buckets: Buckets, share: float) -> Columns:
    """Return where the smooth curve through the samples of each bucket is in its middle."""
    runs = _Runs(samples, buckets)
    values = samples.numbers
    good = np.isfinite(values)
    figure = np.empty(len(runs.starts))
    for number, (first, count) in enumerate(zip(runs.starts, runs.sizes, strict=True)):
        part = np.flatnonzero(good[first : first + count]) + first
        places = (samples.time_ns[part] - runs.middles[number]).astype(np.float64)
        figure[number] = smoothed(places, values[part], 0.0, share)
    return runs.columns(loess=figure)


def moment(power: int, name: str) -> OfSamples:
    """Return skewness, or kurtosis above that of a normal distribution, without bias."""

    def made(samples: Samples, buckets: Buckets, _parameter: float) -> Columns:
        runs = _Runs(samples, buckets)
        values = samples.numbers
        sums = runs.sums(runs.standing(values) ** power)
        figure = _without_bias(power, sums, runs.finite(values))
        return runs.columns(**{name: figure})

    return made


def _without_bias(power: int, sums: Floats, n: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        if power == SKEWNESS:
            return np.where(n >= SKEWNESS, sums * n / ((n - 1) * (n - 2)), np.nan)
        factor = n * (n + 1) / ((n - 1) * (n - 2) * (n - 3))
        normal = 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))
        return np.where(n >= KURTOSIS, factor * sums - normal, np.nan)


def flyers(samples: Samples, buckets: Buckets, limit: float) -> Columns:
    """Keep what is more than `limit` standard deviations from the mean of its bucket."""
    standing = _Runs(samples, buckets).standing(samples.numbers)
    return kept(samples[np.nan_to_num(np.abs(standing)) > limit])


def without_flyers(samples: Samples, buckets: Buckets, limit: float) -> Columns:
    """Return the mean of what is not."""
    runs = _Runs(samples, buckets)
    values = samples.numbers
    standing = runs.standing(values)
    good = np.where(np.nan_to_num(np.abs(standing), nan=np.inf) <= limit, values, np.nan)
    return runs.columns(mean=divided(runs.sums(good), runs.finite(good)))


def dead_band(samples: Samples, _buckets: Buckets, band: float) -> Columns:
    """Keep a sample that is further than `band` from the one kept before it."""
    values = samples.numbers
    places: list[int] = []
    at = 0
    while at < len(values):
        places.append(at)
        at = _next_beyond(values, at, band)
    return kept(samples[np.array(places, np.intp)])


_FIRST_LOOK: Final = 64
"""Samples that are looked at for the next one to keep; then twice as many, and so on."""


def _next_beyond(values: Floats, at: int, band: float) -> int:
    """Return the next place with a value further than `band` from that at a place."""
    size, start = _FIRST_LOOK, at + 1
    while start < len(values):
        block = values[start : start + size]
        with np.errstate(invalid="ignore"):
            beyond = np.abs(block - values[at]) > band
        beyond |= np.isnan(block) != np.isnan(values[at])
        beyond |= np.isinf(block) & (block != values[at])
        if beyond.any():
            return start + int(np.argmax(beyond))
        start, size = start + size, size * 2
    return len(values)
