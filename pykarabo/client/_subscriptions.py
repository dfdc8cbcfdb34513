"""The event streams that one server sends to this client.

All streams of a server share one connection, and what they need of the server travels together:
one echo for all subscriptions of a turn of the event loop, one request for the present values of
many devices. A view of a thousand properties opens, and comes back after a restart, with a
handful of messages.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pykarabo.data import Schema
from pykarabo.errors import (
    LimitExceededError,
    MalformedMessageError,
    NotConnectedError,
    PykaraboError,
    VersionMismatchError,
)
from pykarabo.transport import Clock, SubscriberPort, TaskOwner, Transport
from pykarabo.wire import (
    HEARTBEAT_TOPIC,
    MAX_TOPIC_BYTES,
    MAX_TOPICS,
    AgeMeter,
    BeatWatch,
    Changed,
    DeviceStream,
    Echo,
    Ending,
    Event,
    Events,
    Frame,
    Header,
    Heartbeat,
    Kind,
    NeedReplay,
    NeedSnapshot,
    Open,
    Replay,
    Request,
    StreamOutput,
    StreamState,
    Target,
    echo_topic,
    parse_published,
    parse_replay,
    parse_rows,
    parse_schema,
    stream_topic,
)

SILENCE_S: Final = 2.5
"""Two missed heartbeats: the server's loop does not run, or the network holds back what it says,
so its values are not current."""
TIMELY_S: Final = 1.0
"""A heartbeat that is older does not end a silence: the next one may come too late again."""
ECHO_S: Final = 1.0
"""An echo that has not come by then is asked for again: a connection that is lost and made again
before the server has noticed its end brings the subscription twice, and only one echo."""
LOOK_S: Final = 0.25
"""How often the silence is looked at."""
SLOW_S: Final = 0.75
"""Events that are older when they are looked at show the past: a display must skip them."""
SKIP_NS: Final = 50_000_000
"""Who is behind looks through all of its streams so often at most: to do it for each event that
waits would keep a client of thousands of devices behind for ever."""
ANSWER_TIMEOUT_S: Final = 20.0
"""A busy server needs seconds; one that is dead or cut off is noticed by its silence."""
MAX_FOLLOWED: Final = MAX_TOPICS - 100
"""Streams of one server that a client follows: the server ends connections with more topics, of
which heartbeats and echoes are some."""
MAX_FOLLOWED_BYTES: Final = MAX_TOPIC_BYTES - 4_096
MAX_OPEN: Final = 500
"""Streams asked for in one request."""
MAX_REPLAYS: Final = 16
"""Replays asked for at the same time: of hundreds, the last would time out behind the others."""
ENDED: Final = "ended"
"""Set in the details of an error when the device has ended in order."""
_BAD_MESSAGE: Final = (MalformedMessageError, LimitExceededError, VersionMismatchError)


class StreamSink(Protocol):
    """Who is told what a stream brings.

    Attributes:
        schema: the device's schema as far as it was told.
    """

    schema: Schema | None

    def stream(self, outputs: list[StreamOutput]) -> None:
        """Take what the stream hands on, in order."""
        ...

    def stream_failed(self, error: PykaraboError) -> None:
        """The stream cannot be received on this link any more."""
        ...


class Calls(Protocol):
    """What the subscriptions need of their link."""

    async def call(self, request: Request, target: Target, *, timeout_s: float) -> tuple[Any, int]:
        """Make a call."""
        ...


@dataclass(slots=True, eq=False)
class Followed:
    """One subscriber of a stream.

    Attributes:
        name: the stream's name.
        latest: whether only present values matter, so that old events may be skipped.
    """

    name: str
    device_id: str
    target: Target
    stream: DeviceStream
    sink: StreamSink
    latest: bool


class Subscriptions:
    """The streams received from one server.

    Attributes:
        lag_s: how late the server's event loop ran at its last heartbeat.
        event_lag_s: how long the latest event was under way, waiting in queues included.
        slow_count: how often this client was too slow and skipped events.
        malformed: messages that were none.
    """

    def __init__(self, transport: Transport, clock: Clock, calls: Calls, tasks: TaskOwner) -> None:
        self._transport = transport
        self._clock = clock
        self._calls = calls
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._port: SubscriberPort | None = None
        self._connecting = asyncio.Lock()
        self._followed: dict[str, list[Followed]] = {}
        self._size = 0
        self._subscribed: set[str] = set()
        self._unconfirmed: list[Followed] = []
        self._echoes: dict[bytes, tuple[list[Followed], int]] = {}
        self._wanted: list[tuple[Followed, int]] = []
        self._replaying = asyncio.Semaphore(MAX_REPLAYS)
        self._beats = BeatWatch()
        self._age = AgeMeter()
        self._watchdog: asyncio.TimerHandle | None = None
        self._heard_ns = 0
        self._skip_from_ns = 0
        self._silent = False
        self._shut = False
        self.lag_s = 0.0
        self.event_lag_s = 0.0
        self.slow_count = 0
        self.malformed = 0

    # -- subscribing ----------------------------------------------------------------------------

    async def follow(self, endpoint: str, entry: Followed) -> None:
        """Receive a stream until it ends or `unfollow`.

        Raises:
            LimitExceededError: it would be too many of this server.
        """
        new = entry.name not in self._followed
        size = self._size + len(stream_topic(entry.name)) * new
        if new and (len(self._followed) >= MAX_FOLLOWED or size > MAX_FOLLOWED_BYTES):
            raise LimitExceededError(
                f"this program follows {len(self._followed)} streams of the server of "
                f"'{entry.device_id}' already, and more are too many",
                device=entry.device_id,
                remedy="follow fewer devices, or start another program for the others",
            )
        self._size = size
        self._followed.setdefault(entry.name, []).append(entry)
        async with self._connecting:
            if self._port is None and not self._shut:
                await self._connect(endpoint)
        if self._is_followed(entry) and self._port is not None:
            if entry.name not in self._subscribed:
                self._subscribed.add(entry.name)
                self._port.subscribe(stream_topic(entry.name))
            self._confirm(entry)

    async def _connect(self, endpoint: str) -> None:
        port = await self._transport.connect_subscriber(endpoint, self._published)
        if self._shut:  # the link ended meanwhile, and all who follow know
            port.close()
            return
        self._port = port
        port.subscribe(HEARTBEAT_TOPIC)
        self._heard_ns = self._clock.monotonic_ns()
        self._watch()

    def _is_followed(self, entry: Followed) -> bool:
        return entry in self._followed.get(entry.name, ())

    def _confirm(self, entry: Followed) -> None:
        """Have an echo say when the subscription is in effect and all before it was received."""
        if not self._unconfirmed:
            self._loop.call_soon(self._ask_for_echo)
        self._unconfirmed.append(entry)

    def _ask_for_echo(self) -> None:
        waiting, self._unconfirmed = self._unconfirmed, []
        if self._port is not None:
            topic = echo_topic(secrets.token_hex(8).encode())
            self._echoes[topic] = (waiting, self._clock.monotonic_ns())
            self._port.subscribe(topic)

    def _ask_for_echoes_again(self, now_ns: int) -> None:
        for topic, (waiting, asked_ns) in list(self._echoes.items()):
            if now_ns - asked_ns > ECHO_S * 1e9 and self._port is not None:
                del self._echoes[topic]
                self._port.unsubscribe(topic)
                for entry in waiting:
                    if self._is_followed(entry):
                        self._confirm(entry)

    def unfollow(self, entry: Followed) -> None:
        """Stop receiving a stream for this subscriber."""
        entries = self._followed.get(entry.name, [])
        if entry not in entries:
            return
        entries.remove(entry)
        if entries:
            return
        del self._followed[entry.name]
        self._size -= len(stream_topic(entry.name))
        if self._port is not None and entry.name in self._subscribed:
            self._subscribed.discard(entry.name)
            self._port.unsubscribe(stream_topic(entry.name))

    def _all(self) -> list[Followed]:
        return [entry for entries in self._followed.values() for entry in entries]

    def shut(self, reason: str, error: PykaraboError) -> None:
        """End every stream: the link is over."""
        self._shut = True
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if self._port is not None:
            self._port.close()
            self._port = None
        entries = self._all()
        self._followed.clear()
        for entry in entries:
            entry.sink.stream(entry.stream.lost(reason))
            entry.sink.stream_failed(error)

    # -- receiving ------------------------------------------------------------------------------

    def _published(self, frames: list[Frame]) -> None:
        try:
            message = parse_published(frames)
        except _BAD_MESSAGE:
            self.malformed += 1
            return
        if isinstance(message, Event | Events):
            self._event(message)
        elif isinstance(message, Heartbeat):
            self._heartbeat(message)
        elif isinstance(message, Ending):
            self._ended(self._followed.get(message.stream, []), message.instance)
        elif isinstance(message, Echo):
            self._echo(message)

    def _event(self, event: Event | Events) -> None:
        entries = self._followed.get(event.stream)
        if not entries:
            return
        now_ns = self._clock.monotonic_ns()
        self.event_lag_s = self._age.age_ns(event.header.sent_ns, now_ns) / 1e9
        if self.event_lag_s > SLOW_S and now_ns >= self._skip_from_ns:
            self._skip_from_ns = now_ns + SKIP_NS
            self._skip_the_past()
        for entry in tuple(entries):
            if isinstance(event, Events):
                self._hand_on(entry, entry.stream.events(event))
            else:
                self._hand_on(entry, entry.stream.event(event))

    def _skip_the_past(self) -> None:
        """Give up what waits: a display shows present values, after everything that is queued."""
        behind = [
            entry
            for entry in self._all()
            if entry.latest and entry.stream.state is StreamState.LIVE
        ]
        if not behind:
            return
        self.slow_count += 1
        reason = f"this program is {self.event_lag_s:.1f} s behind"
        for entry in behind:
            entry.sink.stream(entry.stream.lost(reason))
            self._confirm(entry)

    def _ended(self, entries: list[Followed], instance: bytes) -> None:
        """A device has ended while its server goes on."""
        for entry in list(entries):
            if entry.target.instance != instance:
                continue
            self.unfollow(entry)
            error = NotConnectedError(
                f"device '{entry.device_id}' was stopped",
                device=entry.device_id,
                remedy="start it again: pykarabo instantiate",
                details={ENDED: True},
            )
            entry.sink.stream(entry.stream.lost("it was stopped"))
            entry.sink.stream_failed(error)

    def _echo(self, echo: Echo) -> None:
        self._doubt_after_loss(echo)
        asked = self._echoes.pop(echo.topic, None)
        if asked is None or self._port is None:
            return
        self._port.unsubscribe(echo.topic)
        for entry in asked[0]:
            if self._is_followed(entry):
                self._hand_on(entry, entry.stream.echo())

    def _doubt_after_loss(self, message: Heartbeat | Echo) -> None:
        if self._beats.lost(message):
            for entry in self._all():
                self._hand_on(entry, entry.stream.doubt())

    def _heartbeat(self, heartbeat: Heartbeat) -> None:
        now_ns = self._clock.monotonic_ns()
        age_ns = self._age.age_ns(heartbeat.sent_ns, now_ns)
        self._heard_ns = now_ns - age_ns
        self.lag_s = heartbeat.lag_s
        self._doubt_after_loss(heartbeat)
        if heartbeat.ended:
            self._endings(heartbeat.ended)
        for tail in heartbeat.tails:
            for entry in tuple(self._followed.get(tail.stream, ())):
                self._hand_on(entry, entry.stream.tail(tail.instance, tail.sequence))
        if self._silent and age_ns < TIMELY_S * 1e9:
            self._silent = False
            for entry in self._all():
                self._hand_on(entry, entry.stream.timely())

    def _endings(self, endings: list[Ending]) -> None:
        for entry in self._all():
            if Ending(entry.device_id, entry.target.instance) in endings:
                self._ended([entry], entry.target.instance)

    def _watch(self) -> None:
        """Notice a server whose event loop has stopped though its sockets live.

        It is its latest heartbeat's age that counts, not when that arrived: a bad network delivers
        old news at times, and this program may be the one that is late.
        """
        now_ns = self._clock.monotonic_ns()
        self._ask_for_echoes_again(now_ns)
        silent_s = (now_ns - self._heard_ns) / 1e9
        if silent_s > SILENCE_S:
            self._silent = True
            reason = f"no sign of life for {silent_s:.1f} s"
            for entry in self._all():
                self._hand_on(entry, entry.stream.late(reason))
        self._watchdog = self._loop.call_later(LOOK_S, self._watch)

    # -- repairing ------------------------------------------------------------------------------

    def _hand_on(self, entry: Followed, outputs: list[StreamOutput]) -> None:
        told: list[StreamOutput] = []
        for output in outputs:
            if isinstance(output, NeedSnapshot):
                self._want(entry, output.request)
            elif isinstance(output, NeedReplay):
                self._tasks.spawn(self._replay(entry, output), name=f"replay of {entry.name}")
            else:
                told.append(output)
        if told:
            entry.sink.stream(_conflated(told) if entry.latest and len(told) > 1 else told)

    def _failed(self, entry: Followed, error: PykaraboError) -> None:
        if self._is_followed(entry):
            self.unfollow(entry)
            entry.sink.stream(entry.stream.lost(str(error)))
            entry.sink.stream_failed(error)

    async def _replay(self, entry: Followed, wanted: NeedReplay) -> None:
        if wanted.instance != entry.target.instance:
            self._hand_on(entry, entry.stream.replay(None, wanted.request, more=False))
            return
        try:
            async with self._replaying:
                if not self._is_followed(entry):
                    return
                answer, _sequence = await self._calls.call(
                    Replay(entry.name, wanted.first), entry.target, timeout_s=ANSWER_TIMEOUT_S
                )
            found = parse_replay(entry.name, entry.target.instance, answer)
        except _BAD_MESSAGE:  # the same answer would come again: the present values must do
            self.malformed += 1
            found = None
        except PykaraboError as error:
            self._failed(entry, error)
            return
        events, more = (None, False) if found is None else found
        if self._is_followed(entry):
            self._hand_on(entry, entry.stream.replay(events, wanted.request, more=more))

    def _want(self, entry: Followed, request: int) -> None:
        if not self._wanted:
            self._loop.call_soon(self._open_wanted)
        self._wanted.append((entry, request))

    def _open_wanted(self) -> None:
        wanted, self._wanted = self._wanted, []
        for start in range(0, len(wanted), MAX_OPEN):
            part = wanted[start : start + MAX_OPEN]
            self._tasks.spawn(self._open(part), name="present values")

    async def _open(self, wanted: list[tuple[Followed, int]]) -> None:
        """Ask for the present values of many streams at once."""
        known = {
            schema.version: schema
            for entry, _number in wanted
            if (schema := entry.sink.schema) is not None
        }
        streams: list[list[Any]] = [[entry.name, entry.target.instance] for entry, _ in wanted]
        try:
            answer, _sequence = await self._calls.call(
                Open(streams, list(known)), Target(), timeout_s=ANSWER_TIMEOUT_S
            )
            found, schemas = _answers(answer, len(wanted))
            known |= {version: parse_schema(wire) for version, wire in schemas.items()}
        except PykaraboError as error:
            for entry, _number in wanted:
                self._failed(entry, error)
            return
        for (entry, number), (shown, refusal) in zip(wanted, found, strict=True):
            if refusal is not None:
                self._failed(entry, PykaraboError.from_wire(refusal))
            elif shown is None:
                self._want(entry, number)
            else:
                self._show(entry, shown, number, known)

    def _show(
        self, entry: Followed, shown: list[Any], number: int, schemas: Mapping[str, Schema]
    ) -> None:
        if not self._is_followed(entry):
            return
        try:
            sequence, instance, epoch, version, rows = shown
            parsed = parse_rows(rows)
        except PykaraboError as error:
            self._failed(entry, error)
            return
        header = Header(Kind.REPLY, instance, epoch, sequence)
        self._hand_on(entry, entry.stream.snapshot(header, parsed, number, schemas.get(version)))


def _conflated(outputs: list[StreamOutput]) -> list[StreamOutput]:
    """Join changes that follow each other: who wants the latest values need not see each."""
    joined: list[StreamOutput] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if isinstance(output, Changed) and isinstance(before, Changed):
            rows = {row[0]: row for row in [*before.rows, *output.rows]}
            joined[-1] = Changed(list(rows.values()), output.sequence)
        else:
            joined.append(output)
    return joined


def _answers(answer: Any, count: int) -> tuple[list[Any], dict[str, Any]]:
    """Return what an answer to `Open` tells of the streams, and schemas by their versions.

    Raises:
        MalformedMessageError: it has another form.
    """
    match answer:
        case [list() as found, dict() as schemas] if len(found) == count and all(
            map(_is_answer, found)
        ):
            return found, schemas
        case _:
            raise MalformedMessageError(
                "the present values have another form than expected",
                remedy="update pykarabo on both sides",
            )


def _is_answer(item: Any) -> bool:
    match item:
        case [None, None] | [None, dict()]:
            return True
        case [[int(), bytes(), int(), str(), list()], None]:
            return True
        case _:
            return False
