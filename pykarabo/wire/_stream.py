"""The receiving side of one event stream: every loss is seen, counted and repaired.

No I/O happens here. The driver hands in echoes, snapshots, replays, events and heartbeats; the
stream says what to do next. Subscribing on ZeroMQ takes effect some time after the call returns,
so the stream first waits for an echo of its subscription, then asks for a snapshot and throws
away the events that the snapshot contains already.

What was lost is asked for in one of two ways. A stream that `replays` (an archive, a watcher)
asks for the lost events themselves and hands them on late but complete; only if the server has
forgotten them, it makes do with a snapshot of the present values. Any other stream (a display)
asks for the snapshot at once.

==============  =====================  ============================================  ==========
state           input                  what follows                                  next state
==============  =====================  ============================================  ==========
UNSYNCED        echo                   ask for a snapshot                            SNAPSHOT
UNSYNCED        echo, after a loss,    ask for what came since                       REPLAY
                of a replaying stream
SNAPSHOT        event                  kept until the snapshot is there              same
SNAPSHOT        snapshot               what was lost since the last event handed on  LIVE
                                       is counted; kept events, all values, kept
                                       events that are newer are handed on
REPLAY          event                  kept until the replay is there                same
REPLAY          replay                 lost events, then the kept ones, are handed   LIVE
                                       on; if there are more, the rest is asked for
REPLAY          no replay              the server has forgotten them: ask for a      SNAPSHOT
                                       snapshot
SNAPSHOT,       tail, doubt            kept until the answer is there                same
REPLAY
LIVE            next event             its values are handed on                      same
LIVE            later event            something is missing: repair                  (repair)
LIVE            event of another life  the device was restarted: ask for a snapshot  SNAPSHOT
LIVE            tail ahead             something is missing: repair                  (repair)
LIVE            doubt                  heartbeats are missing: repair                (repair)
any             lost                   values are stale                              UNSYNCED
any             late                   values are stale, but none is missing         same
LIVE            timely                 values are current again                      same
==============  =====================  ============================================  ==========

Handed on plus reported as missed is exactly what one life of the device has published. The loss
at a restart is "unknown": what a killed process had not yet sent, nobody can count. An event
older than the latest one is dropped: the network may repeat, the device never does.
"""

from collections import deque
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from pykarabo.data import Row, Schema

from ._header import Header
from ._publisher import Event, Events

MAX_KEPT: Final = 10_000
"""Events kept while an answer is under way; above it they are dropped and asked for again."""


class StreamState(StrEnum):
    """Where a stream stands; see the table above."""

    UNSYNCED = "unsynced"
    SNAPSHOT = "snapshot"
    REPLAY = "replay"
    LIVE = "live"


class NeedSnapshot(NamedTuple):
    """Ask the device for all its values; `request` goes back with the answer."""

    request: int


class NeedReplay(NamedTuple):
    """Ask the server for the events from number `first` on; `request` goes back with them.

    They are those of the life `instance`; another one has not got them.
    """

    request: int
    first: int
    instance: bytes


class Changed(NamedTuple):
    """New values of the device, complete up to `sequence`."""

    rows: list[Row]
    sequence: int


class Synchronised(NamedTuple):
    """All values of the device, and its schema if it was asked for; the stream is live now."""

    rows: list[Row]
    sequence: int
    schema: Schema | None = None


class Resumed(NamedTuple):
    """The values handed on so far are current again: nothing is missing."""


class GapFound(NamedTuple):
    """Events were lost: `missed` of them, None when nobody can know how many.

    `recovered` is True when the lost events follow, late, and False when only the present values
    could be restored.
    """

    missed: int | None
    recovered: bool


class SchemaChanged(NamedTuple):
    """The device has another schema now; new values come after it."""

    schema: Schema


class WentStale(NamedTuple):
    """The values known so far may be wrong from now on."""

    reason: str


StreamOutput: TypeAlias = (
    NeedSnapshot
    | NeedReplay
    | Changed
    | Synchronised
    | Resumed
    | GapFound
    | SchemaChanged
    | WentStale
)


class DeviceStream:
    """The subscriber's state machine for one stream.

    Args:
        replays: ask for lost events themselves, not just for the present values.

    Attributes:
        state: where the stream stands.
        sequence: number of the latest event that was handed on.
        complete: whether nothing was missing when the connection was lost.
        missed_total: how many events of known number were lost since the stream was made.
        recovered_total: how many were lost and handed on after all.
    """

    __slots__ = (
        "_doubted",
        "_instance",
        "_kept",
        "_replays",
        "_request",
        "_stale",
        "_tail",
        "complete",
        "missed_total",
        "recovered_total",
        "sequence",
        "state",
    )

    def __init__(self, *, replays: bool = False) -> None:
        self.state = StreamState.UNSYNCED
        self.sequence = 0
        self.complete = False
        self.missed_total = 0
        self.recovered_total = 0
        self._replays = replays
        self._instance: bytes | None = None
        self._kept: deque[Event] = deque()
        self._request = 0
        self._stale = True
        # What heartbeats told, or may have told, since the answer was asked for.
        self._tail: tuple[bytes, int] | None = None
        self._doubted = False

    @property
    def instance(self) -> bytes | None:
        """The life of the device that the events handed on are of; None before the first."""
        return self._instance

    @property
    def is_live(self) -> bool:
        """Whether what was handed on is current."""
        return self.state is StreamState.LIVE and not self._stale

    def begin(self, instance: bytes, sequence: int) -> None:
        """Go on after event `sequence` of a life, as if all before it had been handed on."""
        self._instance, self.sequence = instance, sequence

    def echo(self) -> list[StreamOutput]:
        """The publisher has our subscription."""
        if self.state is not StreamState.UNSYNCED:
            return []
        return self._repair()

    def _repair(self) -> list[StreamOutput]:
        if not self._replays or self._instance is None:
            return self._ask()
        self._await(StreamState.REPLAY)
        return [NeedReplay(self._request, self.sequence + 1, self._instance)]

    def _ask(self) -> list[StreamOutput]:
        self._await(StreamState.SNAPSHOT)
        return [NeedSnapshot(self._request)]

    def _await(self, state: StreamState) -> None:
        self.state = state
        self._request += 1
        self._tail = None
        self._doubted = False

    def event(self, event: Event) -> list[StreamOutput]:
        """Take an event of the stream."""
        if self.state is StreamState.LIVE:
            return self._live(event)
        if self.state is not StreamState.UNSYNCED and len(self._kept) < MAX_KEPT:
            self._kept.append(event)
        return []

    def events(self, events: Events) -> list[StreamOutput]:
        """Take several events of the stream that follow each other."""
        _stream, header, changes = events
        first = header.sequence
        ours = self.state is StreamState.LIVE and header.instance == self._instance
        if ours and first == self.sequence + 1:
            self.sequence += len(changes)
            return [Changed(rows, number) for number, rows in enumerate(changes, first)]
        outputs: list[StreamOutput] = []
        for event in events.each():
            outputs.extend(self.event(event))
        return outputs

    def _live(self, event: Event) -> list[StreamOutput]:
        header = event.header
        ours = header.instance == self._instance
        if ours:
            step = header.sequence - self.sequence
            if step == 1:
                return [self._hand_on(event)]
            if step < 1:
                return []
        self._kept.append(event)
        return self._repair() if ours else self._ask()

    def _hand_on(self, event: Event) -> StreamOutput:
        self.sequence = event.header.sequence
        if event.schema is not None:
            return SchemaChanged(event.schema)
        return Changed(event.rows or [], self.sequence)

    def tail(self, instance: bytes, sequence: int) -> list[StreamOutput]:
        """Take the latest number of the stream from a heartbeat."""
        if self.state is not StreamState.LIVE:
            self._tail = (instance, sequence)
            return []
        if instance != self._instance:
            return self._ask()
        return self._repair() if sequence > self.sequence else []

    def doubt(self) -> list[StreamOutput]:
        """Heartbeats of the server were lost; one may have told of an event that was lost too."""
        if self.state is not StreamState.LIVE:
            self._doubted = True
            return []
        return self._repair()

    # -- answers --------------------------------------------------------------------------------

    def snapshot(
        self, header: Header, rows: list[Row], request: int, schema: Schema | None = None
    ) -> list[StreamOutput]:
        """Take the answer to a `NeedSnapshot`: all values, true at `header.sequence`.

        An answer that is not the latest request's is too old and says nothing.
        """
        if self.state is not StreamState.SNAPSHOT or request != self._request:
            return []
        kept, self._kept = self._kept, deque()
        ours = [event for event in kept if event.header.instance == header.instance]
        outputs = self._account(header, ours)
        restarted = header.instance != self._instance
        self._instance = header.instance
        self.sequence = header.sequence if restarted else max(header.sequence, self.sequence)
        self.state = StreamState.LIVE
        self._stale = False
        outputs.append(Synchronised(rows, self.sequence, schema))
        for event in ours:
            if event.header.sequence > header.sequence:
                outputs.extend(self.event(event))
        outputs.extend(self._look_back())
        return outputs

    def replay(self, events: list[Event] | None, request: int, *, more: bool) -> list[StreamOutput]:
        """Take the answer to a `NeedReplay`: the events in order, None if they were forgotten."""
        if self.state is not StreamState.REPLAY or request != self._request:
            return []
        if events is None or not self._continue(events) or (not events and self._lacks()):
            return self._ask()
        here = self._kept_numbers()
        late = sum(event.header.sequence not in here for event in events)
        outputs: list[StreamOutput] = []
        if late:
            self.recovered_total += late
            outputs.append(GapFound(late, recovered=True))
        outputs.extend(self._hand_on(event) for event in events)
        return outputs + (self._repair() if more else self._go_on())

    def _continue(self, events: list[Event]) -> bool:
        """Whether `events` are the next ones, without a hole."""
        return all(
            event.header.sequence == number and event.header.instance == self._instance
            for number, event in enumerate(events, self.sequence + 1)
        )

    def _kept_numbers(self) -> set[int]:
        return {
            event.header.sequence for event in self._kept if event.header.instance == self._instance
        }

    def _lacks(self) -> bool:
        """Whether something is missing before the kept events."""
        newer = [number for number in self._kept_numbers() if number > self.sequence]
        return bool(newer) and min(newer) > self.sequence + 1

    def _go_on(self) -> list[StreamOutput]:
        """Be live again after a replay, with the events that came meanwhile."""
        kept, self._kept = self._kept, deque()
        self.state = StreamState.LIVE
        outputs = self.timely()
        for event in kept:
            outputs.extend(self.event(event))
        outputs.extend(self._look_back())
        return outputs

    def _look_back(self) -> list[StreamOutput]:
        """Consider what heartbeats told while the answer was under way."""
        if self.state is not StreamState.LIVE:
            return []
        if self._doubted:
            return self._repair()
        tail, self._tail = self._tail, None
        return self.tail(*tail) if tail is not None else []

    def _account(self, header: Header, kept: list[Event]) -> list[StreamOutput]:
        """Say what was lost up to the snapshot, and hand on what was kept of it."""
        if self._instance is None:
            return []
        if header.instance != self._instance:
            return [GapFound(None, recovered=False)]
        between: list[Event] = []
        latest = self.sequence
        for event in kept:
            if latest < event.header.sequence <= header.sequence:
                between.append(event)
                latest = event.header.sequence
        missed = header.sequence - self.sequence - len(between)
        outputs: list[StreamOutput] = []
        if missed > 0:
            self.missed_total += missed
            outputs.append(GapFound(missed, recovered=False))
        outputs.extend(self._hand_on(event) for event in between)
        return outputs

    def late(self, reason: str) -> list[StreamOutput]:
        """What arrives was sent long ago, or nothing arrives: nobody knows the present values."""
        if self._stale:
            return []
        self._stale = True
        return [WentStale(reason)]

    def timely(self) -> list[StreamOutput]:
        """What arrives is fresh: values are current, unless something is being repaired."""
        if self.state is not StreamState.LIVE or not self._stale:
            return []
        self._stale = False
        return [Resumed()]

    def lost(self, reason: str) -> list[StreamOutput]:
        """The connection is gone, or the server does not answer any more."""
        if self.state is StreamState.UNSYNCED:
            return []
        self.complete = self.state is StreamState.LIVE
        self.state = StreamState.UNSYNCED
        self._kept.clear()
        return self.late(reason)
