"""Waiting for devices and watching them in code that blocks."""

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, overload

from pykarabo.data import PropertyValue
from pykarabo.transport import domain_name

from ._cancelling import stop_if_cancelled
from ._client import Client
from ._event_thread import UpdateStream, event_thread
from ._identity import asked_role
from ._observing import DeviceRef, Observation
from ._records import split_target
from ._updates import Update
from ._watch import MAX_WAITING

if TYPE_CHECKING:
    from ._blocking_proxy import DeviceProxy
    from ._watch import Follower

LOOK_AGAIN_S: Final = 0.5
"""A condition may depend on more than devices (time, files): evaluate it this often at least."""


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
    place = domain_name(domain), None, asked_role()
    updates = UpdateStream(place, lambda client: client.watch(*targets))
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        while (update := updates.get(deadline)) is not None:
            yield update
    finally:
        updates.close()


def wait_until(
    condition: Callable[[], Any],
    *,
    timeout_s: float | None = None,
    give_up_if_away: bool = False,
) -> Any:
    """Wait until `condition()` is true and return what it returned.

    It is evaluated for every change of the devices that it reads, in order, with the values that
    they had then; twice a second besides, for conditions that read the time or a file. Devices
    are followed, not polled. While one that it reads is away, it is neither true nor false; it is
    evaluated again with the present values when the device is back.

    Args:
        condition: reads blocking proxies, for example ``lambda: motor.state == State.ON``.
        timeout_s: give up after so long; None never gives up.
        give_up_if_away: raise as soon as a device that was seen has gone away.

    Raises:
        CallTimeoutError: it did not become true in time; it tells what was last seen.
        StaleValueError: a device went away, and `give_up_if_away` was asked for.
    """
    what = "the condition did not become true"
    return _Wait(condition, give_up_if_away).run(what, timeout_s)


def wait_while(
    condition: Callable[[], Any],
    *,
    timeout_s: float | None = None,
    give_up_if_away: bool = False,
) -> None:
    """Wait until `condition()` is false; like `wait_until` in all else."""
    what = "the condition did not become false"
    _Wait(lambda: not condition(), give_up_if_away).run(what, timeout_s)


@overload
def wait_new(
    device: "DeviceProxy", key: str, /, *, timeout_s: float | None = None
) -> PropertyValue: ...
@overload
def wait_new(
    device: "DeviceProxy", /, *, timeout_s: float | None = None
) -> dict[str, PropertyValue]: ...
@overload
def wait_new(
    device: "DeviceProxy", key: str, another: str, /, *more: str, timeout_s: float | None = None
) -> dict[str, PropertyValue]: ...
def wait_new(
    device: "DeviceProxy", /, *keys: str, timeout_s: float | None = None
) -> PropertyValue | dict[str, PropertyValue]:
    """Wait for the next change of a property, of one of several, or of any of the device.

    A value that is set again counts, even an equal one. A device that was away and is back with
    newer values has changed. What changes before the wait has begun is not seen: to change
    something and wait for it, use the proxy's `changes`.

    Returns:
        The new value where one property is named, else a map of what has changed together.

    Raises:
        CallTimeoutError: there was none in time; it tells the present value.
        NotConnectedError: the device cannot be followed.
    """
    with device.changes(*keys, on_gap=lambda _gap: None) as changes:
        return changes.get(timeout_s=timeout_s)


class _Wait:
    """A condition and the updates of what it reads, which the event thread brings."""

    def __init__(self, condition: Callable[[], Any], give_up_if_away: bool) -> None:
        self._condition = condition
        self._give_up_if_away = give_up_if_away
        self._observation = Observation(self._follow)
        self._updates: deque[tuple[DeviceRef, Update]] = deque()
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._followed: list[tuple[Client, DeviceRef, Follower, Callable[[Update], None]]] = []

    def run(self, what: str, timeout_s: float | None) -> Any:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while True:
                stop_if_cancelled()
                verdict = self._observation.evaluate(self._condition)
                if verdict.result:
                    return verdict.result
                if not self._go_on(deadline):
                    raise self._observation.timeout(what, timeout_s)
                if self._give_up_if_away:
                    self._observation.require_present()
        finally:
            self._close()

    def _go_on(self, deadline: float | None) -> bool:
        """Take updates up to the first that matters; returns whether there is time left."""
        look_at = time.monotonic() + LOOK_AGAIN_S
        until = look_at if deadline is None else min(look_at, deadline)
        while True:
            self._news.clear()
            while self._updates:
                with self._lock:
                    device, update = self._updates.popleft()
                if self._observation.take(device, update):
                    return True
            left_s = until - time.monotonic()
            if left_s <= 0:
                return deadline is None or time.monotonic() < deadline
            self._news.wait(left_s)

    def _follow(self, device: DeviceRef) -> None:
        thread = event_thread()

        async def follow() -> None:
            client = thread.client(device.place)
            listener = functools.partial(self._update, device)
            follower = client.follow(device.device_id, listener, anew=True)
            self._followed.append((client, device, follower, listener))

        thread.run(follow())

    def _update(self, device: DeviceRef, update: Update) -> None:
        with self._lock:
            self._updates.append((device, update))
            if len(self._updates) > MAX_WAITING:
                self._updates.clear()
                self._updates.extend(
                    (followed, follower.present()) for _, followed, follower, _ in self._followed
                )
        self._news.set()

    def _close(self) -> None:
        for client, device, _follower, listener in self._followed:
            event_thread().later(functools.partial(client.unfollow, device.device_id, listener))
