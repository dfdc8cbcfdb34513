"""The base class of every device."""

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, ClassVar, Final, cast

import pykarabo
from pykarabo.client import AsyncDeviceProxy, Client
from pykarabo.data import (
    AccessLevel,
    AccessMode,
    AlarmCondition,
    Choice,
    HashProperty,
    Int64,
    PropertyInfo,
    PropertyValue,
    State,
    StateProperty,
    String,
    Timestamp,
    TrainReference,
    VectorString,
    declared_class,
    flat_configuration,
    raise_all,
)
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    PykaraboError,
    ReadOnlyError,
    StateForbidsError,
)
from pykarabo.transport import Clock, TaskOwner, acting_as, present_caller

from ._admission import permit
from ._alarms import DeviceAlarms
from ._called import Called
from ._command import command
from ._connections import Connections, EventKey
from ._context import DeviceContext
from ._device_node import DeviceNodes
from ._events import told_values
from ._jobs import Jobs
from ._lock import DeviceLock
from ._log_level import AS_SERVER, LEVELS, LogLevel
from ._machine import RunningMachine, StateMachine, bind_machine
from ._memorised import fitting, require_memorised
from ._memory import Memory, memory_file
from ._pipelines import OutputChannel
from ._poll import PollLoop, Polls
from ._versions import distribution_of

_MEMORY: Final = "memory-file"
"""Name of the alarm about set-points that could not be written; no property can have it."""


class Device(Called):
    """A device: properties, commands and outputs under one device id.

    Derive from it, declare properties with the descriptors of `pykarabo.data` and commands with
    `command`, and override the hooks. A device is made by a device server, never by hand; in
    tests `pykarabo.testing` does it.

    Assigning to a property publishes it. All assignments of one turn of the event loop travel in
    one message, in their order.
    """

    class_id = String(read_only=True, description="Name of the device's class.")
    class_version = String(read_only=True, description="What the class was installed with.")
    pykarabo_version = String(read_only=True, description="Version of pykarabo it runs on.")
    device_id = String(read_only=True, description="Name of the device in its domain.")
    server_id = String(read_only=True, description="The device server that hosts it.")
    host = String(read_only=True, description="The host that it runs on.")
    pid = Int64(read_only=True, description="The process that it runs in.")
    state = StateProperty(read_only=True, description="What the device is doing.")
    status = String(read_only=True, description="The state in words.")
    jobs = HashProperty(
        read_only=True,
        description="Long work by job: command, state, progress from 0 to 1, message.",
    )
    alarm_condition = Choice(
        AlarmCondition, read_only=True, description="The worst warning or alarm that is there."
    )
    alarms = HashProperty(
        read_only=True,
        description="Warnings and alarms by source and condition: value, since when, what to do, "
        "who knows.",
    )

    interfaces = VectorString(
        read_only=True, description="What kinds of device it is, such as Motor."
    )
    polls = HashProperty(
        read_only=True,
        description="By polled method: period and duration in s, runs, overruns, failures.",
    )
    connections = HashProperty(
        read_only=True,
        description="Events of other devices that run commands of this one, with their counts.",
    )
    locked_by = String(read_only=True, description="Who alone may use it; empty for everybody.")
    last_command = String(
        read_only=True, description="The latest command or write, and who asked for it."
    )
    given_attributes = HashProperty(
        read_only=True,
        description="Limits, dead-bands and what the archive keeps, as far as it was given others "
        "than its class declares: attributes by property.",
    )
    log_level = Choice(
        LEVELS,
        default=AS_SERVER,
        access_level=AccessLevel.EXPERT,
        description="Messages below this level are not logged; SERVER: as its server does.",
    )
    _flush_is_due = False
    state_machine: ClassVar[StateMachine | None] = None
    initialize_timeout_s: ClassVar[float] = 10.0
    """`on_initialize` may take so long; a server that hangs at start helps nobody."""

    memorised: ClassVar[Collection[str]] = ()
    """Keys of set-points that outlive the process; a configuration goes before them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if declared_class(cls) is cls:
            bind_machine(cls)
        super().__init_subclass__(**kwargs)
        require_memorised(cls.__name__, cls.schema(), cls.memorised)

    def __init__(
        self, configuration: Mapping[str, Any] | None = None, *, context: DeviceContext
    ) -> None:
        self._context = context
        self._online = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pending: list[tuple[str, PropertyValue]] = []
        self._brought = {}
        self._tasks = TaskOwner(f"device {context.device_id}", self._task_failed)
        self._setting = asyncio.Lock()
        self._change_lock = threading.Lock()
        self._jobs: Jobs | None = None
        self._observers: dict[str, list[Callable[[Any], object]]] = {}
        self.commands_at_work: set[asyncio.Task[Any]] = set()
        self._lock = DeviceLock(context.device_id, context.clock, self._show_owner)
        self.log = logging.getLogger(f"pykarabo.device.{context.device_id}")
        self._problems: list[str] = []
        self._memory = Memory(
            memory_file(context.memory, context.device_id),
            self._tasks,
            damaged=self._flag,
            unwritten=self._tell_unwritten,
        )
        self._remembered = self._memory.load()
        known, problems = fitting(
            self.schema(), self.memorised, self._remembered.get("values", {}), context.device_id
        )
        given = flat_configuration(self.schema(), configuration or {}, context.device_id, errors=[])
        remembered = {key: value for key, value in known.items() if key not in given}
        configured = {**remembered, **(configuration or {})}
        super().__init__(configured)
        self._alarms = DeviceAlarms(
            context.device_id,
            clock=context.clock,
            store=self._store,
            values=self.values,
            show=self.set_values,
            log=self.log,
        )
        self._alarms.declare(self.schema(), self._values)
        for problem in problems:
            self._flag(problem)
        self.observe("log_level", LogLevel(self))
        at = self.now()
        for key, value in self._own_facts().items():
            self._values[key] = PropertyValue(value, at)
        table = type(self).state_machine
        self._machine = None if table is None else RunningMachine(table, self)
        if table is not None:
            self.state = table.initial
        self._nodes = DeviceNodes(self)
        self._polls = Polls(self)
        self._connections = Connections(self, self._memory.changed)
        self._memory.begin(self._to_remember)
        for key in self.memorised:
            self.observe(key, self._memory.changed)
        self._outputs: dict[str, OutputChannel] = {
            name: context.pipelines.open(
                context.device_id, info, instance=context.instance, epoch=context.epoch
            )
            for name, info in self.schema().outputs.items()
        }

    def _own_facts(self) -> dict[str, Any]:
        """Return the properties that tell which device this is."""
        cls, context = type(self), self._context
        return {
            "class_id": cls.__name__,
            "class_version": distribution_of(cls),
            "pykarabo_version": pykarabo.__version__,
            "interfaces": interface_names(cls),
            "device_id": context.device_id,
            "server_id": context.server_id,
            "host": context.host,
            "pid": context.pid,
            "status": "; ".join(self._problems),
            "given_attributes": self._given_attributes,
        }

    # -- hooks ----------------------------------------------------------------------------------

    async def on_initialize(self) -> None:
        """Prepare the device before anybody can see it; an exception refuses its start."""

    async def on_start(self) -> None:
        """Begin to work; the device is visible now. May take as long as it likes."""

    async def on_stop(self) -> None:
        """Leave the hardware in a safe state; the device is about to disappear."""

    async def on_set(self, values: Mapping[str, Any]) -> None:
        """Look at a write from outside before it is applied; raise to refuse all of it."""

    async def after_set(self, values: Mapping[str, Any]) -> None:
        """Act on a write from outside after it was applied."""

    # -- for authors ----------------------------------------------------------------------------

    @property
    def is_initialized(self) -> bool:
        """Whether `on_initialize` has ended well and others see the device."""
        return self._online

    @property
    def clock(self) -> Clock:
        """The device's clock; a fake one in tests."""
        return self._context.clock

    @property
    def client(self) -> Client:
        """The client through which this device uses others."""
        return self._context.client

    @property
    def train_reference(self) -> TrainReference | None:
        """How train ids relate to time; None as long as no time source is known."""
        return self._context.train_reference()

    def now(self) -> Timestamp:
        """Return the present time with its train id (0 without a time source)."""
        time_ns = self._context.clock.time_ns()
        reference = self._context.train_reference()
        return Timestamp.from_ns(time_ns, 0 if reference is None else reference.train_at(time_ns))

    async def connect(self, device_id: str) -> AsyncDeviceProxy:
        """Return a live proxy of another device.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached.
        """
        return await self._context.client.device(device_id)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> "asyncio.Task[Any]":
        """Run `work` in the background until it ends or the device stops.

        A task that fails puts the device into state ERROR, with the reason in its status.
        """
        with acting_as(self._context.device_id):
            return self._tasks.spawn(work, name=name)

    def poll(
        self, method: Callable[[], Any], interval: float | str, *, on_failure: str = "error"
    ) -> PollLoop:
        """Run a method again and again from now on, as the decorator `poll` does.

        Raises:
            BadConfigurationError: it is polled already, or there is no such way to fail.
            UnknownPropertyError: the interval is no property of this device.
        """
        return self._polls.add(method, interval, on_failure)

    def polling(self, method: str) -> PollLoop:
        """Return the loop that runs a method, to pause or resume it.

        Raises:
            BadConfigurationError: the method is not polled.
        """
        return self._polls.loop(method)

    def emit(self, event: str, /, **arguments: Any) -> None:
        """Tell an event that the class declares, in its place among the changes of properties.

        Raises:
            UnknownPropertyError: there is no such event.
            BadInputError: an argument is missing or too much, or does not fit; nothing was told.
        """

        def tell() -> None:
            self.flush()
            self.set_values(told_values(self, event, arguments))
            self.flush()

        self._in_loop(tell)

    def observe(self, key: str, act: Callable[[Any], object]) -> None:
        """Call `act` with every new value of one of this device's properties, at once.

        It is called in the thread that sets the value and must not wait.
        """
        self._observers.setdefault(key, []).append(act)

    def report_progress(self, progress: float, message: str = "") -> None:
        """Tell how far the command is that calls this, if it is a job; `progress` from 0 to 1."""
        if self._jobs is not None:
            self._jobs.report(progress, message)

    def raise_alarm(
        self,
        condition: str,
        text: str = "",
        *,
        source: str = "device",
        needs_acknowledge: bool = False,
    ) -> None:
        """Raise a warning, an alarm or an interlock that no limit of a property stands for.

        Args:
            condition: ``"warn"``, ``"alarm"`` or ``"interlock"``.
            text: what is wrong and what to do.
            source: its name; one of the same name is replaced.
            needs_acknowledge: whether it stays after `clear_alarm` until somebody has acknowledged
                it.

        Raises:
            BadConfigurationError: another condition, or the name of a property with limits.
        """
        self._alarms.raise_own(source, condition, text, self.now(), needs_acknowledge)

    def clear_alarm(self, source: str = "device") -> None:
        """End what was raised under a name; there may be nothing."""
        self._alarms.clear_own(source)

    @command(idempotent=True)
    async def acknowledge_alarm(self, key: str) -> None:
        """Say that you know of the alarms of a property, or of the one with this name."""
        caller = present_caller()
        who = None if caller is None else f"{caller.identity.user}@{caller.identity.host}"
        self._alarms.acknowledge(key, who or self._context.device_id)

    @command(idempotent=True, access_level=AccessLevel.OBSERVER)
    async def job_result(self, job_id: str, wait: float = 0.0) -> dict[str, Any]:
        """Return what is known of a job, after `wait` seconds if it has not ended before."""
        return await self.jobs_at_work.result(job_id, wait)

    @command(idempotent=True)
    async def cancel_job(self, job_id: str) -> None:
        """Stop a job."""
        self.jobs_at_work.cancel(job_id)

    @command(name="connect_event", idempotent=True, access_level=AccessLevel.EXPERT)
    async def add_connection(self, source: str, event: str, command: str) -> None:
        """Run a command of this device whenever device `source` tells the event."""
        self._connections.add(EventKey(source, event, command))

    @command(name="disconnect_event", access_level=AccessLevel.EXPERT)
    async def remove_connection(self, source: str, event: str, command: str) -> None:
        """Undo `connect_event`."""
        self._connections.remove(EventKey(source, event, command))

    def set_values(self, values: Mapping[str, Any], *, timestamp: Timestamp | None = None) -> None:
        """Set several properties of this device at one moment.

        Args:
            timestamp: when the values were true; default is now.

        Raises:
            BadInputError: a value that does not fit; nothing was set.
        """
        schema = self.schema()
        at = timestamp or self.now()
        checked: list[tuple[str, Any]] = []
        for key, value in values.items():
            info = schema.require_property(key, self._context.device_id)
            checked.append((key, self._plain(info, value)))
        for key, plain in checked:
            self._keep(key, plain, at)

    # -- for the server -------------------------------------------------------------------------

    @property
    def context(self) -> DeviceContext:
        """The device's surroundings."""
        return self._context

    @property
    def running_machine(self) -> RunningMachine:
        """The device's state machine; raises `BadConfigurationError` if its class has none."""
        if self._machine is None:
            raise BadConfigurationError(
                f"device '{self._context.device_id}' has no state machine",
                device=self._context.device_id,
                remedy="declare one in its class",
            )
        return self._machine

    @property
    def jobs_at_work(self) -> Jobs:
        """The device's long work."""
        if self._jobs is None:
            self._jobs = Jobs(self._context.device_id, self.clock, self._tasks, self._show_jobs)
        return self._jobs

    def _show_jobs(self, jobs: dict[str, Any]) -> None:
        self.set_values({"jobs": jobs})

    def values(self) -> Mapping[str, PropertyValue]:
        """Return every property with time stamp and quality, by key."""
        return self._values

    def output_channel(self, name: str) -> OutputChannel:
        """Return an output by name."""
        return self._outputs[name]

    def go_online(self) -> None:
        """Publish changes from now on."""
        self._online = True
        self._alarms.open()

    def go_to_work(self) -> None:
        """Begin to work, when others can see the device."""
        self._polls.start()
        self._connections.start(self._remembered.get("connections", ()))
        if self.memorised:
            self._memory.changed()
        self.spawn(self._start(), name="on_start")

    def _to_remember(self) -> dict[str, Any]:
        values = {key: self._values[key].value for key in self.memorised}
        return {"values": values, "connections": self._connections.made}

    def _flag(self, problem: str) -> None:
        """Tell in log and status what is wrong with the device's memory."""
        self.log.warning("%s", problem)
        self._problems.append(problem)
        if self._online:
            self.set_values({"status": problem})

    def _tell_unwritten(self, problem: str | None) -> None:
        """Raise or clear the alarm that set-points would be lost with the process."""
        if problem is None:
            self.clear_alarm(_MEMORY)
        else:
            self.raise_alarm("warn", problem, source=_MEMORY)

    async def _start(self) -> None:
        await self._nodes.connect()
        await self.on_start()

    async def write_from_outside(
        self,
        values: Mapping[str, Any],
        check_unchanged: Callable[[], None],
        changed: Callable[[Mapping[str, Any], Mapping[str, Any]], None],
    ) -> None:
        """Apply a client's write, all or nothing; writes take turns.

        Args:
            check_unchanged: raises when the client's knowledge is out of date.
            changed: is told the values before and after the write.

        Raises:
            BadInputError, StateForbidsError: the write is refused; nothing was set.
        """
        async with self._setting:
            check_unchanged()
            checked = self._checked_write(values)
            await self.on_set(checked)
            check_unchanged()
            before = {key: self._values[key].value for key in checked}
            self.set_values(checked)
            changed(before, {key: self._values[key].value for key in checked})
            await self.after_set(checked)
            if any(key in self.memorised for key in checked):
                await self._memory.saved()

    def _checked_write(self, values: Mapping[str, Any]) -> dict[str, Any]:
        device_id = self._context.device_id
        schema = self.schema()
        checked: dict[str, Any] = {}
        errors: list[BadInputError] = []
        for key, value in values.items():
            try:
                info = schema.require_property(key, device_id)
                self._require_writable(info)
                checked[key] = info.validate(value, device=device_id)
            except BadInputError as error:
                errors.append(error)
        raise_all(errors, device_id)
        return checked

    def _require_writable(self, info: PropertyInfo) -> None:
        device_id = self._context.device_id
        if info.access_mode is not AccessMode.RECONFIGURABLE:
            remedy = "it can only be read"
            if info.access_mode is AccessMode.INIT_ONLY:
                remedy = "it is set when the device is instantiated: start the device anew with it"
            raise ReadOnlyError(
                f"'{device_id}.{info.key}' cannot be written",
                device=device_id,
                key=info.key,
                remedy=remedy,
            )
        if info.allowed_states is not None and self.state not in info.allowed_states:
            raise StateForbidsError(
                f"'{device_id}.{info.key}' cannot be written in state {self.state}",
                device=device_id,
                key=info.key,
                remedy=f"bring the device to {' or '.join(sorted(info.allowed_states))} first",
            )

    def permit_arguments(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Refuse a command whose caller may run it, but not make it do what he wants done.

        Raises:
            DeniedError: his role does not allow it; nothing was executed.
        """
        if command == "connect_event":
            wanted = self.schema().require_command(arguments["command"], self._context.device_id)
            permit(self, wanted)

    def command_method(self, name: str) -> Callable[..., Any]:
        """Return the method that a command's name, dotted for nodes, stands for."""
        *nodes, last = name.split(".")
        owner: Any = self
        for node in nodes:
            owner = getattr(owner, node)
        described = declared_class(getattr(owner, "__pykarabo_class__", type(owner)))
        names = _command_attributes(described)  # type: ignore[arg-type]  # hashable
        return cast("Callable[..., Any]", getattr(owner, names[last]))

    async def aclose(self) -> None:
        """Stop the device: its hook, its tasks, its outputs."""
        self._polls.pause()
        self._connections.close()
        try:
            async with asyncio.timeout(self.stop_timeout_s):
                with acting_as(self._context.device_id):
                    await self.on_stop()
        except TimeoutError:
            self.log.error("on_stop of '%s' took too long", self._context.device_id)
        finally:
            self._alarms.close()
            if self._machine is not None:
                self._machine.close()
            await self._memory.saved()
            self._nodes.close()
            await self._end_commands()
            await self._tasks.aclose()
            await self._context.pipelines.close_device(self._context.device_id)
            self.flush()
            self._online = False

    # -- storing and publishing -----------------------------------------------------------------

    def _name(self) -> str:
        return self._context.device_id

    def _timestamp(self) -> Timestamp:
        return self.now()

    def _assign(self, info: PropertyInfo, value: Any) -> None:
        self._keep(info.key, self._plain(info, value), self.now())

    def _change_value(self, key: str, change: Callable[[Any], Any]) -> None:
        with self._change_lock:  # threads that change one table must not lose each other's rows
            super()._change_value(key, change)

    def _keep(self, key: str, plain: Any, at: Timestamp) -> None:
        alarms = self._alarms
        if key not in alarms.watched:
            self._store(key, PropertyValue(plain, at))
            if key not in alarms.watched:
                return
            # It got limits while this thread was about to store it.
        alarms.take(key, plain, at)

    def _store(self, key: str, value: PropertyValue, publish: bool = True) -> None:
        self._values[key] = value
        for act in self._observers.get(key, ()):
            act(value.value)
        if not (self._online and publish):
            return
        self._pending.append((key, value))
        if not self._flush_is_due:
            self._flush_is_due = True
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self.flush)
            else:
                self._loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Publish what has changed since the last time."""
        self._flush_is_due = False  # first: what a thread adds from now on has it called again
        has_new_schema, self._schema_changed = self._schema_changed, False
        if has_new_schema and self._online:
            self._publish_schema()
        self._take_note()
        pending, self._pending = self._pending, []
        if has_new_schema:
            pending = self._after_schema(pending)
        if pending and self._online:
            self._publish(pending)

    def _publish_schema(self) -> None:
        try:
            self._context.publish_schema(self)
        except PykaraboError as error:
            self.log.error("its new schema cannot be told: %s", error)

    def _publish(self, changes: list[tuple[str, PropertyValue]]) -> None:
        """Publish changes; one that cannot travel keeps no other from it."""
        try:
            self._context.publish(self, changes)
        except PykaraboError as error:
            if len(changes) == 1:
                self.log.error("a value of '%s' cannot be told: %s", changes[0][0], error)
                return
            for change in changes:
                self._publish([change])

    def flush_changes(self) -> None:
        """Publish now what has changed; who called last, alone, can wait."""
        if self._pending or self._schema_changed:
            self.flush()

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.log.error("task '%s' failed", name, exc_info=error)
        if self._machine is not None:
            self._machine.task_failed(name, error)
        else:
            self.set_values({"state": State.ERROR, "status": f"{name} failed: {error}"})
        if isinstance(error, Exception):
            self.spawn(self.tell_exception(name, error), name="on_exception")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._context.device_id}>"


def interface_names(cls: type) -> list[str]:
    """Return the names of the interfaces that a class keeps, the nearest first."""
    names = (vars(base).get("interface_name") for base in cls.__mro__)
    return [name for name in names if name]


@functools.cache
def _command_attributes(owner: type) -> Mapping[str, str]:
    """Return the attribute of each command of a class, by the command's name."""
    members: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        members.update(vars(base))
    return {
        member.__pykarabo_command__.name: attribute
        for attribute, member in members.items()
        if hasattr(member, "__pykarabo_command__")
    }
