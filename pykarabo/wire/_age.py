"""How long a message was under way, without synchronised clocks.

Sender and receiver each stamp with their own monotonic clock. The difference is the clocks'
offset plus the time under way; the smallest difference seen is the offset plus the quickest
journey. What exceeds it is the time that this message waited somewhere: in a socket of a frozen
process, in a full queue, behind a cut. The minimum is taken over two windows that follow each
other, so that clocks may drift apart, while the first late message after a long silence is still
measured against messages that were not late. What the clocks may have drifted apart since the
minimum was seen is forgiven: the first call after a quiet weekend is not late.
"""

from typing import Final, NamedTuple

WINDOW_NS: Final = 60_000_000_000
"""Clocks drift by some 50 ppm at most: 3 ms in a window, far below any deadline."""
DRIFT_PPM: Final = 50
"""Two quartz clocks that nothing disciplines; with NTP it is a hundredth of that."""
_MILLION: Final = 1_000_000


class _Least(NamedTuple):
    """The smallest difference of a window and when it was seen."""

    difference_ns: int
    seen_ns: int

    def at(self, now_ns: int) -> int:
        """Return the largest difference that a message without delay may have now."""
        return self.difference_ns + (now_ns - self.seen_ns) * DRIFT_PPM // _MILLION


class AgeMeter:
    """Measure the excess age of one peer's messages."""

    __slots__ = ("_current", "_previous", "_window_end")

    def __init__(self) -> None:
        self._previous: _Least | None = None
        self._current: _Least | None = None
        self._window_end = 0

    def age_ns(self, sent_ns: int, now_ns: int) -> int:
        """Return how much longer than the quickest recent message this one took, in ns."""
        self.heard(sent_ns, now_ns)
        return max(0, now_ns - sent_ns - self._least_ns(now_ns))

    def heard(self, sent_ns: int, now_ns: int) -> None:
        """Take note of a message and when the peer sent it by its clock."""
        difference_ns = now_ns - sent_ns
        if self._current is None or now_ns >= self._window_end:
            self._previous = self._current
            self._current = _Least(difference_ns, now_ns)
            self._window_end = now_ns + WINDOW_NS
        elif difference_ns < self._current.difference_ns:
            self._current = _Least(difference_ns, now_ns)

    def _least_ns(self, now_ns: int) -> int:
        known = [least.at(now_ns) for least in (self._current, self._previous) if least is not None]
        return min(known) if known else 0

    def peer_time_ns(self, now_ns: int) -> int:
        """Return what the peer's clock shows, never later than it does.

        It shows what the quickest recent message told, and the time since; how long that message
        was under way is what it shows more. Before any message it is unknown: 0.
        """
        if self._current is None:
            return 0
        return max(0, now_ns - self._least_ns(now_ns))
