"""How long to wait before the next attempt."""

import random
from typing import Final

FIRST_S: Final = 0.1
LONGEST_S: Final = 0.7
"""A device that was restarted is followed again within 2 s, one attempt included."""
_GROWTH: Final = 1.6
_JITTER: Final = 0.25
"""Clients that lost the same server together must not all come back together."""


class Backoff:
    """Growing, scattered waiting times."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def next_s(self) -> float:
        """Return the next waiting time in s."""
        wait_s = self._next_s
        self._next_s = min(LONGEST_S, self._next_s * _GROWTH)
        return wait_s * (1 + random.uniform(-_JITTER, _JITTER))

    def reset(self) -> None:
        """Begin again, after success."""
        self._next_s = FIRST_S
