"""Topics, numbers, heartbeats and echoes of the sending side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import PropertyInfo, PropertyValue, Schema, Timestamp, ValueType, to_row
from pykarabo.errors import LimitExceededError
from pykarabo.wire import (
    HEARTBEAT_TOPIC,
    BeatWatch,
    Echo,
    Ending,
    Event,
    EventSource,
    Frame,
    Header,
    Heartbeat,
    Kind,
    Message,
    Publisher,
    Tail,
    echo_topic,
    pack,
    parse_published,
    stream_topic,
    unpack,
)

_SERVER = b"S" * 16
_DEVICE = b"D" * 16
_ROW = to_row("value", PropertyValue(1.5, Timestamp(10, 20, 30)))
_IDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=12)


def _publisher(*, checksum: bool = False) -> Publisher:
    return Publisher(_SERVER, 5, checksum=checksum)


def _source(device_id: str = "MOTOR/1") -> EventSource:
    return EventSource(device_id, _DEVICE, 77)


def _only(messages: list[Message] | None) -> Message:
    assert messages is not None
    (message,) = messages
    return message


def _beat(publisher: Publisher) -> Heartbeat:
    message = parse_published(publisher.heartbeat(0, lag_s=0.25)[-1])
    assert isinstance(message, Heartbeat)
    return message


@given(st.lists(_IDS, min_size=2, max_size=6, unique=True), st.binary(max_size=8))
def test_no_topic_is_the_beginning_of_another(ids: list[str], token: bytes) -> None:
    topics = {HEARTBEAT_TOPIC, echo_topic(token.hex().encode()), *map(stream_topic, ids)}
    assert len(topics) == len(ids) + 2
    assert [one for one in topics for other in topics - {one} if other.startswith(one)] == []


@pytest.mark.parametrize("checksum", [False, True])
def test_event_tells_device_life_number_and_values(checksum: bool) -> None:
    publisher = _publisher(checksum=checksum)
    source = _source()
    publisher.event(source, [_ROW], 4)
    event = parse_published(_only(publisher.event(source, [_ROW, _ROW], 5)))
    assert isinstance(event, Event)
    assert event.stream == "MOTOR/1"
    assert event.rows == [_ROW, _ROW]
    assert event.header[:4] == (Kind.EVENT, _DEVICE, 77, 2)
    assert event.header.sent_ns == 5


def test_change_of_the_schema_is_numbered_with_the_events() -> None:
    publisher = _publisher()
    source = _source()
    publisher.event(source, [_ROW], 0)
    schema = Schema("Motor", properties={"speed": PropertyInfo("speed", ValueType.FLOAT64)})
    message = parse_published(_only(publisher.schema(source, schema.to_wire(), 0)))
    assert isinstance(message, Event)
    assert message.schema is not None
    assert message.schema.version == schema.version
    assert (message.rows, message.header.sequence, source.sequence) == (None, 2, 2)


def test_event_that_cannot_be_encoded_uses_no_number() -> None:
    source = _source()
    with pytest.raises(Exception, match="cannot travel"):
        _publisher().event(source, [["value", object(), 0, 0, 0, "valid"]], 0)
    assert source.sequence == 0


def test_event_that_every_subscriber_would_refuse_uses_no_number() -> None:
    source = _source()
    row = ["value", 1, 2, 3, 4, "valid"]
    with pytest.raises(LimitExceededError, match="more than 100000 values"):
        _publisher().event(source, [row] * 15_000, 0)
    assert source.sequence == 0
    [message] = _publisher().event(source, [row] * 14_000, 0)
    event = parse_published(message)
    assert isinstance(event, Event)
    assert event.rows == [row] * 14_000


def test_heartbeat_tells_the_latest_number_of_what_changed_since_the_last_one() -> None:
    publisher = _publisher()
    source = _source()
    for _ in range(3):
        publisher.event(source, [_ROW], 0)
    first = _beat(publisher)
    assert first == Heartbeat(_SERVER, 1, 0.25, [Tail("MOTOR/1", _DEVICE, 3)], [], 0)
    assert _beat(publisher) == Heartbeat(_SERVER, 2, 0.25, [], [], 0)


def test_end_of_a_device_is_told_at_once_and_again_by_heartbeats() -> None:
    publisher = _publisher()
    source = _source()
    publisher.event(source, [_ROW], 0)
    assert parse_published(_only(publisher.ended(source, 0))) == Ending("MOTOR/1", _DEVICE)
    beat = _beat(publisher)
    assert (beat.tails, beat.ended) == ([], [Ending("MOTOR/1", _DEVICE)])
    assert [bool(_beat(publisher).ended) for _ in range(6)].count(True) >= 2
    assert _beat(publisher).ended == []


def test_device_that_ends_twice_in_a_second_is_told_of_twice() -> None:
    publisher = _publisher()
    for instance in (b"1" * 16, b"2" * 16):
        publisher.ended(EventSource("MOTOR/1", instance, 1), 0)
    assert [ending.instance for ending in _beat(publisher).ended] == [b"1" * 16, b"2" * 16]


def test_subscription_of_an_echo_is_answered_on_its_topic() -> None:
    publisher = _publisher()
    _beat(publisher)
    topic = echo_topic(b"token")
    answer = publisher.subscribed(b"\x01" + topic)
    assert parse_published(_only(answer)) == Echo(topic, _SERVER, 1)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",
        b"\x01" + stream_topic("MOTOR/1"),
        b"\x01" + HEARTBEAT_TOPIC,
        b"\x00" + echo_topic(b"token"),
        b"\x01" + echo_topic(b"x" * 300),
    ],
)
def test_other_subscriptions_are_not_answered(frame: bytes) -> None:
    assert _publisher().subscribed(frame) is None
    assert _publisher().subscribed(memoryview(frame)) is None


def test_kind_of_a_later_protocol_is_nothing() -> None:
    frames: list[Frame] = [b"topic\0", *pack(Header(99), [b"\xc1"])]
    assert parse_published(frames) is None


def test_checksum_covers_the_body_but_not_the_topic() -> None:
    frames = _only(_publisher(checksum=True).event(_source(), [_ROW], 0))
    assert unpack(frames[1:]).sequence == 1


def test_lost_heartbeats_are_noticed_and_repeated_ones_are_not() -> None:
    publisher, watch = _publisher(), BeatWatch()
    beats = [_beat(publisher) for _ in range(6)]
    assert [watch.lost(beats[n]) for n in (0, 1, 1, 3, 0, 4, 5)] == [
        *(False, False, False, True),
        *(False, False, False),
    ]


def test_echo_betrays_a_heartbeat_that_was_lost_before_it() -> None:
    publisher, watch = _publisher(), BeatWatch()
    assert not watch.lost(Echo(b"", _SERVER, 0))
    assert not watch.lost(_beat(publisher))
    _beat(publisher)
    assert watch.lost(Echo(b"", _SERVER, 2))
    assert not watch.lost(_beat(publisher))


def test_heartbeat_of_another_life_of_the_server_counts_as_loss() -> None:
    watch = BeatWatch()
    assert not watch.lost(_beat(_publisher()))
    assert watch.lost(_beat(Publisher(b"T" * 16, 6)))
