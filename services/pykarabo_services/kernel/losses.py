"""Counting what was not stored or not delivered, with the trains it concerned."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

# Ranges kept for one record. One that fails every second train would otherwise grow for ever.
# The count itself stays exact.
MAXIMUM_RANGES = 256
# Different (source, key, reason) records kept; beyond it they are added up under one key.
MAXIMUM_RECORDS = 10_000
OTHERS = "(others)"


class LossReason(StrEnum):
    """Why data is missing from a train, a file or a message."""

    LATE = "late"
    OVERFLOW = "overflow"
    GAP = "gap"
    UNTICKED = "unticked"
    OUTSIDE = "outside"
    AHEAD = "ahead"
    UNSTAMPED = "unstamped"
    BACKWARD = "backward"
    UNFIT = "unfit"
    UNDECLARED = "undeclared"
    ABSENT = "absent"
    CLAMPED = "clamped"
    UNWRITTEN = "unwritten"


@dataclass(frozen=True, slots=True)
class LossRecord:
    """How often one source lost something for one reason, and in which trains.

    `trains` are inclusive (first, last) ranges in the order of occurrence; `truncated` says that
    more ranges occurred than are listed. `unknown` counts events whose extent nobody knows (a
    broken stream).
    """

    source: str
    key: str
    reason: LossReason
    count: int
    unknown: int
    trains: tuple[tuple[int, int], ...]
    truncated: bool

    def to_dict(self) -> dict[str, object]:
        """Return the record as plain JSON data."""
        return {
            "source": self.source,
            "key": self.key,
            "reason": str(self.reason),
            "count": self.count,
            "unknown": self.unknown,
            "trains": [list(pair) for pair in self.trains],
            "truncated": self.truncated,
        }


@dataclass(slots=True)
class _Entry:
    count: int = 0
    unknown: int = 0
    ranges: list[list[int]] | None = None
    truncated: bool = False

    def add_train(self, train_id: int) -> None:
        ranges = self.ranges = [] if self.ranges is None else self.ranges
        if ranges and ranges[-1][0] <= train_id <= ranges[-1][1] + 1:
            ranges[-1][1] = max(ranges[-1][1], train_id)
        elif len(ranges) < MAXIMUM_RANGES:
            ranges.append([train_id, train_id])
        else:
            self.truncated = True


class LossCounter:
    """Exact counts of losses per source, key and reason, with the train ids in bounded memory."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, LossReason], _Entry] = {}

    def add(
        self, source: str, reason: LossReason, *, train_id: int = 0, count: int = 1, key: str = ""
    ) -> None:
        """Count `count` losses of `source`; `train_id` 0 means that the train is not known."""
        entry = self._entry(source, key, reason)
        entry.count += count
        if train_id:
            entry.add_train(train_id)

    def add_unknown(self, source: str, reason: LossReason, *, key: str = "") -> None:
        """Count one event that lost an unknown number of things."""
        self._entry(source, key, reason).unknown += 1

    def _entry(self, source: str, key: str, reason: LossReason) -> _Entry:
        name = (source, key, reason)
        if name not in self._entries and len(self._entries) >= MAXIMUM_RECORDS:
            name = (OTHERS, "", reason)
        return self._entries.setdefault(name, _Entry())

    def count(self, source: str | None = None, reason: LossReason | None = None) -> int:
        """Return the number of losses, of one source and for one reason when these are given."""
        return sum(
            entry.count
            for (name, _, why), entry in self._entries.items()
            if source in (None, name) and reason in (None, why)
        )

    def records(self) -> tuple[LossRecord, ...]:
        """Return everything counted so far, in the order of first occurrence."""
        return tuple(
            LossRecord(
                source=source,
                key=key,
                reason=reason,
                count=entry.count,
                unknown=entry.unknown,
                trains=tuple((first, last) for first, last in entry.ranges or ()),
                truncated=entry.truncated,
            )
            for (source, key, reason), entry in self._entries.items()
        )


def total(records: Iterable[LossRecord]) -> int:
    """Return the number of losses in several records."""
    return sum(record.count for record in records)
