"""The changes of a device's properties one by one, without loss that is not told."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from pykarabo.data import PropertyValue, Schema
from pykarabo.errors import (
    BadInputError,
    CallTimeoutError,
    ChangesLostError,
    NotConnectedError,
)

from ._identity import CONNECT_TIMEOUT_S
from ._observing import DeviceRef
from ._text import shown_value
from ._updates import Change, Gap, Live, NewSchema, Stale, Update

if TYPE_CHECKING:
    from ._client import Client
    from ._event_thread import UpdateStream
    from ._watch import Watch

_T = TypeVar("_T", bound="PropertyValue | dict[str, PropertyValue]")
Together: TypeAlias = dict[str, PropertyValue]
"""What has changed in one step, by key."""
OnGap: TypeAlias = Callable[[Gap], None]
_SHOWN: Final = 5


def targets(device_id: str, keys: tuple[str, ...], schema: Schema) -> tuple[str, ...]:
    """Return what a watch of some properties of a device, or of all of them, is told.

    Raises:
        UnknownPropertyError, BadInputError: there is no such property, or a single one is a node.
    """
    for key in keys:
        info = schema.require_property(key, device_id)
        if info.node and len(keys) == 1:
            raise BadInputError(
                f"'{device_id}.{key}' is a node and has no value of its own",
                device=device_id,
                key=key,
                remedy="name properties below it",
            )
    return tuple(f"{device_id}.{key}" for key in keys) or (device_id,)


class _Changes(Generic[_T]):
    """What both kinds of queue have in common: updates become changes here.

    Attributes:
        present: the latest value taken of each property; before the first change, those at begin.
        began_at: the number of the device's event after which the changes begin.
        missed: changes that are known to be lost so far.
        interruptions: losses of unknown number, because the device was restarted.
    """

    def __init__(
        self,
        device: DeviceRef,
        schema: Schema,
        keys: tuple[str, ...],
        on_gap: OnGap | None,
    ) -> None:
        self.device_id = device.device_id
        self.keys = keys
        self.present: dict[str, PropertyValue] = {}
        self.began_at = 0
        self.missed = 0
        self.interruptions = 0
        self._on_gap = on_gap
        self._device = device
        self._targets = targets(device.device_id, keys, schema)
        self._away: str | None = "it sent no values yet"
        self._began = False
        self._waiting: deque[Together] = deque()

    def _take(self, update: Update) -> None:
        """Take an update; raises `ChangesLostError` where changes were lost."""
        if isinstance(update, Change):
            self._changed(update.values)
        elif isinstance(update, Live):
            self._away = None
            if self._began:
                self._changed(self._newer(update.values))
            else:
                self._began = True
                self.present.update(update.values)
                self.began_at = max((item.sequence for item in update.values.values()), default=0)
        elif isinstance(update, Stale):
            self._away = update.reason
        elif not isinstance(update, NewSchema) and not update.recovered:
            self._lost(update)

    def _newer(self, values: Mapping[str, PropertyValue]) -> Together:
        known = self.present
        return {
            key: value
            for key, value in values.items()
            if key not in known or known[key].timestamp != value.timestamp
        }

    def _changed(self, values: Together) -> None:
        if values:
            self.present.update(values)
            self._waiting.append(values)

    def _lost(self, gap: Gap) -> None:
        if gap.missed is None:
            self.interruptions += 1
        else:
            self.missed += gap.missed
        if self._on_gap is not None:
            self._on_gap(gap)
            return
        count = "an unknown number of" if gap.missed is None else str(gap.missed)
        why = "it was restarted" if gap.missed is None else "this program was too slow for them"
        raise ChangesLostError(
            f"{count} changes of '{self.device_id}' were lost: {why}",
            device=self.device_id,
            remedy="take the next change, which is the present value; on_gap=... goes on by itself",
            details={"missed": gap.missed},
        )

    def _next(self) -> _T:
        values: Any = self._waiting.popleft()
        return values[self.keys[0]] if len(self.keys) == 1 else values  # type: ignore[no-any-return]

    def _name(self) -> str:
        return f"{self.device_id}.{', '.join(self.keys)}" if self.keys else self.device_id

    def _not_live(self, timeout_s: float) -> NotConnectedError:
        return NotConnectedError(
            f"device '{self.device_id}' sent no values within {timeout_s} s",
            device=self.device_id,
            remedy="look at 'pykarabo status'",
        )

    def _timeout(self, timeout_s: float | None) -> CallTimeoutError:
        if self._away is not None:
            last = f"it is away: {self._away}"
        else:
            keys = list(self.keys or self.present)[:_SHOWN]
            shown = [
                f"{key} = {shown_value(self.present[key], self._device.info_of(key))}"
                for key in keys
                if key in self.present
            ]
            last = f"last seen: {'; '.join(shown)}"
        return CallTimeoutError(
            f"no new value of '{self._name()}' within {timeout_s} s; {last}",
            device=self.device_id,
            key=self.keys[0] if len(self.keys) == 1 else None,
            remedy="wait longer, or look at the device",
        )


class AsyncChanges(_Changes[_T], AsyncIterator[_T]):
    """The changes of a device from now on, in order; get one from a proxy's `changes`.

    Entering it waits until nothing can be missed any more. Each item is a change: the property's
    value where one was asked for, else a map of what has changed together. While the device is
    away there are none; when it is back, its values that are new are a change.

    Raises:
        ChangesLostError: when the next item is taken, if changes before it were lost.
    """

    _watch: "Watch | None" = None

    async def __aenter__(self) -> "AsyncChanges[_T]":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def start(self, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Wait until the present values are known, and so is every change from now on.

        Raises:
            NotConnectedError: they did not come in time.
        """
        if self._watch is not None:
            return
        client: Client = self._device.place
        self._watch = client.watch(*self._targets, anew=True)
        try:
            async with asyncio.timeout(timeout_s):
                while not self._began:
                    self._take(await anext(self._watch))
        except TimeoutError:
            self.close()
            raise self._not_live(timeout_s) from None

    async def get(self, *, timeout_s: float | None = None) -> _T:
        """Return the next change.

        Raises:
            CallTimeoutError: none came in time; it tells the present values.
            ChangesLostError: changes were lost; the next call goes on with the present values.
        """
        await self.start()
        watch = self._watch
        try:
            async with asyncio.timeout(timeout_s):
                while not self._waiting and watch is not None:
                    self._take(await anext(watch))
        except TimeoutError:
            raise self._timeout(timeout_s) from None
        return self._next()

    async def __anext__(self) -> _T:
        return await self.get()

    def close(self) -> None:
        """Stop listening."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None


class Changes(_Changes[_T], Iterator[_T]):
    """The blocking twin of `AsyncChanges`; get one from a proxy's `changes`."""

    _updates: "UpdateStream | None" = None

    def __enter__(self) -> "Changes[_T]":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Wait until the present values are known, and so is every change from now on.

        Raises:
            NotConnectedError: they did not come in time.
        """
        if self._updates is not None:
            return
        from ._event_thread import UpdateStream

        watched = self._targets
        self._updates = UpdateStream(
            self._device.place, lambda client: client.watch(*watched, anew=True)
        )
        deadline = time.monotonic() + timeout_s
        while not self._began:
            update = self._updates.get(deadline)
            if update is None:
                self.close()
                raise self._not_live(timeout_s)
            self._take(update)

    def get(self, *, timeout_s: float | None = None) -> _T:
        """Return the next change.

        Raises:
            CallTimeoutError: none came in time; it tells the present values.
            ChangesLostError: changes were lost; the next call goes on with the present values.
        """
        self.start()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        updates = self._updates
        while not self._waiting and updates is not None:
            update = updates.get(deadline)
            if update is None:
                raise self._timeout(timeout_s)
            self._take(update)
        return self._next()

    def __next__(self) -> _T:
        return self.get()

    def close(self) -> None:
        """Stop listening."""
        if self._updates is not None:
            self._updates.close()
            self._updates = None
