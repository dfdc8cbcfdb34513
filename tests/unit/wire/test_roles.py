"""The role of a session: asked for in its greeting, granted in its welcome, told with its calls."""

import pytest

from pykarabo.data import AccessLevel, encode
from pykarabo.errors import DeniedError, MalformedMessageError
from pykarabo.wire import (
    Answer,
    ClientIdentity,
    ClientSession,
    Execute,
    Frame,
    Get,
    Header,
    Hello,
    Kind,
    LinkState,
    Rejected,
    ServerSessions,
    Target,
    Welcome,
    Welcomed,
    pack,
    parse_hello,
    parse_welcome,
    unpack,
)

_WELCOME = Welcome("S/1", bytes(range(16)), 1, 0, "1.0", "ipc://e", "ipc://d")
_IDENTITY = ClientIdentity("host", 42, "user", "program")


def _client(role: AccessLevel = AccessLevel.ADMINISTRATOR) -> ClientSession:
    return ClientSession(b"token!!!", _IDENTITY, role=role)


def _greet(server: ServerSessions, client: ClientSession, peer: bytes = b"a") -> list[Frame]:
    answer = server.receive(peer, client.connected(0), now_ns=0, utc_ns=0)
    assert isinstance(answer, Answer)
    return answer.frames


def _role_of_call(server: ServerSessions, client: ClientSession) -> AccessLevel:
    _call_id, frames = client.call(Get("A/1"), Target(), timeout_s=5, now_ns=0)
    call = server.receive(b"a", frames, now_ns=0, utc_ns=0)
    assert isinstance(call, Execute)
    server.abandon(call)
    return call.role


@pytest.mark.parametrize("granted", AccessLevel)
@pytest.mark.parametrize("asked", AccessLevel)
def test_a_session_has_the_lower_one_of_what_it_asks_for_and_is_granted(
    asked: AccessLevel, granted: AccessLevel
) -> None:
    server, client = ServerSessions(_WELCOME, grant=lambda _hello: granted), _client(asked)
    assert client.role is AccessLevel.OBSERVER
    assert isinstance(client.receive(_greet(server, client), 0), Welcomed)
    expected = min(asked, granted)
    assert client.role is expected
    assert server.sessions[0].role is expected
    assert _role_of_call(server, client) is expected


def test_sessions_that_nobody_judges_may_look_only() -> None:
    server, client = ServerSessions(_WELCOME), _client()
    client.receive(_greet(server, client), 0)
    assert _role_of_call(server, client) is AccessLevel.OBSERVER


def test_the_greeting_is_what_is_judged() -> None:
    seen: list[Hello] = []

    def grant(hello: Hello) -> AccessLevel:
        seen.append(hello)
        return AccessLevel.USER

    _greet(ServerSessions(_WELCOME, grant=grant), _client(AccessLevel.EXPERT))
    assert seen == [Hello(*_IDENTITY, b"", AccessLevel.EXPERT)]


def test_who_is_denied_has_no_session_and_is_told_why() -> None:
    def refuse(_hello: Hello) -> AccessLevel:
        raise DeniedError("not you", remedy="ask the boss")

    server, client = ServerSessions(_WELCOME, grant=refuse), _client()
    event = client.receive(_greet(server, client), 0)
    assert isinstance(event, Rejected)
    assert isinstance(event.error, DeniedError)
    assert (event.error.message, event.error.remedy) == ("not you", "ask the boss")
    assert client.state is LinkState.CLOSED
    assert not server.sessions


def test_a_new_greeting_gives_a_new_role() -> None:
    server = ServerSessions(_WELCOME, grant=lambda _hello: AccessLevel.EXPERT)
    _greet(server, _client())
    _greet(server, _client(AccessLevel.USER))
    assert [session.role for session in server.sessions] == [AccessLevel.USER]


@pytest.mark.parametrize("role", [5, -1, True, 2.0, None, "expert", b"\2", [1]])
def test_a_role_that_there_is_not_is_malformed(role: object) -> None:
    with pytest.raises(MalformedMessageError, match="which there is not"):
        parse_hello(["host", 1, "user", "program", b"", role])
    with pytest.raises(MalformedMessageError):
        parse_welcome([*_WELCOME[:-1], role])
    server = ServerSessions(_WELCOME, grant=lambda _hello: AccessLevel.ADMINISTRATOR)
    hello = pack(Header(Kind.HELLO), encode(["host", 1, "user", "program", b"", role]))
    answer = server.receive(b"a", hello, now_ns=0, utc_ns=0)
    assert isinstance(answer, Answer)
    assert unpack(answer.frames).kind == Kind.ERROR
    assert not server.sessions
