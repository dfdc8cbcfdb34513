"""One life of a link, seen by the caller: greeting, calls, answers, deadlines, end.

No I/O happens here: the driver hands in what it received and what time it is, and sends what it
is given. A session lives exactly as long as its connection. When the connection ends, every call
under way ends with it, and a new connection starts a new session: no call can wait in a socket
and run on a server that the caller never met.

=============  =================  ============================  ==============
state          event              what happens                  next state
=============  =================  ============================  ==============
CONNECTING     connected          hello is sent                 GREETING
GREETING       welcome            calls may be made             READY
GREETING       error              the link is refused           CLOSED
GREETING       another version    the link is refused           CLOSED
READY          reply, error       the call of that id ends      READY
READY          greeted again      hello is sent, with a token   READY
                                  that is another one
READY          welcome            the role may be another one   READY
READY          1 MiB of answers   the server is told: it does   READY
               taken              not answer far ahead of us
any            deadline passed    that call ends: unknown       same
any            disconnected       all calls end: unknown        CLOSED
=============  =================  ============================  ==============
"""

from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.data import AccessLevel, decode, encode
from pykarabo.errors import (
    CallTimeoutError,
    ConnectionLostError,
    LimitExceededError,
    MalformedMessageError,
    NotConnectedError,
    PykaraboError,
    VersionMismatchError,
)

from ._age import AgeMeter
from ._checks import MAX_FRAME, check_size
from ._greetings import NO_LINE, ClientIdentity, Hello, Welcome, parse_welcome
from ._header import MAX_TTL_MS, NO_INSTANCE, Frame, Header, Kind, message_size, pack, unpack
from ._requests import Request, request_body

TELL_BYTES: Final = 2**20
"""The server is told so often how many bytes of answers were taken."""
_MS: Final = 1_000_000
_SAMPLE_NS: Final = 50 * _MS
"""How often an answer is asked what time it is at the server."""


class LinkState(StrEnum):
    """Where a session stands; see the table above."""

    CONNECTING = "connecting"
    GREETING = "greeting"
    READY = "ready"
    CLOSED = "closed"


class Target(NamedTuple):
    """The one instance that a call is meant for; any other refuses it."""

    instance: bytes = NO_INSTANCE
    epoch: int = 0


class Answered(NamedTuple):
    """A call ended with a result; `sequence` orders it among the device's events."""

    call_id: bytes
    result: Any
    sequence: int


class Failed(NamedTuple):
    """A call ended with an error, remote or our own."""

    call_id: bytes
    error: PykaraboError


class Welcomed(NamedTuple):
    """The greeting is done and calls may be made."""

    welcome: Welcome


class Rejected(NamedTuple):
    """The server refuses this session as a whole (another protocol version, say)."""

    error: PykaraboError


class Ignored(NamedTuple):
    """A message that means nothing here: the answer of a call that has already ended."""

    kind: int


SessionEvent: TypeAlias = Answered | Failed | Welcomed | Rejected | Ignored


class _Pending(NamedTuple):
    deadline_ns: int
    request: Request


class ClientSession:
    """The caller's side of one connection.

    Args:
        token: 8 random bytes that make this session's call ids unique.
        identity: who calls.
        line: what this session has in common with those before and after it; see `Hello`.
        role: the highest role that it asks for.
        login: the token that shows who uses it; see `Hello`.
        peer: what error messages call the other side, for example ``server 'main'``.
        checksum: protect each message with a CRC-32 (plaintext TCP).
    """

    def __init__(
        self,
        token: bytes,
        identity: ClientIdentity,
        *,
        line: bytes = NO_LINE,
        role: AccessLevel = AccessLevel.ADMINISTRATOR,
        login: bytes = b"",
        peer: str = "server",
        checksum: bool = False,
    ) -> None:
        self.state = LinkState.CONNECTING
        self.peer = peer
        self.welcome: Welcome | None = None
        self._token = token
        self._hello = Hello(*identity, line, role, login)
        self._greeted = False
        self._checksum = checksum
        self._counter = 0
        self._taken = 0
        self._told = 0
        self._pending: dict[bytes, _Pending] = {}
        self._clock = AgeMeter()
        self._sampled_ns = 0
        self._offset_ns = 0

    @property
    def in_flight(self) -> int:
        """How many calls wait for their answer."""
        return len(self._pending)

    @property
    def role(self) -> AccessLevel:
        """What the server lets this session do; before its welcome, nothing but to look."""
        welcome = self.welcome
        return AccessLevel.OBSERVER if welcome is None else AccessLevel(welcome.role)

    @property
    def login(self) -> bytes:
        """The token that was shown last."""
        return self._hello.token

    def connected(self, now_ns: int) -> list[Frame]:
        """Tell that the transport is connected; returns the hello to send."""
        self.state = LinkState.GREETING
        return self._greeting(now_ns)

    def greet_again(self, login: bytes, now_ns: int) -> list[Frame] | None:
        """Show another token on the same connection; returns the hello to send.

        Calls that are sent after it are judged by it. None where it would change nothing.
        """
        if self.state is not LinkState.READY or login == self._hello.token:
            return None
        self._hello = self._hello._replace(token=login)
        return self._greeting(now_ns)

    def _greeting(self, now_ns: int) -> list[Frame]:
        self._greeted = True
        header = Header(Kind.HELLO, sent_ns=now_ns)
        return pack(header, encode(list(self._hello)), checksum=self._checksum)

    def call(
        self, request: Request, target: Target, *, timeout_s: float, now_ns: int
    ) -> tuple[bytes, list[Frame]]:
        """Start a call; returns its id and the message to send.

        Raises:
            NotConnectedError: the session is not ready; the call was not sent.
            LimitExceededError: the call is too large; it was not sent.
        """
        if self.state is not LinkState.READY:
            raise NotConnectedError(
                f"{self.peer} is not connected",
                device=_device_of(request),
                remedy="wait until it is online or start it",
            )
        body = encode(request_body(request))
        if len(body) > 1 or len(body[0]) > MAX_FRAME:
            check_size(body, _what(request), device=_device_of(request))
        self._counter += 1
        call_id = self._token + self._counter.to_bytes(8, "big")
        ttl_ms = max(1, round(min(timeout_s * 1000, MAX_TTL_MS)))
        header = Header(
            Kind.CALL,
            target.instance,
            target.epoch,
            self._counter,
            call_id,
            ttl_ms,
            self._server_time_ns(now_ns),
        )
        deadline_ns = now_ns + ttl_ms * _MS
        self._pending[call_id] = _Pending(deadline_ns, request)
        return call_id, pack(header, body, checksum=self._checksum)

    def _server_time_ns(self, now_ns: int) -> int:
        """Return what the server's clock shows, never later than it does.

        The server can tell by it how long a call was under way, even if nothing between the two
        was ever fast. A call that a cut or a frozen server held back is not run when its caller
        has given it up.
        """
        if now_ns - self._sampled_ns > _SAMPLE_NS:
            self._sampled(now_ns)
        return max(0, now_ns - self._offset_ns)

    def _sampled(self, now_ns: int) -> None:
        self._offset_ns = now_ns - self._clock.peer_time_ns(now_ns)
        self._sampled_ns = now_ns

    def _heard(self, header: Header, now_ns: int) -> None:
        """Learn of the server's clock, now and then: it takes as long as a tenth of a call."""
        is_due = now_ns - self._sampled_ns > _SAMPLE_NS or header.kind != Kind.REPLY
        if header.sent_ns and is_due:
            self._clock.heard(header.sent_ns, now_ns)
            self._sampled(now_ns)

    def cancel(self, call_id: bytes, now_ns: int) -> list[Frame] | None:
        """Give a call up; returns the message that tells the server, None if it has ended."""
        if self._pending.pop(call_id, None) is None or self.state is not LinkState.READY:
            return None
        return pack(
            Header(Kind.CANCEL, call_id=call_id, sent_ns=now_ns), [], checksum=self._checksum
        )

    def goodbye(self, now_ns: int) -> list[Frame]:
        """Return the message that ends the session at the server at once."""
        return pack(Header(Kind.GOODBYE, sent_ns=now_ns), [], checksum=self._checksum)

    def taken(self) -> list[Frame] | None:
        """Return the message that says how many bytes of answers were taken, None if not due."""
        if self._taken - self._told < TELL_BYTES or self.state is not LinkState.READY:
            return None
        self._told = self._taken
        return pack(Header(Kind.TAKEN, sequence=self._taken), [], checksum=self._checksum)

    def receive(self, frames: list[Frame], now_ns: int) -> SessionEvent:
        """Take one message from the server.

        An answer whose content cannot be read ends its call with the reason.

        Raises:
            MalformedMessageError, LimitExceededError, VersionMismatchError: drop it, count it.
        """
        try:
            header = unpack(frames)
        except VersionMismatchError as error:
            if self.state is LinkState.GREETING:
                return self._rejected(error)
            raise
        kind = header.kind
        self._heard(header, now_ns)
        if kind in (Kind.REPLY, Kind.ERROR):
            if kind == Kind.REPLY:
                self._taken += message_size(frames)
            return self._answered(header, frames)
        if kind == Kind.WELCOME and self._greeted:
            self._greeted = False
            self.welcome = parse_welcome(decode(frames[1:]))
            self.state = LinkState.READY
            return Welcomed(self.welcome)
        return Ignored(kind)

    def _answered(self, header: Header, frames: list[Frame]) -> SessionEvent:
        if self.state is LinkState.GREETING and header.kind == Kind.ERROR:
            return self._rejected(self._error(decode(frames[1:])))
        if self._pending.pop(header.call_id, None) is None:
            return Ignored(header.kind)
        try:
            body = decode(frames[1:])
            if header.kind == Kind.ERROR:
                return Failed(header.call_id, self._error(body))
        except (MalformedMessageError, LimitExceededError) as error:
            return Failed(header.call_id, error)
        return Answered(header.call_id, body, header.sequence)

    def _error(self, body: object) -> PykaraboError:
        if not isinstance(body, dict):
            raise MalformedMessageError(
                f"{self.peer} sent an error without a description",
                remedy="update pykarabo on the server's side",
            )
        return PykaraboError.from_wire(body)

    def _rejected(self, error: PykaraboError) -> Rejected:
        self.state = LinkState.CLOSED
        return Rejected(error)

    def disconnected(self, reason: str) -> list[Failed]:
        """Tell that the connection is gone; every call under way ends with outcome unknown."""
        self.state = LinkState.CLOSED
        lost = [
            Failed(
                call_id,
                ConnectionLostError(
                    f"the connection to {self.peer} was lost during "
                    f"{_what(pending.request)}: {reason}",
                    device=_device_of(pending.request),
                    remedy="whether it ran is unknown: read the device before you repeat it",
                ),
            )
            for call_id, pending in self._pending.items()
        ]
        self._pending.clear()
        return lost

    def next_deadline_ns(self) -> int | None:
        """Return when `expire` has something to do next, None without calls under way."""
        if not self._pending:
            return None
        return min(pending.deadline_ns for pending in self._pending.values())

    def expire(self, now_ns: int) -> list[Failed]:
        """End the calls whose time is over."""
        over = [
            (call_id, pending)
            for call_id, pending in self._pending.items()
            if pending.deadline_ns <= now_ns
        ]
        return [self._timed_out(call_id, pending) for call_id, pending in over]

    def _timed_out(self, call_id: bytes, pending: _Pending) -> Failed:
        del self._pending[call_id]
        return Failed(
            call_id,
            CallTimeoutError(
                f"{self.peer} did not answer {_what(pending.request)} in time",
                device=_device_of(pending.request),
                remedy="whether it ran is unknown: read the device before you repeat it, "
                "or allow more time",
            ),
        )


def _device_of(request: Request) -> str | None:
    first = request[0]
    return first if isinstance(first, str) else None


def _what(request: Request) -> str:
    """Name the call for error messages: ``'MOTOR/1.move'``."""
    name = type(request).__name__.lower()
    device = _device_of(request)
    command = getattr(request, "command", None)
    if command is not None:
        return f"'{device}.{command}'"
    return f"{name} of '{device}'" if device else name
