"""Small messages that leave at the same moment travel as one.

A program that has ninety reads under way sends and gets dozens of messages in one turn of its
event loop; each would cost more in sockets than it costs to work on. A bundle is a message whose
body is the list of the messages in it, each a list of its frames; they are worked on in their
order, as if they had come one by one.
"""

from collections.abc import Iterable
from typing import Final

from pykarabo.data import decode, encode
from pykarabo.errors import MalformedMessageError

from ._checks import are_bytes
from ._header import Frame, Header, Kind, pack, unpack

MAX_BUNDLE: Final = 200
"""Messages in a bundle."""
ENOUGH: Final = 16
"""Messages that are sent without waiting for more: the other side begins to work on them while
this one works on the next. With all ninety calls of a turn in one bundle the two took turns."""
SMALL: Final = 2_048
"""Larger messages travel alone: copying them would cost more than it saves."""
_KIND_AT: Final = 4
_MAX_FRAMES: Final = 3


def bundled(messages: Iterable[list[Frame]], *, checksum: bool = False) -> list[list[Frame]]:
    """Return what to send for some messages to one peer, in their order."""
    sent: list[list[Frame]] = []
    small: list[list[Frame]] = []
    for message in messages:
        is_small = len(message) <= _MAX_FRAMES and sum(map(len, message)) <= SMALL
        if is_small and len(small) < MAX_BUNDLE:
            small.append(message)
            continue
        _close(small, sent, checksum=checksum)
        small = [message] if is_small else []
        if not is_small:
            sent.append(message)
    _close(small, sent, checksum=checksum)
    return sent


def _close(small: list[list[Frame]], sent: list[list[Frame]], *, checksum: bool) -> None:
    if len(small) > 1:
        plain = [[bytes(frame) for frame in message] for message in small]
        sent.append(pack(Header(Kind.BUNDLE), encode(plain), checksum=checksum))
    else:
        sent.extend(small)


def is_bundle(frames: list[Frame]) -> bool:
    """Tell whether a message may be a bundle, without looking at the rest of it."""
    return bool(frames) and len(frames[0]) > _KIND_AT and frames[0][_KIND_AT] == Kind.BUNDLE


def unbundled(frames: list[Frame]) -> list[list[Frame]]:
    """Return the messages in a bundle.

    Raises:
        MalformedMessageError, LimitExceededError, VersionMismatchError: it is no bundle of ours.
    """
    unpack(frames)
    messages = decode(frames[1:])
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_BUNDLE:
        raise _malformed()
    for message in messages:
        if not isinstance(message, list) or not message or not are_bytes(message):
            raise _malformed()
    return messages


def _malformed() -> MalformedMessageError:
    return MalformedMessageError(
        "a bundle of messages has another form than expected", remedy="update pykarabo"
    )
