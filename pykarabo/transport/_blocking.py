"""A link for code that blocks: one socket, used in the thread that calls.

No event loop and no second thread stand between the caller and the socket, which is what makes a
read cost little more than ZeroMQ itself. Several threads may share a link; they take turns.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import zmq

from pykarabo.errors import (
    DeniedError,
    HelloRequiredError,
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
)
from pykarabo.wire import (
    Answered,
    ClientSession,
    Failed,
    Frame,
    LinkState,
    Rejected,
    Request,
    Target,
)

from ._caller import signed
from ._frames import monitor_event, receive_frames, send_frames
from ._keys import DomainKeys
from ._sockets import (
    DOWN_EVENTS,
    UP_EVENTS,
    Socket,
    describe_down,
    is_encrypted,
    make_dealer,
    resolve,
    stop_monitor,
)

_LOOK_MS: Final = 50
"""While an answer is awaited, the connection's end is noticed after this at most."""


class BlockingLink:
    """One connection to one server, from its greeting to its end.

    Args:
        context: shared by all links of the process.
        endpoint: the server's ``rpc`` endpoint.
        session: a new session; the link drives it.
        keys: of the domain.
        login: tells the token of whoever uses the link.
        timeout_s: for connecting and greeting.

    Raises:
        NotConnectedError: nobody answers there.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        endpoint: str,
        session: ClientSession,
        keys: DomainKeys,
        *,
        login: Callable[[], bytes],
        timeout_s: float,
    ) -> None:
        self.session = session
        self._endpoint = endpoint
        self._keys = keys
        self._login = login
        self._lock = threading.Lock()
        self._answers: dict[bytes, Answered | Failed] = {}
        self._socket = make_dealer(context)
        self._monitor = self._socket.get_monitor_socket(UP_EVENTS | DOWN_EVENTS)
        self._socket.setsockopt(zmq.RCVTIMEO, _LOOK_MS)
        try:
            if is_encrypted(endpoint):
                keys.prepare(endpoint)
                keys.use(self._socket, endpoint)
            self._greet(time.monotonic_ns() + int(timeout_s * 1e9))
        except BaseException:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether this link has come to its end."""
        return self.session.state is LinkState.CLOSED

    def _greet(self, deadline_ns: int) -> None:
        self._socket.connect(resolve(self._endpoint))
        while self.session.state is not LinkState.READY:
            left_ms = (deadline_ns - time.monotonic_ns()) // 1_000_000
            if left_ms <= 0:
                raise self._not_connected("no greeting came in time")
            if self.session.state is LinkState.CONNECTING:
                self._await_connection(left_ms)
            else:
                self._take_one(None)

    def _await_connection(self, left_ms: int) -> None:
        if not self._monitor.poll(left_ms):
            return
        event, value = self._event()
        if not event & UP_EVENTS:
            raise self._not_connected(describe_down(event, value, self._endpoint))
        send_frames(self._socket, self.session.connected(time.monotonic_ns()))

    def _event(self) -> tuple[int, int]:
        return monitor_event(receive_frames(self._monitor))

    def _not_connected(self, reason: str) -> PykaraboError:
        return self._keys.unreachable(self.session.peer, self._endpoint, reason, ask=True)

    def call(self, request: Request, target: Target, *, timeout_s: float) -> tuple[Any, int]:
        """Make a call and wait; returns the result and the device's event number.

        A call that was denied is made once more if somebody has logged in meanwhile.

        Raises:
            PykaraboError: as the session and the server say.
        """
        shown, began_ns = self.session.login, time.monotonic_ns()
        try:
            return self._call(request, target, timeout_s)
        except DeniedError:
            if not self._greet_again(shown):
                raise
        timeout_s -= (time.monotonic_ns() - began_ns) / 1e9
        return self._call(request, target, timeout_s)

    def _greet_again(self, shown: bytes) -> bool:
        """Greet with another token than was shown, if there is one."""
        with self._lock:
            frames = self.session.greet_again(self._login(), time.monotonic_ns())
            if frames is not None:
                self._send(frames)
            return self.session.login != shown

    def _call(self, request: Request, target: Target, timeout_s: float) -> tuple[Any, int]:
        with self._lock:
            now_ns = time.monotonic_ns()
            call_id, frames = self.session.call(
                signed(request), target, timeout_s=timeout_s, now_ns=now_ns
            )
            self._send(frames)
            try:
                ended = self._await(call_id)
            except BaseException:
                self._give_up(call_id)
                raise
        if isinstance(ended, Answered):
            return ended.result, ended.sequence
        if isinstance(ended.error, HelloRequiredError):
            # The server has forgotten this session: the next link greets anew.
            self.session.disconnected("the server has forgotten this session")
        raise ended.error

    def _send(self, frames: list[Frame]) -> None:
        try:
            send_frames(self._socket, frames)
        except zmq.Again:
            self._lost("its queue is full or the connection is gone")

    def _give_up(self, call_id: bytes) -> None:
        frames = self.session.cancel(call_id, time.monotonic_ns())
        if frames is not None:
            self._send(frames)

    def _await(self, call_id: bytes) -> Answered | Failed:
        while True:
            ended = self._take_one(call_id)
            if ended is not None:
                return ended

    def _take_one(self, wanted: bytes | None) -> Answered | Failed | None:
        """Take a message, or look at connection and clock when there is none."""
        try:
            frames = receive_frames(self._socket)
        except zmq.Again:
            self._look()
            return self._answers.pop(wanted, None) if wanted is not None else None
        try:
            event = self.session.receive(frames, time.monotonic_ns())
        except (MalformedMessageError, LimitExceededError):
            return None
        if (told := self.session.taken()) is not None:
            self._send(told)
        if isinstance(event, Rejected):
            raise event.error
        if isinstance(event, Answered | Failed) and event.call_id == wanted:
            return event
        return self._answers.pop(wanted, None) if wanted is not None else None

    def _look(self) -> None:
        while self._monitor.poll(0):
            event, value = self._event()
            if event & DOWN_EVENTS:
                self._lost(describe_down(event, value, self._endpoint))
        for failed in self.session.expire(time.monotonic_ns()):
            self._answers[failed.call_id] = failed

    def _lost(self, reason: str) -> None:
        greeting = self.session.state is LinkState.GREETING
        for failed in self.session.disconnected(reason):
            self._answers[failed.call_id] = failed
        if greeting:
            raise self._not_connected(reason)

    def close(self) -> None:
        """Say goodbye and close the socket."""
        if not self._socket.closed:
            if self.session.state is LinkState.READY:
                self._send(self.session.goodbye(time.monotonic_ns()))
                self.session.disconnected("closed here")
                linger_ms = _LOOK_MS
            else:
                linger_ms = 0
            stop_monitor(self._socket)
            self._monitor.close(linger=0)
            self._socket.close(linger=linger_ms)
