"""Refusals that are repeated again and again: the first ones have a line each, the others one.

A program that calls in a loop what it may not would otherwise fill the disk, half a kilobyte for
each call.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

WINDOW_S: Final = 1.0
"""What is like something within this time is told together with it."""
FIRST: Final = 20
"""So many have lines of their own: what somebody does by hand is told in full."""
MOST_KINDS: Final = 50
"""More kinds in a window than these are counted as one: names can be made up."""
_T = TypeVar("_T")


@dataclass(slots=True)
class Group(Generic[_T]):
    """Refusals of a kind.

    Attributes:
        since_ns: when the first of them was that has no line of its own.
        times: how many those are.
        last: the latest of them.
    """

    alone: int = 0
    since_ns: int = 0
    times: int = 0
    last: _T | None = None


class Repeats(Generic[_T]):
    """Tells which refusals have a line of their own; time is an argument."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group[_T]] = {}
        self._until_ns = 0

    @property
    def due_ns(self) -> int | None:
        """When lines are due for what was held back; None when nothing was."""
        return self._until_ns if any(group.times for group in self._groups.values()) else None

    def is_told(self, kind: Hashable, entry: _T, now_ns: int) -> bool:
        """Take a refusal; returns whether it has a line of its own.

        `ended` must have been asked before for what was held back until `now_ns`.
        """
        if not self._groups:
            self._until_ns = now_ns + int(WINDOW_S * 1e9)
        if kind not in self._groups and len(self._groups) >= MOST_KINDS:
            kind = None
        group = self._groups.setdefault(kind, Group())
        if group.alone < FIRST:
            group.alone += 1
            return True
        if not group.times:
            group.since_ns = now_ns
        group.times += 1
        group.last = entry
        return False

    def ended(self, now_ns: int, *, is_last: bool = False) -> Iterator[tuple[_T, int, int]]:
        """Return what was held back if its time is over: the latest, how many, since when."""
        if not is_last and now_ns < self._until_ns:
            return
        groups, self._groups = self._groups, {}
        for group in groups.values():
            if group.last is not None:
                yield group.last, group.times, group.since_ns
