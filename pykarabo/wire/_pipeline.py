"""Pipelines: bulk data from one output to many inputs, with credits.

No I/O happens here. An input grants credits; an output sends an item to an input only against a
credit, so that no more than the granted number of items is ever under way or in memory. What
happens to an input without credit is the input's own choice: ``wait`` holds the writer until
there is credit, ``drop`` goes on without it. Items are numbered per output, so an input counts
exactly what it did not get, and the output counts the same per input.

========  ====================================================================================
message   meaning
========  ====================================================================================
ATTACH    input -> output: device, output, policy, credits
ATTACHED  output -> input: the present item number and the description of the items
ITEM      output -> input: number, time stamp, values; uses one credit
CREDIT    input -> output: so many more; with 0 it only says "I am alive"
END       output -> input: no more items; carries the last number
DETACH    either way: clean goodbye
PROBE     output -> input: nothing; if it cannot be delivered the input is gone
========  ====================================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.data import Limits, Timestamp, decode, encode
from pykarabo.errors import BadConfigurationError, MalformedMessageError, PykaraboError

from ._checks import MAX_ITEM_ARRAY, check_size, is_map, is_names, is_number, is_stamp
from ._header import Frame, Header, Kind, pack, unpack

KEEPALIVE_S: Final = 1.0
SILENT_AFTER_S: Final = 6.0
"""An input that was silent for so long is detached; a frozen one must not hold a writer."""
_ITEM_FIELDS: Final = 3
MAX_ITEM_ARRAYS: Final = 254
"""One item may carry the modules of a large detector as arrays of their own."""
ITEM_LIMITS: Final = Limits(max_frames=MAX_ITEM_ARRAYS + 2)


class Policy(StrEnum):
    """What the output does with an input that has no credit."""

    WAIT = "wait"
    DROP = "drop"


class Attach(NamedTuple):
    """The body of ATTACH."""

    device: str
    output: str
    policy: str
    credits: int


@dataclass(slots=True)
class Consumer:
    """One attached input, as the output sees it."""

    peer: bytes
    policy: Policy
    credit: int
    seen_ns: int
    sent: int = 0
    dropped: int = 0


def parse_attach(body: object) -> Attach:
    """Rebuild an ATTACH from its body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(Attach._fields):
        device, output, policy, credit = body[: len(Attach._fields)]
        if is_names([device, output, policy]) and is_number(credit) and credit > 0:
            return Attach(device, output, policy, credit)
    raise MalformedMessageError(
        "a pipeline input did not say what it wants", remedy="update pykarabo on its side"
    )


class PipelineOutput:
    """The sending side of one output channel.

    Attributes:
        sequence: number of the latest item.
        dropped: how many items were not sent to how many inputs, added up, since the start.
    """

    def __init__(
        self,
        device_id: str,
        name: str,
        *,
        instance: bytes,
        epoch: int,
        description: Mapping[str, Any],
        checksum: bool = False,
    ) -> None:
        self.device_id = device_id
        self.name = name
        self.sequence = 0
        self.dropped = 0
        self._instance = instance
        self._epoch = epoch
        self._description = dict(description)
        self._checksum = checksum
        self._consumers: dict[bytes, Consumer] = {}

    @property
    def consumers(self) -> Sequence[Consumer]:
        """The attached inputs."""
        return list(self._consumers.values())

    def describe(self, description: Mapping[str, Any]) -> None:
        """Replace the description of the items for inputs that attach from now on."""
        self._description = dict(description)

    def attach(self, peer: bytes, attach: Attach, now_ns: int) -> list[Frame]:
        """Take an input; returns the ATTACHED.

        Raises:
            BadConfigurationError: the policy is unknown.
        """
        try:
            policy = Policy(attach.policy)
        except ValueError:
            raise BadConfigurationError(
                f"output '{self.name}' knows no policy '{attach.policy}'",
                device=self.device_id,
                remedy=f"use one of {', '.join(Policy)}",
            ) from None
        self._consumers[peer] = Consumer(peer, policy, attach.credits, now_ns)
        header = self._header(Kind.ATTACHED)
        return pack(header, encode(self._description), checksum=self._checksum)

    def _header(self, kind: Kind) -> Header:
        return Header(kind, self._instance, self._epoch, self.sequence)

    def credit(self, peer: bytes, amount: int, now_ns: int) -> None:
        """Take credits, or with 0 a sign of life, of an attached input."""
        consumer = self._consumers.get(peer)
        if consumer is not None:
            consumer.credit += amount
            consumer.seen_ns = now_ns

    def detach(self, peer: bytes) -> None:
        """Forget an input; what it did not get is no longer its business."""
        self._consumers.pop(peer, None)

    def blocking(self) -> list[bytes]:
        """Return the inputs that hold the writer: policy wait and no credit."""
        return [
            consumer.peer
            for consumer in self._consumers.values()
            if consumer.policy is Policy.WAIT and consumer.credit <= 0
        ]

    def silent(self, now_ns: int) -> list[bytes]:
        """Return the inputs that gave no sign of life for `SILENT_AFTER_S`."""
        limit_ns = now_ns - int(SILENT_AFTER_S * 1e9)
        return [peer for peer, consumer in self._consumers.items() if consumer.seen_ns < limit_ns]

    def item(
        self, data: Mapping[str, Any], timestamp: Timestamp, source: str
    ) -> tuple[list[bytes], list[Frame]]:
        """Number an item; returns the peers that get it and the frames for each of them.

        Nobody may hold the writer when this is called: `blocking` is empty.

        Raises:
            LimitExceededError: the item is too large; it was not numbered.
        """
        body = encode([source, list(timestamp), dict(data)], max_frames=MAX_ITEM_ARRAYS)
        check_size(body, f"an item of '{source}'", device=self.device_id, largest=MAX_ITEM_ARRAY)
        self.sequence += 1
        peers: list[bytes] = []
        for consumer in self._consumers.values():
            if consumer.credit > 0:
                consumer.credit -= 1
                consumer.sent += 1
                peers.append(consumer.peer)
            else:
                consumer.dropped += 1
                self.dropped += 1
        return peers, pack(self._header(Kind.ITEM), body, checksum=self._checksum)

    def end_of_stream(self) -> tuple[list[bytes], list[Frame]]:
        """Return the END for every input; it needs no credit."""
        frames = pack(self._header(Kind.END_OF_STREAM), [], checksum=self._checksum)
        return list(self._consumers), frames

    def farewell(self) -> list[Frame]:
        """Return the DETACH that tells an input that the output is gone."""
        return pack(self._header(Kind.DETACH), [], checksum=self._checksum)

    def probe(self) -> list[Frame]:
        """Return a message that says nothing; its delivery tells whether the input exists."""
        return pack(self._header(Kind.PROBE), [], checksum=self._checksum)


class Opened(NamedTuple):
    """The input is attached; `description` tells what the items hold."""

    description: dict[str, Any]


class Item(NamedTuple):
    """One item; `missed` items of the output were dropped before it."""

    source: str
    timestamp: Timestamp
    data: dict[str, Any]
    sequence: int
    missed: int


class Ended(NamedTuple):
    """The output has no more items; `missed` were dropped since the last one received."""

    missed: int


class Refused(NamedTuple):
    """The output cannot be attached to."""

    error: PykaraboError


class Closed(NamedTuple):
    """The output is gone; it may come back."""


InputEvent: TypeAlias = Opened | Item | Ended | Refused | Closed | None


class PipelineInput:
    """The receiving side of one connection to an output.

    Attributes:
        received: items received.
        missed: items of the output that were dropped for this input.
    """

    def __init__(self, attach: Attach, instance: bytes, *, checksum: bool = False) -> None:
        self.attach = attach
        self.received = 0
        self.missed = 0
        self._instance = instance
        self._checksum = checksum
        self._sequence: int | None = None

    def hello(self) -> list[Frame]:
        """Return the ATTACH to send when the transport is connected."""
        header = Header(Kind.ATTACH, self._instance)
        return pack(header, encode(list(self.attach)), checksum=self._checksum)

    def grant(self, amount: int) -> list[Frame]:
        """Return the message that grants credits; 0 says "I am alive"."""
        header = Header(Kind.CREDIT, self._instance, sequence=amount)
        return pack(header, [], checksum=self._checksum)

    def goodbye(self) -> list[Frame]:
        """Return the DETACH."""
        return pack(Header(Kind.DETACH, self._instance), [], checksum=self._checksum)

    def receive(self, frames: list[Frame]) -> InputEvent:
        """Take one message of the output; None for one that says nothing.

        Raises:
            MalformedMessageError, LimitExceededError, VersionMismatchError: drop it, count it.
        """
        header = unpack(frames)
        if header.kind == Kind.ERROR:
            body = decode(frames[1:])
            return Refused(PykaraboError.from_wire(body if is_map(body) else {}))
        if header.instance != self._instance:
            return None
        if header.kind == Kind.ITEM:
            return self._item(header, decode(frames[1:], ITEM_LIMITS))
        return self._event(header, frames)

    def _event(self, header: Header, frames: list[Frame]) -> InputEvent:
        if header.kind == Kind.ATTACHED:
            self._sequence = header.sequence
            description = decode(frames[1:])
            return Opened(description if is_map(description) else {})
        if header.kind == Kind.END_OF_STREAM:
            return Ended(self._count(header.sequence))
        return Closed() if header.kind == Kind.DETACH else None

    def _item(self, header: Header, body: object) -> Item | None:
        if not isinstance(body, list) or len(body) < _ITEM_FIELDS:
            raise self._malformed()
        source, stamp, data = body[:_ITEM_FIELDS]
        if not (isinstance(source, str) and is_stamp(stamp) and is_map(data)):
            raise self._malformed()
        if self._sequence is not None and header.sequence <= self._sequence:
            return None
        missed = self._count(header.sequence - 1)
        self._sequence = header.sequence
        self.received += 1
        return Item(source, Timestamp(*stamp), data, header.sequence, missed)

    def _malformed(self) -> MalformedMessageError:
        return MalformedMessageError(
            "a pipeline item has another form than expected",
            device=self.attach.device,
            remedy="update pykarabo on both sides",
        )

    def _count(self, up_to: int) -> int:
        missed = 0 if self._sequence is None else max(0, up_to - self._sequence)
        self.missed += missed
        self._sequence = max(up_to, self._sequence or 0)
        return missed
