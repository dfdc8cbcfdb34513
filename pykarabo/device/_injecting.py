"""Properties and nodes that one device gets and loses while it runs."""

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self, cast

from pykarabo.data import (
    Configurable,
    Limits,
    Node,
    Property,
    PropertyInfo,
    PropertyValue,
    Schema,
    Timestamp,
    decode,
    encode,
    same,
    with_attributes,
    with_members,
    without_member,
)
from pykarabo.errors import (
    BadConfigurationError,
    LimitExceededError,
    MalformedMessageError,
    WrongTypeError,
)

from ._alarms import DeviceAlarms
from ._attributes import GIVEN, Given, accepted, with_given
from ._context import DeviceContext


class Injecting(Configurable):
    """A device as far as its own description changes."""

    _alarms: DeviceAlarms
    _bare_class: type[Configurable]
    _brought: dict[str, PropertyValue]
    _given_attributes: Given
    _context: DeviceContext
    _loop: asyncio.AbstractEventLoop
    _online: bool
    _pending: list[tuple[str, PropertyValue]]
    _schema_changed = False
    _thread: int

    @property
    def context(self) -> DeviceContext:
        """The device's surroundings."""
        return self._context

    @property
    def bare_class(self) -> type[Configurable]:
        """Its class with what it has injected and changed itself, without what it was given."""
        return self._bare_class

    def _checked_configuration(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plain values of a configuration; become what it chooses and is given."""
        plain = super()._checked_configuration(configuration)
        device_id = self._context.device_id
        self._bare_class = type(self)
        self._given_attributes = accepted(self._bare_class, self._context.attributes, device_id)
        self.__class__ = cast(
            "type[Self]", with_given(self._bare_class, self._given_attributes, device_id)
        )
        if self._given_attributes:
            _require_sendable(self.schema(), device_id)
        return plain

    def give_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Take attributes of properties in place of all that were given before.

        Present values are judged anew at once; what is not given any more is as the class has it.

        Raises:
            BadInputError: they cannot be; nothing changed.
        """

        def change() -> None:
            before = self._given_attributes
            given = accepted(self._bare_class, attributes, self._context.device_id)
            touched = [
                key for key in {**before, **given} if not same(before.get(key), given.get(key))
            ]
            if touched:
                self._change_schema(self._bare_class, touched, strict=True, given=given)

        self._in_own_thread(change, "cannot be given attributes")

    def flush(self) -> None:
        """Publish what has changed since the last time."""
        raise NotImplementedError

    def set_values(self, values: Mapping[str, Any], *, timestamp: Timestamp | None = None) -> None:
        """Set several properties of this device at one moment."""
        raise NotImplementedError

    def _plain(self, info: PropertyInfo, value: Any) -> Any:
        plain = info.validate(value, device=self._context.device_id)
        info.check_size(plain, device=self._context.device_id)
        return plain

    def inject(
        self,
        members: Mapping[str, Property[Any] | Node] | None = None,
        /,
        *,
        below: str = "",
        **more: Property[Any] | Node,
    ) -> None:
        """Give this device, and no other of its class, more properties and nodes.

        They are attributes at once, and clients see them after this turn of the event loop: all
        changes of one turn are one new schema. What was injected under the same name before is
        replaced; its value is kept if it fits.

        Args:
            members: descriptors by attribute, as in a class.
            below: key of a node that they are put below.

        Raises:
            BadConfigurationError: they contradict themselves or what is there; nothing changed.
        """
        given = {**(members or {}), **more}

        def change() -> None:
            cls = with_members(self._bare_class, given, self._node_key(below))
            for name in given:
                self._refuse_hidden(name, below)
            prefix = f"{below}." if below else ""
            keys = {prefix + (member.key or name) for name, member in given.items()}
            self._change_schema(cls, keys, strict=False)

        self._in_own_thread(change, f"cannot get {', '.join(given)}")

    def remove(self, *keys: str) -> None:
        """Take injected properties and nodes, named by dotted keys, away from this device.

        Raises:
            UnknownPropertyError: there is none of the name; nothing changed.
            BadConfigurationError: the class declares it; nothing changed.
        """

        def change() -> None:
            cls = self._bare_class
            for key in keys:
                cls.schema().require_property(key, self._context.device_id)
                cls = without_member(cls, key)
            self._change_schema(cls, (), strict=False)

        self._in_own_thread(change, f"cannot lose {', '.join(keys)}")

    def update_attributes(self, key: str, /, **attributes: Any) -> None:
        """Change attributes of a property of this device, named as at its declaration.

        Its present value must fit; its quality is judged anew. Its unit cannot change. Those that
        the device was given from outside go before them.

        Raises:
            UnknownPropertyError: there is no such property.
            BadConfigurationError: the attributes contradict each other or the present value;
                nothing changed.
        """

        def change() -> None:
            self.schema().require_property(key, self._context.device_id)
            cls = with_attributes(self._bare_class, key, attributes)
            self._change_schema(cls, (key,), strict=True)

        self._in_own_thread(change, f"cannot have '{key}' with {', '.join(attributes)}")

    def _node_key(self, key: str) -> str:
        if key:
            self.schema().require_property(key, self._context.device_id)
        return key

    def _refuse_hidden(self, name: str, below: str) -> None:
        """Refuse a property that would hide what the author keeps in this object."""
        if not below and name in vars(self):
            raise BadConfigurationError(
                f"property '{name}' would hide the attribute '{name}'",
                key=name,
                remedy=f"name it differently; key='{name}' keeps its outer name",
            )

    def _in_loop(self, act: Callable[[], None]) -> None:
        """Act in the event loop's thread, and wait for that in any other one."""

        async def acting() -> None:
            act()

        if threading.get_ident() == self._thread:
            act()
        else:
            asyncio.run_coroutine_threadsafe(acting(), self._loop).result()

    def _in_own_thread(self, change: Callable[[], None], refusal: str) -> None:
        """Change the schema in the event loop's thread; errors name the device."""
        try:
            self._in_loop(change)
        except BadConfigurationError as error:
            device_id = self._context.device_id
            raise BadConfigurationError(
                f"device '{device_id}' {refusal}: {error.message}",
                device=device_id,
                key=error.key,
                remedy=error.remedy,
            ) from None

    def _change_schema(
        self,
        bare: type[Configurable],
        touched: Collection[str],
        *,
        strict: bool,
        given: Given | None = None,
    ) -> None:
        """Become an object of `bare` with the attributes that are given now, or with others.

        All that can be refused is done first: either everything changes or nothing.
        """
        shown: dict[str, Any] = {} if given is None else {GIVEN: given}
        given = self._given_attributes if given is None else given
        cls = with_given(bare, given, self._context.device_id)
        schema = cls.schema()
        _require_sendable(schema, self._context.device_id)
        if not self._schema_changed:
            self.flush()  # what was set before belongs to the schema before
        with self._alarms.lock:
            before = dict(self._values)
            brought = self._brought_values(cls, touched, before, strict=strict)
            declared = self._alarms.prepared(schema, brought, before.keys())
            brought.update(declared.judged)
            shown.update(declared.shown)
            for key, value in shown.items():
                self._plain(schema.properties[key], value)
            # From here on nothing is refused.
            if not self._schema_changed:
                self.flush()  # what threads have set meanwhile, too
            self._bare_class, self._given_attributes = bare, given
            self._alarms.take_over(declared)
            self._announce(brought)
            for key in self._become(cls, brought, before):
                self._repeat(key)
            self.set_values(shown)

    def _announce(self, brought: Mapping[str, PropertyValue]) -> None:
        """Have values of new descriptions published after them."""
        if self._online:
            self._pending += brought.items()
            self._brought.update(brought)
            self._schema_changed = True
            self._loop.call_soon(self.flush)

    def _repeat(self, key: str) -> None:
        """Publish, and judge where it is to be, what a thread set while descriptions changed."""
        value = self._values[key]
        if key in self._alarms.watched:
            self._alarms.take(key, value.value, value.timestamp)
            return
        while self._online:
            self._pending.append((key, value))
            known, value = value, self._values[key]
            if value is known:
                return

    def _after_schema(
        self, changes: list[tuple[str, PropertyValue]]
    ) -> list[tuple[str, PropertyValue]]:
        """Return changes without those of properties and descriptions that there are no more."""
        brought, self._brought = self._brought, {}
        left: list[tuple[str, PropertyValue]] = []
        for key, value in changes:
            if brought.get(key) is value:
                del brought[key]
            if key in self._values and key not in brought:
                left.append((key, value))
        return left


def _require_sendable(schema: Schema, device_id: str) -> None:
    """Refuse a schema that nobody could receive; raises `BadConfigurationError`."""
    remedy = "have fewer properties, options and texts"
    try:
        frames = encode([{"": schema.to_wire()}])  # so deep in an answer
        largest = max(map(len, frames))
        problem = f"it takes {largest / 2**20:.1f} MiB" if largest > Limits().max_body else ""
        if not problem:
            decode(frames)
    except WrongTypeError as error:
        problem, remedy = error.message, "use plain values as defaults"
    except (LimitExceededError, MalformedMessageError) as error:
        problem = error.message
    if problem:
        raise BadConfigurationError(
            f"the schema of '{device_id}' cannot travel: {problem}",
            device=device_id,
            remedy=remedy,
        )
