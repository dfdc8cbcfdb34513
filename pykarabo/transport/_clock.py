"""The only clock of a process; everything above gets the time from here or as an argument."""

import time
from typing import Protocol

from pykarabo.data import Timestamp


class Clock(Protocol):
    """Two clocks in ns: UTC since 1970, and one that never jumps."""

    def time_ns(self) -> int:
        """Return UTC in ns since 1970; may jump when it is set."""
        ...

    def monotonic_ns(self) -> int:
        """Return ns since some fixed moment; never jumps."""
        ...


class SystemClock:
    """The host's clocks."""

    def time_ns(self) -> int:
        """Return UTC in ns since 1970."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Return ns since some fixed moment."""
        return time.monotonic_ns()


def now() -> Timestamp:
    """Return the present time in UTC, without a train id; a device asks `Device.now`."""
    return Timestamp.from_ns(time.time_ns())
