"""Devices as Python objects for asynchronous code."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pykarabo.data import PropertyValue, Schema
from pykarabo.errors import (
    BadInputError,
    NotConnectedError,
    PykaraboError,
    StaleValueError,
    UnknownPropertyError,
)
from pykarabo.wire import Call

from ._identity import CALL_TIMEOUT_S
from ._job import AsyncJob
from ._namespace import Namespace, checked
from ._updates import Live, Update

if TYPE_CHECKING:
    from ._client import Client
    from ._watch import Follower

_T = TypeVar("_T")


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
        self._synchronised = asyncio.Event()

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

    async def start_following(self, *, timeout_s: float) -> None:
        """Keep the attributes current from now on.

        Raises:
            NotConnectedError: the first values did not come in time.
        """
        self._follower = self._client.follow(self._id, self._update, latest=True)
        try:
            async with asyncio.timeout(timeout_s):
                await self._synchronised.wait()
        except TimeoutError:
            self.disconnect()
            raise NotConnectedError(
                f"device '{self._id}' sent no values within {timeout_s} s",
                device=self._id,
                remedy="look at 'pykarabo status'",
            ) from None

    def _update(self, update: Update) -> None:
        if isinstance(update, Live):
            self._synchronised.set()

    def disconnect(self) -> None:
        """Stop following; calls still work."""
        if self._follower is not None:
            self._known_schema = self._schema
            self._follower = None
            self._client.unfollow(self._id, self._update)

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
        await self._client.set(self._id, plain, expected=expected)

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
        info = await self._with_schema(lambda schema: schema.require_command(command, self._id))
        request = Call(self._id, command, list(args), kwargs, once_key)
        result = await self._client.request(
            self._id, request, timeout_s=timeout_s, idempotent=info.idempotent
        )
        return AsyncJob(self._client, self._id, result) if info.job else result

    def live_value(self, key: str) -> PropertyValue:
        """Return the live value of a property with time stamp and quality.

        Raises:
            StaleValueError: it may be out of date; `last_known` returns it all the same.
        """
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
        if self._follower is None or key not in self._follower.values:
            raise StaleValueError(
                f"no value of '{self._id}.{key}' was received yet",
                device=self._id,
                key=key,
                remedy="use get() to ask the device",
            )
        return self._follower.values[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _member(self, Namespace(self._schema, self._id), name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *Namespace(self._schema, self._id).names()]

    def __repr__(self) -> str:
        return f"<{self._schema.class_id} {self._id}{'' if self.is_live else ' (not live)'}>"


class AsyncNodeProxy:
    """A node of a device: its properties and commands below a common name."""

    def __init__(self, proxy: AsyncDeviceProxy, namespace: Namespace) -> None:
        self._proxy = proxy
        self._namespace = namespace

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _member(self._proxy, self._namespace, name)

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


def _command(proxy: AsyncDeviceProxy, key: str) -> Callable[..., Awaitable[Any]]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await proxy.call(key, *args, **kwargs)

    info = proxy.schema.commands[key]
    run.__name__ = run.__qualname__ = key.rpartition(".")[2]
    run.__doc__ = info.description
    return run


class _UnknownAttributeError(UnknownPropertyError, AttributeError):
    """An unknown name on a proxy, also an `AttributeError` so that `hasattr` works."""

    def __init__(self, error: UnknownPropertyError) -> None:
        super().__init__(error.message, device=error.device, key=error.key, remedy=error.remedy)
