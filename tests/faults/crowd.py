"""Thousands of clients in one thread: our protocol on bare sockets, without an event loop.

A client that cost as much as ours would use up the host before the directory does.
"""

import heapq
import secrets
import time
from typing import Final

import zmq

from pykarabo.client import DIRECTORY_ID
from pykarabo.transport import make_context
from pykarabo.transport._frames import receive_frames, send_frames
from pykarabo.transport._sockets import Socket, make_dealer
from pykarabo.wire import (
    Answered,
    Call,
    ClientIdentity,
    ClientSession,
    Failed,
    Frame,
    Locate,
    SessionEvent,
    Target,
    Welcomed,
    is_bundle,
    unbundled,
)

_PATIENCE_S: Final = 3.0
"""A connection on which nothing came for so long is given up, and another one made."""
_AGAIN_S: Final = 0.2
"""Who is told that the directory is busy waits so long before asking again."""
_LOOK_MS: Final = 10
_IDENTITY: Final = ClientIdentity("host", 1, "user", "crowd")


class _Member:
    """One client: connects, greets, asks for the directory and then for a device."""

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self.number = number
        self._crowd = crowd
        self._session: ClientSession
        self._target: Target | None = None
        self.socket: Socket | None = None
        self.found = False
        self.due = 0.0

    def connect(self) -> None:
        """Make a connection, and send the greeting as soon as it is there."""
        self.close()
        self.found, self._target = False, None
        self._session = ClientSession(secrets.token_bytes(8), _IDENTITY, checksum=True)
        self.socket = make_dealer(self._crowd.context)
        self.socket.connect(self._crowd.endpoint)
        self._send(self._session.connected(time.monotonic_ns()))
        self._crowd.watch(self)

    def _send(self, frames: list[Frame]) -> None:
        assert self.socket is not None
        send_frames(self.socket, frames)
        self.due = time.monotonic() + _PATIENCE_S

    def _ask(self) -> None:
        request = Locate([DIRECTORY_ID])
        call = Call(DIRECTORY_ID, "resolve", [self._crowd.device_id])
        _id, frames = self._session.call(
            request if self._target is None else call,
            self._target or Target(),
            timeout_s=_PATIENCE_S,
            now_ns=time.monotonic_ns(),
        )
        self._send(frames)

    def receive(self) -> None:
        """Take what has come."""
        assert self.socket is not None
        while self.socket is not None:
            try:
                frames = receive_frames(self.socket, zmq.NOBLOCK)
            except zmq.Again:
                return
            for message in unbundled(frames) if is_bundle(frames) else [frames]:
                self._take(self._session.receive(message, time.monotonic_ns()))

    def _take(self, event: SessionEvent) -> None:
        if isinstance(event, Welcomed):
            self._ask()
        elif isinstance(event, Answered) and self._target is None:
            instance, epoch = event.result[0]
            self._target = Target(bytes(instance), epoch)
            self._ask()
        elif isinstance(event, Answered):
            assert event.result["device_id"] == self._crowd.device_id
            self.found = True
        elif isinstance(event, Failed):
            self._crowd.later(self, _AGAIN_S)

    def again(self) -> None:
        """Ask once more, on a new connection if the present one is silent."""
        if time.monotonic() >= self.due:
            self.connect()
        elif not self.found:
            self._ask()

    def close(self) -> None:
        if self.socket is not None:
            self._crowd.unwatch(self)
            self.socket.close(linger=0)
            self.socket = None


class Crowd:
    """Clients that all look one device up; use it as a context manager."""

    def __init__(self, endpoint: str, device_id: str, count: int) -> None:
        self.endpoint = endpoint
        self.device_id = device_id
        self.context = make_context()
        self._poller = zmq.Poller()
        self._members = [_Member(self, number) for number in range(count)]
        self._of: dict[Socket, _Member] = {}
        self._later: list[tuple[float, int]] = []

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.close()
        self.context.term()

    def watch(self, member: _Member) -> None:
        """Look at a client's socket from now on."""
        assert member.socket is not None
        self._of[member.socket] = member
        self._poller.register(member.socket, zmq.POLLIN)
        self.later(member, _PATIENCE_S)

    def unwatch(self, member: _Member) -> None:
        """Look at it no more."""
        assert member.socket is not None
        del self._of[member.socket]
        self._poller.unregister(member.socket)

    def later(self, member: _Member, delay_s: float) -> None:
        """Have a client ask again if it has not found the device by then."""
        heapq.heappush(self._later, (time.monotonic() + delay_s, member.number))

    def look_up(self) -> float:
        """Connect all of them at once; returns how long it took until each found the device."""
        begun = time.monotonic()
        for member in self._members:
            member.connect()
        while not all(member.found for member in self._members):
            for socket, _event in self._poller.poll(_LOOK_MS):
                self._of[socket].receive()
            while self._later and self._later[0][0] <= time.monotonic():
                member = self._members[heapq.heappop(self._later)[1]]
                if not member.found:
                    member.again()
        self._later.clear()
        return time.monotonic() - begun
