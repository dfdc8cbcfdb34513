"""Where the service of a site listens: everybody may ask, and each is known by his key.

It runs in a thread of its own, beside the directory's event loop: who joins or is shut out does
not wait for devices. Everybody whom nobody has admitted yet must be able to ask, so a message is
small, a connection that asks nothing is no burden, and what a question may do is for `answer` to
say, from the key that libzmq has proved.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import zmq

from pykarabo.data import decode, encode
from pykarabo.errors import (
    BadConfigurationError,
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
)

from ._frames import SenderReader, send_frames
from ._keys import KeyPair
from ._ports import ignore
from ._sockets import guard, make_context, make_router, stop_monitor
from ._zap import Doorkeeper, Question, Verdict

_log: Final = logging.getLogger(__name__)
MAX_QUESTION: Final = 16 * 2**10
MAX_RECEIVED: Final = 2**20
"""Bytes on one connection: an hour of a member's questions, and nothing that memory would feel."""
LOOK_S: Final = 0.5
TICK_S: Final = 0.1
"""What has changed on the disk is told this late at most."""
LISTENS_S: Final = 10.0
"""Who has asked nothing for so long is told no news any more."""
MAX_LISTENERS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks.

    Attributes:
        key: his public key, which he has proved to have.
        address: where he is.
    """

    key: bytes
    address: str


Answering: TypeAlias = Callable[[Asker, Mapping[str, Any]], dict[str, Any]]


class SiteListener:
    """Answers questions from a thread of its own until `close`.

    Args:
        answer: called in that thread; a `PykaraboError` of it travels to who asks.
        news: called in that thread now and then; what it returns goes to all who have asked
            lately, each of whom `hears` must admit.

    Raises:
        BadConfigurationError: the port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        pair: KeyPair,
        *,
        answer: Answering,
        news: Callable[[], dict[str, Any] | None],
        hears: Callable[[bytes], bool],
    ) -> None:
        self._answer = answer
        self._news = news
        self._hears = hears
        self._heard: dict[bytes, tuple[float, bytes]] = {}
        self._reader = SenderReader()
        self._context = make_context()
        self._doorkeeper = Doorkeeper(self._context, _known_by_key)
        self._socket = make_router(self._context)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_QUESTION)
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        guard(self._socket)
        self._watch = self._doorkeeper.watch(self._socket, unix=False, ended=ignore)
        self._looked = 0.0
        try:
            self._socket.bind(f"tcp://{f'[{host}]' if ':' in host else host}:{port}")
        except zmq.ZMQError as error:
            self._close_socket()
            self._doorkeeper.close()
            self._context.term()
            raise BadConfigurationError(
                f"the site's service cannot listen on {host}:{port}: {error.strerror}",
                remedy="see what else listens there ('ss -ltnp'), and whether the address is one "
                "of this host",
            ) from None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pykarabo site", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether questions are answered."""
        return self._thread.is_alive()

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._socket.poll(int(TICK_S * 1_000)):
                    self._take_one()
                if (news := self._news()) is not None:
                    self._tell(news)
                self._look()
        finally:
            self._close_socket()

    def _look(self) -> None:
        """End who sends without asking anything; a member comes back within a second."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._doorkeeper.limit(self._watch, MAX_RECEIVED)

    def _close_socket(self) -> None:
        stop_monitor(self._socket)
        self._doorkeeper.unwatch(self._watch)
        self._socket.close()

    def _take_one(self) -> None:
        peer, *frames = self._reader(self._socket)
        sender = self._reader.connection.sender
        try:
            question = decode(frames)
        except (MalformedMessageError, LimitExceededError):
            return
        if not sender.key or not isinstance(question, dict):
            return
        asker = Asker(sender.key, sender.address.removeprefix("::ffff:"))
        try:
            answer = self._answer(asker, question)
        except PykaraboError as error:
            answer = {"error": error.to_wire()}
        if self._hears(asker.key) and len(self._heard) < MAX_LISTENERS:
            self._heard[bytes(peer)] = time.monotonic(), asker.key
        self._send(bytes(peer), answer)

    def _tell(self, news: dict[str, Any]) -> None:
        since = time.monotonic() - LISTENS_S
        self._heard = {peer: known for peer, known in self._heard.items() if known[0] >= since}
        for peer, (_time, key) in list(self._heard.items()):
            if self._hears(key):
                self._send(peer, news)

    def _send(self, peer: bytes, answer: dict[str, Any]) -> None:
        try:
            send_frames(self._socket, [peer, *encode(answer)])
        except zmq.ZMQError:  # he has gone, or takes no answers
            self._heard.pop(peer, None)

    def close(self) -> None:
        """Answer no more."""
        self._stopping.set()
        self._thread.join()
        self._doorkeeper.close()
        self._context.term()


def _known_by_key(question: Question) -> Verdict:
    if not question.key:
        return Verdict(refused=f"a program at {question.address}: it shows no key")
    return Verdict(user=question.key.hex())
