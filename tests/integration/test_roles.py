"""Roles, asked of real device servers by peers that keep to nothing but the wire."""

import asyncio
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import numpy as np
import pytest

from pykarabo.client import DIRECTORY_STEM, BlockingClient, Client
from pykarabo.data import (
    AccessLevel,
    Configurable,
    Int64,
    Node,
    Table,
    decode,
    encode,
)
from pykarabo.device import Device, DeviceClasses, Server, command, device_of, serve
from pykarabo.transport import Binding, Sender, ZmqTransport, make_context, run_directory
from pykarabo.transport._frames import receive_frames, send_frames
from pykarabo.transport._sockets import Socket, make_dealer
from pykarabo.wire import (
    Call,
    Get,
    GetSchema,
    Granted,
    Header,
    Hello,
    Kind,
    Locate,
    Open,
    ReadMany,
    Request,
    Set,
    SetMany,
    Target,
    pack,
    parse_welcome,
    request_body,
    unpack,
)

_SERVER: Final = "T/SERVER"
_PROBE: Final = "T/PROBE/1"
_OTHER: Final = "T/PROBE/2"
_NEW: Final = "T/PROBE/3"
_PATIENCE_MS: Final = 10_000
_NEW_VALUE: Final = 7
_O, _X = AccessLevel.OPERATOR, AccessLevel.EXPERT


# -- a device with something for each level --------------------------------------------------------


def _at(level: AccessLevel, name: str) -> str:
    return f"{name}_{level.name.lower()}"


def _runner(level: AccessLevel) -> Any:
    async def run(self: Any, key: str = "") -> int:
        del key
        probe: Any = device_of(self)
        probe.executed += 1
        return int(probe.executed)

    return command(access_level=level, name=_at(level, "run"))(run)


def _job(level: AccessLevel) -> Any:
    async def work(self: Any) -> None:
        self.executed += 1

    return command(access_level=level, name=_at(level, "work"), job=True)(work)


def _members() -> dict[str, Any]:
    """Return a property and a command of every level."""
    values = {_at(level, "value"): Int64(access_level=level) for level in AccessLevel}
    return values | {_at(level, "run"): _runner(level) for level in AccessLevel}


_Part: Final = type("_Part", (Configurable,), _members())


class _Columns(Configurable):
    number = Int64()


class _GuardedColumns(Configurable):
    number = Int64()
    gain = Int64(access_level=AccessLevel.EXPERT)


class _Base(Device):
    """Counts what it is made to do."""

    executed = Int64(read_only=True)
    asked = Int64(read_only=True)
    guarded = Table(_GuardedColumns)
    part = Node(_Part)

    async def on_initialize(self) -> None:
        """Get more than the class has."""
        self.inject(injected=Node(_Part))
        self.inject({_at(level, "late"): Int64(access_level=level) for level in AccessLevel})

    async def on_set(self, values: Mapping[str, Any]) -> None:
        """Count the writes that come so far."""
        del values
        self.asked += 1


_Probe: Final = type(
    "_Probe",
    (_Base,),
    {
        **_members(),
        **{_at(level, "work"): _job(level) for level in AccessLevel},
        **{_at(level, "table"): Table(_Columns, access_level=level) for level in AccessLevel},
        "__doc__": "Has something for each level.",
    },
)


# -- a peer ----------------------------------------------------------------------------------------


class _Error(NamedTuple):
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body["code"])


class _Peer:
    """A socket that speaks the protocol, greeted with a role."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._calls = 0
        self.role = -1

    def greet(self, body: list[Any]) -> _Error | None:
        """Send a greeting with this body; returns how it was refused."""
        send_frames(self._socket, pack(Header(Kind.HELLO), encode(body)))
        frames = self._receive()
        if unpack(frames).kind == Kind.ERROR:
            return _Error(decode(frames[1:]))
        self.role = parse_welcome(decode(frames[1:])).role
        return None

    def _receive(self) -> list[Any]:
        assert self._socket.poll(_PATIENCE_MS)
        return list(receive_frames(self._socket))

    def ask(self, request: Request, target: Target = Target()) -> Any:  # noqa: B008 - immutable
        """Make a call; returns its result or its error."""
        self._calls += 1
        call_id = self._calls.to_bytes(16, "big")
        header = Header(
            Kind.CALL, target.instance, target.epoch, self._calls, call_id, _PATIENCE_MS
        )
        send_frames(self._socket, pack(header, encode(request_body(request))))
        while True:
            frames = self._receive()
            header = unpack(frames)
            if header.call_id == call_id:
                body = decode(frames[1:])
                return _Error(body) if header.kind == Kind.ERROR else body

    def target(self, device_id: str) -> Target:
        """Return the present life of a device."""
        instance, epoch = self.ask(Locate([device_id]))[0]
        return Target(bytes(instance), epoch)

    def hosts(self, device_id: str) -> bool:
        """Ask the server whether it has a device at this moment."""
        return self.ask(Locate([device_id]))[0] is not None

    def call(self, device_id: str, name: str, *args: Any) -> Any:
        return self.ask(Call(device_id, name, list(args)), self.target(device_id))

    def values(self, device_id: str) -> dict[str, Any]:
        """Return everything that a device shows at once, with its time stamps."""
        rows = self.ask(Get(device_id), self.target(device_id))
        return {row[0]: _plain(row[1:]) for row in rows if row[0] != "connections"}


def _plain(value: Any) -> Any:
    """Return a value as one that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


class _Domain:
    """A server of two probes, and peers of any role."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._context = stack.enter_context(make_context())
        with BlockingClient() as client:
            self._rpc = client.resolve(_SERVER).rpc
        self._peers: dict[AccessLevel, _Peer] = {}
        self.admin = self.peer(AccessLevel.ADMINISTRATOR)

    def stranger(self) -> _Peer:
        """Return a peer that has not greeted."""
        socket = self._stack.enter_context(make_dealer(self._context))
        socket.connect(self._rpc)
        return _Peer(socket)

    def peer(self, role: AccessLevel) -> _Peer:
        if role not in self._peers:
            peer = self._peers[role] = self.stranger()
            assert peer.greet(list(Hello("host", 1, "user", "raw", b"", role))) is None
            assert peer.role == role
        return self._peers[role]

    def shown(self) -> dict[str, Any]:
        """Return all that the devices show and describe; a refusal changes nothing of it."""
        devices = [name for name in (_PROBE, _OTHER, _NEW) if self.admin.hosts(name)]
        shown = {name: self.admin.values(name) for name in (_PROBE, _OTHER)}
        schemas = [self.admin.ask(GetSchema(name), self.admin.target(name)) for name in shown]
        return {"devices": devices, "schemas": schemas, **shown}


@pytest.fixture
def domain(short_runtime: Any) -> Iterator[_Domain]:
    del short_runtime
    probes: dict[str, type[Device]] = {_PROBE: _Probe, _OTHER: _Probe}
    with serve(probes, server_id=_SERVER), ExitStack() as stack:
        yield _Domain(stack)


# -- the matrix ------------------------------------------------------------------------------------


class _Operation(NamedTuple):
    """Something that a peer can ask for.

    Attributes:
        request: makes it for a level; takes the peer to learn whom it is for.
        needs: the role that is needed for it, by the level of what it is about.
        happened: tells from what was shown before and after that it was done.
        undo: what the administrator does afterwards.
        left: whether a refused one has left something that devices do not show at once.
    """

    request: Callable[[_Peer, AccessLevel], tuple[Request, Target]]
    needs: Callable[[AccessLevel], AccessLevel]
    happened: Callable[[dict[str, Any], dict[str, Any], AccessLevel], bool]
    undo: Callable[[_Peer, AccessLevel], object] = lambda _peer, _level: None
    left: Callable[[_Peer, AccessLevel], bool] = lambda _peer, _level: False


def _own(level: AccessLevel) -> AccessLevel:
    return level


def _always(role: AccessLevel) -> Callable[[AccessLevel], AccessLevel]:
    return lambda _level: role


def _at_least(role: AccessLevel) -> Callable[[AccessLevel], AccessLevel]:
    return lambda level: max(role, level)


def _same(before: dict[str, Any], after: dict[str, Any], _level: AccessLevel) -> bool:
    return before == after


def _ran(before: dict[str, Any], after: dict[str, Any], _level: AccessLevel) -> bool:
    return bool(after[_PROBE]["executed"][0] == before[_PROBE]["executed"][0] + 1)


def _shows(name: str, value: Any) -> Callable[[Any, Any, AccessLevel], bool]:
    """Return what tells that a property has a value; `name` may have a place for the level."""

    def tell(_before: Any, after: dict[str, Any], level: AccessLevel) -> bool:
        key = name.format(level.name.lower())
        shown = after[_PROBE][key][0]
        return bool((shown["number"] if isinstance(shown, dict) else shown) == value)

    return tell


def _get(peer: _Peer, level: AccessLevel) -> tuple[Request, Target]:
    return Get(_PROBE, [_at(level, "value")]), peer.target(_PROBE)


def _set(name: str, value: Any = _NEW_VALUE, **more: Any) -> Any:
    def make(peer: _Peer, level: AccessLevel) -> tuple[Request, Target]:
        values = {**more, name.format(level.name.lower()): value}
        return Set(_PROBE, values), peer.target(_PROBE)

    return make


def _set_many(peer: _Peer, level: AccessLevel) -> tuple[Request, Target]:
    writes = [[_PROBE, peer.target(_PROBE).instance, {_at(level, "value"): _NEW_VALUE}]]
    return SetMany(writes), Target()


def _call(name: str, *args: Any, device: str = _PROBE) -> Any:
    def make(peer: _Peer, level: AccessLevel) -> tuple[Request, Target]:
        word = level.name.lower()
        values = [item.format(word) if isinstance(item, str) else item for item in args]
        return Call(device, name.format(word), values), peer.target(device)

    return make


def _instantiate(peer: _Peer, level: AccessLevel) -> tuple[Request, Target]:
    configuration = {"part": {_at(level, "value"): 1}, _at(level, "value"): 2}
    call = Call(_SERVER, "instantiate", ["_Probe", _NEW, configuration])
    return call, peer.target(_SERVER)


def _is_there(_before: Any, after: dict[str, Any], _level: AccessLevel) -> bool:
    return _NEW in after["devices"]


def _stop_new(admin: _Peer, _level: AccessLevel) -> None:
    assert admin.call(_SERVER, "shutdown_device", _NEW) is None


def _unlock(admin: _Peer, _level: AccessLevel) -> None:
    assert admin.call(_PROBE, "clear_lock") is None


def _zero(name: str) -> Callable[[_Peer, AccessLevel], object]:
    def undo(admin: _Peer, level: AccessLevel) -> None:
        value: Any = {"number": []} if "table" in name or name == "guarded" else 0
        values = {name.format(level.name.lower()): value}
        assert admin.ask(Set(_PROBE, values), admin.target(_PROBE)) is None

    return undo


def _disconnected(admin: _Peer, level: AccessLevel) -> bool:
    """Undo a connection; returns whether there was one."""
    answer = admin.call(_PROBE, "disconnect_event", "T/NONE/1", "rang", _at(level, "run"))
    return not isinstance(answer, _Error)


def _connected(_before: Any, after: dict[str, Any], level: AccessLevel) -> bool:
    return f"connect_event <- host/{_user()}/1/raw" in after[_PROBE]["last_command"][0]


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


_ROW: Final = {"number": [_NEW_VALUE]}
_OPERATIONS: Final[Mapping[str, _Operation]] = {
    "get": _Operation(_get, _always(AccessLevel.OBSERVER), _same),
    "read_many": _Operation(
        lambda _peer, level: (ReadMany([[_PROBE, [_at(level, "value")]]]), Target()),
        _always(AccessLevel.OBSERVER),
        _same,
    ),
    "schema": _Operation(
        lambda peer, _level: (GetSchema(_PROBE), peer.target(_PROBE)),
        _always(AccessLevel.OBSERVER),
        _same,
    ),
    "open": _Operation(
        lambda peer, _level: (Open([[_PROBE, peer.target(_PROBE).instance]]), Target()),
        _always(AccessLevel.OBSERVER),
        _same,
    ),
    "set": _Operation(_set("value_{}"), _own, _shows("value_{}", _NEW_VALUE), _zero("value_{}")),
    "set of mixed levels": _Operation(
        _set("value_{}", value_observer=_NEW_VALUE, value_user=_NEW_VALUE),
        _at_least(AccessLevel.USER),
        _shows("value_{}", _NEW_VALUE),
        _zero("value_{}"),
    ),
    "set of nothing": _Operation(
        lambda peer, _level: (Set(_PROBE, {}), peer.target(_PROBE)),
        _always(_O),
        lambda before, after, _level: before != after,
    ),
    "set_many": _Operation(_set_many, _own, _shows("value_{}", _NEW_VALUE), _zero("value_{}")),
    "set of a node": _Operation(
        _set("part.value_{}"), _own, _shows("part.value_{}", _NEW_VALUE), _zero("part.value_{}")
    ),
    "set of an injected property": _Operation(
        _set("late_{}"), _own, _shows("late_{}", _NEW_VALUE), _zero("late_{}")
    ),
    "set of a table": _Operation(
        _set("table_{}", _ROW), _own, _shows("table_{}", [_NEW_VALUE]), _zero("table_{}")
    ),
    "set of a table with a column for experts": _Operation(
        _set("guarded", _ROW), _always(_X), _shows("guarded", [_NEW_VALUE]), _zero("guarded")
    ),
    "log level": _Operation(_set("log_level", "ERROR"), _always(_X), _shows("log_level", "ERROR")),
    "call": _Operation(_call("run_{}"), _own, _ran),
    "call of a node": _Operation(_call("part.run_{}"), _own, _ran),
    "call of an injected node": _Operation(_call("injected.run_{}"), _own, _ran),
    "call with wrong arguments": _Operation(
        _call("run_{}", 1, 2, 3), _own, lambda _before, _after, _level: True
    ),
    "instantiate": _Operation(_instantiate, _at_least(_O), _is_there, _stop_new),
    "set_attributes": _Operation(
        _call("set_attributes", _PROBE, {"executed": {"archive": False}}, device=_SERVER),
        _always(_X),
        lambda _before, after, _level: "executed" in after[_PROBE]["given_attributes"][0],
        lambda admin, _level: admin.call(_SERVER, "set_attributes", _PROBE, {}),
    ),
    "lock": _Operation(
        _call("lock"),
        _always(_O),
        lambda _before, after, _level: after[_PROBE]["locked_by"][0] != "",
        _unlock,
    ),
    "unlock": _Operation(_call("unlock"), _always(_O), lambda *_: True),
    "clear_lock": _Operation(_call("clear_lock"), _always(_X), lambda *_: True),
    "cancel_job": _Operation(_call("cancel_job", "none"), _always(_O), lambda *_: True),
    "connect_event": _Operation(
        _call("connect_event", "T/NONE/1", "rang", "run_{}"),
        _at_least(_X),
        _connected,
        _disconnected,
        _disconnected,
    ),
}
_MAY_FAIL: Final = {"call with wrong arguments": "wrong_type", "cancel_job": "unknown_job"}
"""What a peer with the role is told instead: that the role came first shows all the same."""


@pytest.mark.parametrize("name", _OPERATIONS)
def test_X1_exactly_the_cells_of_the_matrix_that_are_allowed_succeed(
    domain: _Domain, name: str
) -> None:
    operation = _OPERATIONS[name]
    for role in AccessLevel:
        for level in AccessLevel:
            cell = f"{name} of {level.name} as {role.name}"
            peer, before = domain.peer(role), domain.shown()
            answer = _outcome(peer.ask(*operation.request(peer, level)))
            needed = operation.needs(level)
            after = domain.shown()
            if role < needed:
                assert isinstance(answer, _Error), cell
                assert answer.code == "denied", cell
                details = answer.body["details"]
                assert details["have"] == role.name, cell
                assert role < AccessLevel[details["required"]] <= needed, cell
                assert before == after, cell
                assert not operation.left(domain.admin, level), cell
                continue
            if isinstance(answer, _Error):
                assert answer.code == _MAY_FAIL.get(name), (cell, answer)
            assert operation.happened(before, after, level), (cell, answer)
            operation.undo(domain.admin, level)


def _outcome(answer: Any) -> Any:
    """Return an error that answers a part of a batch as what it is."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict) and "code" in answer[0]:
        return _Error(answer[0])
    return answer


@pytest.mark.parametrize("role", AccessLevel)
def test_X1_jobs_begin_for_whoever_may_run_their_command(
    domain: _Domain, role: AccessLevel
) -> None:
    for level in AccessLevel:
        executed = domain.admin.values(_PROBE)["executed"][0]
        answer = domain.peer(role).call(_PROBE, _at(level, "work"))
        if role < level:
            assert answer.code == "denied"
            assert domain.admin.values(_PROBE)["executed"][0] == executed
        else:
            ended = domain.peer(AccessLevel.OBSERVER).call(_PROBE, "job_result", answer["job"], 5.0)
            assert ended["state"] == "done"
            assert domain.admin.values(_PROBE)["executed"][0] == executed + 1


@pytest.mark.parametrize("role", AccessLevel)
def test_X1_a_device_is_stopped_by_operators_and_a_server_by_experts(
    domain: _Domain, role: AccessLevel
) -> None:
    peer, admin = domain.peer(role), domain.admin
    assert not isinstance(admin.call(_SERVER, "instantiate", "_Probe", _NEW), _Error)
    answer = peer.call(_SERVER, "shutdown_device", _NEW)
    assert admin.hosts(_NEW) == (role < _O)
    assert (isinstance(answer, _Error) and answer.code == "denied") == (role < _O)
    answer = peer.call(_SERVER, "shutdown")
    assert (isinstance(answer, _Error) and answer.code == "denied") == (role < _X)
    if role < _X:
        assert admin.hosts(_PROBE)


@pytest.mark.parametrize("role", [role for role in AccessLevel if role < max(AccessLevel)])
def test_X1_who_is_no_server_tells_the_directory_nothing(
    domain: _Domain, role: AccessLevel
) -> None:
    peer = domain.peer(role)
    assert peer.call("DIRECTORY", "resolve", _PROBE)["device_id"] == _PROBE
    before = peer.call("DIRECTORY", "topology")
    instance = domain.admin.target(_SERVER).instance.hex()
    for name, args in {
        "register": ({}, [], {}),
        "renew": (instance, [], 0.0),
        "unregister": (instance,),
        "claim": (instance, ["A/B/1"]),
        "release": (instance, [_PROBE]),
    }.items():
        assert peer.call("DIRECTORY", name, *args).code == "denied", name
    assert peer.call("DIRECTORY", "topology")["version"] == before["version"]


def test_X1_a_batch_writes_the_devices_that_it_may_and_no_other(domain: _Domain) -> None:
    peer = domain.peer(_O)
    writes = [
        [_PROBE, peer.target(_PROBE).instance, {"value_operator": 1, "value_expert": 1}],
        [_OTHER, peer.target(_OTHER).instance, {"value_operator": 1}],
    ]
    refused, done = peer.ask(SetMany(writes))
    assert (refused["code"], done) == ("denied", None)
    assert domain.admin.values(_PROBE)["value_operator"][0] == 0
    assert domain.admin.values(_OTHER)["value_operator"][0] == 1


def test_X1_the_answer_of_a_call_with_a_key_is_not_for_a_lower_role(domain: _Domain) -> None:
    call = Call(_PROBE, "run_expert", ["x"], {}, "a key")
    target = domain.admin.target(_PROBE)
    assert domain.peer(_O).ask(call, target).code == "denied"
    assert domain.peer(_X).ask(call, target) == 1
    assert domain.admin.ask(call, target) == 1
    assert domain.peer(_O).ask(call, target).code == "denied"
    assert domain.admin.values(_PROBE)["executed"][0] == 1


def test_a_refusal_tells_what_is_needed_and_what_to_do(domain: _Domain) -> None:
    peer = domain.peer(_O)
    error = peer.call(_PROBE, "part.run_expert").body
    assert error["device"] == _PROBE
    assert error["key"] == "part.run_expert"
    assert f"'{_PROBE}.part.run_expert' needs the role expert" in error["message"]
    who = f"'host/{_user()}/1/raw' is connected as operator"
    assert error["message"].endswith(f"{who}; nothing was done")
    assert "PYKARABO_ROLE=expert" in error["remedy"]
    values = {"value_expert": 1, "value_user": 1, "part.value_administrator": 1}
    error = peer.ask(Set(_PROBE, values), peer.target(_PROBE)).body
    assert error["key"] == "value_expert"
    assert f"'{_PROBE}.value_expert', '{_PROBE}.part.value_administrator'" in error["message"]
    assert "value_user" not in error["message"]
    assert error["details"] == {"required": "ADMINISTRATOR", "have": "OPERATOR"}


@pytest.mark.parametrize("role", [5, -1, 2**63, 2.0, True, None, "expert", b"\x02", [2]])
def test_a_greeting_with_a_role_that_there_is_not_is_refused(domain: _Domain, role: Any) -> None:
    stranger = domain.stranger()
    refused = stranger.greet(["host", 1, "user", "raw", b"", role])
    assert refused is not None
    assert refused.code in ("malformed_message", "limit_exceeded")
    assert stranger.ask(Locate([_PROBE])).code == "hello_required"


def test_a_greeting_without_a_role_is_refused(domain: _Domain) -> None:
    refused = domain.stranger().greet(["host", 1, "user", "raw", b""])
    assert refused is not None
    assert refused.code == "malformed_message"


# -- who has a right to what -----------------------------------------------------------------------


def test_rights_are_asked_with_the_user_whom_the_kernel_names(
    short_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    del short_runtime
    monkeypatch.setenv("USER", "mallory")
    asked: list[tuple[str, str, str]] = []

    def rights(hello: Hello, sender: Sender) -> Granted:
        asked.append((hello.user, sender.user, sender.proof))
        is_server = hello.program == "server"
        return Granted(AccessLevel.ADMINISTRATOR if is_server else AccessLevel.USER)

    async def scenario() -> None:
        transport = ZmqTransport(Binding(run_directory(create=True), DIRECTORY_STEM))
        own = Client(transport=transport)
        own.identity = own.identity._replace(program="server")
        server = Server(
            "T/SERVER",
            transport=transport,
            client=own,
            classes=DeviceClasses(["Directory"]),
            rights=rights,
        )
        try:
            await server.start(directory=True)
            async with Client(role="expert") as client:
                assert await client.role_at() is AccessLevel.USER
        finally:
            await server.aclose()
            await own.aclose()
            transport.close()

    asyncio.run(scenario())
    assert set(asked) == {("mallory", _user(), f"uid:{os.getuid()}")}
