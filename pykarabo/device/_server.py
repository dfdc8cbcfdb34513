"""A device server: hosts devices, answers calls, publishes events, keeps its lease."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pykarabo
from pykarabo.client import DIRECTORY_ID, Client, ServerRecord, check_device_id
from pykarabo.data import PropertyValue, State, TrainReference, to_row
from pykarabo.errors import (
    BadConfigurationError,
    DuplicateDeviceError,
    PykaraboError,
    RemoteError,
)
from pykarabo.transport import (
    Clock,
    Connection,
    ConnectionCounts,
    SystemClock,
    TaskOwner,
    Transport,
    acting_as,
)
from pykarabo.wire import (
    HEARTBEAT_INTERVAL_S,
    EventSource,
    Welcome,
    number_before,
)

from ._alerts import ServerAlerts
from ._answers import Answers
from ._auditing import Audit
from ._calls import CallHost
from ._classes import DeviceClasses
from ._clock_watch import ClockWatch
from ._context import DeviceContext
from ._device import Device
from ._hosting import Hosted, Hosting
from ._lock import LockWatch
from ._loop_watch import Blockage
from ._mode import ModeWatch
from ._own_process import OwnProcesses
from ._pipelines import PipelineHost
from ._registration import Registration
from ._rights import Readers, Rights, all_readers, all_rights
from ._running import guarded, initialize_in_time
from ._server_device import DeviceServer
from ._starting import DeviceSettings, FirstDevices
from ._streams import EventStreams
from ._trains import TimeSource

_log: Final = logging.getLogger(__name__)
PROBE_BEATS: Final = 60
"""Clients that went without a goodbye are looked for once a minute."""


class Server:
    """One process's device server.

    Args:
        server_id: its device id.
        transport: how others reach it.
        client: how it reaches others, the directory first of all.
        classes: what it can instantiate.
        time_source: device id of the train clock whose train ids its devices use.
        allow_offline: start devices without a majority of the directory's replicas.
        memory: directory of what its devices remember; None for nothing.
        audit: directory of the audit log's files; None for no such log.
        apart: what processes of single devices have in common with this one, see `OwnProcesses`;
            None where there can be none.
        rights: tells what whoever connects may do.
        readers: refuses who may not read an output.
        start_options: how a facility file describes the server; empty where none could.

    Attributes:
        lag_s: how late the event loop ran at the last heartbeat.
        blockage: returns what stopped the event loop last; set by who watches it.
        stopping: set when the process is to end.
        ends_with: the device whose end is that of the process, too.
        audit: is told what is asked of the devices.
        alerts: raises alarms on the server's own device.
    """

    def __init__(
        self,
        server_id: str,
        *,
        transport: Transport,
        client: Client,
        classes: DeviceClasses,
        clock: Clock | None = None,
        time_source: str | None = None,
        allow_offline: bool = False,
        memory: Path | None = None,
        audit: Path | None = None,
        apart: Mapping[str, Any] | None = None,
        rights: Rights = all_rights,
        readers: Readers = all_readers,
        start_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._memory = memory
        self.start_options = dict(start_options or {})
        self._apart = None if apart is None else OwnProcesses(server_id, apart, self._process_ended)
        self.server_id = check_device_id(server_id)
        self.client = client
        self.classes = classes
        self.clock: Clock = clock or SystemClock()
        self.instance = secrets.token_bytes(16)
        self.epoch = self.clock.time_ns()
        self.lag_s = 0.0
        self.blockage: Callable[[], Blockage | None] = lambda: None
        self._beats = 0
        self.stopping = asyncio.Event()
        self.ends_with: str | None = None
        self._tasks = TaskOwner(f"server {server_id}")
        self._hosting = Hosting(server_id)
        self._starting: set[str] = set()
        self._transport = transport
        self.streams = EventStreams(
            transport, self.clock, self._hosting, instance=self.instance, epoch=self.epoch
        )
        self._pipelines = PipelineHost(transport, self.clock, readers=readers)
        welcome = Welcome(
            server_id,
            self.instance,
            self.epoch,
            0,
            pykarabo.__version__,
            self.streams.endpoint,
            self._pipelines.endpoint,
        )
        self.audit = Audit(self._hosting, server_id, audit, self.clock)
        answers = Answers(self._hosting, self.streams)
        self._calls = CallHost(
            transport,
            self.clock,
            self._tasks,
            answers,
            audit=self.audit,
            welcome=welcome,
            rights=rights,
        )
        self._locks = LockWatch(self._calls.sessions, self._calls.router, self.clock)
        self._mode = ModeWatch(client, self._tasks)
        self._time = TimeSource(client, time_source, self.clock)
        self.clock_watch = ClockWatch(self.clock)
        self.alerts = ServerAlerts(self, transport, self.clock_watch, self._time)
        self._registration = Registration(self, allow_offline=allow_offline)
        self._first_devices = FirstDevices(self, self._registration, self._tasks)

    # -- life -----------------------------------------------------------------------------------

    async def start(self, *, directory: bool = False, ledger_file: str = "") -> None:
        """Begin to serve and register with the directory.

        Args:
            directory: host a replica of the directory here; it is started before anything else.
            ledger_file: where the replica keeps what it must not forget.

        Raises:
            NotConnectedError: there is no directory.
            DuplicateDeviceError: the server's id is taken.
        """
        self._tasks.spawn(self._beat(), name="heartbeat")
        if directory:
            await self._host(
                self.classes.require("Directory"), DIRECTORY_ID, {"ledger_file": ledger_file}
            )
        await self._registration.start(hosts_replica=directory)
        await self._mode.start()
        self.audit.start(self.record(), self.client.domain)
        await self._host(DeviceServer, self.server_id, {}, own=True)
        if directory:
            await self._registration.claim(DIRECTORY_ID)
            await self._registration.publish(self._hosting.require(DIRECTORY_ID).device)
        self._time.start()

    async def aclose(self) -> None:
        """Stop every device and leave the directory."""
        if self._apart is not None:
            await self._apart.aclose()
        for device in reversed(self._hosting.devices):
            if device.context.device_id not in (DIRECTORY_ID, self.server_id):
                await self._stop_device(device.context.device_id)
        self._mode.close()
        await self._registration.aclose()
        for device in reversed(self._hosting.devices):
            await self._stop_device(device.context.device_id, registered=False)
        await self._tasks.aclose()
        self._time.close()
        self._pipelines.close()
        self.streams.close()
        self._calls.close()
        await self.audit.aclose()

    def record(self) -> ServerRecord:
        """Return what the directory is told of this server."""
        identity = self.client.identity
        return ServerRecord(
            server_id=self.server_id,
            instance=self.instance.hex(),
            epoch=self.epoch,
            host=identity.host,
            pid=identity.pid,
            user=identity.user,
            version=pykarabo.__version__,
            rpc=self._calls.router.endpoint,
            events=self.streams.endpoint,
            data=self._pipelines.endpoint,
            classes=tuple(self.classes.names()),
        )

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._calls.sessions.sessions)

    def review_rights(self) -> None:
        """Ask anew, at its next call, what each client has a right to."""
        self._calls.sessions.review()

    @property
    def calls_in_flight(self) -> int:
        """How many calls are being worked on."""
        return self._calls.sessions.in_flight

    @property
    def rejected(self) -> int:
        """How many messages were none of ours, or no longer made sense."""
        return self._calls.sessions.dropped + self._pipelines.malformed

    @property
    def slow_clients(self) -> int:
        """How often a client did not take its answers, and was forgotten."""
        return self._calls.slow_clients

    @property
    def devices(self) -> list[Device]:
        """Every device of this server, itself included."""
        return self._hosting.devices

    @property
    def connections(self) -> ConnectionCounts:
        """How many connections there are to this process, and what became of others."""
        return self._transport.counts

    def cut(self, wanted: Callable[[Connection], bool], reason: str) -> int:
        """End connections for calls, events and data, and the sessions on them; no other ones.

        Args:
            wanted: tells which; it sees those that have called, subscribed or attached.

        Returns:
            how many they are.
        """
        found = [connection for connection in self._transport.connections if wanted(connection)]
        for connection in found:
            self._calls.forget(connection)
            self._transport.cut(connection, reason)
        return len(found)

    # -- devices --------------------------------------------------------------------------------

    async def instantiate(
        self,
        class_id: str,
        device_id: str,
        configuration: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
        *,
        wait: bool = True,
    ) -> Device:
        """Start a device.

        Args:
            attributes: limits, dead-bands and what the archive keeps, by property.
            wait: until the directory knows it; else it is told soon.

        Raises:
            UnknownClassError, InvalidNameError, BadInputError: it cannot be.
            DuplicateDeviceError: the id is taken; who holds it is named.
            PykaraboError: what `on_initialize` raised.
        """
        cls = await self.classes.imported(class_id)
        check_device_id(device_id)
        if device_id in self._hosting or device_id in self._starting:
            raise DuplicateDeviceError(
                f"device '{device_id}' runs already on this server '{self.server_id}'",
                device=device_id,
                remedy=f"choose another id, or stop it: pykarabo shutdown {device_id}",
            )
        self._starting.add(device_id)
        try:
            await self._registration.claim(device_id)
            try:
                return await self._host(
                    cls, device_id, configuration or {}, attributes=attributes, wait=wait
                )
            except BaseException:
                await self._registration.release(device_id)
                raise
        finally:
            self._starting.discard(device_id)

    async def instantiate_apart(
        self,
        class_id: str,
        device_id: str,
        configuration: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> int:
        """Start a device in a process of its own; returns the process id.

        Raises:
            BadConfigurationError: there can be none, or it cannot import the class.
            UnknownClassError, DuplicateDeviceError, PykaraboError: as `instantiate`.
        """
        cls = await self.classes.imported(class_id)
        if self._apart is None:
            raise BadConfigurationError(
                f"server '{self.server_id}' starts no processes of their own for devices",
                device=device_id,
                remedy="start it among the others",
            )
        pid = await self._apart.start(
            cls, class_id, check_device_id(device_id), configuration or {}, attributes or {}
        )
        self._first_devices.problems.pop(device_id, None)
        self._hosting.require(self.server_id).device.clear_alarm(_death_of(device_id))
        self.show_devices()
        return pid

    @property
    def apart(self) -> Mapping[str, Any]:
        """The devices in processes of their own: process and server of each."""
        return {} if self._apart is None else self._apart.shown()

    def _process_ended(self, device_id: str, error: RemoteError | None) -> None:
        """Tell of a process that is over; one that died is not started again."""
        if error is not None:
            _log.error("%s", error)
            self._first_devices.problems[device_id] = error
            self._hosting.require(self.server_id).device.raise_alarm(
                "alarm", str(error), source=_death_of(device_id), needs_acknowledge=True
            )
        if self.server_id in self._hosting:
            self.show_devices()

    async def start_devices(self, devices: Iterable[DeviceSettings]) -> None:
        """Start several devices; one that cannot be keeps no other from it, see `problems`.

        Those whose ids the directory cannot grant, because too few of its replicas answer, are
        started as soon as it can.
        """
        await self._first_devices.start(devices)

    @property
    def ready(self) -> bool:
        """Whether everything was tried that it starts with."""
        return self._first_devices.ready

    @property
    def problems(self) -> Mapping[str, PykaraboError]:
        """Why devices that it was to start with are not there, by device id."""
        return self._first_devices.problems

    def hosts(self, device_id: str) -> bool:
        """Tell whether a device runs here."""
        return device_id in self._hosting

    def hosted(self, device_id: str) -> Hosted:
        """Return a device that runs here; raises `UnknownDeviceError`."""
        return self._hosting.require(device_id)

    @property
    def own_device(self) -> Device:
        """The server itself as a device; raises `UnknownDeviceError` before it is one."""
        return self._hosting.require(self.server_id).device

    def show_devices(self) -> None:
        """Have the server's own device show what is hosted."""
        own = self.own_device
        if isinstance(own, DeviceServer):
            own.show_devices()

    def refuse(self, device_id: str, error: PykaraboError) -> None:
        """Let a device take no writes and commands: a twin elsewhere has the older grant.

        The server's own device goes on, because somebody must be able to stop the others.
        """
        remedy = f"stop one of the two: pykarabo call {self.server_id} shutdown_device {device_id}"
        refused = DuplicateDeviceError(error.message, device=device_id, remedy=remedy)
        _log.critical("DUPLICATE: %s", refused)
        if device_id in self._hosting:
            hosted = self._hosting.require(device_id)
            hosted.device.set_values({"state": State.ERROR, "status": f"DUPLICATE: {refused}"})
            if device_id != self.server_id:
                hosted.refused = refused

    async def _host(
        self,
        cls: type[Device],
        device_id: str,
        configuration: Mapping[str, Any],
        *,
        own: bool = False,
        wait: bool = True,
        attributes: Mapping[str, Any] | None = None,
    ) -> Device:
        context = self._context(device_id, own=own, attributes=attributes or {})
        device = cls(configuration, context=context)
        if isinstance(device, DeviceServer):
            device.attach(self)
        source = EventSource(
            device_id, context.instance, context.epoch, number_before(context.epoch)
        )
        await self._initialize(device)
        self._hosting.add(device, source)
        device.go_online()
        if device_id != DIRECTORY_ID:
            await self._make_known(device, wait=wait)
        device.go_to_work()
        return device

    async def _make_known(self, device: Device, *, wait: bool) -> None:
        """Tell the directory; a device that nobody could find is not left running."""
        try:
            await self._registration.publish(device, wait=wait)
        except BaseException:
            self._hosting.remove(device.context.device_id)
            await device.aclose()
            raise

    async def _initialize(self, device: Device) -> None:
        """Run the device's hook; what it raises becomes an error that names the device."""
        device_id = device.context.device_id
        try:
            with acting_as(device_id):
                await guarded(initialize_in_time(device), device_id, f"the start of '{device_id}'")
        except BaseException:
            await device.aclose()
            raise

    def _context(
        self, device_id: str, *, own: bool, attributes: Mapping[str, Any]
    ) -> DeviceContext:
        return DeviceContext(
            device_id=device_id,
            server_id=self.server_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            instance=self.instance if own else secrets.token_bytes(16),
            epoch=self.epoch if own else self.clock.time_ns(),
            clock=self.clock,
            client=self.client,
            publish=self._publish,
            publish_schema=self._publish_schema,
            pipelines=self._pipelines,
            train_reference=self._train_reference,
            memory=self._memory,
            mode=lambda: self._mode.mode,
            attributes=attributes,
        )

    def _train_reference(self) -> TrainReference | None:
        return self._time.reference

    async def shut_down(self, device_id: str) -> None:
        """Stop a device and forget it; raises `UnknownDeviceError`."""
        if self._apart is not None and device_id in self._apart:
            await self._apart.stop(device_id)
            return
        self._hosting.require(device_id)
        await self._stop_device(device_id)
        if device_id == self.ends_with:
            self.stopping.set()

    async def _stop_device(self, device_id: str, *, registered: bool = True) -> None:
        hosted = self._hosting.require(device_id)
        try:
            await hosted.device.aclose()
        except Exception:  # noqa: BLE001 - one device's end must not keep the others from theirs
            _log.error("device '%s' did not stop cleanly", device_id, exc_info=True)
        finally:
            self._hosting.remove(device_id)
            self.streams.ended(hosted)
            if registered:
                await self._registration.release(device_id)

    # -- events ---------------------------------------------------------------------------------

    def _publish(self, device: Device, changes: list[tuple[str, PropertyValue]]) -> None:
        hosted = self._hosting.require(device.context.device_id)
        self.streams.changed(hosted, [to_row(key, value) for key, value in changes])
        for key, _value in changes:
            if key == "state":
                self._registration.state_changed(device)

    def _publish_schema(self, device: Device) -> None:
        self.streams.schema_changed(self._hosting.require(device.context.device_id))

    async def _beat(self) -> None:
        """Publish the heartbeat; how late it comes is the event loop's lag."""
        loop = asyncio.get_running_loop()
        due = loop.time() + HEARTBEAT_INTERVAL_S
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.lag_s = max(0.0, loop.time() - due)
            self.streams.heartbeat(self.lag_s)
            self.alerts.look()
            self.audit.watch()
            due = max(due + HEARTBEAT_INTERVAL_S, loop.time())
            self._forget_the_dead()
            self._locks.look(self._hosting.devices)

    @property
    def clock_offset_ns(self) -> int | None:
        """How far this host's UTC is ahead of the time source's; None without ticks."""
        return self._time.offset.offset_ns

    def _forget_the_dead(self) -> None:
        """Forget, once in a while, clients that were killed and said no goodbye."""
        self._beats += 1
        if self._beats % PROBE_BEATS == 0:
            self._calls.forget_the_dead()


def _death_of(device_id: str) -> str:
    """Return the name of the alarm about a process that died."""
    return f"process of {device_id}"
