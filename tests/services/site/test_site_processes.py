"""A site of real processes: who belongs to it is served, and nobody else."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import zmq

from pykarabo.client import BlockingClient, Client, DeviceRecord, Stale, login_file, own_proofs
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, DeniedError, NotConnectedError, PykaraboError
from pykarabo.transport import (
    Binding,
    DomainKeys,
    Doorkeeper,
    KeyPair,
    Site,
    ZmqTransport,
    accounts_folder,
    domain_name,
)
from pykarabo.transport import _zeromq as driver
from pykarabo.transport._self_test import _outcome, stranger
from pykarabo.transport._sockets import UP_EVENTS
from pykarabo.transport._zap import Question, Verdict
from pykarabo.trust import Token, make_issuers, sign_token
from pykarabo.wire import Attach, Opened, PipelineInput, Refused
from pykarabo_services.site.joining import make_site
from pykarabo_services.site.store import SiteStore

from .conftest import HOST, Hosts

_TOLD_S: Final = 2.0
_REFUSED: Final = zmq.EVENT_HANDSHAKE_FAILED_AUTH
MOTOR: Final = "HALL/MOTOR/1"


def _serve_motor(site: Hosts, name: str, tmp_path: Path) -> Any:
    init = tmp_path / "motor.json"
    init.write_text(json.dumps({MOTOR: {"class": "SimulatedMotor"}}))
    return site.start(name, "server", "start", "--id", f"HALL/{name.upper()}", "--init", str(init))


def _within(seconds: float, condition: Callable[[], bool]) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come true in time"
        time.sleep(0.01)
    return time.monotonic() - started


def _knock(endpoint: str, pair: KeyPair, *, events: bool = False) -> int:
    address, _, key = endpoint.partition("#")
    return _outcome(address, bytes.fromhex(key), pair, events=events)


def test_two_hosts_form_a_site_and_work_with_each_other(hosts: Hosts, tmp_path: Path) -> None:
    site = hosts
    join = site.ask("a", "site", "init", "--host", HOST, "--port", str(site.port))["join"]
    site.start("a", "site", "serve")
    invited = site.ask("a", "site", "invite", "--role", "server", "--ttl", "1m")
    assert invited["join"] == join
    joined = site.ask("b", "site", "join", join, invited["code"], "--name", "ops@b")
    assert joined == {"name": "ops@b", "role": "server"}
    _serve_motor(site, "b", tmp_path)
    site.be("a")
    with BlockingClient() as client:
        assert client.resolve(MOTOR).rpc.endswith(f"#{_key_of(site, 'b')}")
        client.device(MOTOR).set(velocity=2.5)
        assert client.device(MOTOR).get("velocity") == {"velocity": 2.5}
    site.be("b")
    with BlockingClient() as client:
        assert {record.server_id for record in client.servers()} == {"DIRECTORY/HOST", "HALL/B"}
    _within(10, lambda: bool(_row(site, "ops@b")["last seen"]))
    assert _row(site, "ops@b")["role"] == "server"


def _row(site: Hosts, name: str) -> dict[str, str]:
    rows: list[dict[str, str]] = site.ask("a", "site", "keys")
    return next(row for row in rows if row["name"] == name)


def _key_of(site: Hosts, name: str) -> str:
    site.be(name)
    key = Site().pair.public.hex()
    site.be("a")
    return key


def test_who_works_in_a_site_is_the_member_that_his_key_names(
    site: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _serve_motor(site, "a", tmp_path)
    site.join("b", "client")
    monkeypatch.setenv("USER", "mallory")
    site.be("b")
    with BlockingClient() as client:
        client.device(MOTOR).call("stop")
        assert "/ops@b/" in str(client.device(MOTOR).get("last_command"))


def test_X2_in_a_site_a_stranger_reaches_no_port(site: Hosts, tmp_path: Path) -> None:
    _serve_motor(site, "a", tmp_path)
    site.be("a")
    with BlockingClient() as client:
        record = client.resolve(MOTOR)
        known = Site().pair
        for endpoint in (record.rpc, record.events, record.data):
            events = endpoint == record.events
            assert _knock(endpoint, known, events=events) & UP_EVENTS
            assert _knock(endpoint, stranger(), events=events) == _REFUSED
        assert client.device(MOTOR).get("velocity")
    assert "has no grant of this site" in site.log("a").read_text()


def test_X2_the_key_of_the_domain_opens_nothing_in_a_site(site: Hosts) -> None:
    pair = DomainKeys("another").pair
    site.be("a")
    assert _knock(Site().grants.directories[0], pair) == _REFUSED


def test_a_bridge_reaches_the_pipelines_that_it_may_and_nothing_else(
    site: Hosts, tmp_path: Path
) -> None:
    cameras = ("HALL/CAMERA/1", "ELSEWHERE/CAMERA/1")
    init = tmp_path / "cameras.json"
    init.write_text(json.dumps({name: {"class": "Camera"} for name in cameras}))
    site.start("a", "server", "start", "--id", "HALL/A", "--init", str(init))
    site.join("b", "bridge", outputs=("HALL/*:output",))
    site.be("a")
    with BlockingClient() as client:
        first, second = map(client.resolve, cameras)
    site.be("b")
    bridge = Site().pair
    assert _knock(first.rpc, bridge) == _REFUSED
    assert _knock(first.events, bridge, events=True) == _REFUSED
    assert isinstance(_attached(first), Opened)
    refused = _attached(second)
    assert isinstance(refused, Refused)
    assert "may not read 'ELSEWHERE/CAMERA/1:output', only HALL/*:output" in str(refused.error)


def _attached(record: DeviceRecord) -> object:
    """Attach to the output of a camera, and return what comes of it."""

    async def scenario() -> object:
        attach = Attach(record.device_id, "output", "drop", 1)
        pipe = PipelineInput(attach, bytes.fromhex(record.instance), checksum=False)
        told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        up = asyncio.Event()

        class Handler:
            def connected(self) -> None:
                up.set()

            def received(self, frames: list[Any]) -> None:
                if not told.done():
                    told.set_result(pipe.receive(frames))

            def disconnected(self, reason: str) -> None:
                raise AssertionError(reason)

        transport = ZmqTransport()
        try:
            port = await transport.connect_dealer(record.data, Handler(), bulk=True)
            async with asyncio.timeout(_TOLD_S):
                await up.wait()
                port.send(pipe.hello())
                return await told
        finally:
            transport.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(("role", "expected"), [("client", "EXPERT"), ("server", "ADMINISTRATOR")])
def test_who_is_no_server_tells_the_directory_nothing(
    site: Hosts, role: str, expected: str
) -> None:
    site.join("b", role)
    site.be("b")
    with BlockingClient() as client:
        assert client.role_at().name == expected
        if role == "client":
            with pytest.raises(DeniedError, match="needs the role administrator"):
                client.directory("unregister", "00" * 16)


def test_in_a_site_with_accounts_who_has_not_logged_in_may_only_look(
    hosts: Hosts, tmp_path: Path
) -> None:
    hosts.be("a")
    make_site(None, HOST, hosts.port)
    issuers = make_issuers(accounts_folder())
    hosts.start("a", "site", "serve")
    hosts.join("c", "server")
    _serve_motor(hosts, "c", tmp_path)  # which needs nothing but its grant
    hosts.join("b", "client")
    hosts.be("b")
    with BlockingClient() as client:
        assert client.role_at(MOTOR) is AccessLevel.OBSERVER
        with pytest.raises(DeniedError, match="nobody has logged in here"):
            client.device(MOTOR).set(velocity=2.0)
    token = Token(
        user="alice",
        role=AccessLevel.OPERATOR,
        domain=domain_name(),
        login="1",
        bound=own_proofs(),
        issued_s=time.time(),
        expires_s=time.time() + 60,
    )
    login_file(create=True).write_bytes(sign_token(token, issuers.accounts_key()))
    login_file().chmod(0o600)
    with BlockingClient() as client:
        assert client.role_at(MOTOR) is AccessLevel.OPERATOR
        client.device(MOTOR).set(velocity=2.0)


# -- whom a client speaks to ----------------------------------------------------------------------


def _told(endpoint: str) -> tuple[PykaraboError, float]:
    """Return what a client is told that looks for the directory at an endpoint, and how late."""
    started = time.monotonic()
    with BlockingClient(directory=endpoint) as client, pytest.raises(PykaraboError) as told:
        client.topology()
    return told.value, time.monotonic() - started


def test_X2_a_server_with_another_key_than_the_site_says_is_told_nothing(site: Hosts) -> None:
    site.be("a")
    mine = Site().pair.public.hex()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as listener:
        listener.linger = 0
        other = stranger()
        listener.curve_publickey, listener.curve_secretkey = other
        listener.curve_server = True
        port = listener.bind_to_random_port(f"tcp://{HOST}")
        error, seconds = _told(f"tcp://{HOST}:{port}#{mine}")
        assert seconds < _TOLD_S
        assert isinstance(error, NotConnectedError)
        assert str(error).partition("cannot be reached ")[2] == (
            f"at tcp://{HOST}:{port}: it has another key than the site knows, or stopped just now "
            "- if its server was given a new key, start that server again; if nobody knows of one, "
            "somebody else listens there: tell the site's administrator"
        )
        assert not listener.poll(0)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (f"#{'5' * 64}", "is no server of this site: the key 5555555555555555 has no grant"),
        ("", "does not say which key its server has, and this domain belongs to a site"),
    ],
)
def test_a_server_that_the_site_does_not_vouch_for_is_not_connected_to(
    site: Hosts, key: str, message: str
) -> None:
    site.be("a")
    error, seconds = _told(f"tcp://{HOST}:1{key}")
    assert isinstance(error, DeniedError)
    assert message in str(error)
    assert seconds < _TOLD_S


def test_a_client_s_key_is_no_server_s(site: Hosts) -> None:
    site.join("b", "client")
    key = _key_of(site, "b")
    site.be("a")
    error, _seconds = _told(f"tcp://{HOST}:1#{key}")
    assert "'ops@b' listens there, and its grant is that of a client" in str(error)


# -- shutting out ---------------------------------------------------------------------------------


def test_a_member_that_was_shut_out_is_told_so(site: Hosts) -> None:
    site.join("b", "client")
    site.be("b")
    with BlockingClient() as client:
        assert client.topology()
    site.revoke("ops@b")
    begun = time.monotonic()
    site.command("b", "site", "show")
    started = time.monotonic()
    done = site.command("b", "status")
    starts_s = 3 * (started - begun)  # on a host that is busy
    assert time.monotonic() - started < _TOLD_S + starts_s
    assert "the grant of 'ops@b' was revoked at" in done.stderr
    assert "ask the site's administrator for an invitation" in done.stderr


def test_a_server_that_was_shut_out_is_spoken_to_no_more(site: Hosts, tmp_path: Path) -> None:
    site.join("b", "server")
    _serve_motor(site, "b", tmp_path)
    site.be("a")

    async def scenario() -> float:
        async with Client() as client:
            motor = await client.device(MOTOR, follow=False)
            assert await motor.get("velocity")
            site.revoke("ops@b")
            started = time.monotonic()
            while time.monotonic() - started < 5:
                try:
                    await motor.get("velocity")
                except PykaraboError:
                    return time.monotonic() - started
                await asyncio.sleep(0.05)
            raise AssertionError("it is still spoken to")

    assert asyncio.run(scenario()) < _TOLD_S


def test_what_a_member_is_doing_ends_within_2_s_when_it_is_shut_out(
    site: Hosts, tmp_path: Path
) -> None:
    _serve_motor(site, "a", tmp_path)
    site.join("b", "client")
    site.join("c", "client")

    async def scenario() -> None:
        site.be("b")
        async with Client() as shut_out:
            assert await shut_out.topology()
            site.be("c")
            async with Client() as other:
                assert await other.topology()
                site.be("a")
                lost, kept = [await client.device(MOTOR) for client in (shut_out, other)]
                async with shut_out.watch(MOTOR) as events, other.watch(MOTOR) as others:
                    site.revoke("ops@b")
                    async with asyncio.timeout(_TOLD_S):
                        async for update in events:
                            if isinstance(update, Stale):
                                break
                    with pytest.raises(PykaraboError) as told:
                        await lost.set(velocity=3.5)
                    await kept.set(velocity=4.5)
                    async with asyncio.timeout(_TOLD_S):
                        async for update in others:
                            if "velocity" in getattr(update, "values", {}):
                                break
                    assert "revoked" in str(told.value)

    asyncio.run(scenario())


# -- without the authority ------------------------------------------------------------------------


def test_servers_and_clients_go_on_without_the_authority(site: Hosts, tmp_path: Path) -> None:
    site.join("b", "server")
    _serve_motor(site, "b", tmp_path)
    site.be("a")
    with BlockingClient() as client:
        rpc = client.resolve(MOTOR).rpc
        assert client.device(MOTOR).get("velocity")
    os.kill(site.running[0].pid, 9)
    started = time.monotonic()
    with BlockingClient() as client:
        assert client.locate(rpc, [MOTOR])[0] is not None
        assert client.device(MOTOR).get("velocity")
    assert time.monotonic() - started < 2 * _TOLD_S


def test_X11_no_key_and_no_code_is_told_or_in_a_log(site: Hosts, tmp_path: Path) -> None:
    invited = site.ask("a", "site", "invite", "--role", "server")
    site.ask("b", "site", "join", invited["join"], invited["code"], "--name", "ops@b")
    refused = site.command("c", "site", "join", invited["join"], invited["code"])
    assert refused.returncode != 0
    _serve_motor(site, "b", tmp_path)
    told = [refused.stderr, site.log("a").read_text(), site.log("b").read_text()]
    told += [
        json.dumps(site.ask(name, "site", command)) for name in "ab" for command in ("keys", "show")
    ]
    told += [Path(f"/proc/{process.pid}/cmdline").read_text() for process in site.running]
    secrets = [invited["code"]]
    for name in "ab":
        site.be(name)
        secrets.append(Site().pair.secret.hex())
    site.be("a")
    secrets += [SiteStore().signing_key().secret.hex(), SiteStore().service_key().secret.hex()]
    assert not [text for text in told for secret in secrets if secret in text]


# -- failing closed -------------------------------------------------------------------------------


def _admit_everybody(_keys: DomainKeys) -> Callable[[Question], Verdict]:
    return lambda _question: Verdict(user="anybody")


class _Sleeping(Doorkeeper):
    def _answer(self, frames: list[bytes]) -> None:
        """Answer nothing."""


class _Absent(Doorkeeper):
    def __init__(self, context: Any, judge: Any) -> None:
        """Be where libzmq does not look."""
        self._elsewhere: Any = zmq.Context()
        super().__init__(self._elsewhere, judge)
        self._context = context

    def close(self) -> None:
        super().close()
        self._elsewhere.term()


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"own_user_or_key": _admit_everybody}, "lets strangers in"),
        ({"Doorkeeper": _Absent, "guard": lambda _socket, _port: None}, "lets strangers in"),
        ({"Doorkeeper": _Absent}, "does not say whom it lets in"),
        ({"Doorkeeper": _Sleeping}, "does not say whom it lets in"),
    ],
)
def test_X3_a_server_with_an_open_door_does_not_start(
    short_runtime: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, object], message: str
) -> None:
    for name, value in faults.items():
        monkeypatch.setattr(driver, name, value)
    monkeypatch.setattr("pykarabo.transport._self_test.TRY_S", 0.5)

    async def scenario() -> None:
        transport = ZmqTransport(Binding(short_runtime, "s", host=HOST))
        try:
            with pytest.raises(BadConfigurationError, match=f"{message}: this program does not"):
                transport.bind_router("rpc", lambda _peer, _frames: None)
        finally:
            transport.close()

    asyncio.run(scenario())


def test_X3_without_a_list_of_grants_nobody_comes_in(site: Hosts) -> None:
    site.join("b", "client")
    site.be("b")
    known = Site().pair
    site.be("a")
    endpoint = Site().grants.directories[0]
    assert _knock(endpoint, known) & UP_EVENTS
    listed = Site().folder / "grants"
    content = listed.read_bytes()
    for damaged in (b"", content[:-1], content[:200] + b"x" + content[201:]):
        listed.write_bytes(damaged)
        assert _knock(endpoint, known) == _REFUSED
