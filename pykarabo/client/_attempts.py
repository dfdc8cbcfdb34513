"""Whether a call that failed is made again, and until when; both kinds of client ask here."""

from typing import Final

from pykarabo.errors import (
    ConnectionLostError,
    ExpiredError,
    HelloRequiredError,
    NotConnectedError,
    OutcomeUnknownError,
    PykaraboError,
    WrongInstanceError,
)
from pykarabo.transport import time_left_s
from pykarabo.wire import READS, Request, Target

CERTAINLY_NOT_RUN: Final = (NotConnectedError, WrongInstanceError, HelloRequiredError)
"""Errors after which a call may be made again at the device's new place."""
_NOTHING_DONE: Final = (*CERTAINLY_NOT_RUN, ExpiredError)
_PAUSE_S: Final = 0.1


class Attempts:
    """The attempts at one call.

    A call that certainly was not run, because the device has moved or was restarted, is made once
    more at its new place, and so is one that only reads. One whose outcome is unknown is made
    again only where that cannot run it twice: the caller gave it a key and the device's life is
    still the same, or the command was declared idempotent.

    Args:
        timeout_s: for all attempts together; less where the call under way has less time left.
        request: what is asked for; with a key the server runs it once however often it is sent.
        idempotent: whether running it twice is the same as running it once.

    Raises:
        ExpiredError: no time is left; nothing was done.
    """

    def __init__(
        self, request: Request, timeout_s: float, now_ns: int, *, idempotent: bool = False
    ) -> None:
        self.deadline_ns = now_ns + int(time_left_s(timeout_s, now_ns) * 1e9)
        self._keyed = getattr(request, "once", None) is not None
        self._reads = isinstance(request, READS)
        self._idempotent = idempotent
        self._moved = False
        self._target: Target | None = None
        self._unsure: OutcomeUnknownError | None = None

    def left_s(self, now_ns: int) -> float:
        """Return how long the present attempt may take."""
        return max(0.0, self.deadline_ns - now_ns) / 1e9

    def aim(self, target: Target) -> None:
        """Tell whom the next attempt is for; raises when it could run a call a second time."""
        if self._unsure is not None and not self._idempotent and target != self._target:
            raise self._unsure
        self._target = target

    def failed(self, error: PykaraboError, now_ns: int) -> float:
        """Return after how many seconds to try again; raises what the caller is to be told."""
        if error is self._unsure:  # `aim` has refused
            raise error
        left = self.deadline_ns > now_ns
        if self._may_have_run(error):
            if left and isinstance(error, ConnectionLostError):
                self._unsure = error
                return _PAUSE_S
            raise error
        if self._unsure is not None:
            if left and isinstance(error, _NOTHING_DONE):
                return _PAUSE_S
            raise self._unsure
        if left and self._is_harmless(error) and not self._moved:
            self._moved = True
            return 0.0
        raise error

    def _is_harmless(self, error: PykaraboError) -> bool:
        """Whether nothing was run, or nothing that changes anything."""
        return isinstance(error, _NOTHING_DONE) or (
            self._reads and isinstance(error, ConnectionLostError)
        )

    def _may_have_run(self, error: PykaraboError) -> bool:
        """Whether the outcome is unknown and the call may be sent again."""
        return isinstance(error, OutcomeUnknownError) and (self._keyed or self._idempotent)
