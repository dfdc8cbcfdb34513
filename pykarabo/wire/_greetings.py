"""Who calls and who answers: the bodies of HELLO and WELCOME."""

from typing import Final, NamedTuple, TypeGuard

from pykarabo.data import AccessLevel
from pykarabo.errors import MalformedMessageError

from ._checks import is_instance, is_names, is_number


class ClientIdentity(NamedTuple):
    """Which program calls."""

    host: str
    pid: int
    user: str
    program: str


NOBODY: Final = ClientIdentity("", 0, "", "")
"""The identity of who has not greeted."""
NO_LINE: Final = b""
_MAX_LINE: Final = 16
_ROLES: Final = frozenset(map(int, AccessLevel))


class Hello(NamedTuple):
    """The body of HELLO: who connects, for the server's list of sessions and its log.

    `line` names the client's way to this server: its connections there follow each other, and the
    latest of them ends the others. It has 16 bytes at most, and none if there will be no other
    connection. `role` is the highest `AccessLevel` that the client asks for; it gets no more than
    it has a right to.
    """

    host: str
    pid: int
    user: str
    program: str
    line: bytes = NO_LINE
    role: int = AccessLevel.ADMINISTRATOR.value

    @property
    def identity(self) -> ClientIdentity:
        """Which program connects."""
        return ClientIdentity(self.host, self.pid, self.user, self.program)


class Welcome(NamedTuple):
    """The body of WELCOME: who answers.

    `time_ns` is the server's UTC clock; `events` and `data` are its other endpoints, so that one
    address is enough to reach all of it. `role` is the `AccessLevel` that the client has here.
    """

    server_id: str
    instance: bytes
    epoch: int
    time_ns: int
    version: str
    events: str
    data: str
    role: int = AccessLevel.OBSERVER.value


def parse_hello(body: object) -> Hello:
    """Rebuild a HELLO from its body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(Hello._fields):
        host, pid, user, program, line, role = body[: len(Hello._fields)]
        is_line = isinstance(line, bytes) and len(line) <= _MAX_LINE
        if is_line and is_number(pid) and is_names([host, user, program]):
            if not _is_role(role):
                raise _malformed(f"a hello asks for the role {role!r:.20}, which there is not")
            return Hello(host, pid, user, program, line, role)
    raise _malformed("a hello does not say who calls")


def parse_welcome(body: object) -> Welcome:
    """Rebuild the welcome from its body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(Welcome._fields):
        server_id, instance, epoch, time_ns, *texts, role = body[: len(Welcome._fields)]
        numbers = is_number(epoch) and is_number(time_ns) and _is_role(role)
        if is_names([server_id, *texts]) and is_instance(instance) and numbers:
            version, events, data = texts
            return Welcome(server_id, instance, epoch, time_ns, version, events, data, role)
    raise _malformed("a welcome does not say who answers")


def _is_role(value: object) -> TypeGuard[int]:
    return is_number(value) and value in _ROLES


def _malformed(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, remedy="update pykarabo on the other side")
