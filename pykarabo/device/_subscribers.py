"""Who is subscribed to how much, and who has asked for too much.

libzmq keeps a subscription in a tree, 50 bytes for each of its characters, before anybody can look
at it. Nothing can be given back but with the connection of whoever has subscribed; it is therefore
ended when it has more than is reasonable.
"""

from dataclasses import dataclass, field

from pykarabo.transport import Connection
from pykarabo.wire import MAX_TOPIC_BYTES, MAX_TOPICS


@dataclass(slots=True)
class _Share:
    topics: int = 0
    size: int = 0
    streams: set[str] = field(default_factory=set[str])
    too_much: bool = False


class Subscribers:
    """Counts the subscriptions of each connection.

    Attributes:
        topics: how many subscriptions there are.
        cut: how many connections had too many.
    """

    def __init__(self) -> None:
        self.topics = 0
        self.cut = 0
        self._shares: dict[int, _Share] = {}
        self._streams: dict[str, set[int]] = {}

    def add(self, connection: Connection, topic: bytes) -> str | None:
        """Count a subscription; returns why its connection is to be ended, if it is."""
        share = self._shares.setdefault(connection.number, _Share())
        share.topics += 1
        share.size += len(topic)
        self.topics += 1
        if share.too_much:
            return None  # it is being ended
        share.too_much = share.topics > MAX_TOPICS or share.size > MAX_TOPIC_BYTES
        if not share.too_much:
            return None
        self.cut += 1
        return (
            f"it has subscribed to {share.topics} topics with {share.size / 1024:.0f} KiB; "
            f"{MAX_TOPICS} with {MAX_TOPIC_BYTES / 1024:.0f} KiB are allowed"
        )

    def remove(self, connection: Connection, topic: bytes) -> None:
        """Count a subscription less."""
        share = self._shares.get(connection.number)
        if share is not None and share.topics:
            share.topics -= 1
            share.size -= len(topic)
            self.topics -= 1

    def follow(self, connection: Connection, stream: str) -> None:
        """Note that somebody follows a stream that is made for its subscribers."""
        self._shares.setdefault(connection.number, _Share()).streams.add(stream)
        self._streams.setdefault(stream, set()).add(connection.number)

    def unfollow(self, connection: Connection, stream: str) -> bool:
        """Note that he follows it no more; returns whether nobody does."""
        share = self._shares.get(connection.number)
        if share is not None:
            share.streams.discard(stream)
        followers = self._streams.get(stream, set())
        followers.discard(connection.number)
        if followers:
            return False
        self._streams.pop(stream, None)
        return True

    def ended(self, connection: Connection) -> list[str]:
        """Forget a connection that is over; returns the streams that nobody follows any more."""
        share = self._shares.get(connection.number)
        if share is None:
            return []
        unused = [stream for stream in list(share.streams) if self.unfollow(connection, stream)]
        self.topics -= share.topics
        del self._shares[connection.number]
        return unused
