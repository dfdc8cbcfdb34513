"""Locking a device: while a program holds its lock, no other one writes to it or runs commands.

The device counts who holds it; here it is seen that a program waits until the lock is free, that
the lock is renewed while it is held, and that losing it does not stay unseen.
"""

import asyncio
import threading
import time
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pykarabo.errors import CallTimeoutError, LockedError, LockLostError, PykaraboError
from pykarabo.wire import Call

from ._cancelling import stop_if_cancelled
from ._observing import DeviceRef, observed

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient
    from ._client import Client

_RENEWALS: Final = 3
"""How often a lease is renewed: two may fail before it ends."""
_PAUSE_S: Final = 0.05
"""Others who waited for the same device try at the same moment."""
_INSIDE: Final[ContextVar[frozenset[object]]] = ContextVar("locks_held", default=frozenset())
_H = TypeVar("_H", bound="_Held")


def _locking(device_id: str, lease_s: float) -> Call:
    return Call(device_id, "lock", [lease_s])


def _is_free(device: DeviceRef) -> bool:
    """Tell in a condition whether nobody holds the device's lock."""
    values = observed(device, ("locked_by",)) or {}
    return not any(value.value for value in values.values())


class _Keeper:
    """Renews a lock that is held.

    Attributes:
        lost: why it is not held any more; None while it is.
    """

    def __init__(self, device_id: str, lease_s: float, instance: str) -> None:
        self.lost: str | None = None
        self._device_id = device_id
        self._lease_s = lease_s
        self._instance = instance

    async def run(self, client: "Client") -> None:
        """Renew the lock until cancelled, or until it is lost."""
        good_until = time.monotonic() + self._lease_s
        pause_s = self._lease_s / _RENEWALS
        while self.lost is None:
            await asyncio.sleep(pause_s)
            try:
                await client.request(
                    self._device_id,
                    _locking(self._device_id, self._lease_s),
                    timeout_s=max(pause_s, good_until - time.monotonic()),
                    idempotent=True,
                )
                record = await client.resolve(self._device_id)
            except LockedError as error:
                self.lost = error.message
            except PykaraboError as error:
                if time.monotonic() > good_until:
                    self.lost = f"it could not be renewed: {error.message}"
            else:
                good_until = time.monotonic() + self._lease_s
                if record.instance != self._instance:
                    self.lost = "the device was restarted"

    def require_held(self) -> None:
        """Raise `LockLostError` if the lock is not held any more."""
        if self.lost is not None:
            raise LockLostError(
                f"the lock of '{self._device_id}' was lost: {self.lost}",
                device=self._device_id,
                remedy="others may have used it meanwhile: look at it before you go on",
            )


def _left_s(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _deadline(wait_s: float | None) -> float | None:
    return None if wait_s is None else time.monotonic() + wait_s


class _Held:
    """A lock as this program holds it; `count` is how often it was entered."""

    def __init__(self) -> None:
        self.count = 0
        self.keeper: _Keeper | None = None

    def end(self) -> _Keeper | None:
        """Forget that it is held."""
        keeper, self.keeper = self.keeper, None
        return keeper


class Hold(_Held):
    """The lock of one device, for the threads of a program: they take turns."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = threading.RLock()
        self.renewing: Future[None] | None = None


class AsyncHold(_Held):
    """The lock of one device, for the tasks of a program: they take turns."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = asyncio.Lock()
        self.token = object()
        self.renewing: asyncio.Task[Any] | None = None


class _Lock(Generic[_H]):
    """What both kinds of lock have in common.

    Attributes:
        lost: why the lock is not held any more; None as long as it is.
    """

    _hold: _H

    def __init__(self, device: DeviceRef, wait_s: float | None, lease_s: float) -> None:
        self.device_id = device.device_id
        self._device = device
        self._wait_s = wait_s
        self._lease_s = lease_s

    @property
    def lost(self) -> str | None:
        keeper = self._hold.keeper
        return None if keeper is None else keeper.lost

    def _is_used_here(self) -> LockedError:
        return LockedError(
            f"device '{self.device_id}' is locked by another part of this program",
            device=self.device_id,
            remedy="wait longer, or end what holds it",
        )

    def _note(self, keeper: _Keeper | None, error: BaseException | None) -> None:
        """Tell at the end of the block that the lock was lost in it, once and visibly."""
        if keeper is None or keeper.lost is None:
            return
        if error is None:
            keeper.require_held()
        else:
            error.add_note(f"the lock of '{self.device_id}' was lost: {keeper.lost}")


class DeviceLock(_Lock[Hold]):
    """The lock of a device as a context manager; get one from a proxy's `lock`."""

    def __init__(
        self, client: "BlockingClient", device: DeviceRef, wait_s: float | None, lease_s: float
    ) -> None:
        super().__init__(device, wait_s, lease_s)
        self._client = client
        self._hold = client.holds.setdefault(device.device_id, Hold())

    def __enter__(self) -> "DeviceLock":
        hold = self._hold
        deadline = _deadline(self._wait_s)
        if not hold.turn.acquire(timeout=-1 if self._wait_s is None else self._wait_s):
            raise self._is_used_here()
        try:
            if hold.count == 0:
                self._take(deadline)
            hold.count += 1
        except BaseException:
            hold.turn.release()
            raise
        return self

    def _take(self, deadline: float | None) -> None:
        from ._event_thread import event_thread

        while not self._try_to_take(deadline):
            pass
        instance = self._client.resolve(self.device_id).instance
        keeper = _Keeper(self.device_id, self._lease_s, instance)
        thread = event_thread()

        async def keep() -> None:
            await keeper.run(thread.client(self._device.place))

        self._hold.keeper = keeper
        self._hold.renewing = thread.start(keep())

    def _try_to_take(self, deadline: float | None) -> bool:
        """Take the lock, or wait until it is free; raises `LockedError` when it takes too long."""
        stop_if_cancelled()
        try:
            self._client.request(
                self.device_id, _locking(self.device_id, self._lease_s), idempotent=True
            )
        except LockedError as refused:
            left_s = _left_s(deadline)
            if left_s == 0:
                raise
            self._await_release(refused, left_s)
            return False
        return True

    def _await_release(self, refused: LockedError, left_s: float | None) -> None:
        from ._waiting import wait_until

        try:
            wait_until(lambda: _is_free(self._device), timeout_s=left_s)
        except CallTimeoutError:
            raise refused from None
        time.sleep(_PAUSE_S)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        hold = self._hold
        hold.count -= 1
        try:
            if hold.count == 0:
                self._give_back(error)
        finally:
            hold.turn.release()

    def _give_back(self, error: BaseException | None) -> None:
        if self._hold.renewing is not None:
            self._hold.renewing.cancel()
        keeper = self._hold.end()
        if keeper is not None and keeper.lost is None:
            try:
                self._client.request(self.device_id, Call(self.device_id, "unlock"))
            except PykaraboError as failure:
                keeper.lost = f"giving it back failed: {failure.message}"
        self._note(keeper, error)


class AsyncDeviceLock(_Lock[AsyncHold]):
    """The lock of a device as an asynchronous context manager; get one from a proxy's `lock`.

    A task that holds the lock may enter it again, and so may tasks that it starts meanwhile.
    """

    def __init__(self, client: "Client", device: DeviceRef, wait_s: float | None, lease_s: float):
        super().__init__(device, wait_s, lease_s)
        self._client = client
        self._hold = client.holds.setdefault(device.device_id, AsyncHold())

    async def __aenter__(self) -> "AsyncDeviceLock":
        hold = self._hold
        if hold.count and hold.token in _INSIDE.get():
            hold.count += 1
            return self
        deadline = _deadline(self._wait_s)
        try:
            async with asyncio.timeout(self._wait_s):
                await hold.turn.acquire()
        except TimeoutError:
            raise self._is_used_here() from None
        try:
            await self._take(deadline)
        except BaseException:
            hold.turn.release()
            raise
        hold.count = 1
        hold.token = object()
        _INSIDE.set(_INSIDE.get() | {hold.token})
        return self

    async def _take(self, deadline: float | None) -> None:
        while not await self._try_to_take(deadline):
            pass
        record = await self._client.resolve(self.device_id)
        keeper = _Keeper(self.device_id, self._lease_s, record.instance)
        self._hold.keeper = keeper
        self._hold.renewing = self._client.spawn(
            keeper.run(self._client), name=f"lock of {self.device_id}"
        )

    async def _try_to_take(self, deadline: float | None) -> bool:
        """Take the lock, or wait until it is free; raises `LockedError` when it takes too long."""
        try:
            await self._client.request(
                self.device_id, _locking(self.device_id, self._lease_s), idempotent=True
            )
        except LockedError as refused:
            left_s = _left_s(deadline)
            if left_s == 0:
                raise
            await self._await_release(refused, left_s)
            return False
        return True

    async def _await_release(self, refused: LockedError, left_s: float | None) -> None:
        from ._awaiting import await_until

        try:
            await await_until(lambda: _is_free(self._device), timeout_s=left_s)
        except CallTimeoutError:
            raise refused from None
        await asyncio.sleep(_PAUSE_S)

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        hold = self._hold
        hold.count -= 1
        if hold.count:
            return
        _INSIDE.set(_INSIDE.get() - {hold.token})
        try:
            await self._give_back(error)
        finally:
            hold.turn.release()

    async def _give_back(self, error: BaseException | None) -> None:
        if self._hold.renewing is not None:
            self._hold.renewing.cancel()
        keeper = self._hold.end()
        if keeper is not None and keeper.lost is None:
            try:
                await self._client.request(self.device_id, Call(self.device_id, "unlock"))
            except PykaraboError as failure:
                keeper.lost = f"giving it back failed: {failure.message}"
        self._note(keeper, error)
