"""Devices as Python objects for code that blocks."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from pykarabo.data import PropertyInfo, PropertyValue, Schema
from pykarabo.errors import BadInputError, PykaraboError, ReadOnlyError, UnknownPropertyError
from pykarabo.wire import Call

from ._bundles import Bundle, bundling, open_bundle
from ._identity import CALL_TIMEOUT_S, LEASE_S
from ._job import Job
from ._namespace import Documentation, Namespace, checked, converted, describe_command
from ._observing import DeviceRef, observed

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient
    from ._changes import Changes, OnGap
    from ._display import View
    from ._history import HistoryOptions
    from ._history_types import History
    from ._lock import DeviceLock

_T = TypeVar("_T")


class DeviceProxy:
    """A device of the domain.

    Every read asks the device, so a value is current when it is returned; every write is
    confirmed by the device before the statement ends. Commands are methods and return their
    results. A device that was restarted meanwhile is found again by itself.
    """

    _client: "BlockingClient"
    _id: str
    _schema: Schema
    _ref: DeviceRef

    def __init__(self, client: "BlockingClient", device_id: str) -> None:
        object.__setattr__(self, "_client", client)
        object.__setattr__(self, "_id", device_id)
        object.__setattr__(self, "_schema", client.schema(device_id))
        object.__setattr__(self, "_ref", DeviceRef(device_id, client.place, self._info_of))

    def _info_of(self, key: str) -> PropertyInfo | None:
        return self._schema.properties.get(key)

    @property
    def device_id(self) -> str:
        """The device's id."""
        return self._id

    @property
    def domain(self) -> str:
        """The domain of the device."""
        return self._client.domain

    @property
    def schema(self) -> Schema:
        """The device's properties, commands and outputs; the device is asked for them."""
        self.refresh()
        return self._schema

    def refresh(self) -> None:
        """Read the schema again; happens by itself when a name or a value does not fit."""
        object.__setattr__(self, "_schema", self._client.schema(self._id))

    def _with_schema(self, use: Callable[[Schema], _T]) -> _T:
        """Use the schema as last read; if that is refused, the present one."""
        try:
            return use(self._schema)
        except BadInputError:
            with contextlib.suppress(PykaraboError):
                self.refresh()
            return use(self._schema)

    def get(self, *keys: str) -> dict[str, Any]:
        """Return some properties' values, or all of them."""
        found = self.read(*keys)
        return {key: self._schema.present(key, value.value) for key, value in found.items()}

    def read(self, *keys: str) -> dict[str, PropertyValue]:
        """Return some properties with time stamp and quality, or all of them."""
        seen = observed(self._ref, keys)
        return self._client.read(self._id, list(keys) or None) if seen is None else seen

    def updated(self) -> dict[str, PropertyValue]:
        """Read everything anew, the schema too; returns all properties.

        Every attribute asks the device, so there is nothing to wait for here; the twin of
        `AsyncDeviceProxy.updated`.
        """
        self.refresh()
        return self.read()

    def quantity(self, key: str) -> Any:
        """Return a property's value as a pint quantity, in the property's unit.

        Raises:
            WrongTypeError: it is no number.
        """
        from ._units import quantity_of

        value = self.read(key)[key]
        return quantity_of(self._id, self._schema.require_property(key, self._id), value)

    def set(
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
        plain = self._with_schema(lambda schema: checked(schema, self._id, given))
        bundle = open_bundle(self)
        if bundle is None:
            self._client.set(self._id, plain, expected=expected)
        else:
            bundle.add(plain, expected)

    @contextlib.contextmanager
    def bundle(
        self, *, expected: Mapping[str, PropertyValue] | None = None
    ) -> Generator[None, None, None]:
        """Write all that the block assigns to this device at its end, in one write, all or none.

        Values are checked where they are assigned. Reading still asks the device, which has the
        values of before. A command that is called in the block has what was assigned before it
        written first. A block that fails writes nothing more. A bundle in a bundle of the same
        device belongs to the outer one.

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
        self._write(bundle)

    def _write(self, bundle: Bundle) -> None:
        values = bundle.taken()
        if not values:
            return
        try:
            self._client.set(self._id, values, expected=bundle.expected)
        except PykaraboError as error:
            bundle.explain(error, values)
            raise

    @overload
    def changes(
        self, key: str, /, *, on_gap: "OnGap | None" = None
    ) -> "Changes[PropertyValue]": ...
    @overload
    def changes(
        self, /, *, on_gap: "OnGap | None" = None
    ) -> "Changes[dict[str, PropertyValue]]": ...
    @overload
    def changes(
        self, key: str, another: str, /, *more: str, on_gap: "OnGap | None" = None
    ) -> "Changes[dict[str, PropertyValue]]": ...
    def changes(self, /, *keys: str, on_gap: "OnGap | None" = None) -> "Changes[Any]":
        """Return the changes of a property, of several, or of the device, from its ``with`` on.

        None is missed in between, whatever the program does meanwhile::

            with motor.changes("position") as changes:
                motor.move(3)
                for value in changes:
                    print(value.value, value.timestamp)

        Args:
            on_gap: called where changes were lost, in the thread that takes them; without it
                that raises `ChangesLostError`.

        Raises:
            UnknownPropertyError: the device has no such property.
        """
        from ._changes import Changes

        return self._with_schema(lambda schema: Changes(self._ref, schema, keys, on_gap))

    def history(self, key: str, /, **options: "Unpack[HistoryOptions]") -> "History":
        """Return what a property was, out of the domain's archive; see `BlockingClient.history`.

        ``motor.history("position", since="-2h", points=1000)``; times and values are arrays.

        Raises:
            UnknownPropertyError: nothing of it is archived.
        """
        return self._client.history(self._id, key, **options)

    def lock(self, *, wait_s: float | None = None, lease_s: float = LEASE_S) -> "DeviceLock":
        """Keep others from writing to the device and from running its commands, for a ``with``.

        Entering waits until the device is free. The lock is renewed until the block ends; a
        thread that holds it may enter it again.

        Args:
            wait_s: for how long to wait; None waits as long as it takes, 0 not at all.
            lease_s: a device that hears nothing of this program for so long is free again.

        Raises:
            LockedError: on entering, somebody else holds it still.
            LockLostError: at the end of the block, the lock ended before it.
        """
        from ._lock import DeviceLock

        return DeviceLock(self._client, self._ref, wait_s, lease_s)

    def call(
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
            self._write(bundle)
        info = self._with_schema(lambda schema: schema.require_command(command, self._id))
        given, named = converted(info, args, kwargs, self._id)
        request = Call(self._id, command, given, named, once_key)
        result = self._client.request(
            self._id, request, timeout_s=timeout_s, idempotent=info.idempotent
        )
        return Job(self._client, self._id, result) if info.job else result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _member(self, "", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _assign(self, "", name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_names(self, "")]

    def __repr__(self) -> str:
        return f"<{self._schema.class_id} {self._id}>"

    def _view(self) -> "View":
        """Return what is shown of it; of a device that does not answer, what is known."""
        from ._display import View

        values: Mapping[str, PropertyValue] = {}
        problem = ""
        try:
            values = self.updated()
        except PykaraboError as error:
            problem = error.message
        return View(f"{self._schema.class_id} {self._id}", self._schema, values, problem)

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


DeviceProxy.__doc__ = Documentation(DeviceProxy.__doc__)  # type: ignore[assignment]


class NodeProxy:
    """A node of a device: its properties and commands below a common name."""

    _proxy: DeviceProxy
    _prefix: str

    def __init__(self, proxy: DeviceProxy, prefix: str) -> None:
        object.__setattr__(self, "_proxy", proxy)
        object.__setattr__(self, "_prefix", prefix)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _member(self._proxy, self._prefix, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _assign(self._proxy, self._prefix, name, value)

    def __dir__(self) -> list[str]:
        return _names(self._proxy, self._prefix)

    def __repr__(self) -> str:
        return f"<node {self._proxy.device_id}.{self._prefix.rstrip('.')}>"


def _names(proxy: DeviceProxy, prefix: str) -> list[str]:
    """Return the names below a prefix, as last read where the device does not answer."""
    with contextlib.suppress(PykaraboError):
        proxy.refresh()
    return Namespace(proxy._schema, proxy.device_id, prefix).names()


def _member(proxy: DeviceProxy, prefix: str, name: str) -> Any:
    kind = _kind(proxy, prefix, name)
    key = prefix + name
    if kind == "command":
        return _command(proxy, key)
    if kind == "node":
        return NodeProxy(proxy, f"{key}.")
    try:
        return proxy.get(key)[key]
    except (UnknownPropertyError, KeyError):  # it was removed, or became a node
        proxy.refresh()
        if _kind(proxy, prefix, name) == "property":
            raise
        return _member(proxy, prefix, name)


def _kind(proxy: DeviceProxy, prefix: str, name: str) -> str:
    def kind(schema: Schema) -> str:
        return Namespace(schema, proxy.device_id, prefix).kind(name)

    try:
        return proxy._with_schema(kind)
    except UnknownPropertyError as error:
        raise AttributeError(str(error)) from None


def _assign(proxy: DeviceProxy, prefix: str, name: str, value: Any) -> None:
    kind = _kind(proxy, prefix, name)
    key = prefix + name
    if kind != "property":
        raise ReadOnlyError(
            f"'{proxy.device_id}.{key}' is a {kind}, nothing can be assigned to it",
            device=proxy.device_id,
            key=key,
            remedy="call it" if kind == "command" else "assign to a property below it",
        )
    proxy.set({key: value})


def _command(proxy: DeviceProxy, key: str) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return proxy.call(key, *args, **kwargs)

    info = proxy._schema.commands[key]
    describe_command(run, info)
    return run
