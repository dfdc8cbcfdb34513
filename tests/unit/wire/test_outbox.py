"""Few events leave at once, many together, all of them in order."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import PropertyValue, Timestamp, to_row
from pykarabo.wire import (
    AT_ONCE,
    WINDOW_NS,
    DeviceStream,
    Event,
    Events,
    EventSource,
    Header,
    Heartbeat,
    Kind,
    Message,
    Publisher,
    parse_published,
)
from pykarabo.wire._checks import MAX_FRAME
from pykarabo.wire._outbox import MAX_TOGETHER, MAX_WAITING
from pykarabo.wire._stream import Changed

_A: Final = b"A" * 16
_B: Final = b"B" * 16
_S: Final = 1_000_000_000


def _publisher() -> Publisher:
    return Publisher(b"S" * 16, 5)


def _row(value: object) -> list[object]:
    return to_row("value", PropertyValue(value, Timestamp(10, 20, 30)))


def _events(messages: list[Message]) -> list[Event]:
    """Return the events of messages one by one."""
    found: list[Event] = []
    for message in messages:
        parsed = parse_published(message)
        if isinstance(parsed, Events):
            found += parsed.each()
        elif isinstance(parsed, Event):
            found.append(parsed)
    return found


def _values(messages: list[Message]) -> list[object]:
    return [row[1] for event in _events(messages) for row in event.rows or ()]


def _flood(publisher: Publisher, source: EventSource, count: int, at_ns: int = 0) -> list[Message]:
    sent: list[Message] = []
    for _ in range(count):
        sent += publisher.event(source, [_row(source.sequence + 1)], at_ns)
    return sent


def test_events_that_are_few_leave_at_once() -> None:
    publisher, source = _publisher(), EventSource("A/1", _A, 1)
    for number in range(20):
        assert len(publisher.event(source, [_row(number)], number * WINDOW_NS // 3)) == 1
        assert publisher.due_ns is None


def test_a_flood_waits_for_the_end_of_its_millisecond_and_is_one_message() -> None:
    publisher, source = _publisher(), EventSource("A/1", _A, 1)
    sent = _flood(publisher, source, AT_ONCE + 10, 7)
    assert _values(sent) == list(range(1, AT_ONCE + 1))
    assert publisher.due_ns == 7 + WINDOW_NS
    (together,) = publisher.waiting()
    message = parse_published(together)
    assert isinstance(message, Events)
    assert message.header[:4] == (Kind.EVENTS, _A, 1, AT_ONCE + 1)
    assert message.header.sent_ns == 7
    assert _values([together]) == list(range(AT_ONCE + 1, AT_ONCE + 11))
    assert publisher.due_ns is None
    assert publisher.waiting() == []


def test_while_a_flood_lasts_its_first_events_wait_too_and_afterwards_they_do_not() -> None:
    publisher, source = _publisher(), EventSource("A/1", _A, 1)
    _flood(publisher, source, AT_ONCE + 1, 0)
    publisher.waiting()
    assert _flood(publisher, source, 1, WINDOW_NS) == []
    publisher.waiting()
    assert len(_flood(publisher, source, 1, 2 * WINDOW_NS)) == 1


def test_what_waits_leaves_early_when_it_is_much() -> None:
    publisher, source = _publisher(), EventSource("A/1", _A, 1)
    assert _values(_flood(publisher, source, AT_ONCE + MAX_WAITING)) == list(
        range(1, AT_ONCE + MAX_WAITING + 1)
    )
    assert publisher.due_ns is None
    large = publisher.event(source, [_row("x" * (MAX_TOGETHER + 1))], 0)
    assert len(large) == 1


def test_a_large_event_leaves_alone_since_it_may_be_as_large_as_a_message_can_be() -> None:
    publisher, source = _publisher(), EventSource("A/1", _A, 1)
    _flood(publisher, source, AT_ONCE + 2)
    large = ["x" * (MAX_TOGETHER + 1), "y" * (MAX_FRAME - 1_000)]
    messages = publisher.event(source, [_row(large[0])], 0)
    messages += publisher.event(source, [_row(large[1])], 0) + publisher.waiting()
    assert [len(_events([message])) for message in messages] == [2, 1, 1]
    assert _values(messages)[-2:] == large


def test_nothing_overtakes_what_waits() -> None:
    publisher, source = _publisher(), EventSource("A/1", _A, 1)
    _flood(publisher, source, AT_ONCE + 3)
    first, beat = publisher.heartbeat(0, lag_s=0.0)
    assert _values([first]) == [AT_ONCE + 1, AT_ONCE + 2, AT_ONCE + 3]
    heartbeat = parse_published(beat)
    assert isinstance(heartbeat, Heartbeat)
    assert heartbeat.tails[0].sequence == AT_ONCE + 3
    _flood(publisher, source, 1)
    assert len(publisher.ended(source, 0)) == 2
    _flood(publisher, source, 1)
    echo = publisher.subscribed(b"\x01\x01token\0")
    assert echo is not None
    assert len(echo) == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A/1", "B/1"]),
            st.sampled_from(["number", "array", "schema", "take"]),
            st.integers(0, 2 * WINDOW_NS),
        ),
        max_size=60,
    )
)
def test_all_that_is_published_leaves_in_its_order_and_soon(
    steps: list[tuple[str, str, int]],
) -> None:
    publisher = _publisher()
    sources = {"A/1": EventSource("A/1", _A, 1), "B/1": EventSource("B/1", _B, 1)}
    sent: list[Message] = []
    published: list[tuple[str, int]] = []
    now_ns = _S
    for device, what, later_ns in steps:
        now_ns += later_ns
        if publisher.due_ns is not None and publisher.due_ns <= now_ns:
            sent += publisher.waiting()
        source = sources[device]
        if what == "take":
            sent += publisher.waiting()
            continue
        if what == "schema":
            schema = {"class_id": "M", "properties": {}, "commands": {}, "outputs": {}}
            sent += publisher.schema(source, schema, now_ns)
        else:
            value = bytes(20_000) if what == "array" else now_ns
            sent += publisher.event(source, [_row(value)], now_ns)
        published.append((device, source.sequence))
        assert publisher.due_ns is None or publisher.due_ns <= now_ns + WINDOW_NS
    sent += publisher.waiting()
    assert [(event.stream, event.header.sequence) for event in _events(sent)] == published


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.sets(st.integers(0, 7)))
def test_a_stream_takes_several_events_as_it_takes_one_after_the_other(
    sizes: list[int], lost: set[int]
) -> None:
    together, single = DeviceStream(replays=True), DeviceStream(replays=True)
    for stream in (together, single):
        stream.echo()
        stream.snapshot(Header(Kind.REPLY, _A, sequence=0), [], 1)
    number = 1
    for place, size in enumerate(sizes):
        changes = [[_row(number + step)] for step in range(size)]
        events = Events("A/1", Header(Kind.EVENTS, _A, 1, number), changes)
        number += size
        if place in lost:
            continue
        one_by_one = [output for event in events.each() for output in single.event(event)]
        assert together.events(events) == one_by_one
    assert (together.sequence, together.state) == (single.sequence, single.state)


def test_several_events_of_a_live_stream_are_handed_on_each_with_its_number() -> None:
    stream = DeviceStream()
    stream.echo()
    stream.snapshot(Header(Kind.REPLY, _A, sequence=4), [], 1)
    events = Events("A/1", Header(Kind.EVENTS, _A, 1, 5), [[_row(5)], [_row(6)]])
    assert stream.events(events) == [Changed([_row(5)], 5), Changed([_row(6)], 6)]
    assert stream.events(events) == []
