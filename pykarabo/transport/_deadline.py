"""The time that is left to whoever works on a call: it travels with the calls that he makes.

A command that was called with two seconds left must not wait five for another device: nobody
would be there for the answer. The deadline therefore belongs to the context in which a call is
worked on, and everything called from there inherits it. Background tasks do not, see `TaskOwner`.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Final, NamedTuple

from pykarabo.errors import ExpiredError


class _Limit(NamedTuple):
    at_ns: int
    given_up: Callable[[], bool]


_limit: Final[ContextVar[_Limit | None]] = ContextVar("deadline", default=None)


def _never() -> bool:
    return False


@contextmanager
def deadline(
    at_ns: int | None, given_up: Callable[[], bool] = _never
) -> Generator[None, None, None]:
    """Work until `at_ns` of the host's monotonic clock at most; None takes the limit away.

    Args:
        given_up: tells whether the caller has given up already, so that nothing must begin.
    """
    limit = None if at_ns is None else _Limit(at_ns, given_up)
    token: Token[_Limit | None] = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


def is_awaited(now_ns: int) -> bool:
    """Tell whether whoever asked for what is being worked on still waits for it."""
    limit = _limit.get()
    return limit is None or (now_ns < limit.at_ns and not limit.given_up())


def time_left_s(wanted_s: float, now_ns: int) -> float:
    """Return for how long a call may wait: `wanted_s`, or less where a deadline is nearer.

    Raises:
        ExpiredError: the deadline has passed; the call was not made.
    """
    limit = _limit.get()
    if limit is None:
        return wanted_s
    left_s = (limit.at_ns - now_ns) / 1e9
    if left_s <= 0:
        raise ExpiredError(
            "no time is left for another call: the caller of this one has given up",
            remedy="allow more time (timeout_s)",
        )
    return min(wanted_s, left_s)
