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


NOBODY_LISTENS: Final = "nobody listens there"
CLOSED: Final = "the other side closed it or does not answer any more"
"""Reasons of `DealerHandler.disconnected` that a process that has died may be the cause of."""
OTHER_KEY: Final = "it has another key than this program, or none, or stopped just now"
NOT_ADMITTED: Final = "it does not let this program in"
PLAIN: Final = "it speaks plain text, and this program encrypts"
KEY_REASONS: Final = frozenset({OTHER_KEY, NOT_ADMITTED, PLAIN})
"""Reasons for which both sides could run and never speak. Errors have them as ``reason`` among
their details."""
PeerCallback: TypeAlias = Callable[[bytes, list[Frame]], None]
FrameCallback: TypeAlias = Callable[[list[Frame]], None]


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

    def bind_router(self, name: str, received: PeerCallback, *, bulk: bool = False) -> RouterPort:
        """Listen for calls or pipeline inputs."""
        ...

    def bind_publisher(self, name: str, subscription: Callable[[Frame], None]) -> PublisherPort:
        """Offer event streams; `subscription` gets each new subscription frame."""
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

    def close(self) -> None:
        """Close every port made here."""
        ...
