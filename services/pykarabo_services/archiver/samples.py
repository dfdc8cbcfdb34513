"""Samples of one property as columns, and what is known of groups of them.

A `Pieces` row tells of some consecutive samples what a trend needs. A chunk of the archive carries
one, a sample is one of its own, and the two are put together by the same sums: so a trend reads a
chunk's samples only where a bucket begins or ends within it.

NaN and infinities are samples, but no part of a minimum, a sum or a mean; `finite` counts the
others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pykarabo.data import joined_columns

Times: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of one property, in order; the columns are those of `model.Sample`.

    Attributes:
        values: numbers of one kind as an array of their type; anything else, also numbers among
            which there is None, and integers among floats, as an array of objects.
    """

    time_ns: Times
    values: NDArray[Any]
    quality: NDArray[np.uint8]
    train_id: NDArray[np.int64]
    flags: NDArray[np.uint8]
    epoch: NDArray[np.int64]
    seq: NDArray[np.int64]
    step: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time_ns)

    def __getitem__(self, which: Any) -> "Samples":
        return Samples(*(getattr(self, item.name)[which] for item in fields(self)))

    @property
    def numbers(self) -> Floats:
        """The values as floats: 0 and 1 for bool, NaN for what is no number."""
        if self.values.dtype.kind in "biuf":
            return self.values.astype(np.float64)
        found = [
            float(value) if isinstance(value, int | float) else np.nan for value in self.values
        ]
        return np.array(found, np.float64)

    @classmethod
    def joined(cls, parts: Sequence["Samples"]) -> "Samples":
        """Return all samples of some parts in order, each of them once."""
        some = [part for part in parts if len(part)]
        if len(some) < _SEVERAL:
            return some[0] if some else cls.none()
        values = joined_columns([part.values for part in some])
        names = [item.name for item in fields(cls)]
        columns = {
            name: np.concatenate([getattr(part, name) for part in some])
            for name in names
            if name != "values"
        }
        return _in_order(cls(values=values, **columns))

    @classmethod
    def none(cls) -> "Samples":
        """Return no samples."""
        whole = np.empty(0, np.int64)
        small = np.empty(0, np.uint8)
        return cls(whole, np.empty(0), small, whole, small, whole, whole, whole)


_SEVERAL: Final = 2


def _in_order(samples: Samples) -> Samples:
    """Sort by identity, and keep one of those that are the same."""
    if np.all(samples.time_ns[:-1] < samples.time_ns[1:]):
        return samples
    identity = (samples.step, samples.seq, samples.epoch, samples.time_ns)
    order = np.lexsort(identity)
    same = np.ones(len(order), np.bool_)
    same[:1] = False
    for column in identity:
        same[1:] &= column[order][1:] == column[order][:-1]
    return samples[order[~same]]


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is known of groups of samples, one row for each; all columns have one length.

    Attributes:
        first_ns, last_ns: of the earliest and the latest sample.
        count: samples.
        finite: those that are finite numbers; what follows is of these, NaN where there are none.
        minimum, maximum: the smallest and the largest, first reached at `min_ns` and `max_ns`.
        total: their sum.
        m2: the sum of squared distances from their mean.
        first, last: the earliest and the latest sample, finite or not.
        quality: the worst one.
    """

    first_ns: Times
    last_ns: Times
    count: Times
    finite: Times
    minimum: Floats
    min_ns: Times
    maximum: Floats
    max_ns: Times
    total: Floats
    m2: Floats
    first: Floats
    last: Floats
    quality: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.first_ns)

    def __getitem__(self, which: Any) -> Self:
        return type(self)(*(getattr(self, item.name)[which] for item in fields(self)))

    @classmethod
    def of_runs(cls, samples: Samples, starts: Places) -> Self:
        """Return what is known of runs of samples.

        Args:
            starts: place of the first sample of each run; the first is 0.
        """
        if not len(starts):
            return cls.none()
        sizes = np.diff(np.append(starts, len(samples)))
        ends = starts + sizes - 1
        values, time_ns = samples.numbers, samples.time_ns
        is_finite = np.isfinite(values)
        all_finite = bool(is_finite.all())
        finite = sizes if all_finite else np.add.reduceat(is_finite, starts, dtype=np.int64)
        numbers = values if all_finite else np.where(is_finite, values, 0.0)
        total = np.add.reduceat(numbers, starts)
        apart = numbers - np.repeat(divided(total, finite), sizes)
        square = np.square(apart, out=apart) if all_finite else np.where(is_finite, apart**2, 0.0)
        low = values if all_finite else np.where(is_finite, values, np.inf)
        high = values if all_finite else np.where(is_finite, values, -np.inf)
        at_min = _place(low, starts, sizes, np.minimum)
        at_max = _place(high, starts, sizes, np.maximum)
        some = finite > 0
        return cls(
            first_ns=time_ns[starts],
            last_ns=time_ns[ends],
            count=sizes,
            finite=finite,
            minimum=np.where(some, values[at_min], np.nan),
            min_ns=time_ns[at_min],
            maximum=np.where(some, values[at_max], np.nan),
            max_ns=time_ns[at_max],
            total=total,
            m2=np.add.reduceat(square, starts),
            first=values[starts],
            last=values[ends],
            quality=np.maximum.reduceat(samples.quality, starts),
        )

    @classmethod
    def none(cls) -> Self:
        """Return no pieces."""
        times, floats = np.empty(0, np.int64), np.empty(0)
        return cls(
            first_ns=times,
            last_ns=times,
            count=times,
            finite=times,
            minimum=floats,
            min_ns=times,
            maximum=floats,
            max_ns=times,
            total=floats,
            m2=floats,
            first=floats,
            last=floats,
            quality=np.empty(0, np.uint8),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return all pieces, in the order of their first sample."""
        columns = [
            np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)
        ]
        whole = cls(*columns)
        ordered = bool(np.all(whole.first_ns[:-1] <= whole.first_ns[1:]))
        return whole if ordered else whole[np.argsort(whole.first_ns, kind="stable")]

    @property
    def mean(self) -> Floats:
        """The mean of the finite numbers."""
        return divided(self.total, self.finite)

    @property
    def variance(self) -> Floats:
        """The variance as the numbers let it be estimated (n - 1); NaN of one."""
        return divided(self.m2, self.finite - 1)

    @property
    def population_variance(self) -> Floats:
        """The variance of the numbers themselves (n)."""
        return divided(self.m2, self.finite)

    def grouped(self, starts: Places) -> Self:
        """Put runs of pieces together.

        Args:
            starts: place of the first piece of each run; the first is 0.
        """
        if not len(starts):
            return self[:0]
        sizes = np.diff(np.append(starts, len(self)))
        finite = np.add.reduceat(self.finite, starts)
        total = np.add.reduceat(self.total, starts)
        mean = divided(total, finite)
        apart = np.nan_to_num(self.mean - np.repeat(mean, sizes))
        at_first = _place(self.first_ns, starts, sizes, np.minimum)
        at_last = _last_place(self.last_ns, starts, sizes)
        at_min = _place(np.nan_to_num(self.minimum, nan=np.inf), starts, sizes, np.minimum)
        at_max = _place(np.nan_to_num(self.maximum, nan=-np.inf), starts, sizes, np.maximum)
        return type(self)(
            first_ns=self.first_ns[at_first],
            last_ns=self.last_ns[at_last],
            count=np.add.reduceat(self.count, starts),
            finite=finite,
            minimum=self.minimum[at_min],
            min_ns=self.min_ns[at_min],
            maximum=self.maximum[at_max],
            max_ns=self.max_ns[at_max],
            total=total,
            m2=np.add.reduceat(self.m2 + self.finite * apart**2, starts),
            first=self.first[at_first],
            last=self.last[at_last],
            quality=np.maximum.reduceat(self.quality, starts),
        )


def divided(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """Return a quotient, NaN where the denominator is not above 0."""
    quotient = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _place(values: NDArray[Any], starts: Places, sizes: Places, best: "np.ufunc") -> Places:
    """Return the place of the first best value of each run."""
    chosen = best.reduceat(values, starts)
    places = np.flatnonzero(values == np.repeat(chosen, sizes))
    return places[np.searchsorted(places, starts)]


def _last_place(values: NDArray[Any], starts: Places, sizes: Places) -> Places:
    """Return the place of the last of the largest values of each run."""
    chosen = np.maximum.reduceat(values, starts)
    places = np.flatnonzero(values == np.repeat(chosen, sizes))
    return places[np.searchsorted(places, starts + sizes) - 1]
