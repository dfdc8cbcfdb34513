"""The event streams of one process: its devices' own, and those with a subscriber's choice."""

import asyncio
import logging
import secrets
from typing import Final

from pykarabo.data import Row, to_row
from pykarabo.errors import LimitExceededError, MalformedMessageError, WrongInstanceError
from pykarabo.transport import Clock, Connection, Transport
from pykarabo.wire import (
    CHOICE_PREFIX,
    ChosenStream,
    EventSource,
    Frame,
    Message,
    Publisher,
    parse_stream,
)

from ._hosting import Hosted, Hosting
from ._subscribers import Subscribers

_log: Final = logging.getLogger(__name__)
_SUBSCRIBED: Final = b"\x01"
_GIVEN_UP: Final = b"\x00"
_PAUSE_S: Final = 10.0
"""Libraries connect and subscribe again at once: whoever asks for too much must not do so all the
time."""
MAX_CHOSEN: Final = 10_000
"""Streams with a choice; each costs a device's server work that its subscriber decides about."""


class EventStreams:
    """Publishes what the devices of a process have to tell.

    Args:
        instance, epoch: of the server.

    Attributes:
        last_cut: whose connection was ended last because of its subscriptions, and why.
    """

    def __init__(
        self, transport: Transport, clock: Clock, hosting: Hosting, *, instance: bytes, epoch: int
    ) -> None:
        self._clock = clock
        self._hosting = hosting
        self._loop = asyncio.get_running_loop()
        self.last_cut = ""
        self._transport = transport
        self._subscribers = Subscribers()
        self._port = transport.bind_publisher("events", self._subscription, self._connection_ended)
        self._publisher = Publisher(instance, epoch)
        self._chosen: dict[str, ChosenStream] = {}
        self._by_device: dict[str, list[ChosenStream]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._releasing: asyncio.TimerHandle | None = None

    @property
    def endpoint(self) -> str:
        """Where subscribers connect."""
        return self._port.endpoint

    @property
    def published(self) -> int:
        """How many events were published."""
        return self._publisher.published

    @property
    def journal_bytes(self) -> int:
        """How much memory the journal takes."""
        return self._publisher.journal.bytes

    @property
    def chosen_count(self) -> int:
        """How many streams with a choice are subscribed to."""
        return len(self._chosen)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions there are."""
        return self._subscribers.topics

    @property
    def subscribers_cut(self) -> int:
        """How many connections were ended because they had too many subscriptions."""
        return self._subscribers.cut

    # -- publishing -----------------------------------------------------------------------------

    def _publish(self, messages: list[Message], now_ns: int) -> None:
        for message in messages:
            self._port.publish(message)
        due_ns = self._publisher.due_ns
        if due_ns is not None and self._releasing is None:
            self._releasing = self._loop.call_later((due_ns - now_ns) / 1e9, self._due_now)

    def _due_now(self) -> None:
        self._releasing = None
        self.release()

    def release(self) -> None:
        """Send events that wait for others."""
        self._publish(self._publisher.waiting(), self._clock.monotonic_ns())

    def changed(self, hosted: Hosted, rows: list[Row]) -> None:
        """Publish changes of a device."""
        now_ns = self._clock.monotonic_ns()
        self._publish_rows(hosted.source, rows, now_ns, hosted.changed_at)
        for chosen in self._by_device.get(hosted.source.stream, ()):
            chosen.offer(rows)
            self._schedule(chosen, now_ns)

    def _publish_rows(
        self,
        source: EventSource,
        rows: list[Row],
        now_ns: int,
        changed_at: dict[str, int] | None = None,
    ) -> None:
        """Publish changes in one message, or in several where they are too much for one.

        One that is too much alone is not published and logged; it keeps no other from it.

        Args:
            changed_at: gets the number of each message by the keys of its rows.
        """
        name = source.stream
        try:
            messages = self._publisher.event(source, rows, now_ns)
        except LimitExceededError as error:
            if len(rows) == 1:
                _log.error("'%s.%s' has a value that cannot be told: %s", name, rows[0][0], error)
                return
            half = len(rows) // 2
            self._publish_rows(source, rows[:half], now_ns, changed_at)
            self._publish_rows(source, rows[half:], now_ns, changed_at)
            return
        self._publish(messages, now_ns)
        if changed_at is not None:
            for row in rows:
                changed_at[row[0]] = source.sequence

    def schema_changed(self, hosted: Hosted) -> None:
        """Publish that a device has another schema now; what it shows comes after it."""
        now_ns = self._clock.monotonic_ns()
        schema = hosted.device.schema()
        wire = schema.to_wire()
        self._publish(self._publisher.schema(hosted.source, wire, now_ns), now_ns)
        for key in [key for key in hosted.changed_at if key not in schema.properties]:
            del hosted.changed_at[key]
        for chosen in self._by_device.get(hosted.source.stream, ()):
            chosen.keep(schema.properties)
            self._publish(self._publisher.schema(chosen.source, wire, now_ns), now_ns)

    def _schedule(self, chosen: ChosenStream, now_ns: int) -> None:
        due_ns = chosen.due_ns(now_ns)
        name = chosen.source.stream
        if due_ns is None or name in self._timers:
            return
        if due_ns <= now_ns:
            self._publish_chosen(chosen, now_ns)
        else:
            self._timers[name] = self._loop.call_later((due_ns - now_ns) / 1e9, self._due, chosen)

    def _due(self, chosen: ChosenStream) -> None:
        self._timers.pop(chosen.source.stream, None)
        self._schedule(chosen, self._clock.monotonic_ns())

    def _publish_chosen(self, chosen: ChosenStream, now_ns: int) -> None:
        rows = chosen.take(now_ns)
        self._publish_rows(chosen.source, rows, now_ns)

    def ended(self, hosted: Hosted) -> None:
        """Tell that a device has ended."""
        now_ns = self._clock.monotonic_ns()
        self._publish(self._publisher.ended(hosted.source, now_ns), now_ns)
        for chosen in self._by_device.pop(hosted.source.stream, []):
            name = chosen.source.stream
            self._publish(self._publisher.farewell(name, hosted.source, now_ns), now_ns)
            self._forget(chosen)

    def heartbeat(self, lag_s: float) -> None:
        """Publish the heartbeat."""
        now_ns = self._clock.monotonic_ns()
        self._publish(self._publisher.heartbeat(now_ns, lag_s=lag_s), now_ns)

    # -- subscriptions --------------------------------------------------------------------------

    def _subscription(self, frame: Frame, connection: Connection) -> None:
        subscribed, topic = frame[:1] == _SUBSCRIBED, bytes(frame[1:])
        if frame[:1] not in (_SUBSCRIBED, _GIVEN_UP):
            return  # no subscription, and nothing that anybody sends this way
        if not subscribed:
            self._subscribers.remove(connection, topic)
        elif (too_much := self._subscribers.add(connection, topic)) is not None:
            self.last_cut = f"{connection}: {too_much}"
            self._transport.cut(connection, too_much, pause_s=_PAUSE_S)
            return
        echo = self._publisher.subscribed(frame)
        if echo is not None:
            self._publish(echo, self._clock.monotonic_ns())
        elif topic.startswith(CHOICE_PREFIX.encode()):
            self._chosen_subscription(topic[:-1], connection, subscribed=subscribed)

    def _chosen_subscription(
        self, name: bytes, connection: Connection, *, subscribed: bool
    ) -> None:
        try:
            stream = name.decode()
        except UnicodeDecodeError:
            return
        if not subscribed:
            if self._subscribers.unfollow(connection, stream):
                self._drop(stream)
            return
        try:
            self._add(stream)
        except (MalformedMessageError, WrongInstanceError) as error:
            _log.info("no stream for a subscription: %s", error)
        else:
            self._subscribers.follow(connection, stream)

    def _connection_ended(self, connection: Connection) -> None:
        for stream in self._subscribers.ended(connection):
            self._drop(stream)

    def _add(self, stream: str) -> ChosenStream:
        """Make a stream with a choice; raises `MalformedMessageError`, `WrongInstanceError`."""
        known = self._chosen.get(stream)
        if known is not None:
            return known
        device_id, choice = parse_stream(stream)
        if device_id not in self._hosting or len(self._chosen) >= MAX_CHOSEN:
            raise WrongInstanceError(
                f"device '{device_id}' is not here, or the server has {MAX_CHOSEN} streams already",
                device=device_id,
                remedy="connect to it again",
            )
        source = EventSource(
            stream, secrets.token_bytes(16), self._clock.time_ns(), journaled=False
        )
        chosen = self._chosen[stream] = ChosenStream(source, choice)
        self._by_device.setdefault(device_id, []).append(chosen)
        return chosen

    def _drop(self, stream: str) -> None:
        chosen = self._chosen.get(stream)
        if chosen is not None:
            device_id, _choice = parse_stream(stream)
            self._by_device[device_id].remove(chosen)
            if not self._by_device[device_id]:
                del self._by_device[device_id]
            self._forget(chosen)

    def _forget(self, chosen: ChosenStream) -> None:
        name = chosen.source.stream
        del self._chosen[name]
        self._publisher.forget(chosen.source)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    # -- asked for ------------------------------------------------------------------------------

    def shown(self, stream: str, instance: bytes) -> tuple[EventSource, Hosted, list[Row]]:
        """Return what a stream shows now, and whose it is.

        Raises:
            WrongInstanceError: the device has ended, moved or been restarted.
            MalformedMessageError: no name of a stream.
        """
        device_id, choice = parse_stream(stream)
        hosted = self._hosting.addressed(device_id, instance)
        hosted.device.flush()
        values = hosted.device.values().items()
        if stream == device_id:
            return hosted.source, hosted, [to_row(key, value) for key, value in values]
        wanted = [to_row(key, value) for key, value in values if choice.wants(key)]
        return self._add(stream).source, hosted, choice.reduce(wanted)

    def replay(self, stream: str, instance: bytes, first: int) -> list[object] | None:
        """Return the answer to `Replay`; raises `WrongInstanceError`."""
        device_id, _choice = parse_stream(stream)
        hosted = self._hosting.addressed(device_id, instance)
        if stream != device_id:
            return None
        hosted.device.flush()
        return self._publisher.replay(hosted.source, first)

    def close(self) -> None:
        """Stop publishing; what has waited leaves."""
        self.release()
        if self._releasing is not None:
            self._releasing.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._port.close()
