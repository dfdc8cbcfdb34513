"""The background thread that reads events for code that blocks.

Calls of blocking code go out in its own thread. Events, however, must be read all the time, or
they are lost and values grow old unseen; therefore the first wait or watch starts one background
thread per process that reads them.
"""

import asyncio
import atexit
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeAlias, TypeVar

from pykarabo.data import AccessLevel

from ._cancelling import stop_if_cancelled
from ._client import Client
from ._updates import Update
from ._watch import Watch

Place: TypeAlias = tuple[str, str | None, AccessLevel]
"""A domain, the endpoint of its directory where that is not the domain's own, and a role."""
LOOK_S: Final = 0.5
"""Whether the reading thread still lives, or its reader was cancelled, is looked at so often."""
_MAX_UPDATES: Final = 1_000
_FULL_S: Final = 0.01

_T = TypeVar("_T")


class EventThread:
    """The event loop that reads events for blocking code."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._clients: dict[Place, Client] = {}
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="pykarabo events", daemon=True
        )
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Run `work` in the loop without waiting."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run `work` in the loop and wait for its end."""
        return self.start(work).result()

    def later(self, call: Callable[[], object]) -> None:
        """Run `call` in the loop soon."""
        self._loop.call_soon_threadsafe(call)

    def client(self, place: Place) -> Client:
        """Return the loop's client of a domain; only for code that runs in the loop."""
        if place not in self._clients:
            domain, directory, role = place
            self._clients[place] = Client(domain, directory=directory, role=role)
        return self._clients[place]

    def close(self) -> None:
        """End the clients and the thread."""
        self.run(self._close_clients())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close_clients(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()


class _Shared:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: EventThread | None = None
        self.pid = os.getpid()

    def get(self) -> EventThread:
        with self.lock:
            if self.thread is None or self.pid != os.getpid():
                self.thread = EventThread()
                self.pid = os.getpid()
            return self.thread

    def close(self) -> None:
        with self.lock:
            thread, self.thread = self.thread, None
        if thread is not None and self.pid == os.getpid():
            thread.close()


_shared: Final = _Shared()
atexit.register(_shared.close)


def event_thread() -> EventThread:
    """Return the process's thread that reads events; starts it if need be."""
    return _shared.get()


def stop_watching() -> None:
    """End the background thread that reads events; the next wait or watch starts another."""
    _shared.close()


class UpdateStream:
    """The updates of a watch, read by the event thread and taken by another.

    Args:
        place: the domain.
        open_watch: makes the watch; runs in the event thread.
    """

    def __init__(self, place: Place, open_watch: Callable[[Client], Watch]) -> None:
        self._updates: queue.Queue[Update] = queue.Queue(_MAX_UPDATES)
        self._thread = event_thread()
        self._running = self._thread.start(self._pump(place, open_watch))

    async def _pump(self, place: Place, open_watch: Callable[[Client], Watch]) -> None:
        async with open_watch(self._thread.client(place)) as watch:
            async for update in watch:
                while self._updates.full():  # noqa: ASYNC110 - emptied by another thread
                    await asyncio.sleep(_FULL_S)
                self._updates.put_nowait(update)

    def get(self, deadline: float | None) -> Update | None:
        """Return the next update; None when none came before `deadline` (`time.monotonic`).

        Raises:
            CancelledByCallerError: the background work that waits here was cancelled.
        """
        while True:
            stop_if_cancelled()
            left_s = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
            try:
                return self._updates.get(timeout=left_s) if left_s > 0 else self._taken()
            except queue.Empty:
                if left_s <= 0:
                    return None
                if self._running.done():
                    self._running.result()
                    return None

    def _taken(self) -> Update:
        return self._updates.get_nowait()

    def close(self) -> None:
        """Stop reading."""
        self._running.cancel()
