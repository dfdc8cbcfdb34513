"""The bridge's socket: a peer of the facility's clients, which speak plain ZeroMQ."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import zmq
import zmq.asyncio

from pykarabo.transport import Doorkeeper, Socket, guard, own_user_only
from pykarabo_services.bridge.model import BridgeQueue, Frame, Reply

# A request has four bytes; whoever sends more than this is cut off.
MAXIMUM_REQUEST_BYTES: Final = 1024
# Clients that stay half-connected are dropped after this.
HANDSHAKE_MS: Final = 3000
# The clients of the protocol use the same: what waits in a socket is old when it is read.
HIGH_WATER_MARK: Final = 1


class Pattern(StrEnum):
    """How clients get trains: on request, all of them, or each train one of them."""

    REP = "REP"
    PUB = "PUB"
    PUSH = "PUSH"


_KINDS: Final = {Pattern.REP: zmq.ROUTER, Pattern.PUB: zmq.PUB, Pattern.PUSH: zmq.PUSH}


class BridgeEndpoint:
    """A bound socket. REP is served by a ROUTER, so that no client can hold up the others."""

    def __init__(self, queue: BridgeQueue, *, pattern: Pattern, endpoint: str) -> None:
        self._queue = queue
        self._pattern = pattern
        self._context = zmq.asyncio.Context()
        self._socket: Any = self._context.socket(_KINDS[pattern])
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IPV6, 1)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._doorkeeper: Doorkeeper | None = None
        if endpoint.startswith("ipc://"):
            plain: zmq.Context[Socket] = zmq.Context.shadow(self._context.underlying)
            self._doorkeeper = Doorkeeper(plain, own_user_only)
            guard(self._socket)
        if pattern is Pattern.REP:
            self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._socket.setsockopt(zmq.MAXMSGSIZE, MAXIMUM_REQUEST_BYTES)
        else:
            self._socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self.offered = 0
        self.served = 0
        self.refused = 0
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Where clients connect."""
        return str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))

    async def serve(self) -> None:
        """Answer requests until cancelled."""
        if self._pattern is not Pattern.REP:
            return
        while True:
            frames: list[bytes] = await self._socket.recv_multipart()
            client, message = _unwrap(frames)
            await self._send_reply(self._queue.request(message, client))

    async def offer(self, frames: list[Frame]) -> None:
        """Send a train to whom it belongs, or let it wait for a request."""
        self.offered += 1
        if self._pattern is Pattern.REP:
            await self._send_reply(self._queue.offer(frames))
        elif await self._send(frames):
            self.served += 1
        else:
            self.refused += 1

    async def _send_reply(self, reply: Reply | None) -> None:
        while reply is not None:
            sent = await self._send([*_envelope(reply.client), *reply.frames])
            if not reply.is_train:
                return
            if sent:
                self.served += 1
                return
            reply = self._queue.undeliverable(reply)

    async def _send(self, frames: Sequence[Frame]) -> bool:
        try:
            await self._socket.send_multipart(frames, flags=zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:  # the client is gone, or takes nothing
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        self._context.destroy(linger=0)


def _unwrap(frames: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Split a message into the client and its request.

    A REQ client puts an empty frame before its request, a DEALER may leave it out; the first
    byte of the client's name remembers that for the reply.
    """
    identity, *rest = frames
    if rest and not rest[0]:
        return b"R" + identity, rest[1:]
    return b"D" + identity, rest


def _envelope(client: bytes) -> list[bytes]:
    return [client[1:], b""] if client.startswith(b"R") else [client[1:]]
