"""The sessions of one server process: who may call, what is too late, what is too much.

No I/O happens here: the driver hands in a peer's frames and the time, and does what it is told.
A peer that did not greet is not served; a call that waited longer than its caller does is not
run; a peer with too many calls under way is told that the server is busy. All of these answers
say "not executed", so that the caller may safely try again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.data import AccessLevel, decode, encode
from pykarabo.errors import (
    BusyError,
    ExpiredError,
    HelloRequiredError,
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
    VersionMismatchError,
    WrongTypeError,
)

from ._checks import check_size
from ._greetings import NOBODY, ClientIdentity, Granted, Hello, Welcome, parse_hello
from ._header import NO_CALL, Frame, Header, Kind, message_size, pack, unpack
from ._requests import Request, parse_request

MAX_IN_FLIGHT_PER_PEER: Final = 100
"""One client cannot fill the server: a view of 1 000 properties needs one call, not 1 000."""
MAX_IN_FLIGHT: Final = 1_000
"""All clients together; above that the answers would come later than their deadlines."""
MAX_SESSIONS: Final = 10_000
"""ZeroMQ does not tell when a peer is gone; above it the one silent for longest is forgotten."""
MAX_UNTAKEN: Final = 16 * 2**20
"""Bytes of answers on their way to one client; above it its calls wait until it has taken some.
ZeroMQ would keep them all in our memory for a client that is frozen."""
NOTHING_GRANTED: Final = Granted()
_MS: Final = 1_000_000


class Execute(NamedTuple):
    """Run this request and answer with `ServerSessions.reply` or `.fail`.

    `identity` is that of the peer's greeting, `role` what it has a right to; `certain` says that
    its user is known for sure, and `address` where it connects from, see `ServerSessions.identify`.
    `granted` says why it has this role.
    """

    peer: bytes
    call_id: bytes
    request: Request
    instance: bytes
    epoch: int
    deadline_ns: int
    identity: ClientIdentity = NOBODY
    role: AccessLevel = AccessLevel.OBSERVER
    certain: bool = False
    granted: Granted = NOTHING_GRANTED
    address: str = ""


class Answer(NamedTuple):
    """Send these frames to the peer; nothing is to be run.

    `greeted` says that the peer is new: what the transport knows of it is to be told with
    `ServerSessions.identify`. `ended` is the peer whose session that has ended. `refused` is the
    call that was refused, and `error` why.
    """

    peer: bytes
    frames: list[Frame]
    greeted: bool = False
    ended: bytes | None = None
    refused: Execute | None = None
    error: PykaraboError | None = None


class CancelCall(NamedTuple):
    """The caller has given this call up."""

    peer: bytes
    call_id: bytes


class Dropped(NamedTuple):
    """A message that is not answered, and why; it is counted."""

    reason: str


class Took(NamedTuple):
    """The peer has taken answers: its calls that wait for room may go on."""

    peer: bytes


ServerAction: TypeAlias = Execute | Answer | CancelCall | Dropped | Took


@dataclass(slots=True)
class Session:
    """One greeted peer.

    Attributes:
        hello: how it greeted.
        granted: what it has a right to.
        role: the smaller one of what the client asked for and what it has a right to.
        greeted_ns: when it greeted, by the client's clock.
        heard_ns: when its last hello or call came.
        calls: how many of its calls were run.
        last_call: the number of its latest call; numbers grow, or the network has repeated one.
        sent: bytes of answers that it was sent.
        taken: how many of them it has taken, as it told last.
        certain: whether its user is known for sure.
        address: where it connects from, as far as that is known.
    """

    hello: Hello
    granted: Granted
    identity: ClientIdentity
    role: AccessLevel
    greeted_ns: int
    heard_ns: int
    calls: int = 0
    last_call: int = 0
    sent: int = 0
    taken: int = 0
    certain: bool = False
    address: str = ""

    @property
    def line(self) -> bytes:
        """What a client's connections to this server have in common; see `Hello`."""
        return self.hello.line

    def goes_on(self, before: "Session") -> None:
        """Count on where another session on the same connection has ended."""
        self.calls, self.last_call = before.calls, before.last_call
        self.sent, self.taken = before.sent, before.taken

    def grant(self, granted: Granted) -> None:
        """Let the client have what it has a right to, if it has asked for it."""
        self.granted = granted
        self.role = min(AccessLevel(self.hello.role), granted.role)
        if granted.user:
            self.identity = self.identity._replace(user=granted.user)
            self.certain = True


def _nothing(_hello: Hello) -> Granted:
    """Grant nobody more than to look: whoever drives the sessions must say otherwise."""
    return NOTHING_GRANTED


class ServerSessions:
    """All sessions of one server process.

    Args:
        welcome: who this server is; `time_ns` and `role` are filled in at each greeting.
        grant: tells what whoever greets has a right to; a `PykaraboError` of it refuses the
            greeting. It is asked again, while a call of the same peer is received, when what it has
            granted is over; an error then leaves nothing but to look.
        checksum: protect each message with a CRC-32 (plaintext TCP).
    """

    def __init__(
        self,
        welcome: Welcome,
        *,
        grant: Callable[[Hello], Granted] = _nothing,
        checksum: bool = False,
    ) -> None:
        self._welcome = welcome
        self._grant = grant
        self._checksum = checksum
        self._sessions: dict[bytes, Session] = {}
        self._peer_on: dict[bytes, bytes] = {}
        # Kept beside the sessions: a peer does not get more calls by greeting again.
        self._in_flight: Counter[bytes] = Counter()
        self._in_flight_total = 0
        self._now_ns = 0
        self.dropped = 0

    @property
    def sessions(self) -> Sequence[Session]:
        """Every peer that greeted and has not said goodbye."""
        return list(self._sessions.values())

    @property
    def in_flight(self) -> int:
        """How many calls of all peers are under way."""
        return self._in_flight_total

    def receive(
        self, peer: bytes, frames: list[Frame], *, now_ns: int, utc_ns: int
    ) -> ServerAction:
        """Take one message of `peer` and say what to do with it."""
        self._now_ns = now_ns
        try:
            header = unpack(frames)
            if header.kind == Kind.CALL:
                return self._call(peer, header, frames, now_ns, utc_ns)
            return self._other(peer, header, frames, now_ns, utc_ns)
        except VersionMismatchError as error:
            return Answer(peer, self._error(NO_CALL, error))
        except (MalformedMessageError, LimitExceededError) as error:
            self.dropped += 1
            return Dropped(str(error))

    def _call(
        self, peer: bytes, header: Header, frames: list[Frame], now_ns: int, utc_ns: int
    ) -> ServerAction:
        session = self._sessions.get(peer)
        if session is None:
            error = HelloRequiredError(
                "a call came before the greeting", remedy="connect again; nothing was executed"
            )
            return Answer(peer, self._error(header.call_id, error))
        try:
            request = parse_request(decode(frames[1:]))
        except (MalformedMessageError, LimitExceededError) as error:
            self.dropped += 1
            return Answer(peer, self._error(header.call_id, error))
        if header.sequence <= session.last_call:
            self.dropped += 1
            return Dropped("a call came twice")
        session.last_call = header.sequence
        session.heard_ns = now_ns
        if utc_ns >= session.granted.until_ns > 0:
            self._ask_again(session)
        age_ns = max(0, now_ns - header.sent_ns) if header.sent_ns else 0
        left_ns = header.ttl_ms * _MS - age_ns
        call = Execute(
            peer,
            header.call_id,
            request,
            header.instance,
            header.epoch,
            now_ns + left_ns,
            session.identity,
            session.role,
            session.certain,
            session.granted,
            session.address,
        )
        refusal = self._refusal(peer, left_ns, age_ns)
        if refusal is not None:
            frames = self._error(header.call_id, refusal)
            return Answer(peer, frames, refused=call, error=refusal)
        session.calls += 1
        self._in_flight[peer] += 1
        self._in_flight_total += 1
        return call

    def _refusal(self, peer: bytes, left_ns: int, age_ns: int) -> PykaraboError | None:
        if left_ns <= 0:
            return ExpiredError(
                f"the call waited {age_ns / 1e9:.1f} s on its way, longer than its caller does",
                remedy="nothing was executed: call again",
            )
        ours = self._in_flight[peer]
        if ours >= MAX_IN_FLIGHT_PER_PEER or self._in_flight_total >= MAX_IN_FLIGHT:
            return BusyError(
                f"server '{self._welcome.server_id}' has {self._in_flight_total} calls under way, "
                f"{ours} of this client",
                remedy="nothing was executed: await answers before calling again",
            )
        return None

    def _other(
        self, peer: bytes, header: Header, frames: list[Frame], now_ns: int, utc_ns: int
    ) -> ServerAction:
        if header.kind == Kind.HELLO:
            return self._hello(peer, header, frames, now_ns, utc_ns)
        if header.kind == Kind.CANCEL:
            return CancelCall(peer, header.call_id)
        if header.kind == Kind.GOODBYE:
            self.forget(peer)
            return Dropped("goodbye")
        if header.kind == Kind.TAKEN and (session := self._sessions.get(peer)) is not None:
            session.taken = min(max(session.taken, header.sequence), session.sent)
            return Took(peer)
        self.dropped += 1
        return Dropped(f"unknown kind {header.kind}")

    def _hello(
        self, peer: bytes, header: Header, frames: list[Frame], now_ns: int, utc_ns: int
    ) -> ServerAction:
        try:
            hello = parse_hello(decode(frames[1:]))
            granted = self._grant(hello)
        except PykaraboError as error:
            self.dropped += 1
            return Answer(peer, self._error(NO_CALL, error))
        if self._is_outdated(peer, hello.line, header.sent_ns):
            self.dropped += 1
            return Dropped("a greeting came after a later one of the same client")
        ended = self._greeted(peer, hello, granted, header.sent_ns, now_ns)
        return Answer(peer, self._welcoming(peer, now_ns, utc_ns), greeted=True, ended=ended)

    def _ask_again(self, session: Session) -> None:
        try:
            session.grant(self._grant(session.hello))
        except PykaraboError as error:
            session.grant(Granted(user=session.granted.user, note=error.message))

    def review(self) -> None:
        """Ask for each session anew, when it calls next, what it has a right to."""
        for session in self._sessions.values():
            if session.granted.until_ns:
                session.granted = session.granted._replace(until_ns=1)

    def _is_outdated(self, peer: bytes, line: bytes, sent_ns: int) -> bool:
        """Tell whether a connection has been replaced already by the one that followed it."""
        present = self._peer_on.get(line, peer)
        return present != peer and sent_ns < self._sessions[present].greeted_ns

    def _greeted(
        self, peer: bytes, hello: Hello, granted: Granted, sent_ns: int, now_ns: int
    ) -> bytes | None:
        """Begin a session, and end what the client had before it; returns the peer of that.

        What it called there and has not begun yet is not run any more: as soon as the client is
        welcome here, what it sees of the devices is all that its earlier calls have done or begun.
        """
        before = self._sessions.get(peer)
        self.forget(peer)
        former = self._peer_on.get(hello.line)
        if former is not None:
            self.forget(former)
        if hello.line:
            self._peer_on[hello.line] = peer
        if len(self._sessions) >= MAX_SESSIONS:
            self.forget(min(self._sessions, key=lambda known: self._sessions[known].heard_ns))
        session = Session(hello, granted, hello.identity, AccessLevel.OBSERVER, sent_ns, now_ns)
        session.grant(granted)
        if before is not None:  # it is still the same connection
            session.goes_on(before)
        self._sessions[peer] = session
        return former

    def identify(self, peer: bytes, user: str, address: str = "") -> None:
        """Take the user of a peer from who knows him for sure, whatever its greeting said.

        Whoever has shown a token is the one that it names.
        """
        session = self._sessions[peer]
        session.address = address
        if user and not session.granted.user:
            session.identity = session.identity._replace(user=user)
            session.certain = True

    def _welcoming(self, peer: bytes, now_ns: int, utc_ns: int) -> list[Frame]:
        session = self._sessions[peer]
        granted = session.granted
        welcome = self._welcome._replace(
            time_ns=utc_ns,
            role=session.role.value,
            user=granted.user,
            until_ns=granted.until_ns,
            note=granted.note,
        )
        header = Header(Kind.WELCOME, welcome.instance, welcome.epoch, sent_ns=now_ns)
        return pack(header, encode(list(welcome)), checksum=self._checksum)

    def probe(self, now_ns: int) -> tuple[list[bytes], list[Frame]]:
        """Return every peer and a message that says nothing.

        Who cannot be sent it has gone without a goodbye, and is to be forgotten.
        """
        header = Header(Kind.PROBE, self._welcome.instance, self._welcome.epoch, sent_ns=now_ns)
        return list(self._sessions), pack(header, [], checksum=self._checksum)

    def peers_of(self, identity: ClientIdentity) -> list[bytes]:
        """Return the sessions of one program."""
        return [peer for peer, known in self._sessions.items() if known.identity == identity]

    def forget(self, peer: bytes) -> None:
        """End a peer's session; its next call is told to greet first."""
        session = self._sessions.pop(peer, None)
        if session is not None and self._peer_on.get(session.line) == peer:
            del self._peer_on[session.line]

    def has_forgotten(self, peer: bytes) -> bool:
        """Tell whether a peer's session has ended: nobody waits for its calls any more."""
        return peer not in self._sessions

    def has_room(self, peer: bytes) -> bool:
        """Whether a peer may get another answer before it has taken earlier ones."""
        session = self._sessions.get(peer)
        return session is None or session.sent - session.taken < MAX_UNTAKEN

    def reply(self, call: Execute, result: Any, *, sequence: int = 0) -> list[Frame]:
        """Return the answer of a call that ended well.

        Raises:
            LimitExceededError, WrongTypeError: the result cannot travel; use `fail` instead.
        """
        body = encode(result)
        check_size(body, "the result")
        self._ended(call)
        # Answers tell when the latest message came: never later than it is, as clients need it.
        header = Header(
            Kind.REPLY, call.instance, call.epoch, sequence, call.call_id, 0, self._now_ns
        )
        frames = pack(header, body, checksum=self._checksum)
        if (session := self._sessions.get(call.peer)) is not None:
            session.sent += message_size(frames)
        return frames

    def fail(self, call: Execute, error: PykaraboError) -> list[Frame]:
        """Return the answer of a call that ended with an error."""
        self._ended(call)
        return self._error(call.call_id, error)

    def abandon(self, call: Execute) -> None:
        """Count a call as ended whose caller no longer waits; nothing is sent."""
        self._ended(call)

    def _ended(self, call: Execute) -> None:
        self._in_flight_total -= 1
        self._in_flight[call.peer] -= 1
        if not self._in_flight[call.peer]:
            del self._in_flight[call.peer]

    def _error(self, call_id: bytes, error: PykaraboError) -> list[Frame]:
        header = Header(
            Kind.ERROR,
            self._welcome.instance,
            self._welcome.epoch,
            call_id=call_id,
            sent_ns=self._now_ns,
        )
        return pack(header, _error_body(error), checksum=self._checksum)


def _error_body(error: PykaraboError) -> list[Frame]:
    """Encode an error; one that cannot travel as it is goes without what keeps it from that."""
    try:
        return encode(error.to_wire())
    except WrongTypeError:
        message = error.message.encode("ascii", "backslashreplace").decode()
        return encode({"code": error.code, "message": message})
