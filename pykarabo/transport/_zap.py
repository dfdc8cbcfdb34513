"""Who may connect: libzmq asks about every connection before it carries a message (ZAP).

ZAP is RFC 27 of ZeroMQ (https://rfc.zeromq.org/spec/27). The questions come to a socket inside the
process. A thread of our own answers them, so that a device that blocks the event loop keeps nobody
waiting at the door. The door fails closed: listening sockets carry a ZAP domain, and then libzmq
admits nobody whom no answer has admitted.

On a Unix socket the question names the user and the process at the other end as the kernel knows
them (SO_PEERCRED); nothing that a client says of itself is needed.
"""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import zmq

from pykarabo.errors import BadConfigurationError, PykaraboError

from ._connections import WATCHED, DoorCounts, PortWatch, Spare
from ._frames import is_readable, receive_frames, send_frames
from ._keys import DomainKeys
from ._places import user_name
from ._ports import Connection
from ._sockets import ZAP_DOMAIN, Socket

if TYPE_CHECKING:
    from pykarabo.trust import Grant

    from ._site import Site

_log: Final = logging.getLogger(__name__)

_ENDPOINT: Final = "inproc://zeromq.zap.01"  # the RFC's name
_VERSION: Final = b"1.0"
_FIELDS: Final = 6
_PEER: Final = "localhost"
_NUMBERS: Final = 3
"""User, group and process."""
_ENCRYPTED: Final = "CURVE"
_TELL_AGAIN_S: Final = 10.0
"""Whoever keeps knocking, under whatever name, fills no disk: the log tells of him this often."""
_END_S: Final = 5.0
_AT_ONCE: Final = 100
"""So many questions are answered together; each look at the sockets costs some time."""
_BRIDGE: Final = "bridge"
_DATA: Final = "data"
SELF_TEST: Final = "our own self-test"
"""The reason of a refusal that was provoked by ourselves, and is no news."""


class Question(NamedTuple):
    """What libzmq asks: may this peer connect?

    Attributes:
        address: of a Unix socket ``localhost:UID:GID:PID``, else the IP address.
        mechanism: ``NULL`` or ``CURVE``.
        key: the peer's public CURVE key; empty for ``NULL``.
        port: what it wants to connect to: ``rpc``, ``events``, ``data``, or empty.
    """

    address: str
    mechanism: str
    key: bytes
    port: str = ""

    @property
    def uid(self) -> int | None:
        """The user at the other end of a Unix socket; None for other peers."""
        host, *numbers = self.address.split(":")
        known = host == _PEER and len(numbers) == _NUMBERS and all(map(str.isdigit, numbers))
        return int(numbers[0]) if known else None

    @property
    def proof(self) -> str:
        """What tells who the peer is; see `Sender`."""
        if self.mechanism == _ENCRYPTED:
            return f"key:{self.key.hex()}"
        return "" if self.uid is None else f"uid:{self.uid}"


class Verdict(NamedTuple):
    """The answer: who the peer is, or why it may not connect.

    Attributes:
        proof: what told the judge; the doorkeeper fills it in.
    """

    user: str = ""
    refused: str = ""
    proof: str = ""


Judge: TypeAlias = Callable[[Question], Verdict]


def own_user_only(question: Question) -> Verdict:
    """Admit programs of the user that this process runs as, by what the kernel says of them."""
    uid = question.uid
    if uid is None:
        return Verdict(refused=f"{question.address} does not come over a Unix socket")
    if uid != os.getuid():
        pid = question.address.rpartition(":")[2]
        return Verdict(
            refused=f"process {pid} of user '{user_name(uid)}': this domain belongs to "
            f"'{user_name(os.getuid())}' alone"
        )
    return Verdict(user=user_name(uid))


def own_user_or_key(keys: DomainKeys) -> Judge:
    """Admit our own user's programs on Unix sockets, and over TCP whose key is known.

    In a domain of one user that is the one key that he shares: who shows it is he. In a site it
    is every key with a grant, and who shows it is the member that the grant names.
    """

    def judge(question: Question) -> Verdict:
        if question.mechanism != _ENCRYPTED:
            return own_user_only(question)
        if keys.site is not None:
            return _member_of(keys.site, question)
        if question.key != keys.pair.public:
            return Verdict(refused=f"a program at {question.address}: its key is another one")
        return Verdict(user=user_name(os.getuid()))

    return judge


def _member_of(site: "Site", question: Question) -> Verdict:
    who = f"a program at {question.address.removeprefix('::ffff:')}"
    try:
        grant = site.require(question.key)
    except PykaraboError as error:  # also a list that cannot be read: then nobody comes in
        return Verdict(refused=f"{who}: {error.message}")
    if not may_reach(grant, question.port):
        return Verdict(
            refused=f"{who}: '{grant.name}' is a {grant.role}, which has no business at the port "
            f"'{question.port}'"
        )
    return Verdict(user=grant.name)


def may_reach(grant: "Grant", port: str) -> bool:
    """Tell what a member may connect to: a bridge reads pipelines, and nothing else."""
    return grant.role != _BRIDGE or port == _DATA


class Doorkeeper:
    """Answers the questions of one context's listening sockets from a thread of its own.

    It also knows the connections of the sockets that it is given to `watch`, see `PortWatch`.

    Args:
        judge: called in that thread. A peer about whom it raises `OSError`, `ValueError` or
            `MemoryError` is refused; anything else ends the thread, and nobody comes in any more.

    Attributes:
        refused: how many connections were refused.
        counts: what is known of the connections.

    Raises:
        BadConfigurationError: somebody else in this process answers them already.
    """

    def __init__(self, context: "zmq.Context[Socket]", judge: Judge) -> None:
        self.refused = 0
        self.counts = DoorCounts()
        self._context = context
        self._judge = judge
        self._told = -_TELL_AGAIN_S
        self._socket: Socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(_ENDPOINT)
        except zmq.ZMQError as error:
            self._socket.close()
            raise BadConfigurationError(
                f"nobody can see to who connects: {error.strerror}",
                remedy="use one transport for each ZeroMQ context",
            ) from None
        bell = f"inproc://pykarabo.doorkeeper.{id(self)}"
        self._rung = context.socket(zmq.PAIR)
        self._rung.bind(bell)
        self._bell = context.socket(zmq.PAIR)
        self._bell.connect(bell)
        self._poller = zmq.Poller()
        self._watches: list[PortWatch] = []
        self._spare = Spare()
        self._errands: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="pykarabo doorkeeper", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether questions are answered; if not, nobody can connect."""
        return self._thread.is_alive()

    # -- what is asked for, from another thread -------------------------------------------------

    def watch(
        self, socket: Socket, *, unix: bool, ended: Callable[[Connection], None]
    ) -> PortWatch:
        """Know the connections of a socket that will listen, until `unwatch`.

        Args:
            unix: whether it will be a Unix socket.
            ended: called, in the doorkeeper's thread, when a connection is over of which `know`
                was told.
        """
        told = f"inproc://pykarabo.monitor.{id(socket)}"
        socket.monitor(told, WATCHED)
        monitor: Socket = self._context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.RCVHWM, 0)  # libzmq would wait, and everybody with it
        monitor.connect(told)
        watch = PortWatch(monitor, self._spare, self.counts, unix=unix, ended=ended)
        self._ask(lambda: self._begin(watch))
        return watch

    def know(self, watch: PortWatch, connection: Connection) -> None:
        """Have it told when a connection is over; it is told at once if it is already."""
        self._errands.append(lambda: watch.know(connection))
        if connection.fd not in watch.accepted:
            self._ring()

    def cut(
        self, watch: PortWatch, connection: Connection, reason: str, pause_s: float = 0.0
    ) -> None:
        """End a connection soon, and no other one, if it is not over; see `Transport.cut`."""
        self._ask(lambda: watch.cut(connection, reason, pause_s))

    def limit(self, watch: PortWatch, most: int) -> None:
        """End the TCP connections of a socket on which more than `most` bytes have come so far."""
        self._ask(lambda: watch.end_who_sends_much(most))

    def unwatch(self, watch: PortWatch) -> None:
        """Know no more of a socket that is not monitored any more."""
        if self.alive:
            self._ask(lambda: self._end(watch))
        else:
            watch.close()

    def _ask(self, errand: Callable[[], None]) -> None:
        self._errands.append(errand)
        self._ring()

    def _ring(self) -> None:
        if self._closed:
            return
        with contextlib.suppress(zmq.Again):  # it has been rung often enough
            self._bell.send(b"", zmq.NOBLOCK)

    # -- in its thread --------------------------------------------------------------------------

    def _work(self) -> None:
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._rung, zmq.POLLIN)
        try:
            while not self._stopping:
                self._poller.poll()
                self._look()
        finally:
            # The monitors stay: with nobody to tell, libzmq would wait, and everybody with it.
            self._rung.close()
            self._socket.close()

    def _look(self) -> None:
        """Take what there is to do; see `_connections` for why in this order.

        A socket is watched before it listens. So the errand to begin with that is there when the
        first question about it is, and comes first: else its connection would be counted too late.
        """
        questions = self._questions()
        while is_readable(self._rung):
            self._rung.recv()
        while self._errands:
            self._errands.popleft()()
        for watch in self._watches:
            watch.drain()
        for frames in questions:
            self._answer(frames)
        for watch in self._watches:
            watch.keep_room()

    def _questions(self) -> list[list[bytes]]:
        found: list[list[bytes]] = []
        while len(found) < _AT_ONCE and is_readable(self._socket):
            found.append([bytes(frame) for frame in receive_frames(self._socket)])
        return found

    def _begin(self, watch: PortWatch) -> None:
        self._watches.append(watch)
        self._poller.register(watch.monitor, zmq.POLLIN)

    def _end(self, watch: PortWatch) -> None:
        if watch in self._watches:
            self._watches.remove(watch)
            self._poller.unregister(watch.monitor)
            watch.close()

    def _answer(self, frames: list[bytes]) -> None:
        asker, empty, *question = frames
        request = question[1] if len(question) > 1 else b""
        answer = [b"500", b"who it is could not be found out", b""]
        try:
            verdict = self._judged(question)
            number = self.counts.next()
            answer = [b"200", b"OK", f"{number} {verdict.user} {verdict.proof}".encode()]
            if verdict.refused:
                self._note(verdict.refused)
                answer = [b"400", b"refused", b""]
        except (OSError, ValueError, MemoryError):  # a name service, a strange name, a full host
            _log.exception("who connects could not be found out, and is refused")
        send_frames(self._socket, [asker, empty, _VERSION, request, *answer, b""])

    def _judged(self, frames: list[bytes]) -> Verdict:
        if len(frames) < _FIELDS or frames[0] != _VERSION:
            return Verdict(refused="a question that libzmq does not ask")
        _version, _request, domain, address, _peer, mechanism, *credentials = frames
        ours, _, port = domain.partition(b"/")
        if ours != ZAP_DOMAIN:
            return Verdict(refused="a question that libzmq does not ask")
        question = Question(
            address.decode("utf-8", "replace"),
            mechanism.decode("ascii", "replace"),
            credentials[0] if credentials else b"",
            port.decode("ascii", "replace"),
        )
        return self._judge(question)._replace(proof=question.proof)

    def _note(self, reason: str) -> None:
        """Tell in the log who was refused; only now and then while somebody keeps trying."""
        if reason == SELF_TEST:
            return
        self.refused += 1
        now = time.monotonic()
        if now - self._told >= _TELL_AGAIN_S:
            self._told = now
            _log.warning("refused to let in %s (%d refused so far)", reason, self.refused)

    def close(self) -> None:
        """Answer no more: from now on nobody is let in.

        Sockets that are still watched go on being so until `unwatch`, though nothing is told.
        """
        if self._closed:
            return
        if self._thread.is_alive():
            self._ask(self._stop)
            self._thread.join(_END_S)
        self._closed = True
        self._bell.close()
        self._spare.close()

    def _stop(self) -> None:
        self._stopping = True
