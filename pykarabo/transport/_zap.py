"""Who may connect: libzmq asks about every connection before it carries a message (ZAP).

ZAP is RFC 27 of ZeroMQ (https://rfc.zeromq.org/spec/27). The questions come to a socket inside the
process. A thread of our own answers them, so that a device that blocks the event loop keeps nobody
waiting at the door. The door fails closed: listening sockets carry a ZAP domain, and then libzmq
admits nobody whom no answer has admitted.

On a Unix socket the question names the user and the process at the other end as the kernel knows
them (SO_PEERCRED); nothing that a client says of itself is needed.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import zmq

from pykarabo.errors import BadConfigurationError, PykaraboError

from ._frames import receive_frames, send_frames
from ._keys import DomainKeys
from ._places import user_name
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
    try:
        grant = site.require(question.key)
    except PykaraboError as error:  # also a list that cannot be read: then nobody comes in
        return Verdict(refused=f"a program at {question.address}: {error.message}")
    if not may_reach(grant, question.port):
        return Verdict(
            refused=f"a program at {question.address}: '{grant.name}' is a {grant.role}, which "
            f"has no business at the port '{question.port}'"
        )
    return Verdict(user=grant.name)


def may_reach(grant: "Grant", port: str) -> bool:
    """Tell what a member may connect to: a bridge reads pipelines, and nothing else."""
    return grant.role != _BRIDGE or port == _DATA


class Doorkeeper:
    """Answers the questions of one context's listening sockets from a thread of its own.

    Args:
        judge: called in that thread. A peer about whom it raises `OSError`, `ValueError` or
            `MemoryError` is refused; anything else ends the thread, and nobody comes in any more.

    Attributes:
        refused: how many connections were refused.

    Raises:
        BadConfigurationError: somebody else in this process answers them already.
    """

    def __init__(self, context: "zmq.Context[Socket]", judge: Judge) -> None:
        self.refused = 0
        self._judge = judge
        self._told = -_TELL_AGAIN_S
        self._socket: Socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(_ENDPOINT)
        except zmq.ZMQError as error:
            self._socket.close()
            raise BadConfigurationError(
                f"nobody can see to who connects: {error.strerror}",
                remedy="use one transport for each ZeroMQ context",
            ) from None
        stop = f"inproc://pykarabo.doorkeeper.{id(self)}"
        self._stopped = context.socket(zmq.PAIR)
        self._stopped.bind(stop)
        self._stop = context.socket(zmq.PAIR)
        self._stop.connect(stop)
        self._thread = threading.Thread(target=self._work, name="pykarabo doorkeeper", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether questions are answered; if not, nobody can connect."""
        return self._thread.is_alive()

    def _work(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        try:
            while self._stopped not in dict(poller.poll()):
                self._answer([bytes(frame) for frame in receive_frames(self._socket)])
        finally:
            self._socket.close()
            self._stopped.close()

    def _answer(self, frames: list[bytes]) -> None:
        request = frames[1] if len(frames) > 1 else b""
        answer = [b"500", b"who it is could not be found out", b""]
        try:
            verdict = self._judged(frames)
            answer = [b"200", b"OK", f"{verdict.user} {verdict.proof}".encode()]
            if verdict.refused:
                self._note(verdict.refused)
                answer = [b"400", b"refused", b""]
        except (OSError, ValueError, MemoryError):  # a name service, a strange name, a full host
            _log.exception("who connects could not be found out, and is refused")
        send_frames(self._socket, [_VERSION, request, *answer, b""])

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
        """Answer no more: from now on nobody is let in."""
        if self._thread.is_alive():
            self._stop.send(b"")
            self._thread.join(_END_S)
        self._stop.close()
