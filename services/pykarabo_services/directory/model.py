"""The rules of a directory, without any I/O; time is an argument.

What a directory knows is soft: the servers own it, tell it, renew it, and tell it again after a
restart of the directory. Nothing is stored. A device id belongs to the server that claimed it
first, until it gives it back or its lease has run out.
"""

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pykarabo.client import DeviceRecord, ServerRecord
from pykarabo.errors import DuplicateDeviceError, UnknownDeviceError, did_you_mean
from pykarabo.wire import GONE_AFTER_S, Liveness, liveness


@dataclass(slots=True)
class _Server:
    record: ServerRecord
    renewed_ns: int
    lag_s: float = 0.0
    status: Liveness = Liveness.ONLINE


@dataclass(frozen=True, slots=True)
class _Claim:
    holder: str
    fence: int


@dataclass(frozen=True, slots=True)
class TopologyUpdate:
    """What has changed since the version before.

    Attributes:
        version: grows by one with every change.
        devices: records that are new or different.
        gone: device ids that exist no more.
    """

    version: int
    devices: tuple[DeviceRecord, ...] = ()
    gone: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the update as a plain map."""
        return {
            "version": self.version,
            "devices": [record.to_wire() for record in self.devices],
            "gone": list(self.gone),
        }


class DirectoryModel:
    """Servers, claims and devices of one domain."""

    def __init__(self) -> None:
        self.version = 0
        self._servers: dict[str, _Server] = {}
        self._devices: dict[str, DeviceRecord] = {}
        self._claims: dict[str, _Claim] = {}
        self._fence = 0

    # -- servers --------------------------------------------------------------------------------

    def register(
        self, server: ServerRecord, devices: Iterable[DeviceRecord], now_ns: int
    ) -> TopologyUpdate | None:
        """Take a server and the devices that it has already; None when nothing is new.

        A device that somebody else holds is left out: its server learns it when it claims.
        """
        self._servers[server.instance] = _Server(server, now_ns)
        accepted: list[DeviceRecord] = []
        for record in devices:
            claim = self._claims.get(record.device_id)
            if claim is None or claim.holder == server.instance:
                fence = max(record.fence, 1 if claim is None else claim.fence)
                self._claims[record.device_id] = _Claim(server.instance, fence)
                self._fence = max(self._fence, fence)
                accepted.append(record)
        return self._changed(accepted)

    def renew(
        self, instance: str, devices: Iterable[DeviceRecord], lag_s: float, now_ns: int
    ) -> tuple[bool, TopologyUpdate | None]:
        """Renew a lease; returns whether the server is known, and what changed."""
        server = self._servers.get(instance)
        if server is None:
            return False, None
        server.renewed_ns = now_ns
        server.lag_s = lag_s
        return True, self._changed(self._owned(instance, devices))

    def unregister(self, instance: str) -> TopologyUpdate | None:
        """Forget a server that says goodbye, with its claims and devices."""
        if self._servers.pop(instance, None) is None:
            return None
        ids = [name for name, claim in self._claims.items() if claim.holder == instance]
        for device_id in ids:
            del self._claims[device_id]
        return self._removed(ids)

    # -- devices --------------------------------------------------------------------------------

    def claim(self, instance: str, device_id: str, now_ns: int) -> int:
        """Reserve a device id for a server; returns the fencing number.

        Raises:
            DuplicateDeviceError: somebody else holds it and is not known to be gone.
        """
        self._require_server(instance)
        claim = self._claims.get(device_id)
        if claim is not None and claim.holder != instance:
            holder = self._servers.get(claim.holder)
            if holder is not None and self._judge(holder, now_ns) is not Liveness.GONE:
                raise self._held(device_id, holder.record)
        elif claim is not None:
            return claim.fence
        self._fence += 1
        self._claims[device_id] = _Claim(instance, self._fence)
        return self._fence

    def holder(self, device_id: str) -> ServerRecord | None:
        """Return the server that holds a device id."""
        claim = self._claims.get(device_id)
        server = self._servers.get(claim.holder) if claim is not None else None
        return None if server is None else server.record

    def _held(self, device_id: str, holder: ServerRecord) -> DuplicateDeviceError:
        record = self._devices.get(device_id)
        epoch = record.epoch if record is not None else holder.epoch
        since = datetime.fromtimestamp(epoch / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return DuplicateDeviceError(
            f"device '{device_id}' exists already: server '{holder.server_id}' on host "
            f"{holder.host}, process {holder.pid}, since {since}",
            device=device_id,
            remedy=f"choose another id, or stop it: pykarabo shutdown {device_id}",
            details={"server": holder.server_id, "host": holder.host, "pid": holder.pid},
        )

    def release(self, instance: str, device_id: str) -> TopologyUpdate | None:
        """Give a device id back; somebody else's is left alone."""
        claim = self._claims.get(device_id)
        if claim is None or claim.holder != instance:
            return None
        del self._claims[device_id]
        return self._removed([device_id])

    def publish(self, instance: str, devices: Iterable[DeviceRecord]) -> TopologyUpdate | None:
        """Take new or changed records of a server's own devices."""
        self._require_server(instance)
        return self._changed(self._owned(instance, devices))

    def _owned(self, instance: str, devices: Iterable[DeviceRecord]) -> list[DeviceRecord]:
        return [
            record
            for record in devices
            if (claim := self._claims.get(record.device_id)) is not None
            and claim.holder == instance
        ]

    def _require_server(self, instance: str) -> None:
        if instance not in self._servers:
            raise UnknownDeviceError(
                "this server is not registered here", remedy="register it first"
            )

    # -- asking ---------------------------------------------------------------------------------

    def resolve(self, device_id: str) -> DeviceRecord:
        """Return a device's record; raises `UnknownDeviceError` with near matches."""
        record = self._devices.get(device_id)
        if record is None:
            raise UnknownDeviceError(
                f"there is no device '{device_id}'",
                device=device_id,
                remedy=did_you_mean(device_id, self._devices) or "see 'pykarabo devices'",
            )
        return record

    def devices(self, pattern: str = "*") -> list[DeviceRecord]:
        """Return the records whose id matches the shell pattern, by id."""
        return sorted(
            (
                record
                for record in self._devices.values()
                if fnmatch.fnmatchcase(record.device_id, pattern)
            ),
            key=lambda record: record.device_id,
        )

    def servers(self) -> list[ServerRecord]:
        """Return the records of every server, by id."""
        return sorted(
            (server.record for server in self._servers.values()),
            key=lambda record: record.server_id,
        )

    def check(self, now_ns: int) -> TopologyUpdate | None:
        """Judge every lease; returns whose devices' status has changed, None if none has."""
        changed: list[DeviceRecord] = []
        for instance, server in list(self._servers.items()):
            status = self._judge(server, now_ns)
            if status is not server.status:
                server.status = status
                changed += self._with_status(instance, status)
        return self._changed(changed)

    def died(self, instance: str, now_ns: int) -> TopologyUpdate | None:
        """End the lease of a server that is dead for certain."""
        server = self._servers.get(instance)
        if server is None:
            return None
        server.renewed_ns = now_ns - int(GONE_AFTER_S * 1e9)
        return self.check(now_ns)

    def _with_status(self, instance: str, status: Liveness) -> list[DeviceRecord]:
        return [
            replace(record, status=str(status))
            for device_id, record in self._devices.items()
            if self._claims.get(device_id, _Claim("", 0)).holder == instance
        ]

    def _judge(self, server: _Server, now_ns: int) -> Liveness:
        return liveness((now_ns - server.renewed_ns) / 1e9, server.lag_s)

    def forgive(self, seconds: float) -> None:
        """Extend every lease: the directory itself did not run for so long and saw nobody."""
        for server in self._servers.values():
            server.renewed_ns += int(seconds * 1e9)

    def forget_the_dead(self, now_ns: int, *, after_s: float) -> TopologyUpdate | None:
        """Forget servers that were silent for longer than `after_s` beyond being gone."""
        limit_ns = now_ns - int((GONE_AFTER_S + after_s) * 1e9)
        dead = [name for name, server in self._servers.items() if server.renewed_ns < limit_ns]
        update: TopologyUpdate | None = None
        for instance in dead:
            update = self.unregister(instance) or update
        return update

    # -- changing -------------------------------------------------------------------------------

    def _changed(self, records: Iterable[DeviceRecord]) -> TopologyUpdate | None:
        new = tuple(record for record in records if self._devices.get(record.device_id) != record)
        if not new:
            return None
        self._devices |= {record.device_id: record for record in new}
        self.version += 1
        return TopologyUpdate(self.version, devices=new)

    def _removed(self, device_ids: Iterable[str]) -> TopologyUpdate | None:
        gone = tuple(name for name in device_ids if self._devices.pop(name, None) is not None)
        if not gone:
            return None
        self.version += 1
        return TopologyUpdate(self.version, gone=gone)

    def statuses(self) -> Mapping[str, str]:
        """Return the liveness of every server by its id."""
        return {server.record.server_id: str(server.status) for server in self._servers.values()}
