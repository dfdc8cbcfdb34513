"""Answers in pages: as much of them as fits into a message, and where to go on."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pykarabo_services.archiver.model import size_of
from pykarabo_services.archiver.samples import Samples

PAGE_SAMPLES: Final = 50_000
"""Of numbers: 2.5 MB of columns."""
PAGE_BYTES: Final = 3 * 2**20
"""Of other values; one alone may be larger, as large as a message lets it be."""
_LAST: Final = 2**63 - 1
_OVERHEAD: Final = 60
"""Bytes of a sample's columns besides its value."""


class Place(NamedTuple):
    """Where a page ends: the next one begins with what is after it."""

    time_ns: int
    epoch: int = -1
    seq: int = -1
    step: int = -1


class Page(NamedTuple):
    """Some samples, and where to go on; None when these are the last."""

    samples: Samples
    following: Place | None


def behind(time_ns: int) -> Place:
    """Return the place behind all samples of a moment."""
    return Place(time_ns, _LAST, _LAST, _LAST)


def place_of(samples: Samples, number: int) -> Place:
    """Return where a sample is."""
    columns = (samples.time_ns, samples.epoch, samples.seq, samples.step)
    return Place(*(int(column[number]) for column in columns))


def fitting(values: Iterable[Any], room: int) -> tuple[int, int]:
    """Return how many values fit into some bytes, and about how many bytes they take."""
    total = count = 0
    for value in values:
        size = size_of(value) + _OVERHEAD
        if total + size > room:
            break
        total, count = total + size, count + 1
    return count, total
