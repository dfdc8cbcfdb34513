"""The directory as a device."""

import asyncio
from typing import Any, Final

from pykarabo.client import DeviceRecord, ServerRecord
from pykarabo.data import HashProperty, State, UInt32, UInt64
from pykarabo.device import Device, command
from pykarabo.errors import DuplicateDeviceError

from .model import DirectoryModel, TopologyUpdate
from .probe import is_dead
from .tethers import Tethers

CHECK_S: Final = 0.5
"""A lease that has run out is seen this late at most."""
FROZEN_S: Final = 1.0
"""A directory that did not run for longer must not blame its servers for the silence."""
KEEP_DEAD_S: Final = 3_600.0
"""Devices of a killed server stay listed as gone for an hour, so that people see what is missing;
a server that is started again takes its ids over at once when its old lease is over."""


class Directory(Device):
    """Knows every device of the domain: who hosts it, where it answers, whether it lives."""

    update = HashProperty(
        read_only=True,
        description="The latest change: version, devices (new or different), gone (ids).",
    )
    topology_version = UInt64(read_only=True, description="Number of the latest change.")
    device_count = UInt32(read_only=True, description="Devices known, the gone ones included.")
    server_count = UInt32(read_only=True, description="Device servers known.")

    async def on_initialize(self) -> None:
        """Begin with nothing: the servers tell what there is."""
        self._model = DirectoryModel()
        self._tethers = Tethers(self.client, self._server_died)
        self.state = State.ON

    async def on_start(self) -> None:
        """Judge the leases from now on."""
        last_ns = self.clock.monotonic_ns()
        while True:
            await asyncio.sleep(CHECK_S)
            now_ns = self.clock.monotonic_ns()
            frozen_s = (now_ns - last_ns) / 1e9 - CHECK_S
            last_ns = now_ns
            if frozen_s > FROZEN_S:
                self._model.forgive(frozen_s)
            self._tell(self._model.check(now_ns))
            self._tell(self._model.forget_the_dead(now_ns, after_s=KEEP_DEAD_S))

    async def on_stop(self) -> None:
        """End the connections to the servers."""
        await self._tethers.aclose()

    def _server_died(self, instance: str) -> None:
        self._tell(self._model.died(instance, self.clock.monotonic_ns()))

    def _is_own(self, server: ServerRecord) -> bool:
        return (server.host, server.pid) == (self.context.host, self.context.pid)

    def _tell(self, update: TopologyUpdate | None) -> None:
        if update is not None:
            self.set_values(
                {
                    "update": update.to_wire(),
                    "topology_version": update.version,
                    "device_count": len(self._model.devices()),
                    "server_count": len(self._model.servers()),
                }
            )

    @command()
    async def register(self, server: dict[str, Any], devices: list[Any]) -> None:
        """Make a server known, with the devices that it has already."""
        records = [DeviceRecord.from_wire(record) for record in devices]
        record = ServerRecord.from_wire(server)
        self._tell(self._model.register(record, records, self.clock.monotonic_ns()))
        if not self._is_own(record):
            self._tethers.hold(record)

    @command()
    async def renew(self, instance: str, devices: list[Any], lag: float) -> bool:
        """Renew a server's lease and take its news; false asks it to register again."""
        records = [DeviceRecord.from_wire(record) for record in devices]
        known, update = self._model.renew(instance, records, lag, self.clock.monotonic_ns())
        self._tell(update)
        return known

    @command()
    async def unregister(self, instance: str) -> None:
        """Forget a server that stops, with its devices."""
        self._tethers.release(instance)
        self._tell(self._model.unregister(instance))

    @command()
    async def claim(self, instance: str, device_id: str) -> int:
        """Reserve a device id for a server; returns the fencing number."""
        try:
            return self._model.claim(instance, device_id, self.clock.monotonic_ns())
        except DuplicateDeviceError:
            holder = self._model.holder(device_id)
            if holder is None or not await is_dead(self.client, holder.rpc, holder.instance):
                raise
        self.log.warning("server '%s' has died: its devices are gone", holder.server_id)
        self._tethers.release(holder.instance)
        self._tell(self._model.unregister(holder.instance))
        return self._model.claim(instance, device_id, self.clock.monotonic_ns())

    @command()
    async def release(self, instance: str, device_id: str) -> None:
        """Give a device id back."""
        self._tell(self._model.release(instance, device_id))

    @command()
    async def publish(self, instance: str, devices: list[Any]) -> None:
        """Make new or changed devices of a server known."""
        records = [DeviceRecord.from_wire(record) for record in devices]
        self._tell(self._model.publish(instance, records))

    @command()
    async def resolve(self, device_id: str) -> dict[str, Any]:
        """Return where a device is."""
        return self._model.resolve(device_id).to_wire()

    @command()
    async def topology(self, pattern: str = "*") -> dict[str, Any]:
        """Return version, devices whose id matches the pattern, servers and their status."""
        return {
            "version": self._model.version,
            "devices": [record.to_wire() for record in self._model.devices(pattern)],
            "servers": [record.to_wire() for record in self._model.servers()],
            "statuses": dict(self._model.statuses()),
        }
