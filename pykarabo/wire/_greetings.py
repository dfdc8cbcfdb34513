"""Who calls and who answers: the bodies of HELLO and WELCOME."""

from typing import Final, NamedTuple

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


class Hello(NamedTuple):
    """The body of HELLO: who connects, for the server's list of sessions and its log.

    `line` names the client's way to this server: its connections there follow each other, and the
    latest of them ends the others. It has 16 bytes at most, and none if there will be no other
    connection.
    """

    host: str
    pid: int
    user: str
    program: str
    line: bytes = NO_LINE

    @property
    def identity(self) -> ClientIdentity:
        """Which program connects."""
        return ClientIdentity(self.host, self.pid, self.user, self.program)


class Welcome(NamedTuple):
    """The body of WELCOME: who answers.

    `time_ns` is the server's UTC clock; `events` and `data` are its other endpoints, so that one
    address is enough to reach all of it.
    """

    server_id: str
    instance: bytes
    epoch: int
    time_ns: int
    version: str
    events: str
    data: str


def parse_hello(body: object) -> Hello:
    """Rebuild a HELLO from its body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(Hello._fields):
        host, pid, user, program, line = body[: len(Hello._fields)]
        is_line = isinstance(line, bytes) and len(line) <= _MAX_LINE
        if is_line and is_number(pid) and is_names([host, user, program]):
            return Hello(host, pid, user, program, line)
    raise _malformed("a hello does not say who calls")


def parse_welcome(body: object) -> Welcome:
    """Rebuild the welcome from its body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(Welcome._fields):
        server_id, instance, epoch, time_ns, *texts = body[: len(Welcome._fields)]
        numbers = is_number(epoch) and is_number(time_ns)
        if is_names([server_id, *texts]) and is_instance(instance) and numbers:
            return Welcome(server_id, instance, epoch, time_ns, *texts)
    raise _malformed("a welcome does not say who answers")


def _malformed(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, remedy="update pykarabo on the other side")
