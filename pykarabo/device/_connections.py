"""Events of other devices that run commands of this one.

The connection belongs to the device whose command is run: it follows the device that tells the
event, through the restarts of that one, and runs its own commands one after the other in the
order of the events. An event that was lost is never guessed, and none runs a command twice.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pykarabo.client import EventReader, Missed, Occurred, Stale, Update, check_device_id
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, PykaraboError
from pykarabo.transport import Caller, called_by

from ._running import run_command

if TYPE_CHECKING:
    from ._device import Device

_F = TypeVar("_F", bound=Callable[..., Any])
MAX_WAITING: Final = 1_000
"""Events that may wait for a slow command; above it they are counted as missed."""
TELL_S: Final = 0.2
"""Counters are published this late at most."""


class EventKey(NamedTuple):
    """What a connection connects."""

    source: str
    event: str
    command: str

    def __str__(self) -> str:
        return f"{self.source}.{self.event} -> {self.command}"


def on_event(source: str, event: str) -> Callable[[_F], _F]:
    """Run a command whenever another device tells an event.

    The command gets those of the event's arguments that it has parameters for, by name.

    Args:
        source: name of the property that holds the other device's id; empty there is none.
        event: name of the event.
    """

    def mark(function: _F) -> _F:
        known: tuple[tuple[str, str], ...] = getattr(function, "__pykarabo_events__", ())
        function.__pykarabo_events__ = (*known, (source, event))  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(slots=True, eq=False)
class Connection:
    """One event of another device that runs one command of this one.

    Attributes:
        made: whether it was made at run time, and is remembered.
        live: whether the other device is followed at present.
        delivered: how often the command ran and ended well.
        failed: how often it was refused or failed; `error` is the latest reason.
        missed: how many events are known to be lost.
    """

    key: EventKey
    reader: EventReader
    made: bool
    live: bool = False
    delivered: int = 0
    failed: int = 0
    missed: int = 0
    error: str = ""

    def shown(self) -> dict[str, Any]:
        """Return what others see of it."""
        return {
            **self.key._asdict(),
            "live": self.live,
            "delivered": self.delivered,
            "failed": self.failed,
            "missed": self.missed,
            "error": self.error,
        }


@dataclass(slots=True, eq=False)
class _Source:
    """A device that is followed, its connections in their order, and the events that wait."""

    connections: list[Connection] = field(default_factory=list[Connection])
    waiting: deque[tuple[Connection, Occurred]] = field(
        default_factory=deque[tuple[Connection, Occurred]]
    )
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Any] | None = None
    listener: Callable[[Update], None] | None = None


class Connections:
    """The events that run commands of one device.

    Args:
        remember: called when the connections that were made at run time are others.
    """

    def __init__(self, device: "Device", remember: Callable[[], None]) -> None:
        self._device = device
        self._remember = remember
        self._sources: dict[str, _Source] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def made(self) -> list[list[str]]:
        """The connections that were made at run time."""
        return [
            list(connection.key)
            for source in self._sources.values()
            for connection in source.connections
            if connection.made
        ]

    def start(self, remembered: Iterable[Iterable[str]]) -> None:
        """Connect what the class declares, and what was connected before."""
        for command, source_key, event in declared_connections(type(self._device)):  # type: ignore[arg-type]  # hashable
            self._device.schema().require_property(source_key, self._device.context.device_id)
            source = self._device.values()[source_key].value
            if source:
                self.add(EventKey(source, event, command), made=False)
        for key in remembered:
            try:
                self.add(EventKey(*key))
            except PykaraboError as error:
                self._device.log.warning("an event is not connected any more: %s", error)

    def add(self, key: EventKey, *, made: bool = True) -> None:
        """Run a command at each event from now on; again is the same as once.

        Raises:
            UnknownCommandError, InvalidNameError: there is no such command, or no such id.
        """
        device = self._device
        device.schema().require_command(key.command, device.context.device_id)
        check_device_id(key.source)
        source = self._sources.get(key.source)
        if source is None:
            source = self._sources[key.source] = _Source()
        elif any(known.key == key for known in source.connections):
            return
        connection = Connection(key, EventReader(key.source, key.event), made)
        source.connections.append(connection)
        if source.listener is None:
            source.listener = functools.partial(self._update, source)
            source.task = device.spawn(self._deliver(source), name=f"events of {key.source}")
        device.client.follow(key.source, source.listener)
        self._changed()
        if made:
            self._remember()

    def remove(self, key: EventKey) -> None:
        """Let an event run a command no more.

        Raises:
            BadConfigurationError: there is no such connection.
        """
        source = self._sources.get(key.source, _Source())
        found = [known for known in source.connections if known.key == key]
        if not found:
            device_id = self._device.context.device_id
            raise BadConfigurationError(
                f"no event is connected to '{device_id}' as '{key}'",
                device=device_id,
                remedy="its property 'connections' shows what is",
            )
        source.connections.remove(found[0])
        if not source.connections:
            self._drop(key.source)
        self._changed()
        if found[0].made:
            self._remember()

    def _drop(self, name: str) -> None:
        source = self._sources.pop(name)
        if source.listener is not None:
            self._device.client.unfollow(name, source.listener)
        if source.task is not None:
            source.task.cancel()

    def close(self) -> None:
        """Follow nobody any more."""
        for name in list(self._sources):
            self._drop(name)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- events ---------------------------------------------------------------------------------

    def _update(self, source: _Source, update: Update) -> None:
        for connection in source.connections:
            self._take(source, connection, update)

    def _take(self, source: _Source, connection: Connection, update: Update) -> None:
        live = not isinstance(update, Stale)
        if live != connection.live:
            connection.live = live
            self._changed()
        for happening in connection.reader.take(update):
            if isinstance(happening, Missed):
                self._miss(connection, happening.count)
            elif len(source.waiting) >= MAX_WAITING:
                self._miss(connection, 1)
            else:
                source.waiting.append((connection, happening))
                source.news.set()

    def _miss(self, connection: Connection, count: int | None) -> None:
        connection.missed += count or 0
        if count is None:
            connection.error = f"'{connection.key.source}' was restarted: events may be lost"
        self._device.log.warning("%s: %s events were missed", connection.key, count or "unknown")
        self._changed()

    async def _deliver(self, source: _Source) -> None:
        """Run the commands of one source's events, one after the other."""
        while True:
            while not source.waiting:
                source.news.clear()
                await source.news.wait()
            connection, happening = source.waiting.popleft()
            if connection in source.connections:
                await self._run(connection, happening)

    async def _run(self, connection: Connection, happening: Occurred) -> None:
        device, command = self._device, connection.key.command
        name = f"{happening.device_id}.{happening.event}"
        # Whoever made the connection was asked whether he may run the command.
        who = Caller(name, device.client.identity, AccessLevel.ADMINISTRATOR)
        try:
            info = device.schema().require_command(command, device.context.device_id)
            names = {item.name for item in info.parameters}
            known = {key: value for key, value in happening.arguments.items() if key in names}
            with called_by(who):
                await run_command(device, command, [], known)
        except PykaraboError as error:
            connection.failed += 1
            connection.error = str(error)
            device.log.warning("%s: %s", connection.key, error)
        else:
            connection.delivered += 1
        self._changed()

    # -- telling --------------------------------------------------------------------------------

    def _changed(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_S, self._tell)

    def _tell(self) -> None:
        self._timer = None
        shown = {
            str(connection.key): connection.shown()
            for source in self._sources.values()
            for connection in source.connections
        }
        self._device.set_values({"connections": shown})


@functools.cache
def declared_connections(cls: type) -> tuple[tuple[str, str, str], ...]:
    """Return command, source property and event of each connection that a class declares."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        members.update(vars(base))
    return tuple(
        (_command_name(member), source, event)
        for member in members.values()
        for source, event in _marks(member)
    )


def _marks(member: object) -> tuple[tuple[str, str], ...]:
    found: tuple[tuple[str, str], ...] = getattr(member, "__pykarabo_events__", ())
    return found


def _command_name(member: Any) -> str:
    info = getattr(member, "__pykarabo_command__", None)
    if info is None:
        raise BadConfigurationError(
            f"'{member.__name__}' is to be run by an event, but is no command",
            key=member.__name__,
            remedy="put @command() below @on_event(...)",
        )
    name: str = info.name
    return name
