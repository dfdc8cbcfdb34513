"""One connection to one device server: calls there and back, and the event streams it sends.

A link lives once. It is opened, greets, serves, and when the connection ends it is over: every
call under way fails with outcome unknown, every stream goes stale, and the owner makes a new one.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pykarabo.errors import (
    BusyError,
    HelloRequiredError,
    LimitExceededError,
    MalformedMessageError,
    NotConnectedError,
    PykaraboError,
    VersionMismatchError,
)
from pykarabo.transport import Clock, DealerPort, SubscriberPort, Transport
from pykarabo.wire import (
    HEARTBEAT_TOPIC,
    Answered,
    BeatWatch,
    ClientIdentity,
    ClientSession,
    DeviceStream,
    Echo,
    Ending,
    Event,
    Failed,
    Frame,
    Get,
    Header,
    Heartbeat,
    Kind,
    LinkState,
    NeedSnapshot,
    Rejected,
    Request,
    StreamOutput,
    Target,
    Welcome,
    Welcomed,
    device_topic,
    echo_topic,
    parse_published,
    parse_rows,
)

SILENCE_S: Final = 3.5
"""Three missed heartbeats: the server's loop does not run, so its values are not current."""
LOOK_S: Final = 0.25
"""How often the silence is looked at: values are stale within 4 s of a cut."""
SNAPSHOT_TIMEOUT_S: Final = 5.0
MAX_UNDER_WAY: Final = 1_000
"""Calls under way on one link. The server's queue to us holds as many answers: above it answers
would be lost, and their callers would wait for nothing."""
_BAD_MESSAGE: Final = (MalformedMessageError, LimitExceededError, VersionMismatchError)


class StreamSink(Protocol):
    """Who is told what a device's stream brings."""

    def stream(self, outputs: list[StreamOutput]) -> None:
        """Take what the stream hands on, in order."""
        ...

    def stream_failed(self, error: PykaraboError) -> None:
        """The device cannot be followed on this link any more."""
        ...


@dataclass(slots=True)
class _Followed:
    device_id: str
    target: Target
    stream: DeviceStream
    sink: StreamSink
    echo: bytes = b""


class ServerLink:
    """A connection to the server at `rpc`.

    Args:
        peer: what error messages call the other side.
        closed: called once when the link is over.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        rpc: str,
        *,
        identity: ClientIdentity,
        peer: str,
        closed: Callable[["ServerLink"], None],
    ) -> None:
        self.rpc = rpc
        self.malformed = 0
        self._transport = transport
        self._clock = clock
        self._closed = closed
        self._session = ClientSession(
            secrets.token_bytes(8), identity, peer=peer, checksum=rpc.startswith("tcp")
        )
        self._loop = asyncio.get_running_loop()
        self._port: DealerPort | None = None
        self._ready: asyncio.Future[Welcome] = self._loop.create_future()
        self._futures: dict[bytes, asyncio.Future[tuple[Any, int]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._followed: dict[str, _Followed] = {}
        self._echoes: dict[bytes, str] = {}
        self._beats = BeatWatch()
        self._events: SubscriberPort | None = None
        self._connecting_events = asyncio.Lock()
        self._watchdog: asyncio.TimerHandle | None = None
        self._heard_ns = 0
        self._silent = False
        self.lag_s = 0.0

    @property
    def alive(self) -> bool:
        """Whether calls can be made."""
        return self._session.state is LinkState.READY

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

    def _not_connected(self, reason: str) -> NotConnectedError:
        return NotConnectedError(
            f"{self._session.peer} cannot be reached at {self.rpc}: {reason}",
            remedy="look at 'pykarabo status' and start what is missing with 'pykarabo up'",
        )

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
        for handle in (self._timer, self._watchdog):
            if handle is not None:
                handle.cancel()
        self._timer = self._watchdog = None
        if self._events is not None:
            self._events.close()
            self._events = None
        followed, self._followed = list(self._followed.values()), {}
        for entry in followed:
            entry.sink.stream(entry.stream.lost(reason))
            entry.sink.stream_failed(self._not_connected(reason))
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

        Raises:
            PykaraboError: as the session and the server say.
        """
        if self._session.in_flight >= MAX_UNDER_WAY:
            raise BusyError(
                f"{self._session.peer} has {MAX_UNDER_WAY} calls of this client under way",
                remedy="nothing was executed: await answers before calling again",
            )
        now_ns = self._clock.monotonic_ns()
        call_id, frames = self._session.call(request, target, timeout_s=timeout_s, now_ns=now_ns)
        if self._port is None or not self._port.send(frames):
            self._session.cancel(call_id, now_ns)
            reason = "its queue is full or the connection is gone"
            self.disconnected(reason)
            raise self._not_connected(reason)
        future: asyncio.Future[tuple[Any, int]] = self._loop.create_future()
        self._futures[call_id] = future
        if self._timer is None or self._timer.when() > self._loop.time() + timeout_s:
            self._arm()
        try:
            return await future
        except asyncio.CancelledError:
            self._cancel(call_id)
            raise

    def _cancel(self, call_id: bytes) -> None:
        self._futures.pop(call_id, None)
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
        """Take a message of the server."""
        try:
            event = self._session.receive(frames)
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

    async def follow(
        self, device_id: str, target: Target, stream: DeviceStream, sink: StreamSink
    ) -> None:
        """Receive a device's events on this link until it ends or `unfollow`."""
        entry = _Followed(device_id, target, stream, sink)
        self._followed[device_id] = entry
        welcome = self._session.welcome
        async with self._connecting_events:
            if self._events is None and self.alive and welcome is not None:
                await self._connect_events(welcome.events)
        self._subscribe(entry)

    async def _connect_events(self, endpoint: str) -> None:
        events = await self._transport.connect_subscriber(endpoint, self._published)
        if not self.alive:  # it ended meanwhile, and said so to all who follow
            events.close()
            return
        self._events = events
        events.subscribe(HEARTBEAT_TOPIC)
        self._heard_ns = self._clock.monotonic_ns()
        self._watch()

    def _subscribe(self, entry: _Followed) -> None:
        if self._events is None or self._followed.get(entry.device_id) is not entry:
            return
        self._forget_echo(entry)
        entry.echo = echo_topic(secrets.token_hex(8).encode())
        self._echoes[entry.echo] = entry.device_id
        self._events.subscribe(device_topic(entry.device_id))
        self._events.subscribe(entry.echo)

    def _forget_echo(self, entry: _Followed) -> None:
        if self._echoes.pop(entry.echo, None) is not None and self._events is not None:
            self._events.unsubscribe(entry.echo)

    def unfollow(self, device_id: str) -> None:
        """Stop receiving a device's events."""
        entry = self._followed.pop(device_id, None)
        if entry is not None and self._events is not None:
            self._forget_echo(entry)
            self._events.unsubscribe(device_topic(device_id))

    def _published(self, frames: list[Frame]) -> None:
        try:
            message = parse_published(frames)
        except _BAD_MESSAGE:
            self.malformed += 1
            return
        if isinstance(message, Event):
            entry = self._followed.get(message.device_id)
            if entry is not None:
                self._hand_on(entry, entry.stream.event(message))
        elif isinstance(message, Heartbeat):
            self._heartbeat(message)
        elif isinstance(message, Ending):
            self._ended(message)
        elif isinstance(message, Echo):
            self._echo(message)

    def _ended(self, ending: Ending) -> None:
        """A device has ended while its server goes on."""
        entry = self._followed.get(ending.device_id)
        if entry is not None and entry.target.instance == ending.instance:
            self.unfollow(ending.device_id)
            error = NotConnectedError(
                f"device '{ending.device_id}' was stopped",
                device=ending.device_id,
                remedy="start it again: pykarabo instantiate",
            )
            entry.sink.stream(entry.stream.lost("it was stopped"))
            entry.sink.stream_failed(error)

    def _echo(self, echo: Echo) -> None:
        self._doubt_after_loss(echo)
        entry = self._followed.get(self._echoes.get(echo.topic, ""))
        if entry is not None:
            self._forget_echo(entry)
            self._hand_on(entry, entry.stream.echo())

    def _doubt_after_loss(self, message: Heartbeat | Echo) -> None:
        if self._beats.lost(message):
            for entry in list(self._followed.values()):
                self._hand_on(entry, entry.stream.doubt())

    def _heartbeat(self, heartbeat: Heartbeat) -> None:
        self._heard_ns = self._clock.monotonic_ns()
        self.lag_s = heartbeat.lag_s
        if self._silent:
            self._silent = False
            for entry in list(self._followed.values()):
                self._subscribe(entry)
        self._doubt_after_loss(heartbeat)
        for ending in heartbeat.ended:
            self._ended(ending)
        for tail in heartbeat.tails:
            followed = self._followed.get(tail.device_id)
            if followed is not None:
                self._hand_on(followed, followed.stream.tail(tail.instance, tail.sequence))

    def _hand_on(self, entry: _Followed, outputs: list[StreamOutput]) -> None:
        wanted: list[StreamOutput] = [
            output for output in outputs if not isinstance(output, NeedSnapshot)
        ]
        if wanted:
            entry.sink.stream(wanted)
        for output in outputs:
            if isinstance(output, NeedSnapshot):
                self._snapshot(entry, output.request)

    def _snapshot(self, entry: _Followed, request: int) -> None:
        work = self.call(Get(entry.device_id), entry.target, timeout_s=SNAPSHOT_TIMEOUT_S)
        task = self._loop.create_task(work, name=f"snapshot of {entry.device_id}")
        task.add_done_callback(lambda done: self._snapshot_done(entry, request, done))

    def _snapshot_done(
        self, entry: _Followed, request: int, done: "asyncio.Task[tuple[Any, int]]"
    ) -> None:
        if done.cancelled():
            return
        done.exception()  # looked at, though nobody may want it any more
        if self._followed.get(entry.device_id) is not entry:
            return
        try:
            body, sequence = done.result()
            rows = parse_rows(body)
        except PykaraboError as error:
            self.unfollow(entry.device_id)
            entry.sink.stream(entry.stream.lost(str(error)))
            entry.sink.stream_failed(error)
            return
        header = Header(Kind.REPLY, entry.target.instance, entry.target.epoch, sequence)
        self._hand_on(entry, entry.stream.snapshot(header, rows, request))

    def _watch(self) -> None:
        """Notice a server whose event loop has stopped though its sockets live."""
        silent_s = (self._clock.monotonic_ns() - self._heard_ns) / 1e9
        if silent_s > SILENCE_S and not self._silent:
            self._silent = True
            reason = f"no sign of life for {silent_s:.1f} s"
            for entry in list(self._followed.values()):
                entry.sink.stream(entry.stream.lost(reason))
        self._watchdog = self._loop.call_later(LOOK_S, self._watch)
