"""A server's presence in the directory: claims, records, the lease.

The directory's knowledge is soft and owned by the servers: a server tells every replica
everything, renews one lease for all its devices at each of them, and tells everything again to a
replica that was restarted or lost.

A device id is claimed replica by replica, in the order in which all servers know them: whoever
gets the first one that both reach gets the id, so that of two that try at once one succeeds. The
id is granted when a majority has granted it; its fencing number is the largest that was given.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pykarabo.client import DIRECTORY_ID, DeviceRecord, ServerRecord
from pykarabo.errors import (
    DiskFullError,
    DuplicateDeviceError,
    NotConnectedError,
    OutcomeUnknownError,
    PykaraboError,
)
from pykarabo.transport import TaskOwner
from pykarabo.wire import GONE_AFTER_S

from ._device import Device
from ._replica import Replica

if TYPE_CHECKING:
    from ._server import Server

_log: Final = logging.getLogger(__name__)
FIRST_CONTACT_S: Final = 10.0
"""A directory that is being started on the same host is there long before."""
JOIN_ATTEMPTS: Final = 3
"""A server does not give up before it has tried so often to get its own id."""
OFFLINE_CONTACT_S: Final = 3.0
"""Who allows a start without the directory wants it soon."""
CLAIM_S: Final = GONE_AFTER_S + 2.0
"""A replica that was restarted listens until every old lease has run out, and grants then."""
LISTENING_S: Final = 0.2
NO_GRANT: Final = (NotConnectedError, OutcomeUnknownError, DiskFullError)
"""Errors after which an id may be claimed again: the directory is away, slow or has no room. One
that was granted although the answer was lost is granted to the same server again."""
_GOODBYE_TIMEOUT_S: Final = 1.0


@dataclass(slots=True)
class _Wanted:
    """A device id that is being claimed."""

    fence: int = 0
    granted: list[Replica] = field(default_factory=list[Replica])
    refused: DuplicateDeviceError | None = None
    problem: PykaraboError | None = None


class Registration:
    """Keeps the directory's knowledge of one server up to date.

    Args:
        allow_offline: take device ids without a majority of the replicas; whether somebody else
            has them too turns out when they are back.
    """

    def __init__(self, server: "Server", *, allow_offline: bool = False) -> None:
        self._server = server
        self._allow_offline = allow_offline
        self._fences: dict[str, int] = {}
        self._devices: dict[str, DeviceRecord] = {}
        self._lost: set[str] = set()
        self._version = 0
        self._tasks = TaskOwner("registration")
        self._progress = asyncio.Event()
        self._replicas: list[Replica] = []

    # -- what the replicas are told -------------------------------------------------------------

    @property
    def instance(self) -> str:
        """Hex of the server's life."""
        return self._server.instance.hex()

    @property
    def lag_s(self) -> float:
        """How late the server's event loop ran last."""
        return self._server.lag_s

    def record(self) -> ServerRecord:
        """Return what is told of the server."""
        return self._server.record()

    def devices(self, endpoint: str) -> list[DeviceRecord]:
        """Return what is told of its devices to the replica there."""
        return [
            record
            for record in self._devices.values()
            if record.device_id not in self._lost and self._concerns(record.device_id, endpoint)
        ]

    def claims(self, endpoint: str) -> dict[str, int]:
        """Return the fencing numbers of its device ids for the replica there."""
        return {
            device_id: fence
            for device_id, fence in self._fences.items()
            if device_id not in self._lost and self._concerns(device_id, endpoint)
        }

    def lost(self, errors: Iterable[PykaraboError]) -> None:
        """Take note of device ids that a twin holds by an older grant: they are not ours."""
        for error in errors:
            device_id = error.device or ""
            if device_id in self._fences and device_id not in self._lost:
                self._lost.add(device_id)
                self._server.refuse(device_id, error)
                concerned = self._concerned(device_id)
                for replica in concerned:
                    replica.forget(device_id)
                self._tasks.spawn(
                    self._give_back({device_id: concerned}), name=f"release {device_id}"
                )

    def _concerns(self, device_id: str, endpoint: str) -> bool:
        """Tell whether a replica is told of a device; of the others' replicas none is."""
        return device_id != DIRECTORY_ID or endpoint == self._own_endpoint

    @property
    def _own_endpoint(self) -> str:
        endpoints = self._server.client.access.endpoints
        return endpoints[0] if len(endpoints) == 1 else self._server.record().rpc

    def _concerned(self, device_id: str) -> list[Replica]:
        return [
            replica for replica in self._replicas if self._concerns(device_id, replica.endpoint)
        ]

    # -- life -----------------------------------------------------------------------------------

    async def start(self, *, hosts_replica: bool) -> None:
        """Register and keep the lease from now on.

        Args:
            hosts_replica: whether the server hosts a replica, which must start before the others.

        Raises:
            NotConnectedError: no directory answers, or too few of its replicas.
            DuplicateDeviceError: the server's id is taken.
        """
        client = self._server.client
        self._replicas = [
            Replica(endpoint, client.ask_replica, self) for endpoint in client.access.endpoints
        ]
        for replica in self._replicas:
            self._tasks.spawn(replica.keep(self._progress.set), name=replica.endpoint)
        await self._join(hosts_replica=hosts_replica)

    async def _join(self, *, hosts_replica: bool) -> None:
        """Find enough replicas and claim the server's id.

        Replicas that go away meanwhile may be back soon, and one attempt may wait long for each.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FIRST_CONTACT_S
        attempts = 0
        while True:
            await self._first_contact(
                self._concerned(DIRECTORY_ID) if hosts_replica else self._replicas
            )
            try:
                await self._claim(self._server.server_id, may_be_offline=hosts_replica)
            except NO_GRANT:
                attempts += 1
                if attempts >= JOIN_ATTEMPTS and loop.time() > deadline:
                    raise
                await asyncio.sleep(LISTENING_S)
            else:
                return

    async def _first_contact(self, replicas: Sequence[Replica]) -> None:
        patience_s = OFFLINE_CONTACT_S if self._allow_offline else FIRST_CONTACT_S
        try:
            async with asyncio.timeout(patience_s):
                while sum(replica.connected for replica in replicas) < _majority(replicas):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            problem = self._too_few(f"server '{self._server.server_id}' cannot register")
            if not self._allow_offline:
                raise problem from None
            _log.warning("%s", problem)

    def _too_few(self, what: str) -> PykaraboError:
        silent = [replica for replica in self._replicas if not replica.connected]
        if len(self._replicas) == 1 and silent and silent[0].problem is not None:
            return silent[0].problem
        names = ", ".join(replica.endpoint for replica in silent)
        return NotConnectedError(
            f"{what}: of {len(self._replicas)} replicas of the directory {len(silent)} do not "
            f"answer: {names}",
            remedy="start them; 'pykarabo doctor' shows which are there",
        )

    async def aclose(self) -> None:
        """Leave the directory: every device of this server is gone at once."""
        await self._tasks.aclose()
        hosts_replica = any(
            device.context.device_id == DIRECTORY_ID for device in self._server.devices
        )
        await asyncio.gather(
            *(
                self._say_goodbye(replica)
                for replica in self._replicas
                if replica.connected
                and not (hosts_replica and replica.endpoint == self._own_endpoint)
            )
        )

    async def _say_goodbye(self, replica: Replica) -> None:
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT_S):
                await replica.ask("unregister", self.instance)
        except (PykaraboError, TimeoutError) as error:
            _log.warning("could not say goodbye to the directory: %s", error)

    # -- claims ---------------------------------------------------------------------------------

    async def claim(self, device_id: str) -> None:
        """Reserve a device id for this server, unless that was done already.

        Raises:
            DuplicateDeviceError: somebody else holds it; host, process and start are named.
            NotConnectedError: too few replicas of the directory answer.
        """
        await self._claim(device_id)

    async def _claim(self, device_id: str, *, may_be_offline: bool = False) -> None:
        if device_id in self._fences:
            return
        refused = await self._claim_once([device_id], may_be_offline=may_be_offline)
        if device_id in refused:
            raise refused[device_id]

    async def claim_many(self, device_ids: Iterable[str]) -> None:
        """Reserve those of several ids that can be, with one message to each replica."""
        wanted = [device_id for device_id in device_ids if device_id not in self._fences]
        if wanted:
            await self._claim_once(wanted)

    async def _claim_once(
        self, device_ids: Sequence[str], *, may_be_offline: bool = False
    ) -> dict[str, PykaraboError]:
        """Claim ids; returns why some could not be."""
        wanted = {device_id: _Wanted() for device_id in device_ids}
        replicas = self._concerned(device_ids[0]) if len(device_ids) == 1 else self._replicas
        for replica in replicas:
            await self._claim_at(replica, wanted)
        needed = 0 if may_be_offline or self._allow_offline else _majority(replicas)
        refused: dict[str, PykaraboError] = {}
        for device_id, claim in wanted.items():
            if claim.refused is not None:
                refused[device_id] = claim.refused
            elif len(claim.granted) < needed:
                all_answer = all(replica.connected for replica in replicas)
                too_few = self._too_few(f"device '{device_id}' cannot be claimed")
                refused[device_id] = claim.problem if all_answer and claim.problem else too_few
            else:
                self._fences[device_id] = claim.fence
        await self._give_back({name: wanted[name].granted for name in refused})
        return refused

    async def _claim_at(self, replica: Replica, wanted: dict[str, _Wanted]) -> None:
        open_ids = [name for name, claim in wanted.items() if claim.refused is None]
        if not replica.connected or not open_ids:
            return
        try:
            answers = await self._grants(replica, open_ids)
        except PykaraboError as error:
            _log.warning("the directory at %s grants nothing: %s", replica.endpoint, error)
            for device_id in open_ids:
                wanted[device_id].problem = error
            return
        for device_id, answer in zip(open_ids, answers, strict=True):
            if isinstance(answer, int):
                wanted[device_id].granted.append(replica)
                wanted[device_id].fence = max(wanted[device_id].fence, answer)
                continue
            refusal = PykaraboError.from_wire(answer)
            if isinstance(refusal, DuplicateDeviceError):
                refusal.foreign = False  # it is our answer too: the device was not started
                wanted[device_id].refused = refusal

    async def _grants(self, replica: Replica, device_ids: list[str]) -> list[Any]:
        """Ask for device ids; again if the replica was restarted and does not grant any yet."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLAIM_S
        while loop.time() < deadline:
            answers: list[Any] | None = await replica.ask("claim", self.instance, device_ids)
            if answers is not None:
                return answers
            await asyncio.sleep(LISTENING_S)
            await replica.tell()
        raise NotConnectedError(
            f"the directory at {replica.endpoint} was restarted and waits for others to return",
            remedy="try again in some seconds",
        )

    async def _give_back(self, granted: dict[str, list[Replica]]) -> None:
        for replica in self._replicas:
            ids = [device_id for device_id, grants in granted.items() if replica in grants]
            if ids:
                await self._release_at(replica, ids)

    async def _release_at(self, replica: Replica, device_ids: list[str]) -> None:
        try:
            await replica.ask("release", self.instance, device_ids)
        except PykaraboError as error:
            names = ", ".join(device_ids)
            _log.warning("'%s' could not be released in the directory: %s", names, error)

    async def release(self, device_id: str) -> None:
        """Give a device id free."""
        self._devices.pop(device_id, None)
        self._lost.discard(device_id)
        if self._fences.pop(device_id, None) is None:
            return
        concerned = self._concerned(device_id)
        for replica in concerned:
            replica.forget(device_id)
        await asyncio.gather(
            *(self._release_at(replica, [device_id]) for replica in concerned if replica.connected)
        )

    # -- records --------------------------------------------------------------------------------

    async def publish(self, device: Device, *, wait: bool = True) -> None:
        """Make a device known; whoever asks for it finds it from now on.

        Args:
            wait: until the replicas that are there know it; else it is told soon.

        Raises:
            NotConnectedError: no replica has taken it.
        """
        record = self._record(device)
        self._devices[record.device_id] = record
        for replica in self._concerned(record.device_id):
            replica.tell_soon(record)
        if wait:
            await self.tell_all(self._concerned(record.device_id))

    async def tell_all(self, replicas: Sequence[Replica] | None = None) -> None:
        """Return when the replicas that are there know everything.

        Raises:
            NotConnectedError: no replica has taken it.
        """
        wanted = self._replicas if replicas is None else replicas
        there = [replica for replica in wanted if replica.connected] or wanted
        taken = await asyncio.gather(*(replica.tell() for replica in there))
        if not any(taken) and not self._allow_offline:
            raise self._too_few("a device cannot be made known")

    def _record(self, device: Device) -> DeviceRecord:
        server = self._server.record()
        context = device.context
        self._version += 1
        return DeviceRecord(
            device_id=context.device_id,
            class_id=type(device).__name__,
            server_id=server.server_id,
            instance=context.instance.hex(),
            epoch=context.epoch,
            host=server.host,
            pid=server.pid,
            state=str(device.state),
            rpc=server.rpc,
            events=server.events,
            data=server.data,
            fence=self._fences.get(context.device_id, 0),
            version=self._version,
            tags=tuple(f"interface:{name}" for name in device.interfaces),
        )

    def state_changed(self, device: Device) -> None:
        """Have the directory told soon that a device is in another state."""
        device_id = device.context.device_id
        known = self._devices.get(device_id)
        if known is None or device_id in self._lost:
            return
        if known.state != str(device.state):
            record = self._record(device)
            self._devices[record.device_id] = record
            for replica in self._concerned(record.device_id):
                replica.tell_soon(record)


def _majority(replicas: Sequence[Replica]) -> int:
    return len(replicas) // 2 + 1
