"""The rules of a directory replica, without any I/O; time is an argument.

What a replica knows is soft: the servers own it, tell it to every replica, renew it, and tell it
again after a restart. Replicas never talk to each other, and nobody has to agree with anybody:

* A record belongs to the server that sent it, which numbers its versions; a later version wins.
* A device id may have several claimants after a partition. Its holder is the one whose grant is
  the oldest (the smallest fencing number) of those that are not gone.
* A duplicate is declared only when both servers have been heard since the second claim was known
  here: a server that died, or gave the id back while nobody listened, has no twin.
"""

import fnmatch
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from pykarabo.client import PAGE, DeviceRecord, ServerRecord
from pykarabo.errors import DuplicateDeviceError, UnknownDeviceError, did_you_mean
from pykarabo.wire import GONE_AFTER_S, Liveness, liveness

NO_FENCE: Final = 0
"""The number of a device that was started while no replica could grant its id."""


@dataclass(slots=True)
class _Claim:
    """A server's wish for a device id, and what it says of the device once there is one."""

    fence: int
    made_ns: int
    record: DeviceRecord | None = None


@dataclass(slots=True)
class _Server:
    record: ServerRecord
    renewed_ns: int
    lag_s: float = 0.0
    status: Liveness = Liveness.ONLINE
    claims: dict[str, _Claim] = field(default_factory=dict[str, _Claim])


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
        """Return the update as a plain map; a large one only says that it is one."""
        small = len(self.devices) <= PAGE
        return {
            "version": self.version,
            "devices": [record.to_wire() for record in self.devices] if small else [],
            "gone": list(self.gone),
            "complete": small,
        }


class DirectoryModel:
    """Servers, claims and devices of one domain.

    Args:
        fence: the largest fencing number that this replica may ever have given.

    Attributes:
        fence: the largest fencing number that it has given or heard of.
    """

    def __init__(self, fence: int = NO_FENCE) -> None:
        self.version = 0
        self.fence = fence
        self._servers: dict[str, _Server] = {}
        self._claimants: dict[str, set[str]] = {}
        self._contested: set[str] = set()
        self._shown: dict[str, DeviceRecord] = {}

    # -- servers --------------------------------------------------------------------------------

    def register(
        self,
        record: ServerRecord,
        devices: Iterable[DeviceRecord],
        claims: Mapping[str, int],
        now_ns: int,
    ) -> TopologyUpdate | None:
        """Take a server with all that it holds; what it does not name it holds no more.

        Args:
            claims: the fencing number of every device id that it has been granted.
        """
        server = self._servers.get(record.instance)
        if server is None:
            server = self._servers[record.instance] = _Server(record, now_ns)
        server.record, server.renewed_ns = record, now_ns
        left = self._bury_predecessors(record, now_ns)
        dropped = [device_id for device_id in server.claims if device_id not in claims]
        for device_id in dropped:
            self._drop(server, device_id)
        for device_id, fence in claims.items():
            self._claim(server, device_id, fence, now_ns)
        taken = self._take(server, devices, now_ns)
        return self._show({*left, *dropped, *taken}, now_ns)

    def _bury_predecessors(self, record: ServerRecord, now_ns: int) -> list[str]:
        """Note the death of who answered at this server's endpoint before; returns what they had.

        An endpoint belongs to one process: its earlier owner is dead, though something listens.
        """
        ids: list[str] = []
        for server in self._servers.values():
            if server.record.rpc == record.rpc and server.record.epoch < record.epoch:
                server.renewed_ns = min(server.renewed_ns, now_ns - int(GONE_AFTER_S * 1e9))
                server.status = Liveness.GONE
                ids += server.claims
        return ids

    def renew(
        self, instance: str, devices: Iterable[DeviceRecord], lag_s: float, now_ns: int
    ) -> tuple[bool, TopologyUpdate | None]:
        """Renew a lease; returns whether the server is known, and what changed."""
        server = self._servers.get(instance)
        if server is None:
            return False, None
        server.renewed_ns = now_ns
        server.lag_s = lag_s
        return True, self._show(self._take(server, devices, now_ns), now_ns)

    def lost(self, instance: str, now_ns: int) -> list[DuplicateDeviceError]:
        """Return which of a server's ids a living twin holds by an older grant."""
        server = self._require_server(instance)
        return [
            self._twin(device_id, holder.record)
            for device_id in sorted(self._contested & server.claims.keys())
            if (holder := self._holder(self._claimants[device_id], device_id, now_ns)) is not server
            and holder.renewed_ns > server.claims[device_id].made_ns
        ]

    def _twin(self, device_id: str, holder: ServerRecord) -> DuplicateDeviceError:
        return DuplicateDeviceError(
            f"device '{device_id}' runs twice; server '{holder.server_id}' on host {holder.host}, "
            f"process {holder.pid}, holds it by the older grant",
            device=device_id,
            remedy="stop one of the two",
            details={"server": holder.server_id, "host": holder.host, "pid": holder.pid},
        )

    def unregister(self, instance: str, now_ns: int) -> TopologyUpdate | None:
        """Forget a server that says goodbye, with its claims and devices."""
        return self._show(self._forget(instance), now_ns) if instance in self._servers else None

    def _forget(self, instance: str) -> list[str]:
        """Forget a server; returns the ids that it had."""
        server = self._servers[instance]
        ids = list(server.claims)
        for device_id in ids:
            self._drop(server, device_id)
        del self._servers[instance]
        return ids

    # -- claims ---------------------------------------------------------------------------------

    def claim(self, instance: str, device_id: str, now_ns: int) -> int:
        """Reserve a device id for a server; returns the fencing number.

        Raises:
            DuplicateDeviceError: somebody else holds it and is not known to be gone.
        """
        server = self._require_server(instance)
        own = server.claims.get(device_id)
        holder = self.rival(instance, device_id, now_ns)
        if holder is not None:
            raise self._held(device_id, holder)
        if own is None:
            own = self._claim(server, device_id, self.fence + 1, now_ns)
        return own.fence

    def rival(self, instance: str, device_id: str, now_ns: int) -> ServerRecord | None:
        """Return the living server that has a claim on an id besides `instance`."""
        rivals = (self._servers[name] for name in self._claimants.get(device_id, ()))
        return next(
            (
                server.record
                for server in rivals
                if server.record.instance != instance
                and self._judge(server, now_ns) is not Liveness.GONE
            ),
            None,
        )

    def release(
        self, instance: str, device_ids: Iterable[str], now_ns: int
    ) -> TopologyUpdate | None:
        """Give device ids back; somebody else's are left alone."""
        server = self._servers.get(instance)
        if server is None:
            return None
        ids = [device_id for device_id in device_ids if device_id in server.claims]
        for device_id in ids:
            self._drop(server, device_id)
        return self._show(ids, now_ns)

    def _claim(self, server: _Server, device_id: str, fence: int, now_ns: int) -> _Claim:
        claim = server.claims.get(device_id)
        if claim is None:
            claim = server.claims[device_id] = _Claim(fence, now_ns)
            claimants = self._claimants.setdefault(device_id, set())
            claimants.add(server.record.instance)
            if len(claimants) > 1:
                self._contested.add(device_id)
        claim.fence = fence
        self.fence = max(self.fence, fence)
        return claim

    def _drop(self, server: _Server, device_id: str) -> None:
        del server.claims[device_id]
        claimants = self._claimants[device_id]
        claimants.discard(server.record.instance)
        if len(claimants) == 1:
            self._contested.discard(device_id)
        if not claimants:
            del self._claimants[device_id]

    def _take(self, server: _Server, devices: Iterable[DeviceRecord], now_ns: int) -> list[str]:
        """Take newer records of a server's devices; returns their ids.

        A majority of other replicas may have granted an id while the server registered here: its
        record tells of the grant.
        """
        taken: list[str] = []
        for record in devices:
            claim = server.claims.get(record.device_id)
            if claim is None:
                claim = self._claim(server, record.device_id, record.fence, now_ns)
            if claim.record is not None and claim.record.version >= record.version:
                continue
            claim.record = record
            claim.fence = record.fence
            self.fence = max(self.fence, record.fence)
            taken.append(record.device_id)
        return taken

    def _holder(self, claimants: Iterable[str], device_id: str, now_ns: int) -> _Server:
        """Return the claimant that counts: alive before gone, then by the age of the grant."""

        def rank(server: _Server) -> tuple[bool, float, int, str]:
            gone = self._judge(server, now_ns) is Liveness.GONE
            fence = server.claims[device_id].fence
            age = math.inf if fence == NO_FENCE else fence
            return gone, age, server.record.epoch, server.record.instance

        return min((self._servers[name] for name in claimants), key=rank)

    def _held(self, device_id: str, holder: ServerRecord) -> DuplicateDeviceError:
        record = self._servers[holder.instance].claims[device_id].record
        epoch = record.epoch if record is not None else holder.epoch
        since = datetime.fromtimestamp(epoch / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return DuplicateDeviceError(
            f"device '{device_id}' exists already: server '{holder.server_id}' on host "
            f"{holder.host}, process {holder.pid}, since {since}",
            device=device_id,
            remedy=f"choose another id, or stop it: pykarabo shutdown {device_id}",
            details={"server": holder.server_id, "host": holder.host, "pid": holder.pid},
        )

    def _require_server(self, instance: str) -> _Server:
        server = self._servers.get(instance)
        if server is None:
            raise UnknownDeviceError(
                "this server is not registered here", remedy="register it first"
            )
        return server

    # -- asking ---------------------------------------------------------------------------------

    def resolve(self, device_id: str) -> DeviceRecord:
        """Return a device's record; raises `UnknownDeviceError` with near matches."""
        record = self._shown.get(device_id)
        if record is None:
            raise UnknownDeviceError(
                f"there is no device '{device_id}'",
                device=device_id,
                remedy=did_you_mean(device_id, self._shown) or "see 'pykarabo devices'",
            )
        return record

    def devices(self, pattern: str = "*", after: str = "") -> list[DeviceRecord]:
        """Return a page of the records whose id matches the shell pattern, by id.

        Args:
            after: the last id of the page before.
        """
        ids = (
            device_id
            for device_id in sorted(self._shown)
            if device_id > after and fnmatch.fnmatchcase(device_id, pattern)
        )
        return [self._shown[device_id] for device_id in itertools.islice(ids, PAGE)]

    def servers(self) -> list[ServerRecord]:
        """Return the records of every server, by id."""
        return sorted(
            (server.record for server in self._servers.values()),
            key=lambda record: record.server_id,
        )

    def server(self, instance: str) -> ServerRecord | None:
        """Return a server's record, None when it is not registered."""
        server = self._servers.get(instance)
        return None if server is None else server.record

    def statuses(self) -> dict[str, str]:
        """Return the liveness of every server by its id; of twins that of the living one."""
        ordered = sorted(self._servers.values(), key=lambda server: -server.renewed_ns)
        found: dict[str, str] = {}
        for server in ordered:
            found.setdefault(server.record.server_id, str(server.status))
        return found

    @property
    def device_count(self) -> int:
        """How many devices are known, the gone ones included."""
        return len(self._shown)

    @property
    def server_count(self) -> int:
        """How many servers are known, the gone ones included."""
        return len(self._servers)

    # -- the passing of time --------------------------------------------------------------------

    def check(self, now_ns: int) -> TopologyUpdate | None:
        """Judge every lease; returns whose devices' status has changed, None if none has."""
        changed: set[str] = set()
        for server in self._servers.values():
            status = self._judge(server, now_ns)
            if status is not server.status:
                server.status = status
                changed.update(server.claims)
        return self._show(changed, now_ns)

    def died(self, instance: str, now_ns: int) -> TopologyUpdate | None:
        """End the lease of a server that is dead for certain."""
        server = self._servers.get(instance)
        if server is None:
            return None
        server.renewed_ns = now_ns - int(GONE_AFTER_S * 1e9)
        return self.check(now_ns)

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
            update = self.unregister(instance, now_ns) or update
        return update

    # -- changing -------------------------------------------------------------------------------

    def _show(self, device_ids: Iterable[str], now_ns: int) -> TopologyUpdate | None:
        """Bring what is shown of some ids up to date; None when nothing is different."""
        new = dict(self._differing(device_ids, now_ns))
        if not new:
            return None
        gone = tuple(device_id for device_id, record in new.items() if record is None)
        for device_id in gone:
            del self._shown[device_id]
        devices = {device_id: record for device_id, record in new.items() if record is not None}
        self._shown |= devices
        self.version += 1
        return TopologyUpdate(self.version, tuple(devices.values()), gone)

    def _differing(
        self, device_ids: Iterable[str], now_ns: int
    ) -> Iterator[tuple[str, DeviceRecord | None]]:
        for device_id in device_ids:
            record = self._present(device_id, now_ns)
            if record != self._shown.get(device_id):
                yield device_id, record

    def _present(self, device_id: str, now_ns: int) -> DeviceRecord | None:
        started = [
            name
            for name in self._claimants.get(device_id, ())
            if self._servers[name].claims[device_id].record is not None
        ]
        if not started:
            return None
        holder = self._holder(started, device_id, now_ns)
        record = holder.claims[device_id].record
        return None if record is None else replace(record, status=str(holder.status))
