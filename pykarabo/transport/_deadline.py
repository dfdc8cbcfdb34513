"""The time that is left to whoever works on a call: it travels with the calls that he makes.

A command that was called with two seconds left must not wait five for another device: nobody
would be there for the answer. The deadline therefore belongs to the context in which a call is
worked on, and everything called from there inherits it. Background tasks do not, see `TaskOwner`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Final

from pykarabo.errors import ExpiredError

_deadline_ns: Final[ContextVar[int | None]] = ContextVar("deadline", default=None)


@contextmanager
def deadline(at_ns: int | None) -> Generator[None, None, None]:
    """Work until `at_ns` of the host's monotonic clock at most; None takes the limit away."""
    token: Token[int | None] = _deadline_ns.set(at_ns)
    try:
        yield
    finally:
        _deadline_ns.reset(token)


def has_time(now_ns: int) -> bool:
    """Tell whether whoever asked for what is being worked on still waits for it."""
    limit_ns = _deadline_ns.get()
    return limit_ns is None or now_ns < limit_ns


def time_left_s(wanted_s: float, now_ns: int) -> float:
    """Return for how long a call may wait: `wanted_s`, or less where a deadline is nearer.

    Raises:
        ExpiredError: the deadline has passed; the call was not made.
    """
    limit_ns = _deadline_ns.get()
    if limit_ns is None:
        return wanted_s
    left_s = (limit_ns - now_ns) / 1e9
    if left_s <= 0:
        raise ExpiredError(
            "no time is left for another call: the caller of this one has given up",
            remedy="allow more time (timeout_s)",
        )
    return min(wanted_s, left_s)
