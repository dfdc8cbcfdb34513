"""Nothing is begun that nobody waits for any more."""

from pykarabo.errors import ExpiredError
from pykarabo.transport import Clock, is_awaited


class _TooLateError(ExpiredError):
    """Nobody waits any more for what has not begun yet."""


TOO_LATE = _TooLateError
"""What `require_time` raises; unlike an expired call to another device, nothing has run."""


def require_time(clock: Clock) -> None:
    """Refuse to begin what nobody waits for any more.

    This process was frozen, or others took long, and the caller's time is over or his connection
    has ended.

    Raises:
        ExpiredError: the caller was told that the outcome is unknown; nothing was executed.
    """
    if not is_awaited(clock.monotonic_ns()):
        raise _TooLateError(
            "the call waited at the device until its caller did not wait for it any more",
            remedy="nothing was executed: call again",
        )
