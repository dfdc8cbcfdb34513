"""The sending side of event streams: numbers every event, and proves the last one.

Each device has its own stream: a topic, the instance and epoch of its present life, and a
sequence number that grows by one with each message. A subscriber that sees number 7 after 5 knows
that exactly one is missing. The last event of a burst has no successor to betray its loss;
therefore a heartbeat tells, once a second, the latest number of every stream that has changed.
Heartbeats are numbered too, and each echo tells the latest number: a subscriber who lost one
cannot know what it told, and asks (see `BeatWatch`). What was lost is asked for again, and comes
from the journal.

ZeroMQ topics are byte prefixes, so a topic ends with a NUL: ``MOTOR/1`` does not receive
``MOTOR/10``. Topics that begin with a control byte belong to the protocol itself; one of them is
for streams with a choice, see `Choice`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pykarabo.data import Limits, Quality, Row, Schema, decode, encode, encoded_list
from pykarabo.errors import MalformedMessageError

from ._checks import are_bytes, check_size, is_instance, is_number
from ._header import Frame, Header, Kind, pack, unpack
from ._journal import Entry, Journal
from ._outbox import Message, Numbered, Outbox

HEARTBEAT_TOPIC: Final = b"\x02\0"
ENDED_BEATS: Final = 5
"""So many heartbeats tell the end of a device, for those who missed its goodbye."""
HEARTBEAT_INTERVAL_S: Final = 1.0
"""A lost last event is found this late at worst (plus the journey)."""
_CHANGES: Final = (Kind.EVENT, Kind.EVENTS)
_ECHO_PREFIX: Final = b"\x01"
_SUBSCRIBE: Final = 1
_EVENT_NUMBER_NS: Final = 1_000
_SURELY_DECODED: Final = Limits().max_nodes
"""A body of fewer bytes cannot hold too many values: each takes one at least."""
MAX_TOPICS: Final = 10_000
"""Topics that one client may subscribe to at one server."""
MAX_TOPIC_BYTES: Final = 320 * 2**10
"""All of them together: 10 000 names of 32 characters, or 160 choices of 2 000. libzmq takes up to
56 bytes for each, 18 MB in all."""
MAX_TOPIC: Final = 256
"""Longer subscriptions are not echoed: nobody's device id is that long."""


def number_before(epoch: int) -> int:
    """Return the number before the first event of a life that has begun at `epoch`.

    A device's events are numbered on from the microsecond of its start, so that a later life never
    uses a number again: who has read a value in an earlier life has read an old one.
    """
    return epoch // _EVENT_NUMBER_NS


def stream_topic(stream: str) -> bytes:
    """Return the topic of a stream; a device's own stream has the device's name."""
    return stream.encode() + b"\0"


def echo_topic(token: bytes) -> bytes:
    """Return a private topic on which the publisher answers a subscription to it."""
    return _ECHO_PREFIX + token + b"\0"


@dataclass(slots=True)
class EventSource:
    """A stream of one device's present life.

    Attributes:
        stream: its name, that of the device where nothing was chosen.
        sequence: number of the latest event, 0 before the first.
        journaled: whether lost events can be sent again.
    """

    stream: str
    instance: bytes
    epoch: int
    sequence: int = 0
    journaled: bool = True
    topic: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.topic = stream_topic(self.stream)


class Publisher:
    """All event streams of one server process.

    Every method that publishes something returns the messages that are to be sent now, topics
    first: those of events that have waited come before it. See `Outbox`.
    """

    def __init__(self, instance: bytes, epoch: int, *, checksum: bool = False) -> None:
        self._instance = instance
        self._epoch = epoch
        self._checksum = checksum
        self._changed: dict[str, EventSource] = {}
        # By instance: a device may end twice before its first end has been told often enough.
        self._ended: dict[bytes, tuple[str, int]] = {}
        self._beats = 0
        self._outbox = Outbox(self._composed)
        self.journal = Journal()
        self.published = 0

    @property
    def due_ns(self) -> int | None:
        """When `waiting` is to be called for what waits; None when nothing does."""
        return self._outbox.due_ns

    def waiting(self) -> list[Message]:
        """Return the events that have waited."""
        return self._outbox.take()

    def event(self, source: EventSource, rows: list[Row], now_ns: int) -> list[Message]:
        """Number one set of changes; it may wait for a moment.

        Raises:
            LimitExceededError: they are too much for one message; nothing was numbered.
        """
        body = self._number(Kind.EVENT, source, rows, now_ns)
        return self._outbox.add(
            Numbered(source.topic, source.instance, source.epoch, source.sequence, body, now_ns)
        )

    def schema(self, source: EventSource, schema: Mapping[str, Any], now_ns: int) -> list[Message]:
        """Announce that the device's schema has become another one: all of it, as a plain map."""
        body = self._number(Kind.SCHEMA, source, schema, now_ns)
        header = Header(Kind.SCHEMA, source.instance, source.epoch, source.sequence, sent_ns=now_ns)
        return self._after_waiting(source.topic, header, body)

    def _number(self, kind: Kind, source: EventSource, body: Any, now_ns: int) -> list[Frame]:
        encoded = encode(body)
        if len(encoded) > 1 or len(encoded[0]) > _SURELY_DECODED:
            check_size(encoded, "an event", device=source.stream)
            if kind is not Kind.EVENT or len(encoded[0]) - _text_bytes(body) > _SURELY_DECODED:
                decode(encoded)  # what every subscriber would refuse is refused here
        source.sequence += 1
        self._changed[source.stream] = source
        self.published += 1
        if source.journaled:
            kept = encoded if len(encoded) == 1 else [bytes(frame) for frame in encoded]
            self.journal.add(source.instance, Entry(source.sequence, kind, kept), now_ns)
        return encoded

    def _composed(self, events: list[Numbered]) -> Message:
        """Make one message of events of one stream that follow each other."""
        topic, instance, epoch, sequence, body, sent_ns = events[0]
        if len(events) == 1:
            header = Header(Kind.EVENT, instance, epoch, sequence, sent_ns=sent_ns)
        else:
            header = Header(Kind.EVENTS, instance, epoch, sequence, sent_ns=sent_ns)
            body = [encoded_list([event.body[0] for event in events])]
        return [topic, *pack(header, body, checksum=self._checksum)]

    def _after_waiting(self, topic: bytes, header: Header, body: list[Frame]) -> list[Message]:
        """Return what waits, and a message that must not overtake it."""
        return [*self._outbox.take(), [topic, *pack(header, body, checksum=self._checksum)]]

    def replay(self, source: EventSource, first: int) -> list[Any] | None:
        """Return the answer to a `Replay` request; None when `first` was forgotten."""
        if first > source.sequence:
            return [[], False]
        found = self.journal.since(source.instance, first) if source.journaled else None
        if found is None:
            return None
        entries, more = found
        return [[[item.sequence, item.kind, item.frames] for item in entries], more]

    def ended(self, source: EventSource, now_ns: int) -> list[Message]:
        """Announce that the device has ended; the next heartbeats say it again."""
        self._changed.pop(source.stream, None)
        self._ended[source.instance] = (source.stream, ENDED_BEATS)
        return self.farewell(source.stream, source, now_ns)

    def farewell(self, stream: str, source: EventSource, now_ns: int) -> list[Message]:
        """Tell the subscribers of a stream that the device behind it has ended."""
        header = Header(
            Kind.GOODBYE, source.instance, source.epoch, source.sequence, sent_ns=now_ns
        )
        return self._after_waiting(stream_topic(stream), header, [])

    def forget(self, source: EventSource) -> None:
        """Tell nothing more of a stream that nobody subscribes to."""
        self._changed.pop(source.stream, None)

    def heartbeat(self, now_ns: int, *, lag_s: float) -> list[Message]:
        """Return the heartbeat: the latest numbers of what changed since the last one."""
        self._beats += 1
        tails = [
            [source.stream, source.instance, source.sequence] for source in self._changed.values()
        ]
        self._changed.clear()
        ended = [[device_id, instance] for instance, (device_id, _beats) in self._ended.items()]
        self._ended = {
            instance: (device_id, beats - 1)
            for instance, (device_id, beats) in self._ended.items()
            if beats > 1
        }
        header = Header(Kind.HEARTBEAT, self._instance, self._epoch, self._beats, sent_ns=now_ns)
        body = encode([lag_s, tails, ended])
        return self._after_waiting(HEARTBEAT_TOPIC, header, body)

    def subscribed(self, frame: Frame) -> list[Message] | None:
        """Answer a subscription frame of the XPUB socket, if it asks for an echo."""
        topic = bytes(frame[1:])
        if not frame or frame[0] != _SUBSCRIBE or not topic.startswith(_ECHO_PREFIX):
            return None
        if len(topic) > MAX_TOPIC:
            return None
        header = Header(Kind.ECHO, self._instance, self._epoch, self._beats)
        return self._after_waiting(topic, header, [])


def _text_bytes(rows: list[Row]) -> int:
    """Return how many bytes of an event are of texts, at least: each of them is one value only."""
    return sum(len(row[1]) for row in rows if type(row[1]) in (str, bytes))


class Tail(NamedTuple):
    """The latest event number of a stream, from a heartbeat."""

    stream: str
    instance: bytes
    sequence: int


class Heartbeat(NamedTuple):
    """A server is alive; `lag_s` is how late its event loop runs."""

    instance: bytes
    sequence: int
    lag_s: float
    tails: list[Tail]
    ended: list["Ending"]
    sent_ns: int


class Ending(NamedTuple):
    """This life of the device behind a stream is over; its server goes on."""

    stream: str
    instance: bytes


class Event(NamedTuple):
    """A numbered message of a stream; `rows` is None when the device's schema became `schema`."""

    stream: str
    header: Header
    rows: list[Row] | None
    schema: Schema | None = None


class Events(NamedTuple):
    """Events of a stream that follow each other, as one message.

    Attributes:
        header: its `sequence` is the number of the first.
        changes: the rows of each.
    """

    stream: str
    header: Header
    changes: list[list[Row]]

    def each(self) -> Iterator[Event]:
        """Return them as if they had come one by one."""
        stream, header, changes = self
        for number, rows in enumerate(changes, header.sequence):
            yield Event(stream, header._replace(kind=Kind.EVENT, sequence=number), rows)


class Echo(NamedTuple):
    """The publisher has seen the subscription of this topic and all that came before it.

    `sequence` is the number of its latest heartbeat.
    """

    topic: bytes
    instance: bytes
    sequence: int


class BeatWatch:
    """Notice lost heartbeats of one server: each may have told of a lost event."""

    __slots__ = ("_instance", "_sequence")

    def __init__(self) -> None:
        self._instance = b""
        self._sequence = 0

    def lost(self, message: Heartbeat | Echo) -> bool:
        """Take a heartbeat or an echo; returns whether heartbeats before it were lost."""
        before = message.sequence - 1 if isinstance(message, Heartbeat) else message.sequence
        if message.instance != self._instance:
            lost = bool(self._instance)
            self._instance, self._sequence = message.instance, message.sequence
            return lost
        lost = before > self._sequence
        self._sequence = max(self._sequence, message.sequence)
        return lost


def parse_published(frames: list[Frame]) -> Event | Events | Ending | Heartbeat | Echo | None:
    """Decode one message of an event stream; None for a kind of a later protocol.

    Raises:
        MalformedMessageError, LimitExceededError, VersionMismatchError: drop it, count it.
    """
    topic = bytes(frames[0]) if frames else b""
    header = unpack(frames[1:])
    kind = header.kind
    if kind in _CHANGES:
        return _changes(_stream_of(topic), header, decode(frames[2:]))
    if kind == Kind.HEARTBEAT:
        return _heartbeat(header, decode(frames[2:]))
    if kind == Kind.SCHEMA:
        return Event(_stream_of(topic), header, None, parse_schema(decode(frames[2:])))
    if kind == Kind.GOODBYE:
        return Ending(_stream_of(topic), header.instance)
    if kind == Kind.ECHO:
        return Echo(topic, header.instance, header.sequence)
    return None


def _changes(stream: str, header: Header, body: object) -> Event | Events:
    if header.kind == Kind.EVENT:
        return Event(stream, header, parse_rows(body))
    return Events(stream, header, parse_changes(body))


def _stream_of(topic: bytes) -> str:
    try:
        return topic[:-1].decode()
    except UnicodeDecodeError:
        raise _malformed("an event's topic is no name of a stream") from None


def _malformed(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, remedy="update pykarabo on both sides")


def parse_replay(stream: str, instance: bytes, body: object) -> tuple[list[Event], bool] | None:
    """Rebuild the events of an answer to `Replay`, and whether there are more.

    Raises:
        MalformedMessageError, LimitExceededError: the answer is none of ours.
    """
    match body:
        case None:
            return None
        case [list() as entries, bool() as more]:
            return [_replayed(stream, instance, entry) for entry in entries], more
        case _:
            raise _malformed("a replay has another form than expected")


def _replayed(stream: str, instance: bytes, entry: object) -> Event:
    match entry:
        case [sequence, int() as kind, [*frames]] if is_number(sequence) and are_bytes(frames):
            header, body = Header(kind, instance, sequence=sequence), decode(frames)
            if kind == Kind.SCHEMA:
                return Event(stream, header, None, parse_schema(body))
            return Event(stream, header, parse_rows(body))
        case _:
            raise _malformed("a replayed event has another form than expected")


def parse_rows(body: object) -> list[Row]:
    """Rebuild property rows from an event or a snapshot; raises `MalformedMessageError`."""
    if isinstance(body, list):
        for row in body:
            if not _is_row(row):
                break
        else:
            return [row if len(row) == _ROW_LENGTH else row[:_ROW_LENGTH] for row in body]
    raise _malformed("a message with values holds no list of property rows")


def parse_changes(body: object) -> list[list[Row]]:
    """Rebuild the rows of several events; raises `MalformedMessageError`."""
    if isinstance(body, list) and body:
        return [parse_rows(rows) for rows in body]
    raise _malformed("a message with several events holds no list of them")


def parse_schema(body: object) -> Schema:
    """Rebuild a schema from an event or a snapshot; raises `MalformedMessageError`."""
    if isinstance(body, dict):
        return Schema.from_wire(body)
    raise _malformed("a message with a schema holds no map")


_ROW_LENGTH: Final = len(("key", "value", "seconds", "fraction", "train id", "quality"))
_QUALITIES: Final = tuple(quality.value for quality in Quality)


def _is_row(row: object) -> bool:
    return (
        type(row) is list
        and len(row) >= _ROW_LENGTH
        and type(row[0]) is str
        and type(row[2]) is type(row[3]) is type(row[4]) is int
        and row[5] in _QUALITIES
    )


def _heartbeat(header: Header, body: object) -> Heartbeat:
    match body:
        case [float() | int() as lag_s, list() as tails, list() as ended, *_]:
            return Heartbeat(
                header.instance,
                header.sequence,
                float(lag_s),
                [_tail(tail) for tail in tails],
                [_ending(ending) for ending in ended],
                header.sent_ns,
            )
        case _:
            raise _malformed("a heartbeat has another form than expected")


def _tail(body: object) -> Tail:
    match body:
        case [str() as stream, instance, sequence, *_]:
            if is_instance(instance) and is_number(sequence):
                return Tail(stream, instance, sequence)
        case _:
            pass
    raise _malformed("a heartbeat names a device in another form than expected")


def _ending(body: object) -> Ending:
    match body:
        case [str() as stream, instance, *_] if is_instance(instance):
            return Ending(stream, instance)
        case _:
            raise _malformed("a heartbeat names a device in another form than expected")
