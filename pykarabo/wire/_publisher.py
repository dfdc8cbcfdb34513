"""The sending side of event streams: numbers every event, and proves the last one.

Each device has its own stream: a topic, the instance and epoch of its present life, and a
sequence number that grows by one with each message. A subscriber that sees number 7 after 5 knows
that exactly one is missing. The last event of a burst has no successor to betray its loss;
therefore a heartbeat tells, once a second, the latest number of every device that has changed.
Heartbeats are numbered too, and each echo tells the latest number: a subscriber who lost one
cannot know what it told, and asks (see `BeatWatch`).

ZeroMQ topics are byte prefixes, so a topic ends with a NUL: ``MOTOR/1`` does not receive
``MOTOR/10``. Topics that begin with a control byte belong to the protocol itself.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.data import Quality, decode, encode
from pykarabo.errors import MalformedMessageError

from ._checks import is_instance, is_number, is_stamp
from ._header import Frame, Header, Kind, pack, unpack

HEARTBEAT_TOPIC: Final = b"\x02\0"
ENDED_BEATS: Final = 5
"""So many heartbeats tell the end of a device, for those who missed its goodbye."""
HEARTBEAT_INTERVAL_S: Final = 1.0
"""A lost last event is found this late at worst (plus the journey)."""
_ECHO_PREFIX: Final = b"\x01"
_SUBSCRIBE: Final = 1
MAX_TOPIC: Final = 256
"""Longer subscriptions are not echoed: nobody's device id is that long."""

Row: TypeAlias = tuple[str, Any, int, int, int, str]


def device_topic(device_id: str) -> bytes:
    """Return the topic of a device's events."""
    return device_id.encode() + b"\0"


def echo_topic(token: bytes) -> bytes:
    """Return a private topic on which the publisher answers a subscription to it."""
    return _ECHO_PREFIX + token + b"\0"


@dataclass(slots=True)
class EventSource:
    """The stream of one device's present life.

    Attributes:
        sequence: number of the latest event, 0 before the first.
    """

    device_id: str
    instance: bytes
    epoch: int
    sequence: int = 0


class Publisher:
    """All event streams of one server process."""

    def __init__(self, instance: bytes, epoch: int, *, checksum: bool = False) -> None:
        self._instance = instance
        self._epoch = epoch
        self._checksum = checksum
        self._changed: dict[str, EventSource] = {}
        # By instance: a device may end twice before its first end has been told often enough.
        self._ended: dict[bytes, tuple[str, int]] = {}
        self._beats = 0
        self.published = 0

    def event(self, source: EventSource, rows: list[Row], now_ns: int) -> list[Frame]:
        """Number one set of changes and return its message, topic first."""
        return self._numbered(Kind.EVENT, source, rows, now_ns)

    def schema(self, source: EventSource, version: str, now_ns: int) -> list[Frame]:
        """Announce that the device's schema has become another one."""
        return self._numbered(Kind.SCHEMA, source, version, now_ns)

    def _numbered(self, kind: Kind, source: EventSource, body: Any, now_ns: int) -> list[Frame]:
        encoded = encode(body)
        source.sequence += 1
        self._changed[source.device_id] = source
        self.published += 1
        header = Header(kind, source.instance, source.epoch, source.sequence, sent_ns=now_ns)
        return [
            device_topic(source.device_id),
            *pack(header, encoded, checksum=self._checksum),
        ]

    def ended(self, source: EventSource, now_ns: int) -> list[Frame]:
        """Announce that the device has ended; the next heartbeats say it again."""
        self._changed.pop(source.device_id, None)
        self._ended[source.instance] = (source.device_id, ENDED_BEATS)
        header = Header(
            Kind.GOODBYE, source.instance, source.epoch, source.sequence, sent_ns=now_ns
        )
        topic = device_topic(source.device_id)
        return [topic, *pack(header, [], checksum=self._checksum)]

    def heartbeat(self, now_ns: int, *, lag_s: float) -> list[Frame]:
        """Return the heartbeat: the latest numbers of what changed since the last one."""
        self._beats += 1
        tails = [
            [source.device_id, source.instance, source.sequence]
            for source in self._changed.values()
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
        return [HEARTBEAT_TOPIC, *pack(header, body, checksum=self._checksum)]

    def subscribed(self, frame: Frame) -> list[Frame] | None:
        """Answer a subscription frame of the XPUB socket, if it asks for an echo."""
        topic = bytes(frame[1:])
        if not frame or frame[0] != _SUBSCRIBE or not topic.startswith(_ECHO_PREFIX):
            return None
        if len(topic) > MAX_TOPIC:
            return None
        header = Header(Kind.ECHO, self._instance, self._epoch, self._beats)
        return [topic, *pack(header, [], checksum=self._checksum)]


class Tail(NamedTuple):
    """The latest event number of a device, from a heartbeat."""

    device_id: str
    instance: bytes
    sequence: int


class Heartbeat(NamedTuple):
    """A server is alive; `lag_s` is how late its event loop runs."""

    instance: bytes
    sequence: int
    lag_s: float
    tails: list[Tail]
    ended: list["Ending"]


class Ending(NamedTuple):
    """This life of a device is over; its server goes on."""

    device_id: str
    instance: bytes


class Event(NamedTuple):
    """A numbered message of a device; `rows` is None when its schema changed."""

    device_id: str
    header: Header
    rows: list[Row] | None


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


def parse_published(frames: list[Frame]) -> Event | Ending | Heartbeat | Echo | None:
    """Decode one message of an event stream; None for a kind of a later protocol.

    Raises:
        MalformedMessageError, LimitExceededError, VersionMismatchError: drop it, count it.
    """
    topic = bytes(frames[0]) if frames else b""
    header = unpack(frames[1:])
    kind = header.kind
    if kind == Kind.EVENT:
        return Event(_device_of(topic), header, parse_rows(decode(frames[2:])))
    if kind == Kind.HEARTBEAT:
        return _heartbeat(header, decode(frames[2:]))
    if kind == Kind.SCHEMA:
        return Event(_device_of(topic), header, None)
    if kind == Kind.GOODBYE:
        return Ending(_device_of(topic), header.instance)
    if kind == Kind.ECHO:
        return Echo(topic, header.instance, header.sequence)
    return None


def _device_of(topic: bytes) -> str:
    try:
        return topic[:-1].decode()
    except UnicodeDecodeError:
        raise _malformed("an event's topic is no device id") from None


def _malformed(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, remedy="update pykarabo on both sides")


def parse_rows(body: object) -> list[Row]:
    """Rebuild property rows from an event or a snapshot; raises `MalformedMessageError`."""
    if isinstance(body, list) and all(_is_row(row) for row in body):
        return [tuple(row[:_ROW_LENGTH]) for row in body]
    raise _malformed("a message with values holds no list of property rows")


_ROW_LENGTH: Final = len(("key", "value", "seconds", "fraction", "train id", "quality"))
_QUALITIES: Final = tuple(quality.value for quality in Quality)


def _is_row(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) >= _ROW_LENGTH
        and isinstance(row[0], str)
        and is_stamp(row[2:5])
        and isinstance(row[5], str)
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
            )
        case _:
            raise _malformed("a heartbeat has another form than expected")


def _tail(body: object) -> Tail:
    match body:
        case [str() as device_id, instance, sequence, *_]:
            if is_instance(instance) and is_number(sequence):
                return Tail(device_id, instance, sequence)
        case _:
            pass
    raise _malformed("a heartbeat names a device in another form than expected")


def _ending(body: object) -> Ending:
    match body:
        case [str() as device_id, instance, *_] if is_instance(instance):
            return Ending(device_id, instance)
        case _:
            raise _malformed("a heartbeat names a device in another form than expected")
