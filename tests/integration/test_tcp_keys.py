"""TCP connections carry the domain's key: who has another one, or none, is kept out."""

import asyncio
import os
import pwd
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from pykarabo.client import BlockingClient, Client, connect, wait_until
from pykarabo.errors import BadConfigurationError, NotConnectedError
from pykarabo.transport import Binding, DomainKeys, ZmqTransport, key_file, make_context
from pykarabo.transport._sockets import DOWN_EVENTS, UP_EVENTS, stop_monitor
from pykarabo.wire import Frame
from tests.harness.wiretap import Wiretap

HOST: Final = "127.0.0.1"
_PATIENCE_MS: Final = 5_000
_SPEAKS_PLAINLY: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,  # the other side was the first to see that, and hung up
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
)
_TRIES: Final = 3
_TOLD_S: Final = 2.0
"""Whoever is kept out knows why after this."""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: Any) -> Iterator[str]:
    """Serve COUNT/1 on TCP, and give this program another key than its server has."""
    processes.start("S/0", directory=True)
    processes.start("S/1", "COUNT/1", host=HOST)
    with BlockingClient() as client:
        assert client.device("COUNT/1").count() == 1
        rpc = client.resolve("COUNT/1").rpc
    other = tmp_path / "other"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(other))
    yield rpc
    monkeypatch.undo()


def test_X2_a_blocking_client_with_another_key_is_told_so(stranger: str) -> None:
    started = time.monotonic()
    with BlockingClient() as client, pytest.raises(NotConnectedError) as refused:
        client.device("COUNT/1").count()
    assert time.monotonic() - started < _TOLD_S
    assert f"cannot be reached at {stranger}: it has another key" in str(refused.value)
    assert f"copy {key_file()} from there" in str(refused.value)


@pytest.mark.usefixtures("stranger")
def test_X2_a_client_with_another_key_is_told_so() -> None:
    async def scenario() -> str:
        async with Client() as client, asyncio.timeout(_TOLD_S):
            with pytest.raises(NotConnectedError) as refused:
                await (await client.device("COUNT/1", follow=False)).call("count")
            return str(refused.value)

    assert "it has another key than this program" in asyncio.run(scenario())


def _knock(
    endpoint: str,
    keys: DomainKeys | None,
    mine: tuple[bytes, bytes] | None = None,
    kind: int = zmq.DEALER,
) -> int:
    """Connect as somebody would who does not use our client; returns how that went."""
    with make_context() as context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            keys.use(socket, endpoint)
        if mine is not None:
            socket.curve_publickey, socket.curve_secretkey = mine
        monitor = socket.get_monitor_socket(UP_EVENTS | DOWN_EVENTS)
        socket.connect(endpoint)
        assert monitor.poll(_PATIENCE_MS)
        event = recv_monitor_message(monitor)["event"]
        stop_monitor(socket)
        monitor.close()
        return int(event)


def test_X2_who_knows_the_server_but_has_no_key_of_the_domain_is_refused(processes: Any) -> None:
    processes.start("S/0", directory=True)
    processes.start("S/1", "COUNT/1", host=HOST)
    with BlockingClient() as client:
        record = client.resolve("COUNT/1")
        keys, other = DomainKeys(), zmq.curve_keypair()
        for endpoint, kind in (
            (record.rpc, zmq.DEALER), (record.events, zmq.SUB), (record.data, zmq.DEALER),
        ):  # fmt: skip
            assert _knock(endpoint, keys, None, kind) == zmq.EVENT_HANDSHAKE_SUCCEEDED
            assert _knock(endpoint, keys, other, kind) == zmq.EVENT_HANDSHAKE_FAILED_AUTH
            assert _knock(endpoint, None, None, kind) in _SPEAKS_PLAINLY
        assert client.device("COUNT/1").count() == 1
    assert "its key is another one" in processes.log_of("S/1").read_text()


@pytest.mark.usefixtures("short_runtime")
def test_X2_a_listener_that_speaks_plain_text_is_told_nothing() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as listener:
        listener.linger = 0
        port = listener.bind_to_random_port(f"tcp://{HOST}")
        started = time.monotonic()
        with (
            BlockingClient(directory=f"tcp://{HOST}:{port}") as client,
            pytest.raises(
                NotConnectedError, match=r"it (speaks plain text|has another key .* or none)"
            ),
        ):
            client.topology()
        assert time.monotonic() - started < _TOLD_S
        assert not listener.poll(0)


def test_who_calls_over_tcp_is_whose_the_key_is(
    processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "mallory")
    processes.start("S/0", directory=True)
    processes.start("S/1", "COUNT/1", host=HOST)
    counter = connect("COUNT/1")
    counter.count()
    wait_until(lambda: counter.last_command.startswith("count <- "), timeout_s=5)
    assert f"/{pwd.getpwuid(os.getuid()).pw_name}/" in counter.last_command


# -- what travels -------------------------------------------------------------------------------


def _port_of(endpoint: str) -> int:
    return int(endpoint.rsplit(":", 1)[1])


def test_X2_a_watch_with_another_key_makes_no_storm(stranger: str) -> None:
    tap = Wiretap(_port_of(stranger))

    async def scenario() -> float:
        endpoint = f"tcp://{HOST}:{tap.port}"
        async with Client(directory=endpoint) as client, client.watch("COUNT/1"):
            started = time.monotonic()
            while len(tap.connections) < _TRIES:
                await asyncio.sleep(0.01)
            return time.monotonic() - started

    try:
        assert asyncio.run(scenario()) > (_TRIES - 1) / 2
    finally:
        tap.close()


_SECRET: Final = b"the beam is at 42.7 mm and nobody shall know"


class _Handler:
    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.answer: asyncio.Future[list[Frame]] = asyncio.get_running_loop().create_future()

    def connected(self) -> None:
        self.up.set()

    def received(self, frames: list[Frame]) -> None:
        self.answer.set_result(frames)

    def disconnected(self, reason: str) -> None:
        raise AssertionError(reason)


async def _overheard(binding: Binding, name: str) -> tuple[str, bytes]:
    """Have a message go there and back; returns the endpoint, and what was heard on the way."""
    server, client = ZmqTransport(binding), ZmqTransport()

    def answer(peer: bytes, frames: list[Frame]) -> None:
        router.send(peer, [bytes(frame) for frame in frames])

    router = server.bind_router(name, answer, bulk=True)
    tap = Wiretap(_port_of(router.endpoint))
    handler = _Handler()
    try:
        scheme = router.endpoint.partition(":")[0]
        port = await client.connect_dealer(f"{scheme}://{HOST}:{tap.port}", handler, bulk=True)
        async with asyncio.timeout(_PATIENCE_MS / 1000):
            await handler.up.wait()
            port.send([_SECRET])
            assert [bytes(frame) for frame in await handler.answer] == [_SECRET]
        port.close()
    finally:
        client.close()
        server.close()
        tap.close()
    return router.endpoint, bytes(tap.heard)


@pytest.mark.parametrize(
    ("trusted", "name", "is_plain"),
    [
        ((), "rpc", False),
        ((), "data", False),
        (("127.0.0.0/8",), "rpc", False),
        (("127.0.0.0/8",), "data", True),
        (("192.0.2.0/24", "::1/128"), "data", False),
    ],
)
def test_only_data_in_a_trusted_network_can_be_overheard(
    short_runtime: Path, trusted: tuple[str, ...], name: str, *, is_plain: bool
) -> None:
    networks = tuple(ip_network(text) for text in trusted)
    binding = Binding(short_runtime, "s", host=HOST, trusted=networks)
    endpoint, heard = asyncio.run(_overheard(binding, name))
    assert endpoint.startswith("plain://" if is_plain else "tcp://")
    assert len(heard) > 2 * len(_SECRET)
    assert (_SECRET in heard) == is_plain


@pytest.mark.usefixtures("short_runtime")
def test_calls_and_events_are_not_made_in_plain_text_whatever_the_directory_says() -> None:
    endpoint = f"plain://{HOST}:1"
    refusal = pytest.raises(BadConfigurationError, match="is for data in plain text")
    with BlockingClient(directory=endpoint) as client, refusal:
        client.topology()

    async def scenario() -> None:
        transport = ZmqTransport()
        handler = _Handler()
        for connect_to in (
            transport.connect_dealer(endpoint, handler),
            transport.connect_subscriber(endpoint, print),
        ):
            with pytest.raises(BadConfigurationError, match="is for data in plain text"):
                await connect_to
        transport.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "*"])
def test_a_server_listens_nowhere_that_nobody_has_named(short_runtime: Path, host: str) -> None:
    async def scenario() -> None:
        transport = ZmqTransport(Binding(short_runtime, "s", host=host))
        with pytest.raises(BadConfigurationError, match="every network of this host"):
            transport.bind_router("rpc", lambda _peer, _frames: None)
        transport.close()

    asyncio.run(scenario())


def test_X3_over_tcp_nobody_comes_in_without_a_doorkeeper(short_runtime: Path) -> None:
    async def scenario() -> None:
        transport = ZmqTransport(Binding(short_runtime, "s", host=HOST))
        router = transport.bind_router("rpc", lambda _peer, _frames: None)
        knock = asyncio.to_thread(_knock, router.endpoint, DomainKeys())
        assert await knock == zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert transport._doorkeeper is not None
        transport._doorkeeper.close()
        assert not transport.admits
        knock = asyncio.to_thread(_knock, router.endpoint, DomainKeys())
        assert await knock in (
            zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        )  # fmt: skip
        transport.close()

    asyncio.run(scenario())


# -- the file -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_runtime")
def test_the_first_programs_of_a_domain_make_one_key_of_which_only_the_user_knows() -> None:
    start = threading.Barrier(8)
    found: list[bytes] = []

    def work() -> None:
        start.wait()
        found.append(DomainKeys().pair.secret)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert os.listdir(key_file().parent) == [key_file().name]
    assert found[0].hex() not in repr(DomainKeys().pair)


@pytest.mark.usefixtures("short_runtime")
def test_each_domain_has_a_key_of_its_own() -> None:
    assert DomainKeys("one").pair != DomainKeys("two").pair


@pytest.mark.usefixtures("short_runtime")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_X11_a_key_that_others_may_read_is_not_used(mode: int) -> None:
    assert DomainKeys().pair
    key_file().chmod(mode)
    with pytest.raises(BadConfigurationError, match=f"its owner alone .mode {mode:o}"):
        assert DomainKeys().pair


@pytest.mark.usefixtures("short_runtime")
@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": "pykarabo domain key 1", "public": "00", "secret": "00"}',
        f'{{"format": "pykarabo domain key 1", "public": "{"00" * 32}", "secret": "{"11" * 32}"}}',
        '{"format": "pykarabo domain key 1", "public": 1, "secret": 2}',
        "\xff",
    ],
)
def test_a_file_that_holds_no_key_is_named(content: str) -> None:
    assert DomainKeys().pair
    key_file().write_bytes(content.encode("latin-1"))
    with pytest.raises(
        BadConfigurationError, match="is no key: the key of the domain should"
    ) as refused:
        assert DomainKeys().pair
    assert str(key_file()) in str(refused.value)


def test_a_key_that_cannot_be_made_is_told_as_it_is(
    short_runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/nothing")
    transport = ZmqTransport()
    with pytest.raises(BadConfigurationError, match="the key of the domain, /proc/nothing"):
        asyncio.run(transport.connect_subscriber(f"tcp://{HOST}:1", print))
    transport.close()

    async def listen() -> None:
        server = ZmqTransport(Binding(short_runtime, "s", host=HOST))
        with pytest.raises(BadConfigurationError, match="the key of the domain"):
            server.bind_publisher("events", print)
        server.close()

    asyncio.run(listen())
