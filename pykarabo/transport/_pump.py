"""Read a ZeroMQ socket from an event loop, without a task or a future per message.

A ZeroMQ socket offers a file descriptor that becomes readable when *something* changed, once:
after that the socket must be read until it is empty, and looked at again after every send,
because sending takes the notice away. This pump keeps that rule in one place. Measured against
`zmq.asyncio` it needs a third of the time per message.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import zmq

from pykarabo.wire import Frame

from ._frames import NOBLOCK, is_readable, receive_frames, send_frames
from ._sockets import Socket

_TURN_S: Final = 0.005
"""Messages are handled for so long before the loop serves others."""


class SocketPump:
    """Call `received` with the frames of each message until `close`.

    Args:
        socket: owned by the pump from now on and closed with it.
        received: called in the loop; an exception there is the loop's to report, and the pump
            goes on.
        receive: takes a message out of the socket; `receive_views` hands out frames that share
            ZeroMQ's memory (for large messages).
        look_s: the socket is looked at so long after a send; 0 means in the next turn of the
            loop. A socket that sends much and receives little saves time by looking later.
    """

    def __init__(
        self,
        socket: Socket,
        received: Callable[[list[Any]], None],
        *,
        receive: Callable[[Socket, int], list[Frame]] = receive_frames,
        look_s: float = 0.0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket
        self._received = received
        self._receive = receive
        self._look_s = look_s
        self._draining = False
        self._scheduled = False
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False
        self._fd = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._fd, self._drain)
        self.kick()

    def send(self, frames: list[Frame], *, copy: bool = True) -> None:
        """Send without waiting; raises `zmq.ZMQError` as the socket does."""
        send_frames(self._socket, frames, copy=copy)
        if self._draining:
            return
        if not self._look_s:
            self.kick()
        elif self._looking is None:
            self._looking = self._loop.call_later(self._look_s, self._look)

    def _look(self) -> None:
        self._looking = None
        self._kicked()

    def kick(self) -> None:
        """Look at the socket in the next turn of the loop."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._kicked)

    def _kicked(self) -> None:
        self._scheduled = False
        if not self._closed:
            self._drain()

    def empty(self) -> None:
        """Hand on everything that has arrived so far."""
        while not self._closed and not self._draining and is_readable(self._socket):
            self._drain()

    def _drain(self) -> None:
        socket = self._socket
        received = self._received
        receive = self._receive
        self._draining = True
        try:
            until = monotonic() + _TURN_S
            while True:
                try:
                    frames = receive(socket, NOBLOCK)
                except zmq.Again:  # empty: only now will the descriptor tell of more
                    return
                received(frames)
                if self._closed:
                    return
                if monotonic() > until:
                    self.kick()
                    return
        except BaseException:
            self.kick()
            raise
        finally:
            self._draining = False

    def close(self, *, linger_ms: int = 0) -> None:
        """Stop reading and close the socket; what is queued has `linger_ms` to leave."""
        if not self._closed:
            self._closed = True
            if self._looking is not None:
                self._looking.cancel()
            self._loop.remove_reader(self._fd)
            self._socket.close(linger=linger_ms)
