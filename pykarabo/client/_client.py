"""The asynchronous client of a domain: finds devices, calls them, follows them."""

import asyncio
import fnmatch
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from pykarabo.data import Schema
from pykarabo.errors import (
    HelloRequiredError,
    NotConnectedError,
    PykaraboError,
    UnknownPropertyError,
    WrongInstanceError,
)
from pykarabo.transport import (
    Clock,
    SystemClock,
    TaskOwner,
    Transport,
    ZmqTransport,
    domain_name,
)
from pykarabo.wire import (
    Call,
    ClientIdentity,
    Get,
    GetSchema,
    Locate,
    ReadMany,
    Request,
    Set,
    Target,
)

from ._directory import (
    LOCATE,
    Plan,
    Query,
    access_to,
    replica_record,
    replica_target,
)
from ._input import PipelineReader
from ._link import ServerLink
from ._proxy import AsyncDeviceProxy
from ._records import DIRECTORY_ID, DeviceRecord, ServerRecord, check_device_id, split_target
from ._updates import Update
from ._watch import Follower, Watch

_T = TypeVar("_T")

CALL_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
_SAFE_TO_REPEAT: Final = (NotConnectedError, WrongInstanceError, HelloRequiredError)


def own_identity() -> ClientIdentity:
    """Return who this process is, for the servers it calls."""
    try:
        user = os.environ.get("USER") or Path.home().name
    except RuntimeError:
        user = str(os.getuid())
    return ClientIdentity(socket.gethostname(), os.getpid(), user, Path(sys.argv[0]).name)


class Client:
    """A client of one domain; use it as an asynchronous context manager.

    Args:
        domain: the domain; default is that of the environment.
        transport: how to reach others; default is ZeroMQ.
        clock: default is the host's.
        directory: endpoint of the directory; default are the replicas of the domain.
    """

    def __init__(
        self,
        domain: str | None = None,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
        directory: str | None = None,
    ) -> None:
        self.domain = domain_name(domain)
        self.clock = clock or SystemClock()
        self.access = access_to(self.domain, directory)
        self._own_transport = transport is None
        self.transport: Transport = transport or ZmqTransport()
        self.identity = own_identity()
        self._links: dict[str, ServerLink] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._records: dict[str, DeviceRecord] = {}
        self._schemas: dict[str, tuple[str, Schema]] = {}
        self._followers: dict[str, tuple[Follower, asyncio.Task[Any]]] = {}
        self._replicas: dict[str, tuple[ServerLink, Target]] = {}
        self._tasks = TaskOwner("client")

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every link and task of this client."""
        await self._tasks.aclose()
        self._followers.clear()
        self.access.cache.save()
        for link in list(self._links.values()):
            link.close()
        if self._own_transport:
            self.transport.close()

    # -- finding --------------------------------------------------------------------------------

    async def resolve(self, device_id: str) -> DeviceRecord:
        """Return where a device is, from memory or from the directory.

        Raises:
            UnknownDeviceError: the directory does not know it; near matches are named.
            NotConnectedError: there is no directory.
        """
        known = self._records.get(device_id)
        if known is not None:
            return known
        if device_id == DIRECTORY_ID:
            record = await self._carry_out(self.access.locate())
        else:
            check_device_id(device_id)
            record = await self._carry_out(self.access.resolve(device_id))
        self._records[device_id] = record
        return record

    async def _carry_out(self, plan: Plan[_T]) -> _T:
        answer: Any = None
        while True:
            try:
                query = plan.send(answer)
            except StopIteration as done:
                return cast(_T, done.value)
            try:
                answer = await self._ask(query)
            except PykaraboError as error:
                answer = error

    async def _ask(self, query: Query) -> Any:
        timeout_s = self.access.timeout_s
        if query.command == LOCATE:
            _link, target = await self._replica(query.endpoint, timeout_s)
            return replica_record(query.endpoint, target)
        return await self.ask_replica(
            query.endpoint, query.command, *query.args, timeout_s=timeout_s
        )

    async def ask_replica(
        self, endpoint: str, command: str, *args: Any, timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        """Run a command of one replica of the directory, once more if it was restarted."""
        try:
            return await self._ask_replica(endpoint, command, args, timeout_s)
        except _SAFE_TO_REPEAT:
            if self._replicas.pop(endpoint, None) is None:
                raise
            return await self._ask_replica(endpoint, command, args, timeout_s)

    async def _ask_replica(
        self, endpoint: str, command: str, args: tuple[Any, ...], timeout_s: float
    ) -> Any:
        link, target = await self._replica(endpoint, timeout_s)
        call = Call(DIRECTORY_ID, command, list(args))
        return (await link.call(call, target, timeout_s=timeout_s))[0]

    async def _replica(self, endpoint: str, timeout_s: float) -> tuple[ServerLink, Target]:
        known = self._replicas.get(endpoint)
        if known is not None and known[0].alive:
            return known
        peer = f"the directory of domain '{self.domain}'"
        link = await self._link(endpoint, peer, timeout_s=timeout_s)
        found, _sequence = await link.call(Locate([DIRECTORY_ID]), Target(), timeout_s=timeout_s)
        self._replicas[endpoint] = (link, replica_target(endpoint, found))
        return self._replicas[endpoint]

    async def directory(self, command: str, *args: Any) -> Any:
        """Run a command of the directory."""
        return await self._carry_out(self.access.command(command, *args))

    async def topology(self, pattern: str = "*") -> list[DeviceRecord]:
        """Return the devices whose id matches the shell pattern, by id."""
        found = await self.directory("topology", pattern)
        return [DeviceRecord.from_wire(record) for record in found["devices"]]

    async def servers(self, pattern: str = "*") -> list[ServerRecord]:
        """Return the device servers whose id matches the shell pattern, by id."""
        found = await self.directory("topology", "*")
        records = [ServerRecord.from_wire(record) for record in found["servers"]]
        return [record for record in records if fnmatch.fnmatchcase(record.server_id, pattern)]

    def forget_record(self, device_id: str) -> None:
        """Ask the directory again before the next call of this device."""
        self._records.pop(device_id, None)

    def forget_schema(self, device_id: str) -> None:
        """Ask the device again before its schema is next used."""
        self._schemas.pop(device_id, None)

    # -- calling --------------------------------------------------------------------------------

    async def reach(self, device_id: str) -> tuple[ServerLink, Target]:
        """Return an open link to the device's server, and the device's present instance.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached.
        """
        record = await self.resolve(device_id)
        if record.status == "gone":
            self.forget_record(device_id)
            raise NotConnectedError(
                f"device '{device_id}' is gone with its server '{record.server_id}'",
                device=device_id,
                remedy=f"start the server: pykarabo server start --id {record.server_id}",
            )
        link = await self._link(record.rpc, f"server '{record.server_id or DIRECTORY_ID}'")
        return link, Target(bytes.fromhex(record.instance), record.epoch)

    async def _link(
        self, rpc: str, peer: str, *, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> ServerLink:
        link = self._links.get(rpc)
        if link is not None and link.alive:
            return link
        async with self._opening.setdefault(rpc, asyncio.Lock()):
            link = self._links.get(rpc)
            if link is not None and link.alive:
                return link
            link = ServerLink(
                self.transport,
                self.clock,
                rpc,
                identity=self.identity,
                peer=peer,
                closed=self._link_closed,
            )
            await link.open(timeout_s=timeout_s)
            self._links[rpc] = link
            return link

    def _link_closed(self, link: ServerLink) -> None:
        if self._links.get(link.rpc) is link:
            del self._links[link.rpc]
            self._opening.pop(link.rpc, None)
        for device_id, record in list(self._records.items()):
            if record.rpc == link.rpc:
                del self._records[device_id]

    async def request(
        self, device_id: str, request: Request, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        """Make a call to a device and return its result.

        A call that certainly was not executed because the device has moved or was restarted is
        made once more at its new place; anything else is reported as it is.
        """
        try:
            return await self._request_once(device_id, request, timeout_s)
        except _SAFE_TO_REPEAT:
            self.forget_record(device_id)
            return await self._request_once(device_id, request, timeout_s)

    async def _request_once(self, device_id: str, request: Request, timeout_s: float) -> Any:
        link, target = await self.reach(device_id)
        result, _sequence = await link.call(request, target, timeout_s=timeout_s)
        return result

    async def read_many(
        self, wanted: Mapping[str, list[str] | None], *, timeout_s: float = CALL_TIMEOUT_S
    ) -> dict[str, list[Any] | PykaraboError]:
        """Read properties of many devices with one call per server.

        Returns:
            Per device its property rows, or the error that it answered.
        """
        servers: dict[ServerLink, list[str]] = {}
        answers: dict[str, list[Any] | PykaraboError] = {}
        for device_id in wanted:
            try:
                link, _target = await self.reach(device_id)
                servers.setdefault(link, []).append(device_id)
            except PykaraboError as error:
                answers[device_id] = error
        for link, devices in servers.items():
            request = ReadMany([[device_id, wanted[device_id]] for device_id in devices])
            try:
                found, _sequence = await link.call(request, Target(), timeout_s=timeout_s)
            except PykaraboError as error:
                answers |= dict.fromkeys(devices, error)
                continue
            for device_id, (rows, refusal) in zip(devices, found, strict=True):
                answers[device_id] = rows if refusal is None else PykaraboError.from_wire(refusal)
        return answers

    async def schema(self, device_id: str) -> Schema:
        """Return the device's present schema."""
        record = await self.resolve(device_id)
        known = self._schemas.get(device_id)
        if known is not None and known[0] == record.instance:
            return known[1]
        schema = Schema.from_wire(await self.request(device_id, GetSchema(device_id)))
        record = await self.resolve(device_id)
        self._schemas[device_id] = (record.instance, schema)
        return schema

    async def get(self, device_id: str, keys: list[str] | None = None) -> list[Any]:
        """Return the rows of some properties, or of all."""
        rows: list[Any] = await self.request(device_id, Get(device_id, keys))
        return rows

    async def set(self, device_id: str, values: Mapping[str, Any]) -> None:
        """Write properties, all or none."""
        await self.request(device_id, Set(device_id, dict(values)))

    # -- following ------------------------------------------------------------------------------

    def follow(self, device_id: str, listener: Callable[[Update], None]) -> Follower:
        """Have `listener` told of every update of a device, whether it exists yet or not."""
        entry = self._followers.get(device_id)
        if entry is None:
            follower = Follower(self, device_id)
            task = self._tasks.spawn(follower.run(), name=f"follow {device_id}")
            entry = self._followers[device_id] = (follower, task)
        entry[0].listen(listener)
        return entry[0]

    def unfollow(self, device_id: str, listener: Callable[[Update], None]) -> None:
        """Stop telling `listener`; the last one ends the subscription."""
        entry = self._followers.get(device_id)
        if entry is not None and not entry[0].forget(listener):
            del self._followers[device_id]
            entry[1].cancel()

    def watch(self, *targets: str) -> Watch:
        """Return the updates of targets such as ``MOTOR/1`` or ``MOTOR/1.actual_position``."""
        keys: dict[str, frozenset[str] | None] = {}
        for target in targets:
            device_id, key = split_target(target)
            known = keys.get(device_id, frozenset())
            keys[device_id] = None if key is None or known is None else known | {key}
        return Watch(self, keys)

    async def device(
        self, device_id: str, *, follow: bool = True, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> AsyncDeviceProxy:
        """Return a proxy of a device; with `follow` its attributes are the live values.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached in time.
        """
        schema = await self.schema(device_id)
        proxy = AsyncDeviceProxy(self, device_id, schema)
        if follow:
            await proxy.start_following(timeout_s=timeout_s)
        return proxy

    async def input(
        self,
        device_id: str,
        output: str,
        *,
        policy: str = "drop",
        credit: int = 2,
        on_missed: Callable[[int], None] | None = None,
    ) -> PipelineReader:
        """Return the items of a pipeline output, through restarts of its device.

        Args:
            policy: ``wait`` holds the sender until there is credit, ``drop`` lets it go on.
            credit: items that may be under way or waiting here.
            on_missed: called with the number of items that were lost, as soon as it is known.
        """
        schema = await self.schema(device_id)
        if output not in schema.outputs:
            known = ", ".join(schema.outputs) or "none"
            raise UnknownPropertyError(
                f"device '{device_id}' has no output '{output}'",
                device=device_id,
                remedy=f"its outputs are: {known}",
            )
        reader = PipelineReader(
            self, device_id, output, policy=policy, credit=credit, on_missed=on_missed
        )
        reader.start(self._tasks)
        return reader
