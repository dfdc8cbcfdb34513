"""The fixed header that every message carries, whatever travels behind it.

A message is a list of frames: ``[header, body, array, array, ...]``; on the event stream a topic
stands in front of the header. The header names who speaks (`instance`, `epoch`), which of its
messages this is (`sequence`), to which call it belongs (`call_id`) and how long it is worth
executing (`ttl_ms`). Whoever receives a message can therefore tell a late, lost, doubled or
misdirected one from a good one without looking at the body.
"""

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from pykarabo.errors import MalformedMessageError, VersionMismatchError

Frame: TypeAlias = bytes | memoryview

MAGIC: Final = b"pK"
PROTOCOL_MAJOR: Final = 3
"""Messages of another major version are refused with both versions named."""
PROTOCOL_MINOR: Final = 0
"""Additions that an older peer may ignore raise this number."""

NO_INSTANCE: Final = bytes(16)
"""The instance of somebody who has none: a client, or a target that is not known yet."""
NO_CALL: Final = bytes(16)

CHECKSUM: Final = 0x01
"""Flag: the header's last field is the CRC-32 of the header before it and of all that follows.

It is set on plaintext TCP links. Without it that field is 0, so that a flag cannot get lost.
"""

HEADER_LAYOUT: Final = (
    ("magic", "2s"),
    ("major", "B"),
    ("minor", "B"),
    ("kind", "B"),
    ("flags", "B"),
    ("reserved", "H"),
    ("instance", "16s"),
    ("epoch", "Q"),
    ("sequence", "Q"),
    ("call_id", "16s"),
    ("ttl_ms", "I"),
    ("sent_ns", "Q"),
    ("crc", "I"),
)
"""Name and `struct` code of the header's fields, in order, big-endian without padding."""
_STRUCT: Final = struct.Struct(">" + "".join(code for _name, code in HEADER_LAYOUT))
HEADER_SIZE: Final = _STRUCT.size
_CRC_SIZE: Final = 4
MAX_TTL_MS: Final = 0xFFFFFFFF


class Kind(IntEnum):
    """What a message is; the numbers are the wire's and never change their meaning."""

    HELLO = 1
    WELCOME = 2
    CALL = 3
    REPLY = 4
    ERROR = 5
    CANCEL = 6
    GOODBYE = 7
    BUNDLE = 8
    TAKEN = 9
    EVENT = 16
    HEARTBEAT = 17
    ECHO = 18
    SCHEMA = 19
    EVENTS = 20
    ATTACH = 32
    ATTACHED = 33
    ITEM = 34
    CREDIT = 35
    END_OF_STREAM = 36
    DETACH = 37
    PROBE = 38


class Header(NamedTuple):
    """The decoded header; times are of the sender's clocks.

    Attributes:
        kind: a `Kind`, or a number of a later protocol that the receiver ignores.
        instance: 16 random bytes, new at each start of the device or server that is meant (calls)
            or that speaks (everything else).
        epoch: start of that instance in ns since 1970, 0 where there is no instance.
        sequence: number of this message in the stream of its sender; for replies the sequence
            number of the device's latest event, so that values and events can be put in order.
        call_id: 16 bytes, unique per call; the same in the reply.
        ttl_ms: for calls, the time left until the caller gives up.
        sent_ns: the sender's monotonic clock in ns; only differences mean something. In calls it
            is the receiver's clock, as the caller knows it and never later than it is;
            0 if it does not know.
        flags: bit set, see `CHECKSUM`.
    """

    kind: int
    instance: bytes = NO_INSTANCE
    epoch: int = 0
    sequence: int = 0
    call_id: bytes = NO_CALL
    ttl_ms: int = 0
    sent_ns: int = 0
    flags: int = 0


def pack(header: Header, payload: Sequence[Frame], *, checksum: bool = False) -> list[Frame]:
    """Return the frames of one message: the packed header, then `payload` as it is."""
    kind, instance, epoch, sequence, call_id, ttl_ms, sent_ns, flags = header
    flags = flags | CHECKSUM if checksum else flags & ~CHECKSUM
    packed = _STRUCT.pack(
        MAGIC,
        PROTOCOL_MAJOR,
        PROTOCOL_MINOR,
        kind,
        flags,
        0,
        instance,
        epoch,
        sequence,
        call_id,
        ttl_ms if ttl_ms < MAX_TTL_MS else MAX_TTL_MS,
        sent_ns,
        0,
    )
    if checksum:
        head = packed[:-_CRC_SIZE]
        packed = head + _crc(head, payload).to_bytes(_CRC_SIZE, "big")
    return [packed, *payload]


def unpack(frames: Sequence[Frame]) -> Header:
    """Decode the header of `frames` and check what it says about the rest.

    Raises:
        MalformedMessageError: not our protocol, wrong length, or a checksum that does not fit.
        VersionMismatchError: another major version; both are named.
    """
    if not frames or len(frames[0]) != HEADER_SIZE:
        raise MalformedMessageError(
            "a message without a pykarabo header arrived",
            remedy="connect only pykarabo programs to this port",
        )
    (
        magic,
        major,
        _minor,
        kind,
        flags,
        _reserved,
        instance,
        epoch,
        sequence,
        call_id,
        ttl_ms,
        sent_ns,
        crc,
    ) = _STRUCT.unpack(frames[0])
    if magic != MAGIC:
        raise MalformedMessageError(
            f"a message starts with {magic!r} instead of {MAGIC!r}",
            remedy="connect only pykarabo programs to this port",
        )
    if major != PROTOCOL_MAJOR:
        raise VersionMismatchError(
            f"the peer speaks protocol {major}, this program protocol {PROTOCOL_MAJOR}",
            remedy="install the same major version of pykarabo on both sides",
            details={"theirs": major, "ours": PROTOCOL_MAJOR},
        )
    if crc != (_crc(frames[0][:-_CRC_SIZE], frames[1:]) if flags & CHECKSUM else 0):
        raise MalformedMessageError(
            "a message was damaged on its way: its checksum does not fit",
            remedy="check the network between the two hosts",
        )
    return Header(kind, instance, epoch, sequence, call_id, ttl_ms, sent_ns, flags)


def message_size(frames: Sequence[Frame]) -> int:
    """Return how many bytes a message has, as both its ends count them."""
    return sum(map(len, frames))


def _crc(head: Frame, payload: Sequence[Frame]) -> int:
    crc = zlib.crc32(head)
    for frame in payload:
        crc = zlib.crc32(frame, crc)
    return crc
