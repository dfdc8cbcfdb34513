"""A clock that stands still until it is told to go on, and takes an event loop with it.

The loop's own time is replaced while the clock drives it: timers fire when the clock has gone so
far, in their order, and each of them sees the moment that it waited for. What the loop does
without waiting for time (calls, messages in memory, worker threads) goes on as ever.
"""

import asyncio
import contextlib
import heapq
import math
import time
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

_driven: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, "FakeClock"]] = (
    weakref.WeakKeyDictionary()
)
_LOOK_S: Final = 0.001
_PATIENCE_S: Final = 2.0
"""A worker thread that has not ended by then may be waiting for the clock itself."""
_QUIET_ROUNDS: Final = 2
"""A loop sees timers and sockets once per round: what it did in one may be due in the next."""
_ROUNDS: Final = 100_000
"""A loop that has something to do after so many rounds always has."""


class FakeClock:
    """The clocks of a device under a test's control.

    Give it to `device`, `run_device` or `run_facility`: the devices' time stamps and everything
    that waits in their event loop go by it. It drives asyncio's own event loops, not uvloop's.

    Args:
        time_ns: UTC in ns since 1970 to begin with.
        settle_s: for how long, in real seconds, nothing may have happened before time goes on;
            some milliseconds for devices that speak over real sockets.
        drives_loop: False leaves the event loop to the host's time: only time stamps, and what
            reads the clock itself, go by this one.
    """

    def __init__(
        self,
        time_ns: int = 1_700_000_000_000_000_000,
        *,
        settle_s: float = 0.0,
        drives_loop: bool = True,
    ) -> None:
        self.drives_loop = drives_loop
        self._time_ns = time_ns
        self._monotonic_ns = 0
        self._settle_s = settle_s
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._threads: set[asyncio.Future[Any]] = set()

    def time_ns(self) -> int:
        """Return UTC in ns since 1970."""
        return self._time_ns

    def monotonic_ns(self) -> int:
        """Return ns since the clock was made."""
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let both clocks jump; what waits for a moment in between comes late."""
        self._go_on(round(seconds * 1e9))

    def set_utc(self, time_ns: int) -> None:
        """Let UTC jump, as when a host's clock is set."""
        self._time_ns = time_ns

    def _go_on(self, step_ns: int) -> None:
        self._time_ns += step_ns
        self._monotonic_ns += step_ns

    # -- letting time pass in an event loop that the clock drives ---------------------------------

    async def run_for(self, seconds: float) -> None:
        """Let time pass: all that becomes due on the way happens, each at its moment."""
        end_ns = self._monotonic_ns + round(seconds * 1e9)
        await self.settle()
        while self._monotonic_ns < end_ns:
            await self.run_to_next(end_ns)

    async def run_through(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Let time pass until `work` has ended; returns its result or raises what it raised.

        Raises:
            RuntimeError: nothing is due any more, so that it would never end.
        """
        task = asyncio.ensure_future(work)
        try:
            await self.settle()
            while not task.done():
                if self._next_due_ns() is None and not self._threads:
                    raise RuntimeError(f"{task} waits for what no passing of time can bring")
                await self.run_to_next()
            return task.result()
        finally:
            task.cancel()

    async def run_to_next(self, limit_ns: int | None = None) -> None:
        """Let time pass until the next thing is due and has happened.

        Args:
            limit_ns: of the monotonic clock: go no further.
        """
        moments = [at_ns for at_ns in (self._next_due_ns(), limit_ns) if at_ns is not None]
        if moments:
            self._go_on(min(moments) - self._monotonic_ns)
        await self.settle()

    def _next_due_ns(self) -> int | None:
        """Return the moment of the first timer that is still wanted."""
        timers = self._timers
        while timers and (timers[0][2].cancelled() or timers[0][0] <= self._monotonic_ns):
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    async def settle(self) -> None:
        """Wait, while the time stands still, until nothing is left to do."""
        loop = asyncio.get_running_loop()
        quiet_since = time.monotonic()
        patience = quiet_since + _PATIENCE_S
        quiet_rounds = 0
        for _round in range(_ROUNDS):
            await asyncio.sleep(0)
            now = time.monotonic()
            if getattr(loop, "_ready"):  # noqa: B009 - asyncio tells it in no other way
                quiet_since, quiet_rounds = now, 0
                continue
            quiet_rounds += 1
            working = self._threads and now < patience
            if quiet_rounds < _QUIET_ROUNDS:
                continue
            if not working and now - quiet_since >= self._settle_s:
                return
            time.sleep(_LOOK_S)  # noqa: ASYNC251 - the loop's timers stand still

    # -- the loop ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def driving(self) -> Generator[None, None, None]:
        """Drive the running event loop.

        Raises:
            RuntimeError: another clock drives it, or it is no loop of asyncio's.
        """
        loop = asyncio.get_running_loop()
        if loop in _driven:
            raise RuntimeError("another FakeClock drives this event loop")
        if not isinstance(loop, asyncio.BaseEventLoop):
            raise RuntimeError(f"a FakeClock cannot drive the event loops of {type(loop)}")
        mine = self._replacements(loop)
        _driven[loop] = self
        vars(loop).update(mine)
        try:
            yield
        finally:
            for name in mine:
                delattr(loop, name)
            del _driven[loop]
            self._timers.clear()

    def _replacements(self, loop: asyncio.AbstractEventLoop) -> dict[str, Callable[..., Any]]:
        """Return what takes the place of the loop's own methods."""
        call_at, in_executor = loop.call_at, loop.run_in_executor
        origin_s = loop.time() - self._monotonic_ns / 1e9

        def fake_time() -> float:
            return origin_s + self._monotonic_ns / 1e9

        def noted_call_at(
            when: float, callback: Callable[..., object], *args: Any, context: Any = None
        ) -> asyncio.TimerHandle:
            handle = call_at(when, callback, *args, context=context)
            self._numbers += 1
            heapq.heappush(self._timers, (_to_ns(when - origin_s), self._numbers, handle))
            return handle

        def noted_in_executor(executor: Any, func: Callable[..., Any], *args: Any) -> Any:
            future = in_executor(executor, func, *args)
            self._threads.add(future)
            future.add_done_callback(self._threads.discard)
            return future

        return {
            "time": fake_time,
            "call_at": noted_call_at,
            "run_in_executor": noted_in_executor,
        }


def _to_ns(seconds: float) -> int:
    """Return ns, rounded up: what is due then is due."""
    return math.ceil(seconds * 1e9)


def clock_of(loop: asyncio.AbstractEventLoop) -> FakeClock | None:
    """Return the clock that drives an event loop, None when it goes by the host's."""
    return _driven.get(loop)
