"""Ending work in a thread: nobody can stop a thread, but it can look whether it is to stop."""

import threading
from contextvars import ContextVar
from typing import Final

from pykarabo.errors import CancelledByCallerError

cancelled: Final[ContextVar[threading.Event | None]] = ContextVar("cancelled", default=None)
"""Set in work that `background` has started: set as soon as that is to end."""


def stop_if_cancelled() -> None:
    """Raise `CancelledByCallerError` in background work that was cancelled; called by calls."""
    event = cancelled.get()
    if event is not None and event.is_set():
        raise CancelledByCallerError(
            "this background work was cancelled before its next call of a device",
            remedy="look at what it has done already",
        )
