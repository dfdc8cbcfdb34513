"""One connection to one device server: calls there and back, and the event streams it sends.

A link lives once. It is opened, greets, serves, and when the connection ends it is over: every
call under way fails with outcome unknown, every stream goes stale, and the owner makes a new one.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

from pykarabo.data import AccessLevel
from pykarabo.errors import (
    BusyError,
    DeniedError,
    HelloRequiredError,
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
    VersionMismatchError,
)
from pykarabo.transport import Clock, DealerPort, TaskOwner, Transport, signed
from pykarabo.wire import (
    ENOUGH,
    Answered,
    ClientIdentity,
    ClientSession,
    Failed,
    Frame,
    LinkState,
    Rejected,
    Request,
    Target,
    Welcome,
    Welcomed,
    bundled,
    is_bundle,
    unbundled,
)

from ._login import Login
from ._subscriptions import Followed, Subscriptions

MAX_UNDER_WAY: Final = 1_000
"""Calls under way on one link. The server's queue to us holds as many answers: above it answers
would be lost, and their callers would wait for nothing."""
_BAD_MESSAGE: Final = (MalformedMessageError, LimitExceededError, VersionMismatchError)


class ServerLink:
    """A connection to the server at `rpc`.

    Args:
        line: what the client's connections to this server have in common; see `Hello`.
        role: the highest role that it asks for.
        login: tells the token of whoever uses the client.
        peer: what error messages call the other side.
        tasks: whose tasks repair streams.
        closed: called once when the link is over.

    Attributes:
        subscriptions: the event streams on this link.
        malformed: answers that were none.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        rpc: str,
        *,
        identity: ClientIdentity,
        line: bytes,
        role: AccessLevel,
        login: Login,
        peer: str,
        tasks: TaskOwner,
        closed: Callable[["ServerLink"], None],
    ) -> None:
        self.rpc = rpc
        self.malformed = 0
        self._transport = transport
        self._clock = clock
        self._closed = closed
        self._login = login
        self._session = ClientSession(
            secrets.token_bytes(8), identity, line=line, role=role, login=login(), peer=peer
        )
        self._loop = asyncio.get_running_loop()
        self._port: DealerPort | None = None
        self._ready: asyncio.Future[Welcome] = self._loop.create_future()
        self._futures: dict[bytes, asyncio.Future[tuple[Any, int]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[bytes, list[Frame]] | None = None
        self.subscriptions = Subscriptions(transport, clock, self, tasks)

    @property
    def alive(self) -> bool:
        """Whether calls can be made."""
        return self._session.state is LinkState.READY

    @property
    def role(self) -> AccessLevel:
        """What the server lets this client do."""
        return self._session.role

    @property
    def welcome(self) -> Welcome | None:
        """How the server has welcomed this client; None before it has."""
        return self._session.welcome

    async def open(self, *, timeout_s: float) -> Welcome:
        """Connect and greet.

        Raises:
            NotConnectedError: nobody answers there in time.
            VersionMismatchError: the server speaks another protocol.
        """
        try:
            async with asyncio.timeout(timeout_s):
                self._port = await self._transport.connect_dealer(self.rpc, self)
                return await self._ready
        except TimeoutError:
            self.close()
            raise self._not_connected("no greeting came in time") from None
        except BaseException:
            self.close()
            raise

    def _not_connected(self, reason: str) -> PykaraboError:
        return self._transport.unreachable(self._session.peer, self.rpc, reason)

    def connected(self) -> None:
        """The transport is connected: greet."""
        if self._session.state is LinkState.CONNECTING and self._port is not None:
            self._port.send(self._session.connected(self._clock.monotonic_ns()))

    def disconnected(self, reason: str) -> None:
        """The transport is gone: everything on this link ends."""
        if not self._ready.done():
            self._ready.set_exception(self._not_connected(reason))
            self._ready.exception()
        for failed in self._session.disconnected(reason):
            self._end(failed)
        self._shut(reason)

    def _shut(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.subscriptions.shut(reason, self._not_connected(reason))
        self._closed(self)

    def close(self) -> None:
        """Say goodbye and end the link."""
        if self._port is None:
            return
        port, self._port = self._port, None
        if self._session.state is LinkState.READY:
            port.send(self._session.goodbye(self._clock.monotonic_ns()))
        port.close()
        self.disconnected("closed here")

    # -- calls ----------------------------------------------------------------------------------

    async def call(self, request: Request, target: Target, *, timeout_s: float) -> tuple[Any, int]:
        """Make a call; returns the result and the device's event number.

        A call that was denied is made once more if somebody has logged in meanwhile.

        Raises:
            PykaraboError: as the session and the server say.
        """
        shown, began_ns = self._session.login, self._clock.monotonic_ns()
        try:
            return await self._call(request, target, timeout_s)
        except DeniedError:
            if not self._greet_again(shown):
                raise
        timeout_s -= (self._clock.monotonic_ns() - began_ns) / 1e9
        return await self._call(request, target, timeout_s)

    def _greet_again(self, shown: bytes) -> bool:
        """Greet with another token than was shown, if there is one."""
        frames = self._session.greet_again(self._login(), self._clock.monotonic_ns())
        if frames is not None and self._port is not None:
            self._port.send(frames)
        return self._session.login != shown

    async def _call(self, request: Request, target: Target, timeout_s: float) -> tuple[Any, int]:
        if self._session.in_flight >= MAX_UNDER_WAY:
            raise BusyError(
                f"{self._session.peer} has {MAX_UNDER_WAY} calls of this client under way",
                remedy="nothing was executed: await answers before calling again",
            )
        now_ns = self._clock.monotonic_ns()
        call_id, frames = self._session.call(
            signed(request), target, timeout_s=timeout_s, now_ns=now_ns
        )
        future: asyncio.Future[tuple[Any, int]] = self._loop.create_future()
        self._futures[call_id] = future
        self._send(call_id, frames)
        if self._timer is None or self._timer.when() > self._loop.time() + timeout_s:
            self._arm()
        try:
            return await future
        except asyncio.CancelledError:
            self._cancel(call_id)
            raise

    def _send(self, call_id: bytes, frames: list[Frame]) -> None:
        """Send the first call of a turn of the loop at once, and the others some at a time."""
        if self._waiting is not None:
            self._waiting[call_id] = frames
            if len(self._waiting) >= ENOUGH:
                waiting, self._waiting = self._waiting, {}
                self._send_all(waiting)
            return
        self._waiting = {}
        self._loop.call_soon(self._send_waiting)
        if self._port is None or not self._port.send(frames):
            self._refused([call_id])

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting or {}, None
        self._send_all(waiting)

    def _send_all(self, waiting: dict[bytes, list[Frame]]) -> None:
        for frames in bundled(waiting.values()):
            if self._port is None or not self._port.send(frames):
                self._refused(list(waiting))
                return

    def _refused(self, call_ids: list[bytes]) -> None:
        """End calls that could not be sent, and the link."""
        reason = "its queue is full or the connection is gone"
        for call_id in call_ids:
            self._session.cancel(call_id, self._clock.monotonic_ns())
            self._end(Failed(call_id, self._not_connected(reason)))
        self.disconnected(reason)

    def _cancel(self, call_id: bytes) -> None:
        self._futures.pop(call_id, None)
        if self._waiting is not None and self._waiting.pop(call_id, None) is not None:
            self._session.cancel(call_id, self._clock.monotonic_ns())
            return
        frames = self._session.cancel(call_id, self._clock.monotonic_ns())
        if frames is not None and self._port is not None:
            self._port.send(frames)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ns = self._session.next_deadline_ns()
        if deadline_ns is None:
            return
        delay_s = max(0, deadline_ns - self._clock.monotonic_ns()) / 1e9
        self._timer = self._loop.call_later(delay_s, self._expire)

    def _expire(self) -> None:
        for failed in self._session.expire(self._clock.monotonic_ns()):
            self._end(failed)
        self._arm()

    def received(self, frames: list[Frame]) -> None:
        """Take a message of the server, or a bundle of them."""
        if not is_bundle(frames):
            messages = [frames]
        else:
            try:
                messages = unbundled(frames)
            except _BAD_MESSAGE:
                self.malformed += 1
                return
        for message in messages:
            self._received_one(message)
        if (told := self._session.taken()) is not None and self._port is not None:
            self._port.send(told)

    def _received_one(self, frames: list[Frame]) -> None:
        try:
            event = self._session.receive(frames, self._clock.monotonic_ns())
        except _BAD_MESSAGE:
            self.malformed += 1
            return
        if isinstance(event, Answered):
            future = self._futures.pop(event.call_id, None)
            if future is not None and not future.done():
                future.set_result((event.result, event.sequence))
        elif isinstance(event, Failed):
            self._end(event)
            if isinstance(event.error, HelloRequiredError):
                self.close()  # the server has forgotten this session: the next link greets anew
        elif isinstance(event, Welcomed) and not self._ready.done():
            self._ready.set_result(event.welcome)
        elif isinstance(event, Rejected) and not self._ready.done():
            self._ready.set_exception(event.error)

    def _end(self, failed: Failed) -> None:
        future = self._futures.pop(failed.call_id, None)
        if future is not None and not future.done():
            future.set_exception(failed.error)

    # -- streams --------------------------------------------------------------------------------

    async def follow(self, entry: Followed) -> None:
        """Receive a stream on this link until it ends or `unfollow`.

        Raises:
            NotConnectedError: the link has ended already, and would never tell.
        """
        welcome = self._session.welcome
        if welcome is None or not self.alive:
            raise self._not_connected("the connection has ended")
        await self.subscriptions.follow(welcome.events, entry)

    def unfollow(self, entry: Followed) -> None:
        """Stop receiving a stream for this subscriber."""
        self.subscriptions.unfollow(entry)
