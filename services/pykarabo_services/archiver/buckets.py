"""Buckets: the spans of time that samples are put together in."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from pykarabo.errors import OutOfRangeError
from pykarabo_services.archiver.samples import Places, Times

MAX_BUCKETS: Final = 100_000
"""More than any screen has columns; a result of so many rows still fits into one message."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Spans of time without holes: bucket i has what is at `edges[i]` or later, before the next."""

    edges: Times

    @property
    def start_ns(self) -> int:
        """Where the first one begins."""
        return int(self.edges[0])

    @property
    def end_ns(self) -> int:
        """Where the last one ends; what is at this moment is outside."""
        return int(self.edges[-1])

    def __len__(self) -> int:
        return len(self.edges) - 1

    def of(self, times: Times) -> tuple[Places, Places]:
        """Return which buckets have some of the sorted `times`, and where those begin."""
        begins = np.searchsorted(times, self.edges)
        filled = np.flatnonzero(np.diff(begins))
        return filled, begins[filled]

    def part(self, first: int, stop: int) -> "Buckets":
        """Return the buckets from one up to another."""
        return Buckets(self.edges[first : stop + 1])


def equal_buckets(start_ns: int, end_ns: int, count: int) -> Buckets:
    """Cut a span into buckets of one length, to the nanosecond."""
    _require(start_ns, end_ns, count)
    count = max(1, min(count, end_ns - start_ns))
    # In Python's integers: ns since 1970 times a count is beyond 64 bits.
    width, rest = divmod(end_ns - start_ns, count)
    places = np.arange(count + 1, dtype=np.int64)
    return Buckets(start_ns + places * width + places * rest // count)


def regular_buckets(start_ns: int, end_ns: int, every_ns: int) -> Buckets:
    """Cut a span at the multiples of `every_ns` since 1970, so that all queries cut alike.

    The first and the last bucket may be shorter than the others.
    """
    _require(start_ns, end_ns, (end_ns - start_ns) // max(every_ns, 1), every_ns)
    inside = np.arange(start_ns // every_ns + 1, -(-end_ns // every_ns), dtype=np.int64) * every_ns
    return Buckets(np.concatenate([[start_ns], inside, [end_ns]]).astype(np.int64))


def require_span(start_ns: int, end_ns: int) -> None:
    """Raise `OutOfRangeError` where nothing can be in a span of time."""
    if end_ns <= start_ns:
        raise OutOfRangeError(
            "the span of time is empty: its end is not after its beginning",
            remedy="let 'since' be earlier than 'until'",
        )


def _require(start_ns: int, end_ns: int, count: int, every_ns: int = 1) -> None:
    require_span(start_ns, end_ns)
    if not 0 <= count <= MAX_BUCKETS or every_ns < 1:
        raise OutOfRangeError(
            f"{count} buckets are asked for, 1 to {MAX_BUCKETS} are possible",
            remedy="ask for fewer points, for longer buckets or for a shorter time",
        )
