"""Asking the service of a site: one question, one answer, over an encrypted connection.

The service's key is known from the join string, so that nobody else can answer. It knows who asks
by his key; without a grant it takes nothing but an invitation code.
"""

import errno
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

import zmq

from pykarabo.data import decode, encode
from pykarabo.errors import (
    ClockError,
    MalformedMessageError,
    NotConnectedError,
    PykaraboError,
)
from pykarabo.trust import CLOCK_TOLERANCE_S, JoinString, told_time

from ._frames import monitor_event, receive_frames, send_frames
from ._keys import KeyPair
from ._sockets import (
    DOWN_EVENTS,
    UP_EVENTS,
    Socket,
    make_context,
    make_dealer,
    resolve,
    stop_monitor,
)

ASK_S: Final = 2.0
"""A service that is well answers within milliseconds; whoever waits is told of trouble by then."""
_STEP_S: Final = 0.1
"""Whoever ends is not kept waiting for longer."""


class SiteLink:
    """A connection to the service of a site; use it as a context manager, in one thread.

    Args:
        pair: our key.
        context: default is a new one.
        stopping: asked while something is awaited; when it is so nobody waits any more.

    Raises (when it is opened):
        NotConnectedError: nobody answers there, or somebody with another key.
    """

    def __init__(
        self,
        service: JoinString,
        pair: KeyPair,
        *,
        context: "zmq.Context[Socket] | None" = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.service = service
        self._stopping = stopping
        self._own_context = context is None
        self._context = context or make_context()
        self._socket = make_dealer(self._context)
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, service.key)
        self._monitor = self._socket.get_monitor_socket(UP_EVENTS | DOWN_EVENTS)

    def open(self, timeout_s: float = ASK_S) -> None:
        """Connect."""
        self._socket.connect(resolve(self.service.endpoint))
        if not self._comes(self._monitor, timeout_s):
            raise self._not_there(f"it does not answer within {timeout_s:g} s")
        event, value = monitor_event(receive_frames(self._monitor))
        if not event & UP_EVENTS:
            raise self._refused(event, value)

    def _comes(self, socket: Socket, timeout_s: float) -> bool:
        """Wait until there is something to receive; returns whether there is."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0 and not self._stopping():
            if socket.poll(int(min(left_s, _STEP_S) * 1_000) + 1):
                return True
            if socket is self._socket and self._monitor.poll(0):
                return False
        return False

    def _refused(self, event: int, value: int) -> NotConnectedError:
        if event & zmq.EVENT_CLOSED or event & zmq.EVENT_DISCONNECTED:
            return self._not_there("nobody listens there")
        if event & zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and value != errno.ETIMEDOUT:
            return NotConnectedError(
                f"what answers at {self.service.endpoint} does not have the key of the site that "
                "you were told, or stopped just now",
                remedy="ask the administrator for the join string anew ('pykarabo site show'); if "
                "it is the same, somebody else listens there",
            )
        return self._not_there("what answers there is no service of a site")

    def _not_there(self, why: str) -> NotConnectedError:
        return NotConnectedError(
            f"the site's service cannot be reached at {self.service.endpoint}: {why}",
            remedy="start it where the site was made ('pykarabo up', or 'pykarabo site serve'), "
            "and see that no firewall closes its port",
        )

    def ask(self, question: Mapping[str, Any], *, timeout_s: float = ASK_S) -> dict[str, Any]:
        """Ask, and return the answer.

        Raises:
            PykaraboError: what the service answers instead, or that it does not answer.
        """
        send_frames(self._socket, encode({**question, "time": time.time()}))
        if self._comes(self._socket, timeout_s):
            return self.receive()
        raise self._not_there(f"it does not answer within {timeout_s:g} s")

    def receive(self) -> dict[str, Any]:
        """Return the answer or the news that waits; raises as `ask` does."""
        return answer_in(receive_frames(self._socket))

    def waits(self, timeout_s: float) -> bool:
        """Wait for an answer or news."""
        return bool(self._socket.poll(int(timeout_s * 1_000)))

    def close(self) -> None:
        """End the connection."""
        if not self._socket.closed:
            stop_monitor(self._socket)
            self._monitor.close(linger=0)
            self._socket.close(linger=0)
        if self._own_context:
            self._context.term()

    def __enter__(self) -> "SiteLink":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def answer_in(frames: list[Any]) -> dict[str, Any]:
    """Return an answer of the service; raises the error that it holds."""
    answer = decode(frames)
    if not isinstance(answer, dict):
        raise MalformedMessageError(
            "the site's service answered with what is no answer", remedy="update pykarabo here"
        )
    if isinstance(wire := answer.get("error"), dict):
        raise PykaraboError.from_wire(wire)
    return answer


def require_same_time(theirs_s: float, own_s: float, whose: str) -> None:
    """Refuse clocks between which nobody could say what is valid; raises `ClockError`."""
    off_s = own_s - theirs_s
    if abs(off_s) > CLOCK_TOLERANCE_S:
        raise ClockError(
            f"the clock of {whose} is {_span(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} "
            f"the site's: it shows {told_time(own_s)}, and there it is {told_time(theirs_s)}",
            remedy="set the clock that is wrong ('timedatectl set-ntp true')",
        )


def _span(seconds: float) -> str:
    days, rest = divmod(round(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    return f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min"
