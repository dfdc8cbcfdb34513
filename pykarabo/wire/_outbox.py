"""What a publisher has to send: a few events leave at once, many leave together.

An event that leaves alone costs both ends more in sockets and wake-ups than it costs to work on.
As long as few events are published in a millisecond each leaves at once, because somebody may
wait for it. When they come faster, they wait for the end of the millisecond; those of one stream
that follow each other are then one message. All leave in the order in which they were published.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from ._header import Frame

AT_ONCE: Final = 4
"""Events of a window that do not wait: a scan's moving motor never does, a flood soon will."""
WINDOW_NS: Final = 1_000_000
"""What is published this long ago at most may wait; timers of event loops are no finer."""
MAX_WAITING: Final = 64
"""So many that wait leave without waiting longer: the other end can begin to work on them."""
MAX_TOGETHER: Final = 8 * 1024
"""Bytes of events that wait: larger ones gain little, and a queue in front of a stalled subscriber
counts messages, not bytes. A larger event leaves alone: it may be as large as a message can be."""

Message = list[Frame]


class Numbered(NamedTuple):
    """An event that is ready to leave.

    Attributes:
        topic: of its stream.
        instance, epoch: of the life of the device, or of the stream with a choice.
        sequence: its number in the stream.
        body: its frames.
        sent_ns: the sender's monotonic clock when it was published.
    """

    topic: bytes
    instance: bytes
    epoch: int
    sequence: int
    body: list[Frame]
    sent_ns: int


class Outbox:
    """Keeps events until they are to leave, in their order.

    Args:
        compose: makes one message of events of one stream that follow each other.

    Attributes:
        due_ns: when `take` is to be called, on the clock of the events; None when nothing waits.
    """

    __slots__ = ("_bytes", "_compose", "_count", "_from_ns", "_holding", "_waiting", "due_ns")

    def __init__(self, compose: Callable[[list[Numbered]], Message]) -> None:
        self._compose = compose
        self._waiting: list[Numbered] = []
        self._bytes = 0
        self._from_ns = 0
        self._count = 0
        self._holding = False
        self.due_ns: int | None = None

    def add(self, event: Numbered) -> list[Message]:
        """Take an event; returns what is to be sent now."""
        now_ns = event.sent_ns
        if now_ns - self._from_ns >= WINDOW_NS:
            self._holding = self._count > AT_ONCE and now_ns - self._from_ns < 2 * WINDOW_NS
            self._from_ns, self._count = now_ns, 0
        self._count += 1
        if not self._holding and self._count <= AT_ONCE and not self._waiting:
            return [self._compose([event])]
        self._waiting.append(event)
        self._bytes += sum(map(len, event.body))
        if len(self._waiting) >= MAX_WAITING or self._bytes > MAX_TOGETHER:
            return self.take()
        if self.due_ns is None:
            self.due_ns = now_ns + WINDOW_NS
        return []

    def take(self) -> list[Message]:
        """Return all that waits; it is to be sent now."""
        self.due_ns = None
        if not self._waiting:
            return []
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        messages: list[Message] = []
        run: list[Numbered] = []
        for event in waiting:
            if run and not _follows(event, run[-1]):
                messages.append(self._compose(run))
                run = []
            run.append(event)
        messages.append(self._compose(run))
        return messages


def _follows(event: Numbered, before: Numbered) -> bool:
    """Whether two events may travel as one message: small ones, next to each other in a stream."""
    return (
        event.topic == before.topic
        and event.instance == before.instance
        and event.sequence == before.sequence + 1
        and len(event.body) == len(before.body) == 1
        and len(event.body[0]) <= MAX_TOGETHER
        and len(before.body[0]) <= MAX_TOGETHER
    )
