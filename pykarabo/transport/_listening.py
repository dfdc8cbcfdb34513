"""The listening ends over ZeroMQ, and who is connected to them."""

import asyncio
import errno
from pathlib import Path
from typing import Any, Final

import zmq

from pykarabo.wire import Frame

from ._connections import PortWatch
from ._frames import SenderReader
from ._ports import (
    NO_CONNECTION,
    Connection,
    ConnectionCallback,
    Delivery,
    PeerCallback,
    Sender,
    SubscriptionCallback,
    ignore,
)
from ._pump import SocketPump
from ._sockets import Socket, stop_monitor
from ._zap import Doorkeeper

_LAST_ANSWERS_MS: Final = 200
"""The answer to "shut down" is still under way when the socket is closed."""
_SUBSCRIPTIONS_S: Final = 0.001
"""A subscription may wait so long while events are being sent."""


class Door:
    """Who is connected to a listening socket.

    Args:
        keeper: who lets them in, and knows them.
        unix: whether it is a Unix socket.
    """

    def __init__(self, keeper: Doorkeeper, socket: Socket, *, unix: bool) -> None:
        self._keeper = keeper
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._known: dict[int, Connection] = {}
        self._ended: ConnectionCallback = ignore
        self._watch: PortWatch | None = keeper.watch(socket, unix=unix, ended=self._over)

    @property
    def connections(self) -> list[Connection]:
        """Those that `know` was told of and that are not over."""
        return list(self._known.values())

    def tell(self, ended: ConnectionCallback) -> None:
        """Call `ended` when a connection is over that `know` was told of."""
        self._ended = ended

    def know(self, connection: Connection) -> None:
        """Keep a connection in mind until it is over."""
        number = connection.number
        if number and number not in self._known and self._watch is not None:
            self._known[number] = connection
            self._keeper.know(self._watch, connection)

    def knows(self, connection: Connection) -> bool:
        """Tell whether a connection is to this socket."""
        return connection.number in self._known

    def cut(self, connection: Connection, reason: str, pause_s: float = 0.0) -> None:
        """End a connection."""
        if self._watch is not None:
            self._keeper.cut(self._watch, connection, reason, pause_s)

    def _over(self, connection: Connection) -> None:
        """Hand on, from the doorkeeper's thread, that a connection is over."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._forget, connection)

    def _forget(self, connection: Connection) -> None:
        if self._watch is not None and self._known.pop(connection.number, None) is not None:
            self._ended(connection)

    def stop(self) -> None:
        """Know nobody any more; the socket may be closed then."""
        if self._watch is not None:
            stop_monitor(self._socket)
            self._keeper.unwatch(self._watch)
            self._watch = None
            self._known.clear()


class ZmqRouter:
    """A ROUTER socket in the event loop."""

    def __init__(
        self, socket: Socket, door: Door, endpoint: str, received: PeerCallback, *, bulk: bool
    ) -> None:
        self.endpoint = endpoint
        self.door = door
        self._copy = not bulk
        self._received = received
        self._reader = SenderReader(views=bulk)
        self._pump = SocketPump(socket, self._message, receive=self._reader)

    @property
    def sender(self) -> Sender:
        """Who sent the message that is being handled."""
        return self._reader.connection.sender

    def identify(self) -> Connection:
        """Return on which connection it came, and keep that one in mind."""
        connection = self._reader.connection
        self.door.know(connection)
        return connection

    def _message(self, frames: list[Any]) -> None:
        self._received(bytes(frames[0]), frames[1:])

    def send(self, peer: bytes, frames: list[Frame]) -> Delivery:
        """Send to one peer without ever waiting."""
        try:
            self._pump.send([peer, *frames], copy=self._copy)
        except zmq.Again:
            return Delivery.FULL
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return Delivery.GONE
            raise
        return Delivery.SENT

    def close(self) -> None:
        """Stop listening."""
        self.door.stop()
        self._pump.close(linger_ms=_LAST_ANSWERS_MS)
        _remove_socket(self.endpoint)


class ZmqPublisher:
    """An XPUB socket in the event loop."""

    def __init__(
        self,
        socket: Socket,
        door: Door,
        endpoint: str,
        subscription: SubscriptionCallback,
    ) -> None:
        self.endpoint = endpoint
        self.door = door
        self._subscription = subscription
        self._reader = SenderReader()
        self._pump = SocketPump(
            socket, self._message, receive=self._reader, look_s=_SUBSCRIPTIONS_S
        )

    def _message(self, frames: list[Any]) -> None:
        connection = self._reader.connection
        if connection is NO_CONNECTION:
            return  # libzmq gives up what somebody had who is gone: `ended` tells of him
        self.door.know(connection)
        self._subscription(frames[0], connection)

    def publish(self, frames: list[Frame]) -> None:
        """Send to every subscriber of the topic."""
        self._pump.send(frames)

    def close(self) -> None:
        """Stop publishing."""
        self.door.stop()
        self._pump.close()
        _remove_socket(self.endpoint)


def _remove_socket(endpoint: str) -> None:
    if endpoint.startswith("ipc://"):
        Path(endpoint.removeprefix("ipc://")).unlink(missing_ok=True)
