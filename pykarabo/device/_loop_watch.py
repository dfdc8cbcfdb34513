"""Noticing, from a thread, that the event loop stands still, and naming the code that stops it.

One device that waits in the wrong way (``time.sleep`` in a coroutine, a driver call that blocks)
stops every device of its process. The loop itself cannot tell while it stands; the thread can.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

_log: Final = logging.getLogger(__name__)
TICK_S: Final = 0.1
BLOCKED_S: Final = 0.5
"""A loop that is later than this has stopped in somebody's code; its stack is logged."""
HOPELESS_S: Final = 2.0
"""Others are told: they cannot use the devices of this process now."""


@dataclass(frozen=True, slots=True)
class Blockage:
    """What stops the loop.

    Attributes:
        seconds: for how long it has stood so far.
        culprit: file, line and function, and the device if it is one's.
    """

    seconds: float
    culprit: str


class LoopWatch:
    """Watches the running event loop.

    Args:
        busy: called, in the watching thread, when the loop has stood for `HOPELESS_S`.

    Attributes:
        latest: the latest blockage.
        longest_s: the longest one.
    """

    def __init__(self, busy: Callable[[Blockage], None]) -> None:
        self._busy = busy
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stop = threading.Event()
        self._ticked = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)
        self.latest: Blockage | None = None
        self.longest_s = 0.0

    def start(self) -> None:
        """Begin to watch."""
        self._tick()
        self._thread.start()

    def _tick(self) -> None:
        now = time.monotonic()
        late_s = now - self._ticked - TICK_S
        if late_s > BLOCKED_S:
            self.longest_s = max(self.longest_s, late_s)
        self._ticked = now
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _watch(self) -> None:
        logged = told = 0.0
        while not self._stop.wait(TICK_S):
            ticked = self._ticked
            late_s = time.monotonic() - ticked - TICK_S
            if late_s > BLOCKED_S and logged != ticked:
                logged = ticked
                self._note(late_s)
            if late_s > HOPELESS_S and told != ticked and self.latest is not None:
                told = ticked
                self._busy(Blockage(late_s, self.latest.culprit))

    def _note(self, late_s: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the only way
        if frame is None:
            return
        self.latest = Blockage(late_s, _culprit(frame))
        stack = "".join(traceback.format_stack(frame))
        _log.error(
            "the event loop has been standing for %.1f s in %s; every device of this process "
            "waits. Use 'await', or make the command a plain function, which runs in a thread.\n%s",
            late_s,
            self.latest.culprit,
            stack,
        )

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread.is_alive():
            self._thread.join()


def _culprit(innermost: FrameType) -> str:
    """Name the innermost frame and the device whose code it runs."""
    frame: FrameType | None = innermost
    device_id = ""
    while frame is not None and not device_id:
        device_id = _device_of(frame.f_locals.get("self"))
        frame = frame.f_back
    code = innermost.f_code
    place = f"{code.co_filename}:{innermost.f_lineno} ({code.co_name})"
    return f"device '{device_id}', {place}" if device_id else place


def _device_of(owner: Any) -> str:
    context = getattr(owner, "_context", None)
    device_id = getattr(context, "device_id", "")
    return device_id if isinstance(device_id, str) else ""
