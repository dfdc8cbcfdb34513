"""A device server as a device: it is found, asked and told like any other."""

import asyncio
import getpass
import resource
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pykarabo.data import (
    AccessLevel,
    Bool,
    Float64,
    HashProperty,
    State,
    String,
    UInt32,
    UInt64,
    VectorString,
)
from pykarabo.errors import StateForbidsError, UnknownClassError

from ._admission import caller_of
from ._attempt import told_configuration
from ._attributes import set_attributes, told_change
from ._command import command
from ._device import Device
from ._rights import permit_command, permit_configuration

if TYPE_CHECKING:
    from psutil import Process

    from ._server import Server

_LOOK_S = 1.0


class DeviceServer(Device):
    """Hosts devices of this process and starts others on request."""

    can_be_locked = False

    version = String(read_only=True, description="Version of pykarabo.")
    user = String(read_only=True, description="The user that the process runs as.")
    loop_lag = Float64(
        read_only=True,
        unit="s",
        warn_high=0.5,
        alarm_high=2.0,
        description="How late the event loop ran at the last heartbeat.",
    )
    memory = Float64(read_only=True, unit="MiB", description="Resident memory of the process.")
    open_files = UInt32(read_only=True, description="Files and connections that are open.")
    open_file_limit = UInt32(read_only=True, description="How many the system allows.")
    files_used = Float64(
        read_only=True,
        unit="%",
        warn_high=80.0,
        alarm_high=95.0,
        description="Share of the allowed files and connections; at 100 % nobody can connect.",
    )
    device_count = UInt32(read_only=True, description="Devices hosted, this one included.")
    device_ids = VectorString(read_only=True, description="The devices hosted.")
    processes = HashProperty(
        read_only=True,
        description="Devices in processes of their own: process and server by device.",
    )
    start_options = HashProperty(
        read_only=True,
        description="How `pykarabo server start` was told to set it up, in the words of a facility "
        "file; empty for another program.",
    )
    ready = Bool(read_only=True, description="Whether all was started that it starts with.")
    problems = VectorString(read_only=True, description="Why devices could not be started.")
    slow_clients = UInt32(
        read_only=True, description="Clients cut off because they did not take their answers."
    )
    blocked_by = String(
        read_only=True, description="The code in which the event loop stood still last."
    )
    clients = UInt32(read_only=True, description="Clients connected.")
    open_connections = UInt32(
        read_only=True, description="Connections to this process for calls, events and data."
    )
    refused_connections = UInt32(
        read_only=True,
        description="Connections closed at once: few files were left, or a client had many.",
    )
    cut_connections = UInt32(
        read_only=True,
        description="Connections ended because of what their clients did.",
    )
    subscriptions = UInt32(read_only=True, description="Topics that clients are subscribed to.")
    calls_in_flight = UInt32(read_only=True, description="Calls being worked on.")
    events_published = UInt64(read_only=True, description="Events published so far.")
    journal = Float64(
        read_only=True, unit="MiB", description="Latest events kept for who has lost some."
    )
    chosen_streams = UInt32(
        read_only=True, description="Streams with a rate, region or binning that somebody chose."
    )
    events_missed = UInt64(
        read_only=True, description="Events of other devices that this process has lost."
    )
    events_recovered = UInt64(
        read_only=True, description="Events of other devices that came late, after a repair."
    )
    event_lag = Float64(
        read_only=True,
        unit="s",
        description="The longest time that the latest events of any server were under way.",
    )
    skipped_behind = UInt32(
        read_only=True, description="How often this process was too slow and skipped events."
    )

    clock_jumps = UInt32(
        read_only=True, description="How often the host's clock was set since the server's start."
    )
    clock_jump = Float64(
        read_only=True, unit="s", description="How far it was set forward the last time."
    )
    clock_offset = Float64(
        read_only=True,
        unit="s",
        warn_low=-0.1,
        warn_high=0.1,
        description="How far the host's clock is ahead of the time source's; train ids of this "
        "host's values are wrong by it.",
    )

    audit_head = String(
        read_only=True,
        description="Number and hash of the latest line of its audit log that is on the disk.",
    )
    audit_lost = UInt64(
        read_only=True, description="Lines of the audit log for which there was no room."
    )
    rejected_messages = UInt64(
        read_only=True, description="Messages that meant nothing; somebody sends what is not ours."
    )

    _server: "Server"
    _process: "Process"

    def attach(self, server: "Server") -> None:
        """Tell the device which server it stands for."""
        self._server = server

    async def on_initialize(self) -> None:
        """Show what does not change."""
        self.version = self._server.record().version
        self.user = getpass.getuser()
        self.start_options = self._server.start_options
        self.state = State.ON

    async def on_start(self) -> None:
        """Show the server's health once a second."""
        import psutil

        self._process = psutil.Process()
        while True:
            self._show(self._health())
            await asyncio.sleep(_LOOK_S)

    def _health(self) -> dict[str, Any]:
        """Return what the system says of the process."""
        limit, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            files, memory = self._process.num_fds(), self._process.memory_info().rss / 2**20
        except OSError:  # asking needs a file too
            files, memory = limit, self.memory
        return {
            "memory": round(memory, 1),
            "open_files": files,
            "open_file_limit": limit,
            "files_used": round(100 * files / limit, 1),
        }

    def show_devices(self) -> None:
        """Show at once what is hosted."""
        self._show({})

    def _show(self, health: dict[str, Any]) -> None:
        ids = sorted(device.context.device_id for device in self._server.devices)
        shown: dict[str, Any] = health | {
            "loop_lag": self._server.lag_s,
            "device_count": len(ids),
            "device_ids": ids,
            "slow_clients": self._server.slow_clients,
            **self._counters(),
            **self._clocks(),
            "audit_head": self._server.audit.head,
            "audit_lost": self._server.audit.lost,
            "rejected_messages": self._server.rejected,
            "processes": dict(self._server.apart),
            "ready": self._server.ready,
            "problems": [f"{name}: {error}" for name, error in self._server.problems.items()],
        }
        known = {key: self.values()[key].value for key in shown}
        changed = {key: value for key, value in shown.items() if known[key] != value}
        if changed:
            self.set_values(changed)

    def _counters(self) -> dict[str, Any]:
        """Return what this process counts as a sender and as a receiver of events."""
        server = self._server
        blockage = server.blockage()
        received = server.client.stream_counters()
        connections = server.connections
        return {
            "open_connections": connections.open,
            "refused_connections": connections.refused,
            "cut_connections": connections.cut,
            "subscriptions": server.streams.subscriptions,
            "blocked_by": "" if blockage is None else blockage.culprit,
            "clients": server.clients,
            "calls_in_flight": server.calls_in_flight,
            "events_published": server.streams.published,
            "journal": round(server.streams.journal_bytes / 2**20, 1),
            "chosen_streams": server.streams.chosen_count,
            "events_missed": received.missed,
            "events_recovered": received.recovered,
            "event_lag": round(received.lag_s, 3),
            "skipped_behind": received.skipped,
        }

    def _clocks(self) -> dict[str, Any]:
        """Return how far the host's clock can be trusted."""
        watch, offset_ns = self._server.clock_watch, self._server.clock_offset_ns
        return {
            "clock_jumps": watch.jumps,
            "clock_jump": round(watch.last_jump_ns / 1e9, 3),
            "clock_offset": round((offset_ns or 0) / 1e9, 3),
        }

    def permit_arguments(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Refuse to start a device with values that the caller could not write."""
        super().permit_arguments(command, arguments)
        if command == "instantiate":
            cls = self._server.classes.require(arguments["class_id"])
            given = arguments.get("configuration") or {}
            permit_configuration(caller_of(self), cls, given, arguments["device_id"])
            if arguments.get("attributes"):
                wanted = self.schema().require_command("set_attributes")
                permit_command(caller_of(self), wanted, self.context.device_id)

    def told_arguments(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hide what the configuration of a device holds of secrets; tell what attributes were."""
        device_id = str(arguments.get("device_id"))
        if command == "set_attributes" and self._server.hosts(device_id):
            return told_change(self._server.hosted(device_id), arguments)
        if command != "instantiate" or arguments.get("configuration") is None:
            return arguments
        try:
            schema = self._server.classes.require(str(arguments.get("class_id"))).schema()
        except UnknownClassError:
            schema = None
        shown = told_configuration(schema, arguments["configuration"])
        return {**arguments, "configuration": shown}

    @command()
    async def instantiate(
        self,
        class_id: str,
        device_id: str,
        configuration: dict[str, Any] | None = None,
        own_process: bool = False,
        attributes: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Start a device of a class under an id, with a configuration by key.

        With `own_process` it runs apart from the others, in a process of its own. With
        `attributes`, which need an expert, it has from its start on what `set_attributes` gives.
        """
        if own_process:
            pid = await self._server.instantiate_apart(
                class_id, device_id, configuration, attributes
            )
            record = await self.client.resolve(device_id)
            return {
                "device_id": device_id, "class_id": class_id, "state": record.state, "pid": pid
            }  # fmt: skip
        device = await self._server.instantiate(class_id, device_id, configuration, attributes)
        return {"device_id": device_id, "class_id": class_id, "state": str(device.state)}

    @command(access_level=AccessLevel.EXPERT)
    async def set_attributes(
        self, device_id: str, attributes: dict[str, Any], expected: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Give a device limits, dead-bands and archive settings: attributes by property and name.

        They take the place of all that it was given before; what is not given is as its class
        declares it. Either all are taken or none. With `expected` nothing is done if it was given
        anything else before. Returns what it was given before.
        """
        before = set_attributes(self, self._server, device_id, attributes, expected)
        return {key: dict(item) for key, item in before.items()}

    @command()
    async def shutdown_device(self, device_id: str) -> None:
        """Stop a device of this server."""
        if device_id == self.context.device_id:
            raise StateForbidsError(
                f"'{device_id}' is the server itself",
                device=device_id,
                remedy="use its command 'shutdown'",
            )
        await self._server.shut_down(device_id)

    @command(access_level=AccessLevel.EXPERT)
    async def shutdown(self) -> None:
        """Stop every device and end the process."""
        self._loop.call_soon(self._server.stopping.set)

    @command(access_level=AccessLevel.OBSERVER)
    async def classes(self) -> list[str]:
        """Return the classes that can be instantiated here."""
        return self._server.classes.names()

    @command(access_level=AccessLevel.OBSERVER)
    async def class_schema(self, class_id: str) -> dict[str, Any]:
        """Return the schema of a class without instantiating it."""
        return (await self._server.classes.imported(class_id)).schema().to_wire()
