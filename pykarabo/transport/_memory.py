"""The transport in memory: the same protocol without sockets, for tests and for one process.

Messages travel in order through the event loop, one turn later, and never get lost.
"""

import asyncio
from dataclasses import dataclass, field

from pykarabo.errors import PykaraboError
from pykarabo.wire import Frame

from ._ports import (
    CLOSED,
    NO_CONNECTION,
    NOBODY_LISTENS,
    Connection,
    ConnectionCallback,
    ConnectionCounts,
    DealerHandler,
    DealerPort,
    Delivery,
    FrameCallback,
    PeerCallback,
    PublisherPort,
    RouterPort,
    Sender,
    SubscriberPort,
    SubscriptionCallback,
    ignore,
)
from ._sockets import unreachable

_SUBSCRIBE = b"\x01"
_UNSUBSCRIBE = b"\x00"


@dataclass(slots=True)
class MemoryNetwork:
    """What the transports of one test can reach."""

    routers: dict[str, "_Router"] = field(default_factory=dict)
    publishers: dict[str, "_Publisher"] = field(default_factory=dict)
    counter: int = 0

    def name(self, port: str) -> str:
        """Return a new endpoint."""
        self.counter += 1
        return f"memory://{self.counter}/{port}"


class _Router:
    def __init__(self, network: MemoryNetwork, name: str, received: PeerCallback) -> None:
        self._network = network
        self._received = received
        self._peers: dict[bytes, _Dealer] = {}
        self._loop = asyncio.get_running_loop()
        self.endpoint = network.name(name)
        network.routers[self.endpoint] = self

    def attach(self, dealer: "_Dealer") -> bytes:
        self._network.counter += 1
        peer = self._network.counter.to_bytes(5, "big")
        self._peers[peer] = dealer
        return peer

    def detach(self, peer: bytes) -> None:
        self._peers.pop(peer, None)

    def deliver(self, peer: bytes, frames: list[Frame]) -> None:
        self._loop.call_soon(self._hand_over, peer, frames)

    @property
    def sender(self) -> Sender:
        """Nothing vouches for anybody here."""
        return Sender()

    def identify(self) -> Connection:
        """Nobody asks who connects."""
        return NO_CONNECTION

    def _hand_over(self, peer: bytes, frames: list[Frame]) -> None:
        if self.endpoint in self._network.routers:
            self._received(peer, frames)

    def send(self, peer: bytes, frames: list[Frame]) -> Delivery:
        dealer = self._peers.get(peer)
        if dealer is None:
            return Delivery.GONE
        dealer.deliver(frames)
        return Delivery.SENT

    def close(self) -> None:
        if self._network.routers.pop(self.endpoint, None) is not None:
            for dealer in list(self._peers.values()):
                dealer.drop(CLOSED)
            self._peers.clear()


class _Dealer:
    def __init__(self, network: MemoryNetwork, endpoint: str, handler: DealerHandler) -> None:
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._router = network.routers.get(endpoint)
        self._open = True
        if self._router is None:
            self._loop.call_soon(self.drop, NOBODY_LISTENS)
        else:
            self._peer = self._router.attach(self)
            self._loop.call_soon(self._connected)

    def _connected(self) -> None:
        if self._open:
            self._handler.connected()

    def deliver(self, frames: list[Frame]) -> None:
        self._loop.call_soon(self._hand_over, frames)

    def _hand_over(self, frames: list[Frame]) -> None:
        if self._open:
            self._handler.received(frames)

    def drop(self, reason: str) -> None:
        if self._open:
            self._open = False
            self._handler.disconnected(reason)

    def send(self, frames: list[Frame]) -> bool:
        if not self._open or self._router is None:
            return False
        self._router.deliver(self._peer, frames)
        return True

    def close(self) -> None:
        self._open = False
        if self._router is not None:
            self._router.detach(self._peer)


class _Publisher:
    def __init__(
        self,
        network: MemoryNetwork,
        name: str,
        subscription: SubscriptionCallback,
        ended: ConnectionCallback,
    ) -> None:
        self._network = network
        self._subscription = subscription
        self._ended = ended
        self._subscribers: list[_Subscriber] = []
        self._loop = asyncio.get_running_loop()
        self.endpoint = network.name(name)
        network.publishers[self.endpoint] = self

    def attach(self, subscriber: "_Subscriber") -> Connection:
        self._subscribers.append(subscriber)
        self._network.counter += 1
        return Connection(self._network.counter)

    def detach(self, subscriber: "_Subscriber") -> None:
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
            self._loop.call_soon(self._ended, subscriber.connection)

    def told(self, connection: Connection, frame: bytes) -> None:
        self._loop.call_soon(self._subscription, frame, connection)

    def publish(self, frames: list[Frame]) -> None:
        topic = bytes(frames[0])
        for subscriber in self._subscribers:
            subscriber.deliver(topic, frames)

    def close(self) -> None:
        self._network.publishers.pop(self.endpoint, None)
        self._subscribers.clear()


class _Subscriber:
    def __init__(self, network: MemoryNetwork, endpoint: str, published: FrameCallback) -> None:
        self._published = published
        self.topics: set[bytes] = set()
        self._loop = asyncio.get_running_loop()
        self._publisher = network.publishers.get(endpoint)
        self.connection = NO_CONNECTION
        if self._publisher is not None:
            self.connection = self._publisher.attach(self)

    def subscribe(self, topic: bytes) -> None:
        self.topics.add(topic)
        if self._publisher is not None:
            self._publisher.told(self.connection, _SUBSCRIBE + topic)

    def unsubscribe(self, topic: bytes) -> None:
        self.topics.discard(topic)
        if self._publisher is not None:
            self._publisher.told(self.connection, _UNSUBSCRIBE + topic)

    def deliver(self, topic: bytes, frames: list[Frame]) -> None:
        if any(topic.startswith(wanted) for wanted in self.topics):
            self._loop.call_soon(self._published, frames)

    def close(self) -> None:
        self.topics.clear()
        if self._publisher is not None:
            self._publisher.detach(self)


class MemoryTransport:
    """Makes ports in memory; transports that share a network reach each other."""

    def __init__(self, network: MemoryNetwork | None = None) -> None:
        self.network = network or MemoryNetwork()
        self._ports: list[_Router | _Dealer | _Publisher | _Subscriber] = []

    @property
    def admits(self) -> bool:
        """Everybody is let in."""
        return True

    def bind_router(
        self,
        name: str,
        received: PeerCallback,
        *,
        bulk: bool = False,
        ended: ConnectionCallback = ignore,
    ) -> RouterPort:
        """Listen for calls or pipeline inputs."""
        del bulk, ended
        router = _Router(self.network, name, received)
        self._ports.append(router)
        return router

    def bind_publisher(
        self,
        name: str,
        subscription: SubscriptionCallback,
        ended: ConnectionCallback = ignore,
    ) -> PublisherPort:
        """Offer event streams."""
        publisher = _Publisher(self.network, name, subscription, ended)
        self._ports.append(publisher)
        return publisher

    def unreachable(self, peer: str, endpoint: str, reason: str) -> PykaraboError:
        """Return what to tell about a connection that could not be made, or is over."""
        return unreachable(peer, endpoint, reason)

    async def connect_dealer(
        self, endpoint: str, handler: DealerHandler, *, bulk: bool = False
    ) -> DealerPort:
        """Connect to a router."""
        del bulk
        dealer = _Dealer(self.network, endpoint, handler)
        self._ports.append(dealer)
        return dealer

    async def connect_subscriber(self, endpoint: str, published: FrameCallback) -> SubscriberPort:
        """Connect to a publisher."""
        subscriber = _Subscriber(self.network, endpoint, published)
        self._ports.append(subscriber)
        return subscriber

    @property
    def connections(self) -> list[Connection]:
        """Nobody is known here."""
        return []

    @property
    def counts(self) -> ConnectionCounts:
        """Nothing is counted here."""
        return ConnectionCounts()

    def cut(self, connection: Connection, reason: str, *, pause_s: float = 0.0) -> None:
        """Nobody is known here, and none is cut."""

    def close(self) -> None:
        """Close every port made here."""
        for port in self._ports:
            port.close()
        self._ports.clear()
