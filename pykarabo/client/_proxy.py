"""Devices as Python objects for asynchronous code."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack, overload

from pykarabo.data import PropertyInfo, PropertyValue, Schema
from pykarabo.errors import (
    BadInputError,
    NotConnectedError,
    PykaraboError,
    ReadOnlyError,
    StaleValueError,
    UnknownPropertyError,
)
from pykarabo.wire import Call

from ._bundles import Bundle, bundling, open_bundle
from ._identity import CALL_TIMEOUT_S, LEASE_S
from ._job import AsyncJob
from ._namespace import Documentation, Namespace, checked, converted, describe_command
from ._observing import DeviceRef, observed
from ._updates import Update

if TYPE_CHECKING:
    from ._changes import AsyncChanges, OnGap
    from ._client import Client
    from ._display import View
    from ._history import HistoryOptions
    from ._history_types import History
    from ._lock import AsyncDeviceLock
    from ._watch import Follower

_T = TypeVar("_T")
_LOOK_S: Final = 0.1
"""Who waits for values uses them; whether the wait is over is looked at so often."""


class AsyncDeviceProxy:
    """A device of the domain.

    Commands are coroutine methods, properties are attributes that hold the live value; reading
    a value that may be out of date raises `StaleValueError`. Use `get` to ask the device itself.
    """

    def __init__(self, client: "Client", device_id: str, schema: Schema) -> None:
        self._client = client
        self._id = device_id
        self._known_schema = schema
        self._follower: Follower | None = None
        self._news = asyncio.Event()
        self._idle_s: float | None = None
        self._last_use = 0.0
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ref = DeviceRef(device_id, client, self._info_of)

    def _info_of(self, key: str) -> PropertyInfo | None:
        return self._schema.properties.get(key)

    @property
    def device_id(self) -> str:
        """The device's id."""
        return self._id

    @property
    def schema(self) -> Schema:
        """The device's properties, commands and outputs: the present ones while it is live."""
        return self._schema

    @property
    def _schema(self) -> Schema:
        if self._follower is not None and self._follower.schema is not None:
            self._known_schema = self._follower.schema
        return self._known_schema

    async def refresh(self) -> None:
        """Read the schema again; a proxy that does not follow its device knows no news of it."""
        self._known_schema = await self._client.schema(self._id)

    async def _with_schema(self, use: Callable[[Schema], _T]) -> _T:
        """Use the schema; if that is refused and the schema may be old, use the present one."""
        try:
            return use(self._schema)
        except BadInputError:
            with contextlib.suppress(PykaraboError):
                await self.refresh()
            return use(self._known_schema)

    @property
    def is_live(self) -> bool:
        """Whether the attributes show the device's present values."""
        return self._follower is not None and self._follower.live

    async def start_following(
        self, *, timeout_s: float, autodisconnect_s: float | None = None
    ) -> None:
        """Keep the attributes current from now on.

        Args:
            autodisconnect_s: stop when nothing of it was used for so long; the next use begins
                anew, and `updated` waits for it.

        Raises:
            NotConnectedError: the first values did not come in time.
        """
        self._idle_s = autodisconnect_s
        self._follow()
        try:
            async with asyncio.timeout(timeout_s):
                await self._news_until(lambda follower: follower.live)
        except TimeoutError:
            reason = "" if self._follower is None else f": {self._follower.reason}"
            self.disconnect()
            raise NotConnectedError(
                f"device '{self._id}' sent no values within {timeout_s} s{reason}",
                device=self._id,
                remedy="look at 'pykarabo status'",
            ) from None

    def _follow(self) -> None:
        self._follower = self._client.follow(self._id, self._update, latest=True)
        self._used()

    def _used(self) -> None:
        """Note that somebody uses what it holds; go on following if it had stopped for that."""
        if self._idle_s is None:
            return
        loop = asyncio.get_running_loop()
        self._last_use = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._idle_s, self._look_for_use)
            if self._follower is None:
                self._follow()

    def _look_for_use(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        left_s = self._last_use + (self._idle_s or 0.0) - loop.time()
        if left_s > 0 or self._waiting:
            self._timer = loop.call_later(max(left_s, _LOOK_S), self._look_for_use)
        else:
            self._stop_following()

    async def _news_until(self, is_enough: "Callable[[Follower], bool]") -> None:
        """Wait for updates until the follower has what is wanted."""
        while (follower := self._follower) is not None and not is_enough(follower):
            self._news.clear()
            await self._news.wait()

    def _update(self, _update: Update) -> None:
        self._news.set()

    async def updated(self, *, timeout_s: float = CALL_TIMEOUT_S) -> dict[str, PropertyValue]:
        """Wait until the attributes show what the device has now, or later; returns all of it.

        What a write or command has changed before this call is in it.

        Raises:
            NotConnectedError: the device cannot be reached in time.
            StaleValueError: its updates do not come in time.
        """
        self._waiting += 1
        try:
            self._used()
            return await self._brought_up_to_date(timeout_s)
        finally:
            self._waiting -= 1
            self._used()

    async def _brought_up_to_date(self, timeout_s: float) -> dict[str, PropertyValue]:
        values = await self.read()
        follower = self._follower
        if follower is None:
            return values
        number = max((value.sequence for value in values.values()), default=0)
        try:
            async with asyncio.timeout(timeout_s):
                await self._news_until(lambda item: item.live and item.sequence >= number)
        except TimeoutError:
            raise StaleValueError(
                f"the values of '{self._id}' were not updated within {timeout_s} s",
                device=self._id,
                remedy="use read() to ask the device",
            ) from None
        return dict(follower.values)

    def disconnect(self) -> None:
        """Stop following; calls still work."""
        self._idle_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_following()

    def _stop_following(self) -> None:
        if self._follower is not None:
            self._known_schema = self._schema
            self._follower = None
            self._client.unfollow(self._id, self._update)
            self._news.set()

    async def get(self, *keys: str) -> dict[str, Any]:
        """Ask the device for some properties' values, or for all of them."""
        found = await self.read(*keys)
        return {key: self._schema.present(key, value.value) for key, value in found.items()}

    async def read(self, *keys: str) -> dict[str, PropertyValue]:
        """Ask for some properties as they travel, with time stamp and quality, or for all."""
        return await self._client.read(self._id, list(keys) or None)

    async def set(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        expected: Mapping[str, PropertyValue] | None = None,
        **more: Any,
    ) -> None:
        """Write properties, all or none; dotted keys go into `values`.

        Args:
            expected: properties as `read` returned them; nothing is written when one of them has
                changed since.

        Raises:
            BadInputError: a value that the device would refuse; nothing was written.
            ChangedMeanwhileError: one of `expected` has changed; nothing was written.
        """
        given = {**(values or {}), **more}
        plain = await self._with_schema(lambda schema: checked(schema, self._id, given))
        bundle = open_bundle(self)
        if bundle is None:
            await self._client.set(self._id, plain, expected=expected)
        else:
            bundle.add(plain, expected)

    @contextlib.asynccontextmanager
    async def bundle(
        self, *, expected: Mapping[str, PropertyValue] | None = None
    ) -> AsyncGenerator[None, None]:
        """Write all that the block assigns to this device at its end, in one write, all or none.

        In the block, properties are assigned like attributes (``device.target = 3``) or with
        `set`. Values are checked where they are assigned. A command that is called in the block
        has what was assigned before it written first. A block that fails writes nothing more. A
        bundle in a bundle of the same device belongs to the outer one.

        Args:
            expected: properties as `read` returned them; nothing is written when one of them has
                changed since.

        Raises:
            PykaraboError: as `set` raises them; a note names all that was to be written.
        """
        if open_bundle(self) is not None:
            yield
            return
        bundle = Bundle(self._id, expected)
        with bundling(self, bundle):
            yield
        await self._write(bundle)

    async def _write(self, bundle: Bundle) -> None:
        values = bundle.taken()
        if not values:
            return
        try:
            await self._client.set(self._id, values, expected=bundle.expected)
        except PykaraboError as error:
            bundle.explain(error, values)
            raise

    @overload
    def changes(
        self, key: str, /, *, on_gap: "OnGap | None" = None
    ) -> "AsyncChanges[PropertyValue]": ...
    @overload
    def changes(
        self, /, *, on_gap: "OnGap | None" = None
    ) -> "AsyncChanges[dict[str, PropertyValue]]": ...
    @overload
    def changes(
        self, key: str, another: str, /, *more: str, on_gap: "OnGap | None" = None
    ) -> "AsyncChanges[dict[str, PropertyValue]]": ...
    def changes(self, /, *keys: str, on_gap: "OnGap | None" = None) -> "AsyncChanges[Any]":
        """Return the changes of a property, of several, or of the device.

        From its ``async with`` on none is missed, whatever the program does meanwhile::

            async with motor.changes("position") as changes:
                await motor.move(3)
                async for value in changes:
                    print(value.value, value.timestamp)

        Args:
            on_gap: called where changes were lost, as soon as they are taken; without it that
                raises `ChangesLostError`.

        Raises:
            UnknownPropertyError: the device has no such property.
        """
        from ._changes import AsyncChanges

        return AsyncChanges(self._ref, self._schema, keys, on_gap)

    async def history(self, key: str, /, **options: "Unpack[HistoryOptions]") -> "History":
        """Return what a property was, out of the domain's archive; see `BlockingClient.history`.

        ``motor.history("position", since="-2h", points=1000)``; times and values are arrays.

        Raises:
            UnknownPropertyError: nothing of it is archived.
        """
        return await self._client.history(self._id, key, **options)

    def lock(self, *, wait_s: float | None = None, lease_s: float = LEASE_S) -> "AsyncDeviceLock":
        """Keep others from using the device, for an ``async with``; see `DeviceProxy.lock`.

        Args:
            wait_s: for how long to wait until it is free; None waits as long as it takes.
            lease_s: a device that hears nothing of this program for so long is free again.

        Raises:
            LockedError: on entering, somebody else holds it still.
            LockLostError: at the end of the block, the lock ended before it.
        """
        from ._lock import AsyncDeviceLock

        return AsyncDeviceLock(self._client, self._ref, wait_s, lease_s)

    async def call(
        self,
        command: str,
        /,
        *args: Any,
        timeout_s: float = CALL_TIMEOUT_S,
        once_key: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a command and return its result, or the job that it has become.

        Args:
            once_key: a key of your own: the command runs once however often you call it with
                this key, and a call whose connection was lost is made again by itself.

        Raises:
            NotExecutedError: it certainly did not run.
            OutcomeUnknownError: nobody knows whether it ran.
            RemoteError: it ran and failed.
        """
        bundle = open_bundle(self)
        if bundle is not None:
            await self._write(bundle)
        info = await self._with_schema(lambda schema: schema.require_command(command, self._id))
        given, named = converted(info, args, kwargs, self._id)
        request = Call(self._id, command, given, named, once_key)
        result = await self._client.request(
            self._id, request, timeout_s=timeout_s, idempotent=info.idempotent
        )
        return AsyncJob(self._client, self._id, result) if info.job else result

    def quantity(self, key: str) -> Any:
        """Return the live value of a property as a pint quantity, in the property's unit.

        Raises:
            StaleValueError: it may be out of date.
            WrongTypeError: it is no number.
        """
        from ._units import quantity_of

        value = self.live_value(key)
        return quantity_of(self._id, self._schema.require_property(key, self._id), value)

    def live_value(self, key: str) -> PropertyValue:
        """Return the live value of a property with time stamp and quality.

        Raises:
            StaleValueError: it may be out of date; `last_known` returns it all the same.
        """
        seen = observed(self._ref, (key,))
        if seen is not None:
            return seen[key]
        value = self.last_known(key)
        if not self.is_live:
            reason = self._follower.reason if self._follower is not None else "not followed"
            raise StaleValueError(
                f"the value of '{self._id}.{key}' may be out of date: {reason}",
                device=self._id,
                key=key,
                remedy="wait until the device is back, or use last_known()",
            )
        return value

    def last_known(self, key: str) -> PropertyValue:
        """Return the latest value received, current or not."""
        self._schema.require_property(key, self._id)
        self._used()
        if self._follower is None or key not in self._follower.values:
            raise StaleValueError(
                f"no value of '{self._id}.{key}' was received yet",
                device=self._id,
                key=key,
                remedy="await updated(), or use get() to ask the device",
            )
        return self._follower.values[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _member(self, Namespace(self._schema, self._id), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            _assign(self, name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *Namespace(self._schema, self._id).names()]

    def __repr__(self) -> str:
        return f"<{self._schema.class_id} {self._id}{'' if self.is_live else ' (not live)'}>"

    def _view(self) -> "View":
        from ._display import View

        title = f"{self._schema.class_id} {self._id}"
        if self._follower is None:
            return View(title, self._schema, {}, "it is not followed")
        stale = "" if self._follower.live else self._follower.reason
        return View(title, self._schema, self._follower.values, stale)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from ._display import as_text

        is_part = cycle or printer.indentation
        printer.text(repr(self) if is_part else as_text(self._view()))

    def _repr_html_(self) -> str:
        from ._display import as_html

        return as_html(self._view())

    def _documentation(self) -> str:
        from ._display import documentation

        return documentation(self._id, self._schema)


AsyncDeviceProxy.__doc__ = Documentation(AsyncDeviceProxy.__doc__)  # type: ignore[assignment]


class AsyncNodeProxy:
    """A node of a device: its properties and commands below a common name."""

    def __init__(self, proxy: AsyncDeviceProxy, namespace: Namespace) -> None:
        self._proxy = proxy
        self._namespace = namespace

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _member(self._proxy, self._namespace, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            _assign(self._proxy, self._namespace.prefix + name, value)

    def __dir__(self) -> list[str]:
        return self._namespace.names()


def _member(proxy: AsyncDeviceProxy, namespace: Namespace, name: str) -> Any:
    try:
        kind = namespace.kind(name)
    except UnknownPropertyError as error:
        raise _UnknownAttributeError(error) from None
    key = namespace.prefix + name
    if kind == "command":
        return _command(proxy, key)
    if kind == "node":
        return AsyncNodeProxy(proxy, Namespace(namespace.schema, namespace.device_id, f"{key}."))
    return namespace.schema.present(key, proxy.live_value(key).value)


def _assign(proxy: AsyncDeviceProxy, key: str, value: Any) -> None:
    bundle = open_bundle(proxy)
    if bundle is None:
        raise ReadOnlyError(
            f"'{proxy.device_id}.{key}' cannot be assigned to: a write must be awaited",
            device=proxy.device_id,
            key=key,
            remedy=f"await device.set({{'{key}': ...}}), or assign in 'async with device.bundle()'",
        )
    bundle.add(checked(proxy.schema, proxy.device_id, {key: value}), None)


def _command(proxy: AsyncDeviceProxy, key: str) -> Callable[..., Awaitable[Any]]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await proxy.call(key, *args, **kwargs)

    info = proxy.schema.commands[key]
    describe_command(run, info)
    return run


class _UnknownAttributeError(UnknownPropertyError, AttributeError):
    """An unknown name on a proxy, also an `AttributeError` so that `hasattr` works."""

    def __init__(self, error: UnknownPropertyError) -> None:
        super().__init__(error.message, device=error.device, key=error.key, remedy=error.remedy)
