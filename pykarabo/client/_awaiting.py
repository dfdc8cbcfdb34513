"""Waiting for devices in asynchronous code: the twins of `wait_until` and its kin."""

import asyncio
import functools
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, overload

from pykarabo.data import PropertyValue

from ._observing import DeviceRef, Observation
from ._updates import Update

if TYPE_CHECKING:
    from ._client import Client
    from ._proxy import AsyncDeviceProxy

_LOOK_AGAIN_S = 0.5


async def await_until(
    condition: Callable[[], Any],
    *,
    timeout_s: float | None = None,
    give_up_if_away: bool = False,
) -> Any:
    """Wait until `condition()` is true and return what it returned.

    The asynchronous twin of `wait_until`. The condition is a plain function that reads attributes
    of asynchronous proxies; it sees values that were read after this call, and every later one.

    Args:
        timeout_s: give up after so long; None never gives up.
        give_up_if_away: raise as soon as a device that was seen has gone away.

    Raises:
        CallTimeoutError: it did not become true in time; it tells what was last seen.
        StaleValueError: a device went away, and `give_up_if_away` was asked for.
    """
    what = "the condition did not become true"
    return await _Wait(condition, give_up_if_away).run(what, timeout_s)


async def await_while(
    condition: Callable[[], Any],
    *,
    timeout_s: float | None = None,
    give_up_if_away: bool = False,
) -> None:
    """Wait until `condition()` is false; like `await_until` in all else."""
    what = "the condition did not become false"
    await _Wait(lambda: not condition(), give_up_if_away).run(what, timeout_s)


@overload
async def await_new(
    device: "AsyncDeviceProxy", key: str, /, *, timeout_s: float | None = None
) -> PropertyValue: ...
@overload
async def await_new(
    device: "AsyncDeviceProxy", /, *, timeout_s: float | None = None
) -> dict[str, PropertyValue]: ...
@overload
async def await_new(
    device: "AsyncDeviceProxy",
    key: str,
    another: str,
    /,
    *more: str,
    timeout_s: float | None = None,
) -> dict[str, PropertyValue]: ...
async def await_new(
    device: "AsyncDeviceProxy", /, *keys: str, timeout_s: float | None = None
) -> PropertyValue | dict[str, PropertyValue]:
    """Wait for the next change of a property, of one of several, or of any of the device.

    The asynchronous twin of `wait_new`.

    Returns:
        The new value where one property is named, else a map of what has changed together.

    Raises:
        CallTimeoutError: there was none in time; it tells the present value.
        NotConnectedError: the device cannot be followed.
    """
    async with device.changes(*keys, on_gap=lambda _gap: None) as changes:
        return await changes.get(timeout_s=timeout_s)


class _Wait:
    """A condition that is evaluated while the updates come in, so that none is passed over."""

    def __init__(self, condition: Callable[[], Any], give_up_if_away: bool) -> None:
        self._condition = condition
        self._give_up_if_away = give_up_if_away
        self._observation = Observation(self._follow)
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._context = copy_context()
        self._followed: list[tuple[Client, str, Callable[[Update], None]]] = []

    async def run(self, what: str, timeout_s: float | None) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                while not self._done.done():
                    self._context.run(self._look)
                    await asyncio.wait((self._done,), timeout=_LOOK_AGAIN_S)
        except TimeoutError:
            if not self._done.done():
                raise self._observation.timeout(what, timeout_s) from None
        finally:
            for client, device_id, listener in self._followed:
                client.unfollow(device_id, listener)
        return self._done.result()

    def _look(self) -> None:
        if self._done.done():
            return
        try:
            verdict = self._observation.evaluate(self._condition)
            if self._give_up_if_away:
                self._observation.require_present()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self._done.set_exception(error)
            return
        if verdict.result:
            self._done.set_result(verdict.result)

    def _follow(self, device: DeviceRef) -> None:
        client: Client = device.place
        listener = functools.partial(self._update, device)
        self._followed.append((client, device.device_id, listener))
        client.follow(device.device_id, listener, anew=True)

    def _update(self, device: DeviceRef, update: Update) -> None:
        if self._observation.take(device, update) or self._give_up_if_away:
            self._context.run(self._look)
