"""Waiting for devices in code that blocks.

Calls of blocking code go out in its own thread. Events, however, must be read all the time, or
they are lost and values grow old unseen; therefore the first wait or watch starts one background
thread per process that reads them.
"""

import asyncio
import atexit
import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from pykarabo.errors import CallTimeoutError
from pykarabo.transport import domain_name

from ._blocking_proxy import DeviceProxy, accessed
from ._client import Client
from ._records import split_target
from ._updates import Update

LOOK_AGAIN_S: Final = 0.5
"""A condition may depend on more than devices (time, files): evaluate it this often at least."""
_MAX_UPDATES: Final = 1_000
_FULL_S: Final = 0.01

_T = TypeVar("_T")


class _EventThread:
    """The event loop that reads events for blocking code."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._clients: dict[str, Client] = {}
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

    async def client(self, domain: str | None) -> Client:
        """Return the loop's client of a domain."""
        name = domain_name(domain)
        if name not in self._clients:
            self._clients[name] = Client(name)
        return self._clients[name]

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
        self.thread: _EventThread | None = None
        self.pid = os.getpid()

    def get(self) -> _EventThread:
        with self.lock:
            if self.thread is None or self.pid != os.getpid():
                self.thread = _EventThread()
                self.pid = os.getpid()
            return self.thread

    def close(self) -> None:
        with self.lock:
            thread, self.thread = self.thread, None
        if thread is not None and self.pid == os.getpid():
            thread.close()


_shared: Final = _Shared()
atexit.register(_shared.close)


def stop_watching() -> None:
    """End the background thread that reads events; the next wait or watch starts another."""
    _shared.close()


def watch(
    *targets: str, domain: str | None = None, timeout_s: float | None = None
) -> Generator[Update, None, None]:
    """Yield what happens to targets such as ``MOTOR/1`` or ``MOTOR/1.actual_position``.

    First comes a `Live` with the present values; then `Change`, `Gap`, `Stale` and `Live` as
    they happen. The device need not exist yet.

    Args:
        timeout_s: end after so long; None never ends.

    Raises:
        InvalidNameError: a target that cannot be a device's.
    """
    for target in targets:
        split_target(target)
    thread = _shared.get()
    updates: queue.Queue[Update] = queue.Queue(_MAX_UPDATES)

    async def pump() -> None:
        client = await thread.client(domain)
        with_watch = client.watch(*targets)
        async with with_watch:
            async for update in with_watch:
                while updates.full():  # noqa: ASYNC110 - emptied by another thread
                    await asyncio.sleep(_FULL_S)
                updates.put_nowait(update)

    running = thread.start(pump())
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        yield from _until(updates, deadline)
    finally:
        running.cancel()


def _until(updates: "queue.Queue[Update]", deadline: float | None) -> Iterator[Update]:
    while True:
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            return
        try:
            yield updates.get(timeout=left_s)
        except queue.Empty:
            return


def wait_until(condition: Callable[[], Any], *, timeout_s: float | None = None) -> Any:
    """Wait until `condition()` is true and return what it returned.

    It is evaluated whenever a device that it reads has changed, and twice a second besides.

    Args:
        condition: reads blocking proxies, for example ``lambda: motor.state == State.ON``.
        timeout_s: give up after so long; None never gives up.

    Raises:
        CallTimeoutError: it did not become true in time.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    changed = threading.Event()
    followed = _FollowedProxies(changed)
    try:
        while True:
            changed.clear()
            result = followed.evaluate(condition)
            if result:
                return result
            left_s = LOOK_AGAIN_S
            if deadline is not None:
                left_s = min(left_s, deadline - time.monotonic())
            if left_s <= 0:
                raise CallTimeoutError(
                    f"the condition did not become true within {timeout_s} s",
                    remedy="look at the devices it reads: "
                    + ", ".join(sorted(followed.device_ids)),
                )
            changed.wait(left_s)
    finally:
        followed.close()


class _FollowedProxies:
    """The devices that a condition reads; their changes set an event."""

    def __init__(self, changed: threading.Event) -> None:
        self.device_ids: set[str] = set()
        self._changed = changed
        self._clients: list[tuple[Client, str]] = []

    def evaluate(self, condition: Callable[[], Any]) -> Any:
        noted: set[DeviceProxy] = set()
        token = accessed.set(noted)
        try:
            result = condition()
        finally:
            accessed.reset(token)
        if not result:
            for proxy in noted:
                if proxy.device_id not in self.device_ids:
                    self._follow(proxy)
        return result

    def _follow(self, proxy: DeviceProxy) -> None:
        self.device_ids.add(proxy.device_id)
        thread = _shared.get()

        async def follow() -> None:
            client = await thread.client(proxy.domain)
            client.follow(proxy.device_id, self._update)
            self._clients.append((client, proxy.device_id))

        thread.run(follow())

    def _update(self, _update: Update) -> None:
        self._changed.set()

    def close(self) -> None:
        for client, device_id in self._clients:
            _shared.get().later(functools.partial(client.unfollow, device_id, self._update))
