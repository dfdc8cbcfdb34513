"""Makes the columns that an operator promises, reading no more of the archive than they need."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from pykarabo.data import joined_columns
from pykarabo.errors import LimitExceededError
from pykarabo_services.archiver.buckets import Buckets, equal_buckets, regular_buckets
from pykarabo_services.archiver.figures import Columns, kept
from pykarabo_services.archiver.filling import FILLS
from pykarabo_services.archiver.gaps import Holes
from pykarabo_services.archiver.operators import (
    OPERATORS,
    Operator,
    operator_of,
    require_numbers,
)
from pykarabo_services.archiver.samples import Pieces, Places, Samples, Times

SLAB: Final = 1_000_000
"""Samples in memory at a time where an operator needs every one: 25 MB of columns."""
MAX_SAMPLES: Final = 20_000_000
"""Of a single bucket, or of an operator that goes from sample to sample through all of them."""
DEFAULT_POINTS: Final = 1000
_WHOLE: Final = frozenset({"nth", "dead_band"})


class PropertySource(Protocol):
    """What an operator reads: the archived samples of one property. Spans are half-open."""

    @property
    def name(self) -> str:
        """The property as people write it."""
        ...

    def has_numbers(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether all its samples of a span are single real numbers."""
        ...

    def count(self, buckets: Buckets) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Return how many samples each bucket has, or more: what reading it may bring."""
        ...

    def samples(self, start_ns: int, end_ns: int) -> Samples:
        """Return all samples of a span."""
        ...

    def pieces(self, buckets: Buckets) -> Pieces:
        """Return what is known of the samples, in order; no piece has samples of two buckets."""
        ...

    def at(self, times: Times) -> Samples:
        """Return the samples that are exactly at some of the sorted moments."""
        ...

    def before(self, time_ns: int) -> Samples:
        """Return the last sample before a moment, if there is one."""
        ...

    def after(self, time_ns: int) -> Samples:
        """Return the first sample at or after a moment, if there is one."""
        ...

    def holes(self, start_ns: int, end_ns: int) -> Holes:
        """Return the spans, also those that only begin or end there, of which not all is known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a property's history.

    Attributes:
        operator: its name, with its parameter.
        points: how many points are wanted; 0 leaves it to the operator.
        every_ns: how long a bucket is to be; 0 cuts the span into `points` equal ones.
    """

    start_ns: int
    end_ns: int
    operator: str = "raw"
    points: int = 0
    every_ns: int = 0

    @property
    def whole(self) -> Buckets:
        """The span as a single bucket."""
        return equal_buckets(self.start_ns, self.end_ns, 1)

    def buckets(self, per_bucket: int = 1) -> Buckets:
        """Return the buckets that it asks for."""
        if self.every_ns:
            return regular_buckets(self.start_ns, self.end_ns, self.every_ns)
        points = self.points or DEFAULT_POINTS
        return equal_buckets(self.start_ns, self.end_ns, max(1, points // per_bucket))


@dataclass(frozen=True, slots=True)
class Answer:
    """Columns of one length, and the operator that made them.

    Attributes:
        sampled: whether it had to choose samples, because there are no numbers to calculate with.
    """

    operator: str
    columns: Columns
    sampled: bool = False


def answer(source: PropertySource, question: Question) -> Answer:
    """Return what an operator makes of a property's samples.

    Raises:
        NotAnOptionError, OutOfRangeError: there is no such operator, or its parameter is wrong.
        WrongTypeError: it needs numbers and the property has none.
        LimitExceededError: it would have to hold too many samples.
    """
    operator, parameter = operator_of(question.operator)
    if operator.name == "ncount":
        whole = question.whole
        total = np.array([_number(source, whole)], np.int64)
        return Answer(operator.name, {"time_ns": whole.edges[:1], "ncount": total})
    if operator.raw_if_fewer and (few := _if_few(source, question)) is not None:
        return Answer("raw", kept(few))
    if not source.has_numbers(question.start_ns, question.end_ns):
        if operator.name == "optimized":
            chosen = _of_samples(source, OPERATORS["last"], question.buckets(), parameter)
            return Answer("last", chosen, sampled=True)
        require_numbers(operator, source.name)
    buckets = question.buckets(operator.per_bucket)
    return Answer(operator.name, _columns(source, operator, buckets, parameter))


def _columns(
    source: PropertySource, operator: Operator, buckets: Buckets, parameter: float
) -> Columns:
    if operator.name in FILLS:
        return _filled(source, operator.name, buckets)
    are_numbers = source.has_numbers(buckets.start_ns, buckets.end_ns)
    if are_numbers and operator.of_times is not None:
        return kept(source.at(operator.of_times(_groups(source, buckets)[0])))
    if are_numbers and operator.of_pieces is not None:
        groups, filled = _groups(source, buckets)
        return operator.of_pieces(groups, buckets, filled)
    if operator.name in _WHOLE:
        buckets = Buckets(buckets.edges[[0, -1]])
    return _of_samples(source, operator, buckets, parameter)


def _groups(source: PropertySource, buckets: Buckets) -> tuple[Pieces, Places]:
    """Return one piece for each bucket that has samples, and which these are."""
    pieces = source.pieces(buckets)
    filled, starts = buckets.of(pieces.first_ns)
    return pieces.grouped(starts), filled


def _number(source: PropertySource, whole: Buckets) -> int:
    if source.has_numbers(whole.start_ns, whole.end_ns):
        return int(source.pieces(whole).count.sum())
    parts = max(1, int(source.count(whole)[0]) // SLAB * 2)
    fine = equal_buckets(whole.start_ns, whole.end_ns, parts)
    slabs = _slabs(source, fine)
    return sum(len(source.samples(part.start_ns, part.end_ns)) for part in slabs)


def _if_few(source: PropertySource, question: Question) -> Samples | None:
    """Return all samples, unless there are more of them than points."""
    points = len(question.buckets())
    if source.has_numbers(question.start_ns, question.end_ns):
        is_possible = _number(source, question.whole) <= points
    else:
        is_possible = source.count(question.whole)[0] <= points + SLAB
    samples = source.samples(question.start_ns, question.end_ns) if is_possible else None
    return samples if samples is not None and len(samples) <= points else None


def _of_samples(
    source: PropertySource, operator: Operator, buckets: Buckets, parameter: float
) -> Columns:
    """Let an operator work on as many buckets at a time as memory is meant for."""
    made = operator.of_samples
    if made is None:
        raise AssertionError(f"{operator.name} is made of pieces")
    parts = []
    for part in _slabs(source, buckets):
        samples = source.samples(part.start_ns, part.end_ns)
        parts.append(made(samples, part, parameter))
    columns = [
        (name, [part[name] for part in parts if len(part["time_ns"])] or [parts[0][name]])
        for name in parts[0]
    ]
    return {name: joined_columns(column) for name, column in columns}


def _slabs(source: PropertySource, buckets: Buckets) -> Iterator[Buckets]:
    counts = source.count(buckets)
    if counts.max() > MAX_SAMPLES:
        raise LimitExceededError(
            f"'{source.name}' has {counts.max()} samples in one bucket, "
            f"{MAX_SAMPLES} can be worked on",
            remedy="ask for shorter buckets or for a shorter time",
        )
    first = total = 0
    for place, count in enumerate(counts.tolist()):
        if place > first and total + count > SLAB:
            yield buckets.part(first, place)
            first, total = place, 0
        total += count
    yield buckets.part(first, len(buckets))


def _filled(source: PropertySource, name: str, buckets: Buckets) -> Columns:
    """Tell the value at the beginning of each bucket, of the samples on both sides of it.

    These are the first or the last sample of some bucket, or outside of all of them.
    """
    before, after = source.before(buckets.start_ns), source.after(buckets.end_ns)
    earliest = int(before.time_ns[0]) if len(before) else buckets.start_ns
    latest = int(after.time_ns[0]) if len(after) else buckets.end_ns
    around = Samples.joined([before, *_ends(source, buckets), after])
    return FILLS[name](around, buckets, source.holes(earliest, latest + 1))


def _ends(source: PropertySource, buckets: Buckets) -> Iterator[Samples]:
    """Return the first and the last sample of each bucket."""
    if source.has_numbers(buckets.start_ns, buckets.end_ns):
        groups, _numbers = _groups(source, buckets)
        yield source.at(np.union1d(groups.first_ns, groups.last_ns))
        return
    for part in _slabs(source, buckets):
        samples = source.samples(part.start_ns, part.end_ns)
        starts = part.of(samples.time_ns)[1]
        yield samples[np.union1d(starts, np.append(starts[1:], len(samples)) - 1)]
