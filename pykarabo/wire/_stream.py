"""The receiving side of one device's event stream: every loss is seen, counted and repaired.

No I/O happens here. The driver hands in echoes, snapshots, events and heartbeats; the stream says
what to do next. Subscribing on ZeroMQ takes effect some time after the call returns, so the
stream first waits for an echo of its subscription, then asks for a snapshot and throws away the
events that the snapshot contains already.

==============  =====================  ============================================  ==========
state           input                  what follows                                  next state
==============  =====================  ============================================  ==========
UNSYNCED        echo                   ask for a snapshot                            SNAPSHOT
SNAPSHOT        event                  kept until the snapshot is there              same
SNAPSHOT        snapshot               what was lost since the last event handed on  LIVE
                                       is counted; kept events, all values, kept
                                       events that are newer are handed on
SNAPSHOT        tail, doubt            kept until the snapshot is there              same
LIVE            next event             its values are handed on                      same
LIVE            later event            something is missing; ask for a snapshot      SNAPSHOT
LIVE            event of another life  the device was restarted; ask for a snapshot  SNAPSHOT
LIVE            heartbeat, tail ahead  something is missing; ask for a snapshot      SNAPSHOT
LIVE            doubt                  heartbeats are missing; ask for a snapshot    SNAPSHOT
any             lost                   values are stale                              UNSYNCED
==============  =====================  ============================================  ==========

Handed on plus reported as missed is exactly what one life of the device has published. The loss
at a restart is "unknown": what a killed process had not yet sent, nobody can count. An event
older than the latest one is dropped: the network may repeat, the device never does.
"""

from collections import deque
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from ._header import Header
from ._publisher import Event, Row

MAX_KEPT: Final = 10_000
"""Events kept while a snapshot is under way; above it they are dropped and asked for again."""


class StreamState(StrEnum):
    """Where a stream stands; see the table above."""

    UNSYNCED = "unsynced"
    SNAPSHOT = "snapshot"
    LIVE = "live"


class NeedSnapshot(NamedTuple):
    """Ask the device for all its values; `request` goes back with the answer."""

    request: int


class Changed(NamedTuple):
    """New values of the device, complete up to `sequence`."""

    rows: list[Row]
    sequence: int


class Synchronised(NamedTuple):
    """All values of the device; from here on the stream is live."""

    rows: list[Row]
    sequence: int


class GapFound(NamedTuple):
    """Events were lost: `missed` of them, None when nobody can know how many.

    `recovered` is True when each lost event was delivered after all, and False when only the
    present values could be restored.
    """

    missed: int | None
    recovered: bool


class SchemaChanged(NamedTuple):
    """The device has another schema now."""


class WentStale(NamedTuple):
    """The values known so far may be wrong from now on."""

    reason: str


StreamOutput: TypeAlias = (
    NeedSnapshot | Changed | Synchronised | GapFound | SchemaChanged | WentStale
)


class DeviceStream:
    """The subscriber's state machine for one device.

    Attributes:
        state: where the stream stands.
        sequence: number of the latest event that was handed on.
        missed_total: how many events of known number were lost since the stream was made.
    """

    __slots__ = (
        "_doubted",
        "_instance",
        "_kept",
        "_request",
        "_tail",
        "missed_total",
        "sequence",
        "state",
    )

    def __init__(self) -> None:
        self.state = StreamState.UNSYNCED
        self.sequence = 0
        self.missed_total = 0
        self._instance: bytes | None = None
        self._kept: deque[Event] = deque()
        self._request = 0
        # What heartbeats told, or may have told, since the snapshot was asked for.
        self._tail: tuple[bytes, int] | None = None
        self._doubted = False

    def echo(self) -> list[StreamOutput]:
        """The publisher has our subscription."""
        if self.state is not StreamState.UNSYNCED:
            return []
        return self._ask()

    def _ask(self) -> list[StreamOutput]:
        self.state = StreamState.SNAPSHOT
        self._request += 1
        self._tail = None
        self._doubted = False
        return [NeedSnapshot(self._request)]

    def event(self, event: Event) -> list[StreamOutput]:
        """Take an event of the device."""
        if self.state is StreamState.LIVE:
            return self._live(event)
        if self.state is StreamState.SNAPSHOT and len(self._kept) < MAX_KEPT:
            self._kept.append(event)
        return []

    def _live(self, event: Event) -> list[StreamOutput]:
        header = event.header
        if header.instance == self._instance:
            step = header.sequence - self.sequence
            if step == 1:
                return [self._hand_on(event)]
            if step < 1:
                return []
        self._kept.append(event)
        return self._ask()

    def _hand_on(self, event: Event) -> StreamOutput:
        self.sequence = event.header.sequence
        if event.rows is None:
            return SchemaChanged()
        return Changed(event.rows, self.sequence)

    def tail(self, instance: bytes, sequence: int) -> list[StreamOutput]:
        """Take the latest number of the device from a heartbeat."""
        if self.state is not StreamState.LIVE:
            self._tail = (instance, sequence)
            return []
        if instance != self._instance or sequence > self.sequence:
            return self._ask()
        return []

    def doubt(self) -> list[StreamOutput]:
        """Heartbeats of the server were lost; one may have told of an event that was lost too."""
        if self.state is not StreamState.LIVE:
            self._doubted = True
            return []
        return self._ask()

    def snapshot(self, header: Header, rows: list[Row], request: int) -> list[StreamOutput]:
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
        outputs.append(Synchronised(rows, self.sequence))
        for event in ours:
            if event.header.sequence > header.sequence:
                outputs.extend(self.event(event))
        outputs.extend(self._look_back())
        return outputs

    def _look_back(self) -> list[StreamOutput]:
        """Consider what heartbeats told while the snapshot was under way."""
        if self.state is not StreamState.LIVE:
            return []
        if self._doubted:
            return self._ask()
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

    def lost(self, reason: str) -> list[StreamOutput]:
        """The connection is gone, or the server does not answer any more."""
        if self.state is StreamState.UNSYNCED:
            return []
        self.state = StreamState.UNSYNCED
        self._kept.clear()
        return [WentStale(reason)]
