"""Event streams end to end: a publisher, a network that loses and repeats, a subscriber."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykarabo.data import PropertyValue, Row, Schema, Timestamp, decode, encode, to_row
from pykarabo.wire import (
    AT_ONCE,
    WINDOW_NS,
    BeatWatch,
    Changed,
    DeviceStream,
    Echo,
    Ending,
    Event,
    Events,
    EventSource,
    Frame,
    GapFound,
    Header,
    Heartbeat,
    Journal,
    Kind,
    Message,
    NeedReplay,
    NeedSnapshot,
    Publisher,
    Resumed,
    SchemaChanged,
    StreamOutput,
    StreamState,
    Synchronised,
    WentStale,
    echo_topic,
    parse_published,
    parse_replay,
)
from pykarabo.wire._stream import MAX_KEPT

_LIFE = b"1" * 16
_NEXT_LIFE = b"2" * 16
_SCHEMA = Schema("Another")


def _row(key: str, value: Any) -> Row:
    return to_row(key, PropertyValue(value, Timestamp(1, 2)))


def _event(sequence: int, *, instance: bytes = _LIFE, schema: bool = False) -> Event:
    header = Header(Kind.EVENT, instance, 1, sequence)
    if schema:
        return Event("D/1", header, None, _SCHEMA)
    return Event("D/1", header, [_row("value", sequence)])


def _answer(
    stream: DeviceStream, sequence: int, request: int, *, instance: bytes = _LIFE
) -> list[StreamOutput]:
    header = Header(Kind.REPLY, instance, 1, sequence)
    return stream.snapshot(header, [_row("value", sequence)], request)


def _live(sequence: int = 10) -> DeviceStream:
    stream = DeviceStream()
    assert stream.echo() == [NeedSnapshot(1)]
    assert _answer(stream, sequence, 1) == [Synchronised([_row("value", sequence)], sequence)]
    return stream


def _sequences(outputs: list[StreamOutput]) -> list[int]:
    return [output.sequence for output in outputs if isinstance(output, Changed)]


# -- the table -----------------------------------------------------------------------------------


def test_snapshot_is_asked_for_only_when_the_subscription_is_in_effect() -> None:
    stream = DeviceStream()
    assert stream.event(_event(1)) == []
    assert stream.tail(_LIFE, 1) == []
    assert stream.state is StreamState.UNSYNCED
    assert stream.echo() == [NeedSnapshot(1)]
    assert stream.echo() == []


def test_first_synchronisation_is_no_gap() -> None:
    assert _live(1_000).missed_total == 0


def test_events_in_order_are_handed_on() -> None:
    stream = _live(10)
    assert stream.event(_event(11)) == [Changed([_row("value", 11)], 11)]
    assert stream.event(_event(12, schema=True)) == [SchemaChanged(_SCHEMA)]
    assert stream.sequence == 12


def test_repeated_and_older_events_are_dropped() -> None:
    stream = _live(10)
    assert stream.event(_event(10)) == stream.event(_event(3)) == []
    assert stream.state is StreamState.LIVE


def test_lost_event_is_counted_and_the_kept_ones_are_handed_on_before_the_values() -> None:
    stream = _live(10)
    assert stream.event(_event(13)) == [NeedSnapshot(2)]
    assert stream.event(_event(14)) == stream.event(_event(15)) == []
    outputs = _answer(stream, 14, 2)
    assert outputs == [
        GapFound(2, recovered=False),
        Changed([_row("value", 13)], 13),
        Changed([_row("value", 14)], 14),
        Synchronised([_row("value", 14)], 14),
        Changed([_row("value", 15)], 15),
    ]
    assert (stream.missed_total, stream.sequence) == (2, 15)


def test_event_kept_twice_is_handed_on_once() -> None:
    stream = _live(10)
    for sequence in (13, 13, 14, 13, 14):
        stream.event(_event(sequence))
    outputs = _answer(stream, 14, 2)
    assert outputs[0] == GapFound(2, recovered=False)
    assert _sequences(outputs) == [13, 14]


def test_lost_last_event_is_found_by_the_heartbeat() -> None:
    stream = _live(10)
    assert stream.tail(_LIFE, 10) == []
    assert stream.tail(_LIFE, 12) == [NeedSnapshot(2)]
    assert _answer(stream, 12, 2)[0] == GapFound(2, recovered=False)


def test_heartbeat_that_comes_before_the_snapshot_is_not_forgotten() -> None:
    stream = _live(10)
    stream.event(_event(12))
    assert stream.tail(_LIFE, 13) == []
    assert _answer(stream, 12, 2)[-1] == NeedSnapshot(3)
    assert _answer(stream, 13, 3)[0] == GapFound(1, recovered=False)
    assert stream.missed_total == 2


def test_heartbeat_lost_while_a_snapshot_is_under_way_leads_to_another_one() -> None:
    stream = _live(10)
    stream.event(_event(12))
    assert stream.doubt() == []
    assert _answer(stream, 12, 2)[-1] == NeedSnapshot(3)
    assert _answer(stream, 12, 3) == [Synchronised([_row("value", 12)], 12)]


def test_doubt_without_a_loss_is_no_gap() -> None:
    stream = _live(10)
    assert stream.doubt() == [NeedSnapshot(2)]
    assert _answer(stream, 10, 2) == [Synchronised([_row("value", 10)], 10)]


def test_event_that_overtakes_the_snapshot_is_handed_on_after_it() -> None:
    stream = DeviceStream()
    stream.echo()
    stream.event(_event(5))
    stream.event(_event(6))
    outputs = _answer(stream, 5, 1)
    assert [type(output) for output in outputs] == [Synchronised, Changed]
    assert _sequences(outputs) == [6]


def test_gap_among_the_kept_events_leads_to_another_snapshot() -> None:
    stream = DeviceStream()
    stream.echo()
    stream.event(_event(7))
    stream.event(_event(9))
    assert _answer(stream, 7, 1)[-1] == NeedSnapshot(2)
    assert _answer(stream, 9, 2)[0] == GapFound(1, recovered=False)


def test_restart_is_a_gap_that_nobody_can_count() -> None:
    stream = _live(10)
    assert stream.event(_event(1, instance=_NEXT_LIFE)) == [NeedSnapshot(2)]
    stream.event(_event(2, instance=_NEXT_LIFE))
    outputs = _answer(stream, 1, 2, instance=_NEXT_LIFE)
    assert outputs[0] == GapFound(None, recovered=False)
    assert _sequences(outputs) == [2]
    assert stream.missed_total == 0


def test_restart_of_a_quiet_device_is_found_by_the_heartbeat() -> None:
    assert _live(10).tail(_NEXT_LIFE, 1) == [NeedSnapshot(2)]


def test_late_event_of_the_life_before_changes_nothing() -> None:
    stream = _live(10)
    stream.event(_event(9, instance=_NEXT_LIFE))
    _answer(stream, 9, 2, instance=_NEXT_LIFE)
    stream.event(_event(11))
    outputs = _answer(stream, 9, 3, instance=_NEXT_LIFE)
    assert [type(output) for output in outputs] == [Synchronised]


def test_lost_connection_makes_the_values_stale_once() -> None:
    stream = _live(10)
    assert stream.lost("reset") == [WentStale("reset")]
    assert stream.lost("reset") == []
    assert stream.event(_event(11)) == []


def test_late_stream_is_stale_though_it_misses_nothing() -> None:
    stream = _live(10)
    assert stream.late("old news") == [WentStale("old news")]
    assert stream.late("old news") == []
    assert not stream.is_live
    (changed,) = stream.event(_event(11))
    assert isinstance(changed, Changed)
    assert stream.timely() == [Resumed()]
    assert stream.timely() == []
    assert stream.is_live


def test_late_stream_is_current_only_after_its_repair() -> None:
    stream = _live(10)
    stream.late("old news")
    assert stream.event(_event(12)) == [NeedSnapshot(2)]
    assert stream.timely() == []
    assert isinstance(_answer(stream, 12, 2)[-1], Synchronised)
    assert stream.is_live


def test_what_was_published_while_not_connected_is_missed_exactly() -> None:
    stream = _live(10)
    stream.lost("reset")
    stream.echo()
    assert _answer(stream, 25, 2)[0] == GapFound(15, recovered=False)


def test_answer_from_before_the_connection_was_lost_says_nothing() -> None:
    stream = _live(10)
    stream.event(_event(12))
    stream.lost("silent")
    assert stream.echo() == [NeedSnapshot(3)]
    assert _answer(stream, 12, 2) == []
    assert _answer(stream, 15, 3)[0] == GapFound(5, recovered=False)


def test_answer_that_was_not_asked_for_says_nothing() -> None:
    stream = _live(10)
    assert _answer(stream, 99, 1) == []
    assert stream.sequence == 10


def test_server_that_counts_backwards_cannot_make_events_come_twice() -> None:
    stream = _live(10)
    stream.doubt()
    assert _answer(stream, 3, 2) == [Synchronised([_row("value", 3)], 10)]
    assert stream.event(_event(4)) == []


def test_events_kept_for_a_snapshot_are_bounded_and_the_rest_is_counted() -> None:
    stream = _live(0)
    for sequence in range(2, MAX_KEPT + 102):
        stream.event(_event(sequence))
    outputs = _answer(stream, MAX_KEPT + 101, 2)
    assert outputs[0] == GapFound(101, recovered=False)
    assert len(_sequences(outputs)) == MAX_KEPT


# -- replays -------------------------------------------------------------------------------------


def _replaying(sequence: int = 10) -> DeviceStream:
    stream = DeviceStream(replays=True)
    assert stream.echo() == [NeedSnapshot(1)]
    _answer(stream, sequence, 1)
    return stream


def test_lost_events_are_asked_for_and_handed_on_before_the_kept_ones() -> None:
    stream = _replaying(10)
    assert stream.event(_event(13)) == [NeedReplay(2, 11, _LIFE)]
    assert stream.event(_event(14)) == []
    outputs = stream.replay([_event(11), _event(12), _event(13)], 2, more=False)
    assert outputs[0] == GapFound(2, recovered=True)
    assert _sequences(outputs) == [11, 12, 13, 14]
    assert stream.is_live
    assert (stream.missed_total, stream.recovered_total) == (0, 2)


def test_long_replay_comes_in_parts() -> None:
    stream = _replaying(10)
    stream.event(_event(14))
    outputs = stream.replay([_event(11)], 2, more=True)
    assert outputs[-1] == NeedReplay(3, 12, _LIFE)
    outputs = stream.replay([_event(12), _event(13), _event(14)], 3, more=False)
    assert _sequences(outputs) == [12, 13, 14]
    assert stream.is_live


@pytest.mark.parametrize(
    "answer",
    [None, [], [_event(12)], [_event(11), _event(13)], [_event(11, instance=_NEXT_LIFE)]],
    ids=["forgotten", "nothing", "hole first", "hole", "another life"],
)
def test_replay_that_does_not_help_makes_way_for_a_snapshot(answer: list[Event] | None) -> None:
    stream = _replaying(10)
    stream.event(_event(13))
    assert stream.replay(answer, 2, more=False) == [NeedSnapshot(3)]
    outputs = _answer(stream, 13, 3)
    assert outputs[0] == GapFound(2, recovered=False)


def test_stream_that_comes_back_says_so_and_goes_on_where_it_was() -> None:
    stream = _replaying(10)
    assert stream.lost("reset") == [WentStale("reset")]
    assert stream.echo() == [NeedReplay(2, 11, _LIFE)]
    assert stream.replay([], 2, more=False) == [Resumed()]
    stream.lost("reset")
    stream.echo()
    outputs = stream.replay([_event(11)], 3, more=False)
    assert outputs == [
        GapFound(1, recovered=True),
        Changed([_row("value", 11)], 11),
        Resumed(),
    ]


def test_stream_goes_on_where_an_earlier_process_stopped() -> None:
    stream = DeviceStream(replays=True)
    stream.begin(_LIFE, 10)
    assert stream.event(_event(12)) == []
    assert stream.echo() == [NeedReplay(1, 11, _LIFE)]
    outputs = stream.replay([_event(11), _event(12)], 1, more=False)
    assert outputs[0] == GapFound(2, recovered=True)
    assert _sequences(outputs) == [11, 12]
    assert stream.is_live


def test_stream_that_cannot_go_on_counts_what_an_earlier_process_did_not_see() -> None:
    stream = DeviceStream(replays=True)
    stream.begin(_LIFE, 10)
    stream.echo()
    assert stream.replay(None, 1, more=False) == [NeedSnapshot(2)]
    assert _answer(stream, 15, 2)[0] == GapFound(5, recovered=False)
    other = DeviceStream(replays=True)
    other.begin(_LIFE, 10)
    other.echo()
    other.replay(None, 1, more=False)
    assert _answer(other, 15, 2, instance=_NEXT_LIFE)[0] == GapFound(None, recovered=False)
    assert other.instance == _NEXT_LIFE


def test_stream_knows_whether_something_was_missing_when_the_connection_ended() -> None:
    stream = _replaying(10)
    stream.lost("stopped")
    assert stream.complete
    stream = _replaying(10)
    stream.event(_event(12))
    stream.lost("stopped")
    assert not stream.complete


def test_replay_that_was_not_asked_for_says_nothing() -> None:
    stream = _replaying(10)
    assert stream.replay([_event(11)], 1, more=False) == []
    stream.doubt()
    assert stream.replay([_event(11)], 1, more=False) == []


# -- any pattern of faults -----------------------------------------------------------------------


_PART = 3
"""Events of one answer: small, so that replays come in parts."""


def _publisher(instance: bytes) -> Publisher:
    """Return a publisher that soon forgets."""
    publisher = Publisher(instance, 1)
    publisher.journal = Journal(max_bytes=3_000)
    return publisher


class _Network:
    """A device on a server, and one subscriber that does what a link does.

    Messages wait in two queues, one for the event stream and one for answers, so that any
    interleaving of the two can be tried.
    """

    def __init__(self, *, replays: bool = False) -> None:
        self.lives = 0
        self.values: dict[str, int] = {}
        self.publisher = _publisher(b"S" * 16)
        self.source = EventSource("D/1", _LIFE, 1)
        self.stream = DeviceStream(replays=replays)
        self.now_ns = 0
        self.beats = BeatWatch()
        self.echo = b""
        self.target = self.source.instance
        self.connected = False
        self.events: deque[Message] = deque()
        self.requests: deque[tuple[NeedSnapshot | NeedReplay, bytes]] = deque()
        self.answers: deque[Callable[[], None]] = deque()
        # What the subscriber made of it.
        self.seen: dict[str, int] = {}
        self.life: bytes | None = None
        self.accounted = 0
        self.restarts_seen = 0
        self.restarts_told = 0

    # What the device and its server do.

    def publish(self) -> None:
        self.now_ns += WINDOW_NS
        self._publish()

    def flood(self) -> None:
        """Publish so much at once that some of it waits."""
        for _ in range(AT_ONCE + 3):
            self._publish()

    def release(self) -> None:
        self._send(self.publisher.waiting())

    def _publish(self) -> None:
        value = self.values.get("a", 0) + 1
        self.values["a"] = value
        if value % 3 == 0:
            self.values["b"] = value
        rows = [_row(key, item) for key, item in self.values.items() if item == value]
        self._send(self.publisher.event(self.source, rows, self.now_ns))

    def change_schema(self) -> None:
        self._send(self.publisher.schema(self.source, _SCHEMA.to_wire(), 0))

    def beat(self) -> None:
        self._send(self.publisher.heartbeat(0, lag_s=0.0))

    def restart_device(self) -> None:
        self._send(self.publisher.ended(self.source, 0))
        self.lives += 1
        self.source = EventSource("D/1", b"%16d" % self.lives, 1)
        self.values = {"a": -1_000 * self.lives}

    def restart_server(self) -> None:
        self.disconnect()
        self.restart_device()
        self.publisher = _publisher(b"S%15d" % self.lives)

    def serve(self) -> None:
        if not self.requests:
            return
        request, target = self.requests.popleft()
        if target != self.source.instance:
            self._follow_again(target)
        elif isinstance(request, NeedSnapshot):
            header = Header(Kind.REPLY, self.source.instance, 1, self.source.sequence)
            rows = [_row(key, value) for key, value in self.values.items()]
            number = request.request
            self.answers.append(
                lambda: self.take(self.stream.snapshot(header, rows, number), header.instance)
            )
        else:
            self._serve_replay(request)

    def _serve_replay(self, request: NeedReplay) -> None:
        answer = None
        if request.instance == self.source.instance:
            answer = decode(encode(self.publisher.replay(self.source, request.first)))
        found = parse_replay("D/1", self.source.instance, answer)
        events, more = (None, False) if found is None else found
        if events is not None and len(events) > _PART:
            events, more = events[:_PART], True
        self.answers.append(
            lambda: self.take(self.stream.replay(events, request.request, more=more))
        )

    def _send(self, messages: list[Message]) -> None:
        if self.connected:
            self.events.extend(messages)

    # What the network does.

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.beats = BeatWatch()
            self.target = self.source.instance
            self.subscribe()

    def disconnect(self) -> None:
        self.connected = False
        self.events.clear()
        self.requests.clear()
        self.answers.clear()
        self.take(self.stream.lost("reset"))

    def deliver(self) -> None:
        if self.events:
            self._received(self.events.popleft())

    def drop(self) -> None:
        if self.events:
            self.events.popleft()

    def repeat(self) -> None:
        if self.events:
            self._received(self.events[0])

    def answer(self) -> None:
        if self.answers:
            self.answers.popleft()()

    # What the subscriber's link does.

    def subscribe(self) -> None:
        """Subscribe, again when the server had been silent or the echo did not come."""
        if not self.connected:
            return
        self.take(self.stream.lost("silent"))
        self.echo = echo_topic(b"%d" % len(self.echo))
        answer = self.publisher.subscribed(b"\x01" + self.echo)
        assert answer is not None
        self._send(answer)

    def _follow_again(self, target: bytes) -> None:
        """The life that was followed is over: look up the present one and follow it."""
        if target == self.target:
            self.target = self.source.instance
            self.subscribe()

    def _received(self, frames: list[Frame]) -> None:
        message = parse_published(frames)
        if isinstance(message, Heartbeat | Echo) and self.beats.lost(message):
            self.take(self.stream.doubt())
        if isinstance(message, Event | Events):
            self._changed(message)
        elif isinstance(message, Ending):
            self._follow_again(message.instance)
        elif isinstance(message, Heartbeat):
            for ending in message.ended:
                self._follow_again(ending.instance)
            for tail in message.tails:
                self.take(self.stream.tail(tail.instance, tail.sequence))
        elif isinstance(message, Echo) and message.topic == self.echo:
            self.take(self.stream.echo())

    def _changed(self, message: Event | Events) -> None:
        if isinstance(message, Events):
            self.take(self.stream.events(message))
        else:
            self.take(self.stream.event(message))

    def take(self, outputs: list[StreamOutput], instance: bytes | None = None) -> None:
        for output in outputs:
            if isinstance(output, NeedSnapshot | NeedReplay):
                self.requests.append((output, self.target))
            elif isinstance(output, Changed):
                self.accounted += 1
                self.seen |= {row[0]: row[1] for row in output.rows}
            elif isinstance(output, SchemaChanged):
                self.accounted += 1
            elif isinstance(output, GapFound):
                self._gap(output)
            elif isinstance(output, Synchronised):
                self._synchronised(output, instance)
        if self.life is not None:
            assert self.accounted == self.stream.sequence

    def _gap(self, gap: GapFound) -> None:
        if gap.recovered:  # its events follow, and are counted then
            return
        if gap.missed is None:
            self.restarts_told += 1
        else:
            assert gap.missed > 0
            self.accounted += gap.missed

    def _synchronised(self, output: Synchronised, instance: bytes | None) -> None:
        self.seen = {row[0]: row[1] for row in output.rows}
        if instance != self.life:
            self.restarts_seen += self.life is not None
            self.life = instance
            self.accounted = output.sequence

    def settle(self) -> int:
        """End all faults, beat once, and return how many snapshots it took to agree."""
        self.connect()
        if self.stream.state is StreamState.UNSYNCED:
            self.subscribe()
        self.beat()
        snapshots = 0
        while self.events or self.requests or self.answers:
            self.deliver()
            snapshots += len(self.requests)
            self.serve()
            self.answer()
        return snapshots


_STEPS = {
    _Network.publish: 6,
    _Network.flood: 1,
    _Network.release: 1,
    _Network.deliver: 8,
    _Network.drop: 3,
    _Network.repeat: 1,
    _Network.beat: 2,
    _Network.serve: 3,
    _Network.answer: 3,
    _Network.connect: 2,
    _Network.subscribe: 1,
    _Network.disconnect: 1,
    _Network.change_schema: 1,
    _Network.restart_device: 1,
    _Network.restart_server: 1,
}
_ANY_STEPS = st.lists(
    st.sampled_from([step for step, weight in _STEPS.items() for _ in range(weight)]),
    max_size=120,
)


@settings(max_examples=400)
@given(_ANY_STEPS, st.booleans())
def test_every_event_is_handed_on_or_reported_and_values_agree_in_the_end(
    steps: list[Any], replays: bool
) -> None:
    network = _Network(replays=replays)
    network.connect()
    for step in steps:
        step(network)
    network.settle()
    assert network.stream.state is StreamState.LIVE
    assert network.seen == network.values
    assert network.life == network.source.instance
    assert network.accounted == network.source.sequence
    assert network.restarts_told == network.restarts_seen


@settings(max_examples=100)
@given(_ANY_STEPS, st.booleans())
def test_subscriber_that_agrees_asks_for_nothing(steps: list[Any], replays: bool) -> None:
    network = _Network(replays=replays)
    for step in steps:
        step(network)
    network.settle()
    assert network.settle() == 0


@pytest.mark.parametrize("lost", range(8))
def test_one_lost_message_of_a_burst_is_reported_whichever_it_is(lost: int) -> None:
    network = _Network()
    network.connect()
    network.settle()
    for number in range(8):
        network.publish()
        (network.drop if number == lost else network.deliver)()
    network.settle()
    assert network.stream.missed_total == 1
    assert network.seen == network.values


def test_lost_last_event_is_found_though_the_heartbeat_that_told_it_is_lost_too() -> None:
    network = _Network()
    network.connect()
    network.settle()
    network.publish()
    network.drop()
    network.beat()
    network.drop()
    network.settle()
    assert network.seen == network.values
    assert network.stream.missed_total == 1
