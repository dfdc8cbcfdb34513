"""A replica of the directory as a device."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pykarabo.client import (
    MODE_COMMAND,
    REMIND_COMMAND,
    SET_MODE_COMMAND,
    DeviceRecord,
    DomainMode,
    ServerRecord,
)
from pykarabo.data import AccessLevel, Bool, HashProperty, State, String, UInt32, UInt64
from pykarabo.device import Device, command
from pykarabo.errors import DiskFullError, PykaraboError, UnknownDeviceError
from pykarabo.wire import GONE_AFTER_S

from . import ledger
from .ledger import BLOCK, Ledger
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
_LEDGER: Final = "ledger"
_FOR_SERVERS: Final = AccessLevel.ADMINISTRATOR
"""Who may say where devices are can have anybody's commands sent to himself."""


class Directory(Device):
    """Knows every device of the domain: who hosts it, where it answers, whether it lives.

    A replica that was restarted listens first: it grants no device id until every server that may
    hold one has registered again or is found dead, or its lease has run out.
    """

    can_be_locked = False
    notes_callers = False

    update = HashProperty(
        read_only=True,
        description="The latest change: version, devices (new or different), gone (ids), and "
        "whether that is all; when it is not, ask for the topology.",
    )
    topology_version = UInt64(read_only=True, description="Number of the latest change.")
    device_count = UInt32(read_only=True, description="Devices known, the gone ones included.")
    server_count = UInt32(read_only=True, description="Device servers known.")
    listening = Bool(
        read_only=True, description="Whether servers of before its restart may be missing still."
    )
    domain_mode = HashProperty(
        read_only=True,
        description="Whether only administrators may change anything, by whom and since when.",
    )
    ledger_file = String(
        init_only=True,
        description="File of the fencing numbers given; empty keeps them in memory.",
    )

    async def on_initialize(self) -> None:
        """Begin with nothing but the ledger: the servers tell what there is."""
        self._path = Path(self.ledger_file) if self.ledger_file else None
        self._ledger = await asyncio.to_thread(ledger.load, self._path)
        self._writing = asyncio.Lock()
        self._model = DirectoryModel(self._ledger.fence)
        self._awaited = dict(self._ledger.servers)
        self.domain_mode = dict(self._ledger.mode.to_wire())
        self.listening = bool(self._awaited)
        self._tethers = Tethers(self.client, self._server_died)
        self.state = State.ON

    async def on_start(self) -> None:
        """Judge the leases from now on."""
        self.spawn(self._listen(), name="listening")
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
        """End the connections to the servers, and note who still lives for the next start."""
        await self._tethers.aclose()
        if self._ledger.servers:
            await self._write_if_possible(replace(self._ledger, servers=self._holders()))

    def _server_died(self, instance: str) -> None:
        self._tell(self._model.died(instance, self.clock.monotonic_ns()))

    def _tell(self, update: TopologyUpdate | None) -> None:
        if update is not None:
            self.set_values(
                {
                    "update": update.to_wire(),
                    "topology_version": update.version,
                    "device_count": self._model.device_count,
                    "server_count": self._model.server_count,
                }
            )

    # -- listening after a restart --------------------------------------------------------------

    async def _listen(self) -> None:
        """Wait for the servers that may hold device ids from before, but not for dead ones."""
        try:
            async with asyncio.timeout(GONE_AFTER_S):
                while self._awaited:
                    await self._drop_the_dead()
                    await asyncio.sleep(CHECK_S)
        except TimeoutError:
            self.log.warning("%d servers did not come back", len(self._awaited))
            self._awaited.clear()
        self.listening = False

    async def _drop_the_dead(self) -> None:
        awaited = list(self._awaited.items())
        probes = (is_dead(self.client, rpc, instance) for instance, rpc in awaited)
        dead = await asyncio.gather(*probes)
        for (instance, _rpc), is_gone in zip(awaited, dead, strict=True):
            if is_gone:
                self._awaited.pop(instance, None)

    def _arrived(self, record: ServerRecord) -> None:
        """Await a server no more, nor whoever answered at its endpoint before it."""
        for instance, rpc in list(self._awaited.items()):
            if record.instance == instance or record.rpc == rpc:
                del self._awaited[instance]

    def _is_own(self, record: ServerRecord | None) -> bool:
        """Tell whether a server hosts this very replica: it cannot be its own rival."""
        own = self.context
        return record is not None and (record.server_id, record.host, record.pid) == (
            own.server_id,
            own.host,
            own.pid,
        )

    # -- for servers ----------------------------------------------------------------------------

    @command(access_level=_FOR_SERVERS, audited=False)
    async def register(
        self, server: dict[str, Any], devices: list[Any], claims: dict[str, Any]
    ) -> list[Any]:
        """Take a server with all that it has; answers as `renew` does."""
        record = ServerRecord.from_wire(server)
        records = [DeviceRecord.from_wire(device) for device in devices]
        now_ns = self.clock.monotonic_ns()
        self._tell(self._model.register(record, records, claims, now_ns))
        self._arrived(record)
        if not self._is_own(record):
            self._tethers.hold(record)
        return self._lost(record.instance, now_ns)

    @command(access_level=_FOR_SERVERS, audited=False)
    async def renew(self, instance: str, devices: list[Any], lag: float) -> list[Any] | None:
        """Renew a server's lease and take its news.

        Returns:
            An error for every id that a living twin holds by an older grant; None asks the server
            to register again.
        """
        records = [DeviceRecord.from_wire(record) for record in devices]
        now_ns = self.clock.monotonic_ns()
        known, update = self._model.renew(instance, records, lag, now_ns)
        self._tell(update)
        return self._lost(instance, now_ns) if known else None

    def _lost(self, instance: str, now_ns: int) -> list[Any]:
        return [error.to_wire() for error in self._model.lost(instance, now_ns)]

    @command(access_level=_FOR_SERVERS, audited=False)
    async def unregister(self, instance: str) -> None:
        """Forget a server that stops, with its devices."""
        self._tethers.release(instance)
        self._tell(self._model.unregister(instance, self.clock.monotonic_ns()))

    @command(access_level=_FOR_SERVERS, audited=False)
    async def claim(self, instance: str, device_ids: list[Any]) -> list[Any] | None:
        """Reserve device ids for a server.

        Returns:
            Per id its fencing number or an error; None asks to register and to try again soon,
            because this replica was restarted.
        """
        server = self._model.server(instance)
        if server is None or (self._awaited and not self._is_own(server)):
            return None
        await self._reserve(len(device_ids))
        await self._forget_dead_rivals(instance, device_ids)
        return [self._grant(instance, device_id) for device_id in device_ids]

    def _grant(self, instance: str, device_id: str) -> Any:
        try:
            return self._model.claim(instance, device_id, self.clock.monotonic_ns())
        except PykaraboError as error:
            return error.to_wire()

    async def _reserve(self, count: int) -> None:
        """See that the numbers are on the disk before they are given."""
        async with self._writing:
            wanted = self._model.fence + count
            holders = self._holders()
            if wanted > self._ledger.fence:
                await self._write(replace(self._ledger, fence=wanted + BLOCK, servers=holders))
            elif not holders.keys() <= self._ledger.servers.keys():
                await self._write(replace(self._ledger, servers=holders))

    def _holders(self) -> dict[str, str]:
        """Return the endpoints of the servers that have or may have a device id, by instance."""
        known = {
            record.instance: record.rpc
            for record in self._model.servers()
            if not self._is_own(record)
        }
        return self._awaited | known

    async def _write(self, content: Ledger) -> None:
        try:
            await asyncio.to_thread(ledger.save, content, self._path)
        except OSError as error:
            problem = DiskFullError(
                f"the directory cannot write its ledger {self._path}: {error}; it grants no ids",
                device=self.context.device_id,
                remedy="make room there; servers that wait for an id are granted it then",
            )
            self.raise_alarm("alarm", str(problem), source=_LEDGER)
            raise problem from None
        self._ledger = content
        self.clear_alarm(_LEDGER)

    async def _write_if_possible(self, content: Ledger) -> None:
        """Write what need not be written: the older ledger names servers that need not be asked."""
        with contextlib.suppress(DiskFullError):
            await self._write(content)

    async def _forget_dead_rivals(self, instance: str, device_ids: list[Any]) -> None:
        now_ns = self.clock.monotonic_ns()
        found = (self._model.rival(instance, device_id, now_ns) for device_id in device_ids)
        rivals = {rival.instance: rival for rival in found if rival is not None}
        probes = (is_dead(self.client, rival.rpc, name) for name, rival in rivals.items())
        for rival, dead in zip(rivals.values(), await asyncio.gather(*probes), strict=True):
            if dead:
                self.log.warning("server '%s' has died: its devices are gone", rival.server_id)
                self._tethers.release(rival.instance)
                self._tell(self._model.unregister(rival.instance, self.clock.monotonic_ns()))

    @command(access_level=_FOR_SERVERS, audited=False)
    async def release(self, instance: str, device_ids: list[Any]) -> None:
        """Give device ids back."""
        self._tell(self._model.release(instance, device_ids, self.clock.monotonic_ns()))

    # -- who may change the domain --------------------------------------------------------------

    @command(access_level=AccessLevel.ADMINISTRATOR, name=SET_MODE_COMMAND)
    async def change_mode(self, read_only: bool, reason: str = "") -> dict[str, Any]:
        """Let only administrators change anything in the domain, or everybody again."""
        caller = self.caller
        by = caller.name if caller is not None else self.context.device_id
        async with self._writing:
            now_ns = max(self.clock.time_ns(), self._ledger.mode.changed_ns + 1)
            await self._take_mode(DomainMode(read_only, by, reason, now_ns))
        return dict(self._ledger.mode.to_wire())

    @command(access_level=_FOR_SERVERS, audited=False, name=REMIND_COMMAND)
    async def remind_mode(self, mode: dict[str, Any]) -> None:
        """Take what another replica was told while this one was away."""
        known = DomainMode.from_wire(mode)
        async with self._writing:
            if known.changed_ns > self._ledger.mode.changed_ns:
                await self._take_mode(known)

    async def _take_mode(self, mode: DomainMode) -> None:
        await self._write(replace(self._ledger, mode=mode))
        self.domain_mode = dict(mode.to_wire())
        self.log.warning("the domain %s", mode)

    @command(access_level=AccessLevel.OBSERVER, name=MODE_COMMAND)
    async def tell_mode(self) -> dict[str, Any]:
        """Return who may change the domain."""
        return dict(self._ledger.mode.to_wire())

    # -- for everybody --------------------------------------------------------------------------

    @command(access_level=AccessLevel.OBSERVER)
    async def resolve(self, device_id: str) -> dict[str, Any]:
        """Return where a device is; an error says in its details whether everybody is known."""
        try:
            return self._model.resolve(device_id).to_wire()
        except UnknownDeviceError as error:
            error.details["complete"] = not self._awaited
            raise

    @command(access_level=AccessLevel.OBSERVER)
    async def topology(self, pattern: str = "*", after: str = "") -> dict[str, Any]:
        """Return a page of the devices whose id matches the pattern, and every server.

        Args:
            after: the last id of the page before.
        """
        return {
            "version": self._model.version,
            "complete": not self._awaited,
            "devices": [record.to_wire() for record in self._model.devices(pattern, after)],
            "servers": [record.to_wire() for record in self._model.servers()],
            "statuses": self._model.statuses(),
        }
