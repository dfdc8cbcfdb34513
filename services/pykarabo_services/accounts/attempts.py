"""How often somebody may try: whoever guesses passwords gets nowhere, and hinders nobody.

Time is an argument.
"""

from collections import OrderedDict, deque
from typing import Final

from pykarabo.errors import TooManyAttemptsError

MAX_FAILURES: Final = 5
"""Whoever has forgotten his password tries three."""
WINDOW_S: Final = 60.0
_MAX_KEYS: Final = 10_000
"""Somebody may try under any number of names; above it those that were tried longest ago are
forgotten."""


class AttemptLimit:
    """Counts failures by user and by address, and refuses whoever has too many.

    An attempt counts as a failure from its begin, until it has succeeded: nobody gets more of them
    by trying at the same time.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, user: str, address: str, now_s: float) -> "Attempt":
        """Count an attempt.

        Raises:
            TooManyAttemptsError: there were too many failures; this one was not even looked at.
        """
        keys = [f"user {user}"] + ([f"address {address}"] if address else [])
        known = [self._recent(key, now_s) for key in keys]
        full = [failures for failures in known if len(failures) >= MAX_FAILURES]
        if full:
            wait_s = max(failures[-MAX_FAILURES] for failures in full) + WINDOW_S - now_s
            raise TooManyAttemptsError(
                f"there were {MAX_FAILURES} failures within a minute",
                remedy=f"try again in {max(1.0, wait_s):.0f} s",
            )
        for failures in known:
            failures.append(now_s)
        return Attempt(known, now_s)

    def _recent(self, key: str, now_s: float) -> deque[float]:
        failures = self._failures.setdefault(key, deque())
        self._failures.move_to_end(key)
        while failures and failures[0] <= now_s - WINDOW_S:
            failures.popleft()
        while len(self._failures) > _MAX_KEYS:
            self._failures.popitem(last=False)
        return failures


class Attempt:
    """One attempt; it has failed unless somebody says otherwise."""

    def __init__(self, failures: list[deque[float]], began_s: float) -> None:
        self._failures = failures
        self._began_s = began_s

    def took_back(self) -> None:
        """Count it no more: it has succeeded, or nobody could tell."""
        for failures in self._failures:
            if self._began_s in failures:
                failures.remove(self._began_s)
