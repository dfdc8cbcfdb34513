"""The asynchronous client of a domain: finds devices, calls them, follows them."""

import asyncio
import fnmatch
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from pykarabo.data import AccessLevel, PropertyValue, Schema, from_rows
from pykarabo.errors import (
    ConnectionLostError,
    ExpiredError,
    NotConnectedError,
    PykaraboError,
    UnknownPropertyError,
    WrongThreadError,
)
from pykarabo.transport import (
    Clock,
    SystemClock,
    TaskOwner,
    Transport,
    ZmqTransport,
    deadline,
    domain_name,
    time_left_s,
)
from pykarabo.wire import (
    Call,
    Choice,
    Get,
    GetSchema,
    Locate,
    Request,
    Set,
    Target,
)

from ._administration import AsyncAdministration
from ._attempts import CERTAINLY_NOT_RUN, Attempts
from ._batches import ROUNDS, Batch, elsewhere, reads, writes
from ._directory import (
    LOCATE,
    Plan,
    Query,
    access_to,
    present_target,
    replica_record,
    replica_target,
    too_slow,
)
from ._group import AsyncDeviceGroup
from ._identity import CALL_TIMEOUT_S, CONNECT_TIMEOUT_S, asked_role, line_to, own_identity
from ._input import PipelineReader
from ._link import ServerLink
from ._lock import AsyncHold
from ._login import Login, login_of_user
from ._proxy import AsyncDeviceProxy
from ._recalling import AsyncRecalling
from ._records import DIRECTORY_ID, DeviceRecord, ServerRecord, check_device_id, split_target
from ._topology_cache import CACHED
from ._updates import Update
from ._watch import EVERYTHING, Follower, Watch

_T = TypeVar("_T")

_TURNS: Final = 2
"""In so many turns the loop hears of connections that have ended while it did not run: a write
that went to one of them would have an unknown outcome."""
_MAX_FINDING: Final = 50
"""Devices looked up at the same time; a directory tells whoever asks for more that it is busy."""


class StreamCounters(NamedTuple):
    """What a client counts of the events that it receives.

    Attributes:
        missed: lost for good; the present values came instead.
        recovered: lost and delivered late.
        skipped: how often this program was too slow, so that displays skipped old events.
        lag_s: how long the latest events of the slowest server were under way.
    """

    missed: int = 0
    recovered: int = 0
    skipped: int = 0
    lag_s: float = 0.0


_FollowerKind: TypeAlias = tuple[Choice, bool, Callable[[Update], None] | None]
"""What is followed, whether only the latest counts, and whose alone it is."""


class _Following(NamedTuple):
    follower: Follower
    task: asyncio.Task[None]


class Client(AsyncAdministration, AsyncRecalling):
    """A client of one domain; use it as an asynchronous context manager.

    Args:
        domain: the domain; default is that of the environment.
        transport: how to reach others; default is ZeroMQ.
        clock: default is the host's.
        directory: endpoint of the directory; default are the replicas of the domain.
        role: the highest role to ask for, or its name; see `asked_role`.
        login: tells the token of whoever uses it; default is that of the user's login.
    """

    def __init__(
        self,
        domain: str | None = None,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
        directory: str | None = None,
        role: AccessLevel | str | None = None,
        login: Login | None = None,
    ) -> None:
        self.domain = domain_name(domain)
        self.role = asked_role(role)
        self.login = login or login_of_user(self.domain)
        self.clock = clock or SystemClock()
        self.access = access_to(self.domain, directory)
        self._own_transport = transport is None
        self.transport: Transport = transport or ZmqTransport(domain=self.domain)
        self.identity = own_identity()
        self._token = secrets.token_bytes(16)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: dict[str, ServerLink] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._reachable: dict[str, tuple[ServerLink, Target]] = {}
        self._records: dict[str, DeviceRecord] = {}
        self._followers: dict[str, dict[_FollowerKind, _Following]] = {}
        self._ended = StreamCounters()
        self._finding = asyncio.Semaphore(_MAX_FINDING)
        self._replicas: dict[str, tuple[ServerLink, Target]] = {}
        self._tasks = TaskOwner("client")
        self.holds: dict[str, AsyncHold] = {}

    def with_role(self, role: AccessLevel | str) -> "Client":
        """Return another client of the same user and connections, which asks for this role."""
        other = Client(
            self.domain, transport=self.transport, clock=self.clock, role=role, login=self.login
        )
        other.access = self.access
        return other

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> "asyncio.Task[Any]":
        """Run `work` until it ends or this client is closed."""
        return self._tasks.spawn(work, name=name)

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
        timeout_s = self._left_s(self.access.timeout_s)
        try:
            with deadline(self.clock.monotonic_ns() + int(timeout_s * 1e9)):
                if query.command == LOCATE:
                    _link, target = await self._replica(query.endpoint, timeout_s)
                    return replica_record(query.endpoint, target)
                return await self.ask_replica(
                    query.endpoint, query.command, *query.args, timeout_s=timeout_s
                )
        except ExpiredError:
            raise too_slow(query.endpoint) from None

    async def ask_replica(
        self, endpoint: str, command: str, *args: Any, timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        """Run a command of one replica of the directory, once more if it was restarted."""
        try:
            return await self._ask_replica(endpoint, command, args, timeout_s)
        except CERTAINLY_NOT_RUN:
            if self._replicas.pop(endpoint, None) is None:
                raise
            return await self._ask_replica(endpoint, command, args, timeout_s)

    async def _ask_replica(
        self, endpoint: str, command: str, args: tuple[Any, ...], timeout_s: float
    ) -> Any:
        link, target = await self._replica(endpoint, timeout_s)
        call = Call(DIRECTORY_ID, command, list(args))
        return (await link.call(call, target, timeout_s=self._left_s(timeout_s)))[0]

    async def _replica(self, endpoint: str, timeout_s: float) -> tuple[ServerLink, Target]:
        known = self._replicas.get(endpoint)
        if known is not None and known[0].alive:
            return known
        peer = f"the directory of domain '{self.domain}'"
        link = await self._link(endpoint, peer, timeout_s=timeout_s)
        found, _sequence = await link.call(
            Locate([DIRECTORY_ID]), Target(), timeout_s=self._left_s(timeout_s)
        )
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
        self._reachable.pop(device_id, None)

    # -- calling --------------------------------------------------------------------------------

    async def reach(self, device_id: str) -> tuple[ServerLink, Target]:
        """Return an open link to the device's server, and the device's present instance.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached.
        """
        record = self._records.get(device_id)
        if record is None:
            async with self._finding:
                record = await self.resolve(device_id)
        if record.status == "gone":
            self.forget_record(device_id)
            raise NotConnectedError(
                f"device '{device_id}' is gone with its server '{record.server_id}'",
                device=device_id,
                remedy=f"start the server: pykarabo server start --id {record.server_id}",
            )
        link = await self._link(record.rpc, f"server '{record.server_id or DIRECTORY_ID}'")
        found: list[Any] = []
        if record.status == CACHED:  # it may have been restarted since
            timeout_s = self._left_s(CONNECT_TIMEOUT_S)
            found, _sequence = await link.call(Locate([device_id]), Target(), timeout_s=timeout_s)
        return link, present_target(record, found)

    async def role_at(self, device_id: str = DIRECTORY_ID) -> AccessLevel:
        """Return the role that a device's server gives this client.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached.
        """
        link, _target = await self.reach(device_id)
        return link.role

    def _require_own_loop(self) -> None:
        """Refuse to share sockets with another thread: ZeroMQ would crash."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise WrongThreadError(
                "this client belongs to another event loop; nothing was executed",
                remedy="use asyncio.run_coroutine_threadsafe with its loop, or a BlockingClient, "
                "which threads may share",
            )

    async def _link(
        self, rpc: str, peer: str, *, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> ServerLink:
        self._require_own_loop()
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
                line=line_to(self._token, rpc),
                role=self.role,
                login=self.login,
                peer=peer,
                tasks=self._tasks,
                closed=self._link_closed,
            )
            await link.open(timeout_s=self._left_s(timeout_s))
            self._links[rpc] = link
            return link

    def _link_closed(self, link: ServerLink) -> None:
        self._ended = self._ended._replace(
            skipped=self._ended.skipped + link.subscriptions.slow_count
        )
        if self._links.get(link.rpc) is link:
            del self._links[link.rpc]
            self._opening.pop(link.rpc, None)
        for device_id, record in list(self._records.items()):
            if record.rpc == link.rpc:
                self.forget_record(device_id)

    async def request(
        self,
        device_id: str,
        request: Request,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        idempotent: bool = False,
    ) -> Any:
        """Make a call to a device and return its result.

        A call that certainly was not executed because the device has moved or was restarted is
        made once more at its new place, and so is one that only reads. One whose outcome is
        unknown is made again if it has a key (`once`) or is `idempotent`; anything else is
        reported as it is. Finding the device and connecting to it are within `timeout_s`.
        """
        result, _sequence = await self._request(
            device_id, request, timeout_s=timeout_s, idempotent=idempotent
        )
        return result

    async def _request(
        self, device_id: str, request: Request, *, timeout_s: float, idempotent: bool = False
    ) -> tuple[Any, int]:
        self._require_own_loop()
        now_ns = self.clock.monotonic_ns
        attempts = Attempts(request, timeout_s, now_ns(), idempotent=idempotent)
        while True:
            try:
                known = self._reachable.get(device_id)
                if known is None or not known[0].alive:
                    known = await self._reach_in_time(device_id, attempts)
                    self._reachable[device_id] = known
                link, target = known
                attempts.aim(target)
                return await link.call(request, target, timeout_s=attempts.left_s(now_ns()))
            except PykaraboError as error:
                pause_s = attempts.failed(error, now_ns())
            self.forget_record(device_id)
            if pause_s:
                await asyncio.sleep(pause_s)

    async def _reach_in_time(self, device_id: str, attempts: Attempts) -> tuple[ServerLink, Target]:
        left_s = attempts.left_s(self.clock.monotonic_ns())
        try:
            async with asyncio.timeout(left_s):
                with deadline(attempts.deadline_ns):
                    return await self.reach(device_id)
        except TimeoutError:
            raise NotConnectedError(
                f"'{device_id}' could not be reached in the time allowed",
                device=device_id,
                remedy="nothing was executed: look at 'pykarabo status', or allow more time",
            ) from None

    async def read_many(
        self, wanted: Mapping[str, list[str] | None], *, timeout_s: float = CALL_TIMEOUT_S
    ) -> dict[str, dict[str, PropertyValue] | PykaraboError]:
        """Read properties of many devices with one call per server.

        Returns:
            Per device its property values, or the error that it answered.
        """
        return await self._batch(reads(wanted), timeout_s)

    async def set_many(
        self, wanted: Mapping[str, Mapping[str, Any]], *, timeout_s: float = CALL_TIMEOUT_S
    ) -> dict[str, PykaraboError | None]:
        """Write properties of many devices with one call per server.

        Each device takes all of its values or none; one that refuses keeps no other from it.

        Returns:
            Per device None, or why nothing was written; with an `OutcomeUnknownError` it may have
            been.
        """
        return await self._batch(writes(wanted), timeout_s)

    async def _batch(self, batch: Batch[_T], timeout_s: float) -> dict[str, _T | PykaraboError]:
        answers: dict[str, _T | PykaraboError] = {}
        devices = list(batch.devices)
        with deadline(self.clock.monotonic_ns() + int(self._left_s(timeout_s) * 1e9)):
            for _ in range(ROUNDS):
                found = await self._ask_all(batch, devices, timeout_s)
                answers.update(found)
                devices = elsewhere(answers)
                for device_id in devices:
                    self.forget_record(device_id)
                if not devices:
                    break
        return answers

    async def _ask_all(
        self, batch: Batch[_T], devices: list[str], timeout_s: float
    ) -> dict[str, _T | PykaraboError]:
        answers: dict[str, _T | PykaraboError] = {}
        servers: dict[ServerLink, dict[str, list[Any]]] = {}
        for device_id, found in (await self._find_all(devices)).items():
            if isinstance(found, PykaraboError):
                answers[device_id] = found
            else:
                link, target = found
                servers.setdefault(link, {})[device_id] = batch.part(device_id, target)
        asked = (self._ask_server(link, batch, parts, timeout_s) for link, parts in servers.items())
        for some in await asyncio.gather(*asked):
            answers |= some
        return answers

    async def _find_all(
        self, devices: list[str]
    ) -> dict[str, tuple[ServerLink, Target] | PykaraboError]:
        """Return where devices are, or why they cannot be reached."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        found: dict[str, tuple[ServerLink, Target] | PykaraboError] = {}
        for device_id in devices:
            known = self._reachable.get(device_id)
            if known is not None and known[0].alive:
                found[device_id] = known
        missing = [device_id for device_id in devices if device_id not in found]
        reached = await asyncio.gather(*map(self.reach, missing), return_exceptions=True)
        for device_id, place in zip(missing, reached, strict=True):
            if isinstance(place, PykaraboError):
                found[device_id] = place
            elif isinstance(place, BaseException):
                raise place
            else:
                self._reachable[device_id] = found[device_id] = place
        return found

    async def _ask_server(
        self, link: ServerLink, batch: Batch[_T], parts: dict[str, list[Any]], timeout_s: float
    ) -> dict[str, _T | PykaraboError]:
        request = batch.request(list(parts.values()))
        try:
            result, _sequence = await link.call(
                request, Target(), timeout_s=self._left_s(timeout_s)
            )
        except PykaraboError as error:
            return dict.fromkeys(parts, error)
        return batch.answers(parts, result)

    def _left_s(self, timeout_s: float) -> float:
        return time_left_s(timeout_s, self.clock.monotonic_ns())

    async def schema(self, device_id: str) -> Schema:
        """Ask a device for its schema."""
        return Schema.from_wire(await self.request(device_id, GetSchema(device_id)))

    async def get(self, device_id: str, keys: list[str] | None = None) -> list[Any]:
        """Return the rows of some properties, or of all."""
        rows: list[Any] = await self.request(device_id, Get(device_id, keys))
        return rows

    async def read(self, device_id: str, keys: list[str] | None = None) -> dict[str, PropertyValue]:
        """Return some properties with time stamp, quality and event number, or all of them."""
        request = Get(device_id, keys)
        try:
            rows, sequence = await self._request(device_id, request, timeout_s=CALL_TIMEOUT_S)
        except ConnectionLostError:  # reading twice does no harm
            rows, sequence = await self._request(device_id, request, timeout_s=CALL_TIMEOUT_S)
        return from_rows(rows, sequence)

    async def set(
        self,
        device_id: str,
        values: Mapping[str, Any],
        *,
        expected: Mapping[str, PropertyValue] | None = None,
        once: str | None = None,
    ) -> None:
        """Write properties, all or none.

        Args:
            expected: properties as `read` returned them; nothing is written when one of them has
                changed since.
            once: a key of your own; however often this write is sent, it is done once.

        Raises:
            ChangedMeanwhileError: one of `expected` has changed; nothing was written.
        """
        known = None if expected is None else {key: item.sequence for key, item in expected.items()}
        await self.request(device_id, Set(device_id, dict(values), once, known))

    # -- following ------------------------------------------------------------------------------

    def follow(
        self,
        device_id: str,
        listener: Callable[[Update], None],
        choice: Choice = EVERYTHING,
        *,
        latest: bool = False,
        anew: bool = False,
    ) -> Follower:
        """Have `listener` told of every update of a device, whether it exists yet or not.

        Args:
            choice: which properties, how often, which part of arrays.
            latest: only present values matter: what was lost or waits for too long is skipped.
            anew: begin with values that are read after this call, not with those that another
                follower has received.
        """
        followers = self._followers.setdefault(device_id, {})
        kind = (choice, latest, listener if anew else None)
        following = followers.get(kind)
        if following is None:
            follower = Follower(self, device_id, choice, latest=latest)
            task = self._tasks.spawn(follower.run(), name=f"follow {device_id}")
            following = followers[kind] = _Following(follower, task)
        following.follower.listen(listener)
        return following.follower

    def unfollow(self, device_id: str, listener: Callable[[Update], None]) -> None:
        """Stop telling `listener`; the last one ends the subscription."""
        followers = self._followers.get(device_id, {})
        for kind, following in list(followers.items()):
            if not following.follower.forget(listener):
                self._count_ended(following.follower)
                del followers[kind]
                following.task.cancel()
        if not followers:
            self._followers.pop(device_id, None)

    def _count_ended(self, follower: Follower) -> None:
        ended = self._ended
        self._ended = ended._replace(
            missed=ended.missed + follower.missed, recovered=ended.recovered + follower.recovered
        )

    def stream_counters(self) -> StreamCounters:
        """Return what this client has lost, recovered and skipped so far, and how late it is."""
        followers = [
            following.follower
            for followers in self._followers.values()
            for following in followers.values()
        ]
        links = [link.subscriptions for link in self._links.values()]
        return StreamCounters(
            missed=self._ended.missed + sum(item.missed for item in followers),
            recovered=self._ended.recovered + sum(item.recovered for item in followers),
            skipped=self._ended.skipped + sum(item.slow_count for item in links),
            lag_s=max((item.event_lag_s for item in links), default=0.0),
        )

    def watch(self, *targets: str, limits: Choice = EVERYTHING, anew: bool = False) -> Watch:
        """Return the updates of targets such as ``MOTOR/1`` or ``MOTOR/1.actual_position``.

        Without `limits` every change is told, lost ones late. With limits (a rate, a region or
        binning of arrays) the device's server makes the choice, and only the latest values count.

        Args:
            anew: begin with values that are read after this call, not with those that another
                watch has received.
        """
        keys: dict[str, frozenset[str] | None] = {}
        for target in targets:
            device_id, key = split_target(target)
            known = keys.get(device_id, frozenset())
            keys[device_id] = None if key is None or known is None else known | {key}
        return Watch(self, keys, limits, anew=anew)

    async def group(self, *patterns: str) -> AsyncDeviceGroup:
        """Return the devices whose ids match shell patterns such as ``MOTOR/*``.

        Raises:
            UnknownDeviceError: a pattern matches none.
        """
        group = AsyncDeviceGroup(self, patterns)
        await group.refresh()
        return group

    async def device(
        self,
        device_id: str,
        *,
        follow: bool = True,
        timeout_s: float = CONNECT_TIMEOUT_S,
        autodisconnect_s: float | None = None,
    ) -> AsyncDeviceProxy:
        """Return a proxy of a device; with `follow` its attributes are the live values.

        Args:
            autodisconnect_s: stop following when nothing of it was used for so long, and go on
                with the next use; see `AsyncDeviceProxy.updated`.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached in time.
        """
        schema = await self.schema(device_id)
        proxy = AsyncDeviceProxy(self, device_id, schema)
        if follow:
            await proxy.start_following(timeout_s=timeout_s, autodisconnect_s=autodisconnect_s)
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
