"""Makes the columns that an operator promises, reading no more of the archive than they need."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

import numpy as np

from pykarabo.data import joined_columns
from pykarabo.errors import LimitExceededError
from pykarabo_services.archiver.buckets import Buckets, equal_buckets, regular_buckets
from pykarabo_services.archiver.figures import Columns, Kept, kept, places_of, times_of
from pykarabo_services.archiver.filling import FILLS
from pykarabo_services.archiver.gaps import Holes
from pykarabo_services.archiver.operators import (
    OPERATORS,
    Operator,
    operator_of,
    require_numbers,
)
from pykarabo_services.archiver.pages import PAGE_BYTES, Page, Place, behind, fitting, place_of
from pykarabo_services.archiver.samples import Pieces, Places, Samples, Times

SLAB: Final = 1_000_000
"""Samples in memory at a time where an operator needs every one: 25 MB of columns."""
MAX_SAMPLES: Final = 20_000_000
"""Of a single bucket, or of an operator that goes from sample to sample through all of them."""
PAGE_ROWS: Final = 500_000
"""Of numbers: 20 MB of columns."""
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

    def page(self, start: Place, end_ns: int) -> Page:
        """Return the samples after a place, as many as fit into a message."""
        ...

    def pieces(self, buckets: Buckets) -> Pieces:
        """Return what is known of the samples, in order; no piece has samples of two buckets.

        Of values that are no numbers it is known when and how many they were, and how good.
        """
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
        following: where the next page begins; None where this is the last one.
    """

    operator: str
    columns: Columns
    sampled: bool = False
    following: Place | None = None


def answer(source: PropertySource, question: Question, after: Place | None = None) -> Answer:
    """Return what an operator makes of a property's samples: as much as fits into a message.

    Args:
        after: what the page before gave as `following`.

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
    if operator.name == "raw" or (operator.raw_if_fewer and _are_few(source, question)):
        page = source.page(after or Place(question.start_ns), question.end_ns)
        return Answer("raw", kept(page.samples), following=page.following)
    if source.has_numbers(question.start_ns, question.end_ns):
        return _page(operator.name, _of_numbers(source, operator, question, parameter), after)
    require_numbers(operator, source.name)
    return _of_anything(source, operator, question, parameter, after)


def _groups(source: PropertySource, buckets: Buckets) -> tuple[Pieces, Places]:
    """Return one piece for each bucket that has samples, and which these are."""
    pieces = source.pieces(buckets)
    filled, starts = buckets.of(pieces.first_ns)
    return pieces.grouped(starts), filled


def _number(source: PropertySource, whole: Buckets) -> int:
    return int(source.pieces(whole).count.sum())


def _are_few(source: PropertySource, question: Question) -> bool:
    """Tell whether there are no more samples than points."""
    return _number(source, question.whole) <= len(question.buckets())


def _kept(
    source: PropertySource, keeps: Sequence[Kept], buckets: Buckets, most: int | None = None
) -> Columns:
    """Return samples that are kept of each bucket; no others are read."""
    groups, _filled_ones = _groups(source, buckets)
    samples = source.at(times_of(groups, keeps))
    return kept(samples[places_of(groups, samples, keeps, most)])


def _filled(source: PropertySource, name: str, buckets: Buckets) -> Columns:
    """Tell the value at the beginning of each bucket, of the samples on both sides of it.

    These are the first or the last sample of some bucket, or outside of all of them.
    """
    before, after = source.before(buckets.start_ns), source.after(buckets.end_ns)
    earliest = int(before.time_ns[0]) if len(before) else buckets.start_ns
    latest = int(after.time_ns[0]) if len(after) else buckets.end_ns
    groups, _filled_ones = _groups(source, buckets)
    ends = source.at(times_of(groups, (Kept.FIRST, Kept.LAST)))
    around = Samples.joined([before, ends, after])
    return FILLS[name](around, buckets, source.holes(earliest, latest + 1))


# -- of numbers -----------------------------------------------------------------------------------


def _of_numbers(
    source: PropertySource, operator: Operator, question: Question, parameter: float
) -> Columns:
    buckets = question.buckets(operator.per_bucket)
    if operator.name in FILLS:
        return _filled(source, operator.name, buckets)
    if operator.keeps:
        most = question.points if 0 < question.points < operator.per_bucket else None
        return _kept(source, operator.keeps, buckets, None if question.every_ns else most)
    if operator.of_pieces is not None:
        groups, filled = _groups(source, buckets)
        return operator.of_pieces(groups, buckets, filled)
    if operator.name in _WHOLE:
        buckets = question.whole
    return _of_samples(source, operator, buckets, parameter)


def _page(name: str, columns: Columns, after: Place | None) -> Answer:
    """Return the rows after those of the page before; rows of one moment are on one page."""
    times = columns["time_ns"]
    first = 0 if after is None else int(np.searchsorted(times, after.time_ns, side="right"))
    if len(times) - first <= PAGE_ROWS:
        return Answer(name, {key: column[first:] for key, column in columns.items()})
    last_ns = int(times[first + PAGE_ROWS - 1])
    stop = int(np.searchsorted(times, last_ns, side="right"))
    following = behind(last_ns) if stop < len(times) else None
    rows = {key: column[first:stop] for key, column in columns.items()}
    return Answer(name, rows, following=following)


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
    return _joined(parts)


def _joined(parts: Sequence[Columns]) -> Columns:
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


# -- of values of any type ------------------------------------------------------------------------


def _of_anything(
    source: PropertySource,
    operator: Operator,
    question: Question,
    parameter: float,
    after: Place | None,
) -> Answer:
    """Choose samples, and read the values of no others: each may be as large as a message."""
    buckets = question.buckets()
    if operator.of_pieces is not None:
        groups, filled = _groups(source, buckets)
        return _page(operator.name, operator.of_pieces(groups, buckets, filled), after)
    if operator.name == "nth":
        return _every_nth(source, question, max(1, int(parameter)), after)
    if operator.name in FILLS:
        return _by_buckets(operator.name, buckets, after, partial(_filled, source, operator.name))
    chosen = OPERATORS["last"] if operator.name == "optimized" else operator
    made = _by_buckets(chosen.name, buckets, after, partial(_kept, source, chosen.keeps))
    return replace(made, sampled=chosen is not operator)


def _by_buckets(
    name: str, buckets: Buckets, after: Place | None, made: Callable[[Buckets], Columns]
) -> Answer:
    """Work on a bucket, and then on more at a time, until the values fill a message.

    A bucket becomes a row at most, so that the next page begins with the next bucket.
    """
    first = 0 if after is None else int(np.searchsorted(buckets.edges, after.time_ns, "right"))
    first = done = min(first, len(buckets) - 1)
    parts: list[Columns] = []
    size, count = 0, 1
    while done < len(buckets):
        stop = min(done + count, len(buckets))
        columns = made(buckets.part(done, stop))
        number, bytes_ = fitting(columns["value"], PAGE_BYTES - size)
        if number < len(columns["value"]):
            number = number if size else max(1, number)
            rows = _joined([*parts, {key: column[:number] for key, column in columns.items()}])
            return Answer(name, rows, following=behind(int(rows["time_ns"][-1])))
        parts.append(columns)
        done, size, count = stop, size + bytes_, 2 * count
        if size:  # as many as may still fit
            count = min(count, max(1, (PAGE_BYTES - size) * (done - first) // size))
    return Answer(name, _joined(parts))


def _every_nth(
    source: PropertySource, question: Question, step: int, after: Place | None
) -> Answer:
    """Keep the first sample and every `step`-th one after it; `after` is one that was kept."""
    place = Place(question.start_ns) if after is None else after
    passed = 0 if after is None else step - 1
    found = Samples.none()
    size = 0
    while True:
        page = source.page(place, question.end_ns)
        chosen = page.samples[passed::step]
        passed = (passed - len(page.samples)) % step
        number, bytes_ = fitting(chosen.values, PAGE_BYTES - size)
        is_full = number < len(chosen)
        if is_full and not size:
            number = 1
        found, size = Samples.joined([found, chosen[:number]]), size + bytes_
        if is_full:
            last = place_of(found, len(found) - 1)
            return Answer("nth", kept(found), following=last)
        if page.following is None:
            return Answer("nth", kept(found))
        place = page.following
