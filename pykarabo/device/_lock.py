"""The lock of a device: while somebody holds it, nobody else writes to it or runs its commands.

It ends when its owner gives it back, when the owner has not used the device for the time of its
lease, when the owner's program is gone, or when an expert clears it.
"""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pykarabo.errors import LockedError, OutOfRangeError
from pykarabo.transport import Caller, Clock, Delivery, RouterPort
from pykarabo.wire import ClientIdentity, ServerSessions

if TYPE_CHECKING:
    from ._device import Device

GRACE_S: Final = 5.0
"""A program whose connection broke is back by then; its locks wait for it so long."""
MAX_LEASE_S: Final = 86_400.0


@dataclass(slots=True, eq=False)
class _Holding:
    """A lock that somebody holds.

    Attributes:
        lease_ns: how long it lasts without use; 0 for no limit.
        used_ns: when it was used last.
        uses: calls of its owner that are under way.
        missing_ns: since when its owner's program is gone, None while it is there.
    """

    caller: Caller
    since_ns: int
    lease_ns: int = 0
    used_ns: int = 0
    uses: int = 0
    missing_ns: int | None = None


class DeviceLock:
    """Who alone may use a device, if anybody.

    Args:
        changed: called with the owner's name when the lock is taken, with "" when it is free.
    """

    def __init__(self, device_id: str, clock: Clock, changed: Callable[[str], None]) -> None:
        self._device_id = device_id
        self._clock = clock
        self._changed = changed
        self._held: _Holding | None = None

    @property
    def owner(self) -> Caller | None:
        """Who holds the lock; None when it is free."""
        held = self._present()
        return None if held is None else held.caller

    def _present(self) -> _Holding | None:
        """Return the lock if it is held, and end it first if its lease has run out."""
        held = self._held
        if held is None or not held.lease_ns or held.uses:
            return held
        if self._clock.monotonic_ns() - held.used_ns >= held.lease_ns:
            self.clear()
        return self._held

    def take(self, caller: Caller, lease_s: float) -> None:
        """Lock the device for `caller`, or give its lock another lease.

        Args:
            lease_s: seconds without use after which the lock ends; 0 for no such limit.

        Raises:
            LockedError: somebody else holds it.
            OutOfRangeError: a lease that cannot be.
        """
        if not 0 <= lease_s <= MAX_LEASE_S:
            raise OutOfRangeError(
                f"'{self._device_id}' cannot be locked for {lease_s} s",
                device=self._device_id,
                key="lock",
                remedy=f"give a lease from 0 (no limit) to {MAX_LEASE_S:g} s",
            )
        self.require(caller)
        if self._held is None:
            self._held = _Holding(caller, self._clock.time_ns())
            self._changed(caller.name)
        self._held.lease_ns = round(lease_s * 1e9)
        self._held.used_ns = self._clock.monotonic_ns()

    def release(self, caller: Caller) -> None:
        """Give the lock back; raises `LockedError` if it is somebody else's."""
        self.require(caller)
        self.clear()

    def clear(self) -> None:
        """End the lock, whoever holds it."""
        if self._held is not None:
            self._held = None
            self._changed("")

    def require(self, caller: Caller) -> None:
        """Raise `LockedError` if somebody else than `caller` holds the lock."""
        held = self._present()
        if held is None or held.caller == caller:
            return
        since = time.strftime("%H:%M:%S", time.localtime(held.since_ns / 1e9))
        raise LockedError(
            f"device '{self._device_id}' is locked by '{held.caller.name}' since {since}; "
            "nothing was executed",
            device=self._device_id,
            remedy="wait for its owner, or have an expert call 'clear_lock'",
            details={"owner": held.caller.name},
        )

    @contextmanager
    def used_by(self, caller: Caller) -> Generator[None, None, None]:
        """Use the device as `caller`: the lease of its own lock begins anew at the end.

        Raises:
            LockedError: somebody else holds the lock.
        """
        self.require(caller)
        held = self._held
        if held is None:
            yield
            return
        held.uses += 1
        try:
            yield
        finally:
            held.uses -= 1
            held.used_ns = self._clock.monotonic_ns()

    def look(self, *, is_there: bool) -> None:
        """End a lock whose owner is gone.

        Args:
            is_there: whether the owner's program is connected.
        """
        held = self._present()
        if held is None:
            return
        now_ns = self._clock.monotonic_ns()
        if is_there:
            held.missing_ns = None
        elif held.missing_ns is None:
            held.missing_ns = now_ns
        elif now_ns - held.missing_ns >= GRACE_S * 1e9:
            self.clear()


class LockWatch:
    """Sees that the locks of programs that are gone end."""

    def __init__(self, sessions: ServerSessions, router: RouterPort, clock: Clock) -> None:
        self._sessions = sessions
        self._router = router
        self._clock = clock

    def look(self, devices: Iterable["Device"]) -> None:
        """Look after the locks of some devices; costs nothing where there are none."""
        present: dict[ClientIdentity, bool] = {}
        for device in devices:
            owner = device.lock_state.owner
            if owner is None:
                continue
            if owner.identity not in present:
                present[owner.identity] = self._is_there(owner.identity)
            device.lock_state.look(is_there=present[owner.identity])

    def _is_there(self, identity: ClientIdentity) -> bool:
        """Tell whether a program is connected: what it cannot be sent, it does not receive."""
        _peers, probe = self._sessions.probe(self._clock.monotonic_ns())
        found = False
        for peer in self._sessions.peers_of(identity):
            if self._router.send(peer, probe) is Delivery.GONE:
                self._sessions.forget(peer)
            else:
                found = True
        return found
