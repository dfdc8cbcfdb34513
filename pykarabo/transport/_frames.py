"""Messages in and out of a socket, below the conveniences of pyzmq.

`send_multipart` looks at every frame twice and combines flags as enumerations, `recv_multipart`
asks the socket after each frame whether there are more: for three small frames that costs 5 µs
and 2 µs more than what ZeroMQ itself needs.
"""

import sys
from collections.abc import Sequence
from typing import Any, Final

import zmq
from zmq.backend import Socket as _Plain

from pykarabo.wire import Frame

from ._ports import NO_CONNECTION, Connection, Sender
from ._sockets import Socket

NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_USER: Final = "User-Id"
_ADDRESS: Final = "Peer-Address"
_FD: Final = "__fd"
_EVENT_SIZE: Final = 2
_send: Final[Any] = _Plain.send
_receive: Final = _Plain.recv
_get: Final = _Plain.get


def send_frames(socket: Socket, frames: Sequence[Frame], *, copy: bool = True) -> None:
    """Send a message without waiting; raises `zmq.ZMQError` as the socket does."""
    for frame in frames[:-1]:
        _send(socket, frame, NOBLOCK | _MORE, copy)
    _send(socket, frames[-1], NOBLOCK, copy)


def receive_frames(socket: Socket, flags: int = 0) -> list[Frame]:
    """Receive a message; raises `zmq.Again` when there is none in the socket's time."""
    frame = _receive(socket, flags, False)
    frames: list[Frame] = [frame.bytes]
    while frame.more:
        frame = _receive(socket, flags, False)
        frames.append(frame.bytes)
    return frames


def receive_views(socket: Socket, flags: int = 0) -> list[Frame]:
    """Receive a message whose frames share ZeroMQ's memory."""
    frame = _receive(socket, flags, False)
    frames: list[Frame] = [frame.buffer]
    while frame.more:
        frame = _receive(socket, flags, False)
        frames.append(frame.buffer)
    return frames


class SenderReader:
    """Receives messages and knows whom ZeroMQ has admitted as the sender of the latest.

    Args:
        views: whether frames share ZeroMQ's memory.
    """

    def __init__(self, *, views: bool = False) -> None:
        self._views = views
        self._last: zmq.Frame | None = None

    def __call__(self, socket: Socket, flags: int = 0) -> list[Frame]:
        """Receive a message as `receive_frames` does."""
        views = self._views
        frame = _receive(socket, flags, False)
        frames: list[Frame] = [frame.buffer if views else frame.bytes]
        while frame.more:
            frame = _receive(socket, flags, False)
            frames.append(frame.buffer if views else frame.bytes)
        self._last = frame
        return frames

    @property
    def connection(self) -> Connection:
        """Whose message it is."""
        return connection_of(self._last)


def connection_of(frame: zmq.Frame | None) -> Connection:
    """Return on which connection a frame came, as the doorkeeper has numbered it.

    A frame that libzmq has made itself came on none.
    """
    if frame is None:
        return NO_CONNECTION
    try:
        number, _, admitted = str(frame.get(_USER)).partition(" ")
        fd, address = int(frame.get(_FD)), str(frame.get(_ADDRESS))
        user, _, proof = admitted.rpartition(" ")
        return Connection(int(number), fd, Sender(user, proof, address))
    except (zmq.ZMQError, ValueError):  # nobody has admitted him
        return NO_CONNECTION


def is_readable(socket: Socket) -> bool:
    """Tell whether a message waits; this also takes the notice of the socket's descriptor."""
    events: Any = _get(socket, _EVENTS)
    return bool(events & _POLLIN)


def monitor_event(frames: Sequence[Frame]) -> tuple[int, int]:
    """Return the number of a socket monitor's event, and its value.

    `zmq.utils.monitor` tells the same and imports asyncio for it.
    """
    told = frames[0]
    number = int.from_bytes(told[:_EVENT_SIZE], sys.byteorder)
    return number, int.from_bytes(told[_EVENT_SIZE:], sys.byteorder)
