"""Which descriptor of this process is whose connection, so that one of them can be ended.

libzmq has no call that ends a single connection. The descriptors are the process's own, though, and
`shutdown` on one of them makes libzmq drop that peer and no other. What must never happen is that
the descriptor belongs to somebody else by then: the system gives numbers of closed descriptors to
the next connection. Two facts together rule that out.

* Whose a descriptor is. The doorkeeper counts what it sees, in one line: a connection that the
  socket's monitor tells of, and an answer to libzmq's question who may come in. The count at the
  answer is the connection's number; libzmq hands it out with every message of that connection,
  beside its descriptor. Between question and answer the monitors are read until they are empty. So
  a connection was accepted before its number was given, and the next one with that descriptor is
  accepted after that: the latest one that was accepted before the number is the one meant.
* That it still is. The descriptor is copied first, and the monitor read until it is empty then.
  libzmq tells that a connection is over before it closes the descriptor. If it has told nothing
  until now, then what was copied is that connection.
"""

import logging
import os
import resource
import socket as network
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

import zmq

from ._frames import NOBLOCK, is_readable, monitor_event, receive_frames
from ._ports import Connection
from ._sockets import Socket

_log: Final = logging.getLogger(__name__)

WATCHED: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
RESERVE: Final = 10
"""One part in so many of the files that the process may open is kept free of connections: without
any, libzmq would try in vain, with all of a processor, to accept the next one."""
LEAST_RESERVE: Final = 16
SHARE: Final = 2
"""One part in so many of the files is what the connections of one client may use up."""
_TELL_AGAIN_S: Final = 10.0
_MAPPED: Final = "::ffff:"
_CREDENTIALS: Final = struct.Struct("3i")
_TCP_INFO: Final = struct.Struct("128xQ")
"""Of the kernel's struct tcp_info what is called tcpi_bytes_received there."""


_ENDING: Final = sys.maxsize
"""When a connection was accepted that is being ended: it is nobody's any more."""


class _Accepted(NamedTuple):
    at: int
    place: str


@dataclass(slots=True)
class DoorCounts:
    """What the door has seen of one process's connections.

    Attributes:
        count: grows with every connection and every answer.
        refused: connections closed because there was no room for them.
        cut: connections ended because somebody wanted it so.
        places: how many connections there are by where they come from; those that are being ended
            are not among them.
        last: why a connection was closed or ended last.
    """

    count: int = 0
    refused: int = 0
    cut: int = 0
    places: Counter[str] = field(default_factory=Counter[str])
    last: str = ""

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self.places.total()

    def next(self) -> int:
        """Return the next number."""
        self.count += 1
        return self.count


class Spare:
    """A descriptor that is always there: also when no other one is left, one can be copied."""

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._copy = os.dup(self._null)

    def shut_down(self, fd: int, is_meant: Callable[[], bool]) -> bool:
        """End the connection that a descriptor belongs to, if it is still the one that is meant.

        Args:
            is_meant: asked when the descriptor was copied; it tells of what went before.
        """
        try:
            os.dup2(fd, self._copy, inheritable=False)
        except OSError:  # it is closed
            return False
        try:
            if not is_meant():
                return False
            connection = network.socket(fileno=self._copy)
            try:
                connection.shutdown(network.SHUT_RDWR)
            finally:
                connection.detach()
        except OSError:  # the other side was sooner
            return False
        finally:
            os.dup2(self._null, self._copy, inheritable=False)
        return True

    def close(self) -> None:
        """Give it back."""
        os.close(self._copy)
        os.close(self._null)


class PortWatch:
    """The connections of one listening socket; used in the doorkeeper's thread only.

    Args:
        monitor: where the socket's monitor tells of them.
        unix: whether it is a Unix socket.
        ended: called when a connection is over that was told of with `know`.
    """

    def __init__(
        self,
        monitor: Socket,
        spare: Spare,
        counts: DoorCounts,
        *,
        unix: bool,
        ended: Callable[[Connection], None],
    ) -> None:
        self.monitor = monitor
        self._spare = spare
        self._counts = counts
        self._unix = unix
        self._ended = ended
        self.accepted: dict[int, _Accepted] = {}
        self._known: dict[int, Connection] = {}
        self._new: list[int] = []
        self._paused: dict[str, float] = {}
        self._suspects: dict[str, float] = {}
        self._told_at = -_TELL_AGAIN_S

    def drain(self) -> None:
        """Read what the monitor has told so far."""
        while is_readable(self.monitor):
            event, fd = monitor_event(receive_frames(self.monitor, NOBLOCK))
            if event & _ACCEPTED:
                self._take(fd)
            else:
                self._forget(fd)

    def _take(self, fd: int) -> None:
        self._forget(fd)
        place = self._place(fd)
        self.accepted[fd] = _Accepted(self._counts.next(), place)
        self._counts.places[place] += 1
        self._new.append(fd)

    def _forget(self, fd: int) -> None:
        accepted = self.accepted.pop(fd, None)
        if accepted is not None and accepted.at != _ENDING:
            self._leave(accepted.place)
        connection = self._known.pop(fd, None)
        if connection is not None:
            self._ended(connection)

    def _leave(self, place: str) -> None:
        self._counts.places[place] -= 1
        if not self._counts.places[place]:
            del self._counts.places[place]

    def _is_ending(self, fd: int) -> None:
        """Count a connection as over; it is nobody's any more."""
        place = self.accepted[fd].place
        self._leave(place)
        self.accepted[fd] = _Accepted(_ENDING, place)

    def _place(self, fd: int) -> str:
        """Return where a connection comes from: a process of this host, or another host."""
        # An address of the older version fits where one of the newer does, too.
        family = network.AF_UNIX if self._unix else network.AF_INET6
        try:
            connection = network.socket(family, network.SOCK_STREAM, 0, fileno=fd)
        except OSError:  # it is over already
            return ""
        try:
            if not self._unix:
                return str(connection.getpeername()[0]).removeprefix(_MAPPED)
            told = connection.getsockopt(network.SOL_SOCKET, network.SO_PEERCRED, _CREDENTIALS.size)
            return f"process {_CREDENTIALS.unpack(told)[0]}"
        except OSError:
            return ""
        finally:
            connection.detach()

    def keep_room(self) -> None:
        """Close new connections that use up what others need."""
        fresh, self._new = self._new, []
        if not fresh:
            return
        self._paused = _still(self._paused)
        limit, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            limit = sys.maxsize
        last = limit - max(LEAST_RESERVE, limit // RESERVE)
        for fd in fresh:
            accepted = self.accepted.get(fd)
            if accepted is None:
                continue
            # The system gives the lowest number that is free: all below it are in use.
            if fd >= last:
                self._refuse(fd, accepted, f"{fd} of {limit} files and connections are in use")
            elif self._counts.places[accepted.place] > limit // SHARE:
                self._refuse(fd, accepted, f"it has {limit // SHARE} connections already")
            elif accepted.place in self._paused:
                self._refuse(fd, accepted, "it comes back too soon")

    def _refuse(self, fd: int, accepted: _Accepted, reason: str) -> None:
        if self._spare.shut_down(fd, lambda: self._is_still(fd, accepted)):
            self._is_ending(fd)
            self._counts.refused += 1
            self._note(f"closed a new connection from {accepted.place}: {reason}")

    def _is_still(self, fd: int, accepted: _Accepted) -> bool:
        self.drain()
        return self.accepted.get(fd) is accepted

    def _is_live(self, connection: Connection) -> bool:
        accepted = self.accepted.get(connection.fd)
        return accepted is not None and accepted.at < connection.number

    def know(self, connection: Connection) -> None:
        """Tell when this connection is over."""
        if self._is_live(connection):
            self._known[connection.fd] = connection
        else:
            self._ended(connection)

    def cut(self, connection: Connection, reason: str, pause_s: float) -> None:
        """End this connection, if it is not over; keep where it came from away for a while."""

        def is_meant() -> bool:
            self.drain()
            return self._is_live(connection)

        if self._spare.shut_down(connection.fd, is_meant):
            if pause_s:
                self._pause(self.accepted[connection.fd].place, pause_s)
            self._is_ending(connection.fd)
            self._counts.cut += 1
            self._note(f"ended a connection of {connection}: {reason}")

    def _pause(self, place: str, pause_s: float) -> None:
        """Keep a process away for a while; a host, with all its programs, only if it goes on."""
        now = time.monotonic()
        self._suspects = _still(self._suspects)
        if self._unix or place in self._suspects:
            self._paused[place] = now + pause_s
        self._suspects[place] = now + 2 * pause_s

    def end_who_sends_much(self, most: int) -> None:
        """End connections on which more bytes have come than `most`.

        libzmq bounds the size of a frame but not how many of them make a message, and keeps all
        of one that does not end.
        """
        self.drain()
        for fd, accepted in list(self.accepted.items()):
            if accepted.at == _ENDING or _received_on(fd) <= most:
                continue
            if self._spare.shut_down(fd, partial(self._is_still, fd, accepted)):
                self._is_ending(fd)
                self._counts.cut += 1
                self._note(f"ended a connection from {accepted.place}: it sent too much")

    def _note(self, text: str) -> None:
        self._counts.last = text
        now = time.monotonic()
        if now - self._told_at >= _TELL_AGAIN_S:
            self._told_at = now
            counts = self._counts
            _log.warning("%s (%d closed, %d ended so far)", text, counts.refused, counts.cut)

    def close(self) -> None:
        """Stop watching: the socket is closed."""
        self.monitor.close(linger=0)
        for fd in list(self.accepted):
            self._forget(fd)


def _still(until: dict[str, float]) -> dict[str, float]:
    """Return the entries whose time is not over."""
    now = time.monotonic()
    return {place: end for place, end in until.items() if end > now}


def _received_on(fd: int) -> int:
    """Return how many bytes have come on a TCP connection; 0 when it is over."""
    try:
        connection = network.socket(network.AF_INET6, network.SOCK_STREAM, 0, fileno=fd)
    except OSError:
        return 0
    try:
        told = connection.getsockopt(network.IPPROTO_TCP, network.TCP_INFO, _TCP_INFO.size)
        return int(_TCP_INFO.unpack(told)[0])
    except (OSError, struct.error):
        return 0
    finally:
        connection.detach()
