"""The role of a session: asked for in its greeting, granted in its welcome, told with its calls."""

import pytest

from pykarabo.data import AccessLevel, encode
from pykarabo.errors import DeniedError, MalformedMessageError
from pykarabo.wire import (
    Answer,
    Answered,
    ClientIdentity,
    ClientSession,
    Execute,
    Frame,
    Get,
    Granted,
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
_EXPERT = AccessLevel.EXPERT


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
    server, client = ServerSessions(_WELCOME, grant=lambda _hello: Granted(granted)), _client(asked)
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

    def grant(hello: Hello) -> Granted:
        seen.append(hello)
        return Granted(AccessLevel.USER)

    _greet(ServerSessions(_WELCOME, grant=grant), _client(AccessLevel.EXPERT))
    assert seen == [Hello(*_IDENTITY, b"", AccessLevel.EXPERT)]


def test_who_is_denied_has_no_session_and_is_told_why() -> None:
    def refuse(_hello: Hello) -> Granted:
        raise DeniedError("not you", remedy="ask the boss")

    server, client = ServerSessions(_WELCOME, grant=refuse), _client()
    event = client.receive(_greet(server, client), 0)
    assert isinstance(event, Rejected)
    assert isinstance(event.error, DeniedError)
    assert (event.error.message, event.error.remedy) == ("not you", "ask the boss")
    assert client.state is LinkState.CLOSED
    assert not server.sessions


def test_a_new_greeting_gives_a_new_role() -> None:
    server = ServerSessions(_WELCOME, grant=lambda _hello: Granted(AccessLevel.EXPERT))
    _greet(server, _client())
    _greet(server, _client(AccessLevel.USER))
    assert [session.role for session in server.sessions] == [AccessLevel.USER]


@pytest.mark.parametrize("role", [5, -1, True, 2.0, None, "expert", b"\2", [1]])
def test_a_role_that_there_is_not_is_malformed(role: object) -> None:
    with pytest.raises(MalformedMessageError, match="which there is not"):
        parse_hello(["host", 1, "user", "program", b"", role, b""])
    with pytest.raises(MalformedMessageError):
        parse_welcome([*_WELCOME[:-4], role, "", 0, ""])
    server = ServerSessions(_WELCOME, grant=lambda _hello: Granted(AccessLevel.ADMINISTRATOR))
    hello = pack(Header(Kind.HELLO), encode(["host", 1, "user", "program", b"", role, b""]))
    answer = server.receive(b"a", hello, now_ns=0, utc_ns=0)
    assert isinstance(answer, Answer)
    assert unpack(answer.frames).kind == Kind.ERROR
    assert not server.sessions


# -- what is granted for a while ------------------------------------------------------------------


def _call_at(server: ServerSessions, client: ClientSession, utc_ns: int) -> Execute:
    _call_id, frames = client.call(Get("A/1"), Target(), timeout_s=5, now_ns=0)
    call = server.receive(b"a", frames, now_ns=0, utc_ns=utc_ns)
    assert isinstance(call, Execute)
    server.abandon(call)
    return call


def _shift(hello: Hello, now: list[int]) -> Granted:
    """An operator of a shift that ends at 100, who is an expert until 50."""
    assert hello.token == b"signed"
    if now[0] >= 100:
        return Granted(user="alice", note="your login has ended")
    role, until_ns = (_EXPERT, 50) if now[0] < 50 else (AccessLevel.OPERATOR, 100)
    return Granted(role, "alice", until_ns, "login 1")


def _session_of_alice(now: list[int]) -> tuple[ServerSessions, ClientSession]:
    server = ServerSessions(_WELCOME, grant=lambda hello: _shift(hello, now))
    client = ClientSession(b"token!!!", _IDENTITY, login=b"signed")
    client.receive(_greet(server, client), 0)
    return server, client


def test_a_role_that_was_granted_for_a_while_is_lowered_when_it_ends() -> None:
    now = [1]
    server, client = _session_of_alice(now)
    assert client.welcome is not None
    assert client.welcome[-4:] == (_EXPERT, "alice", 50, "")
    roles = []
    for now[0] in (1, 49, 50, 99, 100, 1_000):
        call = _call_at(server, client, now[0])
        assert call.identity == _IDENTITY._replace(user="alice")
        roles.append(call.role)
    operator, observer = AccessLevel.OPERATOR, AccessLevel.OBSERVER
    assert roles == [_EXPERT, _EXPERT, operator, operator, observer, observer]
    assert call.granted.note == "your login has ended"


def test_a_review_asks_again_before_that() -> None:
    now = [1]
    server, client = _session_of_alice(now)
    now[0] = 100
    assert _call_at(server, client, 2).role is _EXPERT
    server.review()
    assert _call_at(server, client, 2).role is AccessLevel.OBSERVER


def test_a_review_leaves_alone_what_was_granted_for_ever() -> None:
    asked: list[Hello] = []

    def grant(hello: Hello) -> Granted:
        asked.append(hello)
        return Granted(_EXPERT)

    server, client = ServerSessions(_WELCOME, grant=grant), _client()
    client.receive(_greet(server, client), 0)
    server.review()
    assert _call_at(server, client, 2**62).role is _EXPERT
    assert len(asked) == 1


def test_who_is_denied_later_may_go_on_to_look() -> None:
    grants = [Granted(_EXPERT, "alice", 5)]

    def grant(_hello: Hello) -> Granted:
        if not grants:
            raise DeniedError("the issuer is not trusted any more")
        return grants.pop()

    server, client = ServerSessions(_WELCOME, grant=grant), _client()
    client.receive(_greet(server, client), 0)
    call = _call_at(server, client, 5)
    assert call.role is AccessLevel.OBSERVER
    assert (call.identity.user, call.granted.note) == (
        "alice",
        "the issuer is not trusted any more",
    )


@pytest.mark.parametrize("vouched", ["", "bob"])
def test_who_has_shown_a_token_is_the_one_whom_it_names(vouched: str) -> None:
    now = [1]
    server, client = _session_of_alice(now)
    server.identify(b"a", vouched, "localhost:1:2:3")
    call = _call_at(server, client, 1)
    assert (call.identity.user, call.certain) == ("alice", True)
    assert call.address == "localhost:1:2:3"


def test_another_token_is_shown_on_the_same_connection() -> None:
    roles = {b"": AccessLevel.OBSERVER, b"signed": _EXPERT}
    server = ServerSessions(_WELCOME, grant=lambda hello: Granted(roles[hello.token]))
    client = _client()
    client.receive(_greet(server, client), 0)
    assert client.greet_again(b"", 1) is None
    assert _role_of_call(server, client) is AccessLevel.OBSERVER
    before = server.sessions[0]
    hello = client.greet_again(b"signed", 1)
    assert hello is not None
    answer = server.receive(b"a", hello, now_ns=1, utc_ns=1)
    assert isinstance(answer, Answer)
    assert answer.ended is None
    assert isinstance(client.receive(answer.frames, 1), Welcomed)
    assert client.role is _EXPERT
    assert _role_of_call(server, client) is _EXPERT
    (session,) = server.sessions
    assert (session.calls, session.last_call) == (2, before.last_call + 1)
    assert client.greet_again(b"signed", 2) is None


def test_calls_under_way_go_on_when_another_token_is_shown() -> None:
    server, client = ServerSessions(_WELCOME, grant=lambda _hello: Granted(_EXPERT)), _client()
    client.receive(_greet(server, client), 0)
    _call_id, frames = client.call(Get("A/1"), Target(), timeout_s=5, now_ns=0)
    call = server.receive(b"a", frames, now_ns=0, utc_ns=0)
    assert isinstance(call, Execute)
    hello = client.greet_again(b"signed", 1)
    assert hello is not None
    server.receive(b"a", hello, now_ns=1, utc_ns=1)
    assert not server.has_forgotten(b"a")
    assert server.in_flight == client.in_flight == 1
    event = client.receive(server.reply(call, 7), 2)
    assert isinstance(event, Answered)
    assert event.result == 7
