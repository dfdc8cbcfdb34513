"""The seam between the protocol and what carries it: four kinds of port, and who makes them.

`pykarabo.wire` says what to send and what a received message means; a transport moves frames.
There is one over ZeroMQ and one in memory; a third only has to meet these protocols. Every
method is called in the event loop's thread, and every callback comes from there.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, TypeAlias

from pykarabo.errors import PykaraboError
from pykarabo.wire import Frame


class Delivery(StrEnum):
    """What became of a message to one peer; `SENT` means handed to the peer's queue."""

    SENT = "sent"
    FULL = "full"
    GONE = "gone"


class Sender(NamedTuple):
    """Who sends, by what those know who vouch for him; all of it is empty where nobody does.

    Attributes:
        user: his name, as the kernel or his key tells it.
        proof: what tells it: ``uid:NUMBER`` on a Unix socket, ``key:HEX`` the CURVE key of the
            connection.
        address: where the connection comes from: ``localhost:UID:GID:PID``, or an IP address.
    """

    user: str = ""
    proof: str = ""
    address: str = ""

    @property
    def key(self) -> bytes:
        """The public CURVE key of the connection; empty where it has none."""
        kind, _, text = self.proof.partition(":")
        return bytes.fromhex(text) if kind == "key" else b""


NOBODY_LISTENS: Final = "nobody listens there"
CLOSED: Final = "the other side closed it or does not answer any more"
"""Reasons of `DealerHandler.disconnected` that a process that has died may be the cause of."""
OTHER_KEY: Final = "it has another key than this program, or none, or stopped just now"
NOT_ADMITTED: Final = "it does not let this program in"
PLAIN: Final = "it speaks plain text, and this program encrypts"
KEY_REASONS: Final = frozenset({OTHER_KEY, NOT_ADMITTED, PLAIN})
"""Reasons for which both sides could run and never speak. Errors have them as ``reason`` among
their details."""


class Connection(NamedTuple):
    """A connection of somebody to one of this process's ports.

    Attributes:
        number: no other one of this process's life has it; 0 where nobody asks who connects.
        fd: its descriptor, which is another one's when this one is over.
        sender: who was admitted.
    """

    number: int = 0
    fd: int = -1
    sender: Sender = Sender()

    def __str__(self) -> str:
        user, _proof, address = self.sender
        return f"{user} at {address}"


NO_CONNECTION: Final = Connection()
PeerCallback: TypeAlias = Callable[[bytes, list[Frame]], None]
FrameCallback: TypeAlias = Callable[[list[Frame]], None]
SubscriptionCallback: TypeAlias = Callable[[Frame, Connection], None]
ConnectionCallback: TypeAlias = Callable[[Connection], None]


def ignore(_connection: Connection) -> None:
    """Do nothing when a connection is over."""


class ConnectionCounts(NamedTuple):
    """Connections of a process.

    Attributes:
        open: how many there are, those included that have not been let in yet.
        refused: how many were closed because there was no room for them.
        cut: how many were ended with `Transport.cut`.
        last: whose connection was refused or cut last, and why.
    """

    open: int = 0
    refused: int = 0
    cut: int = 0
    last: str = ""


class RouterPort(Protocol):
    """The bound end of calls and pipelines: many peers, each addressed by its id."""

    @property
    def endpoint(self) -> str:
        """The address that others connect to."""
        ...

    @property
    def sender(self) -> Sender:
        """Who sent the message that is being handled, as far as somebody vouches for him.

        On a Unix socket that is the kernel, over TCP the key of the connection.
        """
        ...

    def identify(self) -> Connection:
        """Return on which connection the message came that is being handled.

        It is among the transport's `connections` from now on, until it is over.
        """
        ...

    def send(self, peer: bytes, frames: list[Frame]) -> Delivery:
        """Send to one peer without ever waiting."""
        ...

    def close(self) -> None:
        """Stop listening; nothing is called back any more."""
        ...


class PublisherPort(Protocol):
    """The bound end of event streams."""

    @property
    def endpoint(self) -> str:
        """The address that others connect to."""
        ...

    def publish(self, frames: list[Frame]) -> None:
        """Send to every subscriber of the topic, the first frame."""
        ...

    def close(self) -> None:
        """Stop publishing."""
        ...


class DealerHandler(Protocol):
    """Who is told what happens on a connected port."""

    def connected(self) -> None:
        """The connection is up; messages may be sent."""
        ...

    def received(self, frames: list[Frame]) -> None:
        """A message came."""
        ...

    def disconnected(self, reason: str) -> None:
        """The connection is gone for good; called once, also when it never came up."""
        ...


class DealerPort(Protocol):
    """The connecting end of calls and pipelines: one peer, one life."""

    def send(self, frames: list[Frame]) -> bool:
        """Send without ever waiting; False when the connection is gone or its queue full."""
        ...

    def close(self) -> None:
        """End the connection; `disconnected` is not called."""
        ...


class SubscriberPort(Protocol):
    """The connecting end of event streams."""

    def subscribe(self, topic: bytes) -> None:
        """Ask for a topic."""
        ...

    def unsubscribe(self, topic: bytes) -> None:
        """Give a topic up."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Transport(Protocol):
    """Makes ports. `name` is ``rpc``, ``events`` or ``data``; `bulk` is for large messages."""

    @property
    def admits(self) -> bool:
        """Whether whoever may connect can; False when who he is cannot be found out any more."""
        ...

    def bind_router(
        self,
        name: str,
        received: PeerCallback,
        *,
        bulk: bool = False,
        ended: ConnectionCallback = ignore,
    ) -> RouterPort:
        """Listen for calls or pipeline inputs.

        Args:
            ended: called when a connection is over that `RouterPort.identify` has told of.
        """
        ...

    def bind_publisher(
        self,
        name: str,
        subscription: SubscriptionCallback,
        ended: ConnectionCallback = ignore,
    ) -> PublisherPort:
        """Offer event streams.

        Args:
            subscription: gets each frame with which somebody subscribes to a topic or gives it up.
            ended: called when the connection of somebody is over who has subscribed.
        """
        ...

    def unreachable(self, peer: str, endpoint: str, reason: str) -> PykaraboError:
        """Return what to tell about a connection that could not be made, or is over."""
        ...

    async def connect_dealer(
        self, endpoint: str, handler: DealerHandler, *, bulk: bool = False
    ) -> DealerPort:
        """Connect to a router; `handler.connected` or `.disconnected` tells how it went."""
        ...

    async def connect_subscriber(self, endpoint: str, published: FrameCallback) -> SubscriberPort:
        """Connect to a publisher."""
        ...

    @property
    def connections(self) -> list[Connection]:
        """Everybody who has called, attached or subscribed to a port made here, and is there yet.

        Others may be connected; nobody serves them.
        """
        ...

    @property
    def counts(self) -> ConnectionCounts:
        """How many connections there are, and what became of others."""
        ...

    def cut(self, connection: Connection, reason: str, *, pause_s: float = 0.0) -> None:
        """End a connection soon, and no other one; nothing happens if it is over already.

        Args:
            pause_s: for so long its process may not connect to that port again. Over TCP nobody
                can tell which program it is that connects: there it is the whole host, but only
                when something of it was ended less than twice this time ago.
        """
        ...

    def close(self) -> None:
        """Close every port made here."""
        ...
