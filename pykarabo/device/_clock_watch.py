"""Notices when a host's UTC was set, and how far it is from that of the trains."""

from collections import deque
from typing import Final

from pykarabo.transport import Clock

JUMP_NS: Final = 50_000_000
"""Half a train. Clocks that are corrected slowly change by 0.5 ms per second at most."""
_UNSURE_NS: Final = JUMP_NS // 5
"""Two clocks that were read so far apart in time cannot be compared."""
_LATEST: Final = 16
"""So many ticks are looked at: the one that was least delayed tells the clocks' difference."""


class ClockWatch:
    """Compares UTC with the clock that never jumps.

    Attributes:
        jumps: how often UTC was set.
        last_jump_ns: how far it was set forward the last time, negative for back.
    """

    def __init__(self, clock: Clock) -> None:
        self.jumps = 0
        self.last_jump_ns = 0
        self._clock = clock
        self._apart_ns: int | None = None

    def look(self) -> int:
        """Return by how many ns UTC was set since the last time; 0 if it was not."""
        before_ns = self._clock.monotonic_ns()
        utc_ns = self._clock.time_ns()
        if self._clock.monotonic_ns() - before_ns > _UNSURE_NS:
            return 0
        apart_ns = utc_ns - before_ns
        last_ns, self._apart_ns = self._apart_ns, apart_ns
        if last_ns is None or abs(apart_ns - last_ns) < JUMP_NS:
            return 0
        self.jumps += 1
        self.last_jump_ns = apart_ns - last_ns
        return self.last_jump_ns


class OffsetMeter:
    """Tells how far this host's UTC is ahead of another's, from messages that carry its time.

    A message can be late but not early, so of several the smallest difference is the best.
    """

    def __init__(self) -> None:
        self._latest: deque[int] = deque(maxlen=_LATEST)

    def take(self, theirs_ns: int, ours_ns: int) -> None:
        """Note their time in a message and ours at its arrival."""
        self._latest.append(ours_ns - theirs_ns)

    def forget(self) -> None:
        """Begin anew, because one of the clocks was set."""
        self._latest.clear()

    @property
    def offset_ns(self) -> int | None:
        """How far we are ahead; None before there were enough messages."""
        return min(self._latest) if len(self._latest) == _LATEST else None
