"""How long a message was under way, without synchronised clocks.

Sender and receiver each stamp with their own monotonic clock. The difference is the clocks'
offset plus the time under way; the smallest difference seen is the offset plus the quickest
journey. What exceeds it is the time that this message waited somewhere: in a socket of a frozen
process, in a full queue, behind a cut. The minimum is taken over two windows that follow each
other, so that clocks may drift apart, while the first late message after a long silence is still
measured against messages that were not late.
"""

from typing import Final

WINDOW_NS: Final = 60_000_000_000
"""Clocks drift by some 50 ppm at most: 3 ms in a window, far below any deadline."""


class AgeMeter:
    """Measure the excess age of one peer's messages."""

    __slots__ = ("_current", "_previous", "_window_end")

    def __init__(self) -> None:
        self._previous: int | None = None
        self._current: int | None = None
        self._window_end = 0

    def age_ns(self, sent_ns: int, now_ns: int) -> int:
        """Return how much longer than the quickest recent message this one took, in ns."""
        difference = now_ns - sent_ns
        if now_ns >= self._window_end:
            if self._current is not None:
                self._previous = self._current
            self._current = difference
            self._window_end = now_ns + WINDOW_NS
        elif self._current is None or difference < self._current:
            self._current = difference
        least = self._current
        if self._previous is not None and self._previous < least:
            least = self._previous
        return difference - least
