"""The transport over ZeroMQ: Unix sockets in a private directory, TCP where it is asked for."""

import asyncio
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Final, Protocol, TypeVar
from weakref import WeakSet

import zmq

from pykarabo.errors import BadConfigurationError, NotConnectedError, PykaraboError
from pykarabo.wire import Frame

from ._frames import monitor_event, receive_frames, receive_views
from ._keys import DomainKeys
from ._listening import Door, ZmqPublisher, ZmqRouter
from ._ports import (
    Connection,
    ConnectionCallback,
    ConnectionCounts,
    DealerHandler,
    DealerPort,
    FrameCallback,
    PeerCallback,
    PublisherPort,
    RouterPort,
    SubscriberPort,
    SubscriptionCallback,
    ignore,
)
from ._pump import SocketPump
from ._self_test import require_refusal, stranger
from ._site import Site
from ._site_watch import SiteWatch
from ._sockets import (
    DOWN_EVENTS,
    PLAIN_TCP,
    UP_EVENTS,
    Socket,
    describe_down,
    guard,
    is_encrypted,
    make_context,
    make_dealer,
    make_publisher,
    make_router,
    make_subscriber,
    numeric,
    resolve,
    stop_monitor,
)
from ._zap import SELF_TEST, Doorkeeper, Question, Verdict, own_user_or_key

_EVERYWHERE: Final = ("0.0.0.0", "::", "*")
_RESOLVE_TIMEOUT_S: Final = 5.0
"""A name server that does not answer in this time is not worth waiting for."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a process listens.

    Attributes:
        directory: where Unix sockets are made; used when `host` is None.
        stem: first part of the sockets' file names, unique to the process.
        host: address to bind TCP ports on; None for Unix sockets.
        advertise: host name that others are told; default is `host`.
        ports: TCP port per port name (``rpc``, ``events``, ``data``); 0 or absent lets the
            system choose.
        trusted: networks in which data goes in plain text, with a checksum, because encryption
            would slow it down; calls and events are encrypted everywhere.
    """

    directory: Path
    stem: str
    host: str | None = None
    advertise: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    trusted: tuple[IPv4Network | IPv6Network, ...] = ()

    def is_plain(self, name: str) -> bool:
        """Tell whether a port needs no encryption.

        Raises:
            BadConfigurationError: the host is not known.
        """
        if name != "data" or self.host is None or not self.trusted:
            return False
        address = ip_address(numeric(self.host))
        return any(address in network for network in self.trusted)


class _Closable(Protocol):
    def close(self) -> None: ...


_P = TypeVar("_P", bound=_Closable)


class _Dealer:
    def __init__(
        self, socket: Socket, endpoint: str, address: str, handler: DealerHandler, *, bulk: bool
    ) -> None:
        self._endpoint = endpoint
        self._handler = handler
        self._copy = not bulk
        receive = receive_views if bulk else receive_frames
        self._down = False
        self._socket = socket
        monitor = socket.get_monitor_socket(UP_EVENTS | DOWN_EVENTS)
        self._monitor = SocketPump(monitor, self._event)
        self._pump = SocketPump(socket, handler.received, receive=receive)
        socket.connect(address)

    def _event(self, frames: list[bytes]) -> None:
        event, value = monitor_event(frames)
        if event & UP_EVENTS:
            self._handler.connected()
        elif not self._down:
            self._pump.empty()  # the last answers: their calls have ended well
            self.close()
            self._handler.disconnected(describe_down(event, value, self._endpoint))

    def end_unless_vouched_for(self, site: Site) -> None:
        """End the connection if the site has shut its server out."""
        if self._down or not is_encrypted(self._endpoint):
            return
        try:
            site.server_key(self._endpoint)
        except PykaraboError as error:
            self.close()
            self._handler.disconnected(error.message)

    def send(self, frames: list[Frame]) -> bool:
        if self._down:
            return False
        try:
            self._pump.send(frames, copy=self._copy)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        if not self._down:
            self._down = True
            stop_monitor(self._socket)
            self._monitor.close()
            self._pump.close()


class _Subscriber:
    def __init__(self, socket: Socket, endpoint: str, published: FrameCallback) -> None:
        self._socket = socket
        self._pump = SocketPump(socket, published)
        socket.connect(endpoint)

    def subscribe(self, topic: bytes) -> None:
        self._socket.subscribe(topic)
        self._pump.kick()

    def unsubscribe(self, topic: bytes) -> None:
        self._socket.unsubscribe(topic)
        self._pump.kick()

    def close(self) -> None:
        self._pump.close()


class ZmqTransport:
    """Makes ports over ZeroMQ.

    Args:
        binding: where to listen; a pure client needs none.
        domain: whose key TCP connections are encrypted with; default is that of the environment.
    """

    def __init__(self, binding: Binding | None = None, domain: str | None = None) -> None:
        self._binding = binding
        self._keys = DomainKeys(domain)
        self._context = make_context()
        self._ports: WeakSet[_Closable] = WeakSet()
        self._doorkeeper: Doorkeeper | None = None
        self._stranger = b""
        self._watch: SiteWatch | None = None

    @property
    def admits(self) -> bool:
        """Whether whoever may connect can."""
        return self._doorkeeper is None or self._doorkeeper.alive

    def bind_router(
        self,
        name: str,
        received: PeerCallback,
        *,
        bulk: bool = False,
        ended: ConnectionCallback = ignore,
    ) -> RouterPort:
        """Listen for calls or pipeline inputs."""
        socket = make_router(self._context, bulk=bulk)
        door, endpoint = self._bind(socket, name)
        door.tell(ended)
        return self._kept(ZmqRouter(socket, door, endpoint, received, bulk=bulk))

    def bind_publisher(
        self,
        name: str,
        subscription: SubscriptionCallback,
        ended: ConnectionCallback = ignore,
    ) -> PublisherPort:
        """Offer event streams."""
        socket = make_publisher(self._context)
        door, endpoint = self._bind(socket, name)
        door.tell(ended)
        return self._kept(ZmqPublisher(socket, door, endpoint, subscription))

    def _bind(self, socket: Socket, name: str) -> tuple[Door, str]:
        """Let a socket listen; returns who knows who is connected, and its endpoint."""
        binding = self._binding
        if binding is None:
            socket.close()
            raise BadConfigurationError(
                "this transport has no address to listen on", remedy="make it with a Binding"
            )
        if self._doorkeeper is None:
            self._doorkeeper = Doorkeeper(self._context, self._judge)
        door = Door(self._doorkeeper, socket, unix=binding.host is None)
        try:
            return door, self._bound(socket, name, binding)
        except PykaraboError:
            door.stop()
            socket.close()
            raise

    def _bound(self, socket: Socket, name: str, binding: Binding) -> str:
        if binding.host is None:
            guard(socket)
            path = binding.directory / f"{binding.stem}.{name}"
            path.unlink(missing_ok=True)
            socket.bind(f"ipc://{path}")
            return f"ipc://{path}"
        if binding.host in _EVERYWHERE:
            raise BadConfigurationError(
                f"--host {binding.host} would listen on every network of this host",
                remedy="name the address of the one that the domain uses",
            )
        scheme = PLAIN_TCP if binding.is_plain(name) else "tcp://"
        if is_encrypted(scheme):
            self._keys.prepare()
            self._follow_site()
            self._keys.protect(socket)
            guard(socket, name)
        wanted = binding.ports.get(name, 0)
        host = f"[{binding.host}]" if ":" in binding.host else binding.host
        try:
            socket.bind(f"tcp://{host}:{wanted or '*'}")
        except zmq.ZMQError as error:
            raise BadConfigurationError(
                f"cannot listen on {binding.host}:{wanted} ({name}): {error.strerror}",
                remedy="choose a free port, or 0 to let the system choose",
            ) from None
        bound = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        port = bound.rsplit(":", 1)[1]
        endpoint = f"{scheme}{binding.advertise or binding.host}:{port}"
        if not is_encrypted(scheme):
            return endpoint
        self._require_refusal(f"tcp://{host}:{port}", events=name == "events")
        return self._keys.advertised(endpoint)

    @property
    def connections(self) -> list[Connection]:
        """Everybody who has called, attached or subscribed to a port made here, and is there."""
        return [connection for door in self._doors for connection in door.connections]

    @property
    def counts(self) -> ConnectionCounts:
        """How many connections there are, and what became of others."""
        if self._doorkeeper is None:
            return ConnectionCounts()
        counts = self._doorkeeper.counts
        return ConnectionCounts(counts.open, counts.refused, counts.cut, counts.last)

    def cut(self, connection: Connection, reason: str, *, pause_s: float = 0.0) -> None:
        """End a connection soon, and no other one; nothing happens if it is over already."""
        for door in self._doors:
            if door.knows(connection):
                door.cut(connection, reason, pause_s)

    @property
    def _doors(self) -> list[Door]:
        listening = (ZmqRouter, ZmqPublisher)
        return [port.door for port in list(self._ports) if isinstance(port, listening)]

    def _judge(self, question: Question) -> Verdict:
        verdict = own_user_or_key(self._keys)(question)
        if verdict.refused and question.key and question.key == self._stranger:
            return Verdict(refused=SELF_TEST)
        return verdict

    def _require_refusal(self, address: str, *, events: bool) -> None:
        """See that what we have opened is closed to strangers; raises `BadConfigurationError`."""
        pair = stranger()
        self._stranger = pair.public
        require_refusal(address, self._keys.pair.public, pair, events=events)

    def unreachable(self, peer: str, endpoint: str, reason: str) -> PykaraboError:
        """Return what to tell about a connection that could not be made, or is over."""
        return self._keys.unreachable(peer, endpoint, reason)

    async def connect_dealer(
        self, endpoint: str, handler: DealerHandler, *, bulk: bool = False
    ) -> DealerPort:
        """Connect to a router."""
        address = await self._resolve(endpoint, bulk=bulk)
        socket = make_dealer(self._context, bulk=bulk)
        self._encrypt(socket, endpoint)
        return self._kept(_Dealer(socket, endpoint, address, handler, bulk=bulk))

    async def connect_subscriber(self, endpoint: str, published: FrameCallback) -> SubscriberPort:
        """Connect to a publisher."""
        address = await self._resolve(endpoint)
        socket = make_subscriber(self._context)
        self._encrypt(socket, endpoint)
        return self._kept(_Subscriber(socket, address, published))

    def _encrypt(self, socket: Socket, endpoint: str) -> None:
        if not is_encrypted(endpoint):
            return
        self._follow_site()
        try:
            self._keys.use(socket, endpoint)
        except PykaraboError:
            socket.close()
            raise

    async def _resolve(self, endpoint: str, *, bulk: bool = False) -> str:
        if endpoint.startswith("ipc://"):
            return resolve(endpoint)
        try:
            async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
                return await asyncio.to_thread(self._prepared, endpoint, bulk=bulk)
        except TimeoutError:
            raise NotConnectedError(
                f"the name server did not answer for {endpoint} within {_RESOLVE_TIMEOUT_S:.0f} s",
                remedy="check the name server, or advertise an address (--advertise)",
            ) from None

    def _follow_site(self) -> None:
        """Hear from now on whom the site, if there is one, takes in and shuts out."""
        site = self._keys.site
        if site is None or self._watch is not None:
            return
        loop = asyncio.get_running_loop()

        def review() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._review, site)

        self._watch = SiteWatch(site, self._context, review)

    def _review(self, site: Site) -> None:
        """End the connections with whoever is no member any more."""
        for port in list(self._ports):
            if isinstance(port, _Dealer):
                port.end_unless_vouched_for(site)
        shut_out: dict[bytes, str] = {}
        for connection in self.connections:
            key = connection.sender.key
            if key and key not in shut_out:
                shut_out[key] = site.refusal(key)
            if key and shut_out[key]:
                self.cut(connection, shut_out[key])

    def _prepared(self, endpoint: str, *, bulk: bool) -> str:
        if is_encrypted(endpoint):
            self._keys.prepare(endpoint)
        return resolve(endpoint, bulk=bulk)

    def _kept(self, port: _P) -> _P:
        self._ports.add(port)
        return port

    def close(self) -> None:
        """Close every port made here and the context."""
        if self._watch is not None:
            self._watch.close()
        for port in list(self._ports):
            port.close()
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        self._context.term()
