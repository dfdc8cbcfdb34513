"""Who calls and who answers: the bodies of HELLO and WELCOME."""

from typing import Any, Final, NamedTuple, TypeGuard

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
_MAX_TOKEN: Final = 4_096
"""A signed token has some hundred bytes."""
_ROLES: Final = frozenset(map(int, AccessLevel))


class Granted(NamedTuple):
    """What whoever greets has a right to.

    Attributes:
        role: the highest role that he may have.
        user: who he is, where he has shown that; else it is left to what carries his messages.
        until_ns: UTC; from then on it is to be asked again. 0 is never.
        login: names the login that he has shown.
        note: why it is not more, if there is a reason that he can do something about.
        through: the gateway that acts for him, where one does.
    """

    role: AccessLevel = AccessLevel.OBSERVER
    user: str = ""
    until_ns: int = 0
    login: str = ""
    note: str = ""
    through: str = ""


class Hello(NamedTuple):
    """The body of HELLO: who connects, for the server's list of sessions and its log.

    `line` names the client's way to this server: its connections there follow each other, and the
    latest of them ends the others. It has 16 bytes at most, and none if there will be no other
    connection. `role` is the highest `AccessLevel` that the client asks for; it gets no more than
    it has a right to. `token` shows who uses it, signed by those with whom he has logged in; it is
    empty where he has not.
    """

    host: str
    pid: int
    user: str
    program: str
    line: bytes = NO_LINE
    role: int = AccessLevel.ADMINISTRATOR.value
    token: bytes = b""

    @property
    def identity(self) -> ClientIdentity:
        """Which program connects."""
        return ClientIdentity(self.host, self.pid, self.user, self.program)


class Welcome(NamedTuple):
    """The body of WELCOME: who answers.

    `time_ns` is the server's UTC clock; `events` and `data` are its other endpoints, so that one
    address is enough to reach all of it. `role` is the `AccessLevel` that the client has here,
    until `until_ns` (UTC; 0 is for ever). `user` is who uses it, where its token has shown that;
    `note` says why it has no higher role, if there is something to do about it.
    """

    server_id: str
    instance: bytes
    epoch: int
    time_ns: int
    version: str
    events: str
    data: str
    role: int = AccessLevel.OBSERVER.value
    user: str = ""
    until_ns: int = 0
    note: str = ""


def parse_hello(body: object) -> Hello:
    """Rebuild a HELLO from its body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(Hello._fields):
        host, pid, user, program, line, role, token = body[: len(Hello._fields)]
        are_short = _is_short(line, _MAX_LINE) and _is_short(token, _MAX_TOKEN)
        if are_short and is_number(pid) and is_names([host, user, program]):
            if not _is_role(role):
                raise _malformed(f"a hello asks for the role {role!r:.20}, which there is not")
            return Hello(host, pid, user, program, line, role, token)
    raise _malformed("a hello does not say who calls")


def parse_welcome(body: object) -> Welcome:
    """Rebuild the welcome from its body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(Welcome._fields):
        told = Welcome(*body[: len(Welcome._fields)])
        numbers = all(map(is_number, (told.epoch, told.time_ns, told.until_ns)))
        names = [told.server_id, told.version, told.events, told.data, told.user, told.note]
        if is_names(names) and is_instance(told.instance) and numbers and _is_role(told.role):
            return told
    raise _malformed("a welcome does not say who answers")


def _is_short(value: Any, longest: int) -> bool:
    return isinstance(value, bytes) and len(value) <= longest


def _is_role(value: object) -> TypeGuard[int]:
    return is_number(value) and value in _ROLES


def _malformed(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, remedy="update pykarabo on the other side")
